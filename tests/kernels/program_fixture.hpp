#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/host/program_host.hpp"
#include "kernels/host/visit_dtype.hpp"

// Operands of random layout, a naive evaluator and builders of programs for the tests of fused
// programs.

namespace tessera::kernels::test {

/// Holds a value of any dtype exactly.
using Value = std::complex<long double>;

inline const std::vector<DType> kAllDTypes = {
    DType::kBool,    DType::kInt8,      DType::kInt16,     DType::kInt32,  DType::kInt64,
    DType::kUInt8,   DType::kUInt16,    DType::kUInt32,    DType::kUInt64, DType::kFloat32,
    DType::kFloat64, DType::kComplex64, DType::kComplex128};

template <typename T>
Value to_value(T x) {
  if constexpr (host::kIsComplex<T>) {
    return {static_cast<long double>(x.real()), static_cast<long double>(x.imag())};
  } else {
    return static_cast<long double>(x);
  }
}

template <typename T>
T from_value(Value x) {
  if constexpr (std::is_same_v<T, bool>) {
    return x != Value(0);
  } else if constexpr (host::kIsComplex<T>) {
    using Real = typename T::value_type;
    return {static_cast<Real>(x.real()), static_cast<Real>(x.imag())};
  } else {
    return static_cast<T>(x.real());
  }
}

inline Value read(DType dtype, const std::byte* data) {
  return host::visit_dtype(dtype, "test", [&]<typename T>(std::type_identity<T>) {
    T x;
    std::memcpy(&x, data, sizeof(T));
    return to_value(x);
  });
}

inline void write(DType dtype, std::byte* data, Value value) {
  host::visit_dtype(dtype, "test", [&]<typename T>(std::type_identity<T>) {
    const T x = from_value<T>(value);
    std::memcpy(data, &x, sizeof(T));
  });
}

using Rng = std::mt19937_64;

inline std::int64_t draw(Rng& rng, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(rng);
}
inline bool chance(Rng& rng, double p) { return std::bernoulli_distribution(p)(rng); }

/// C-order coordinates of element `linear`.
inline std::vector<std::int64_t> coordinates(const std::vector<std::int64_t>& shape,
                                             std::int64_t linear) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    at[d] = linear % shape[d];
    linear /= shape[d];
  }
  return at;
}

inline std::int64_t count_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

/// An operand in memory of exactly its size, so that a sanitizer sees every stray access.
class TestArray {
 public:
  enum class Layout { kDense, kRandom, kRandomBroadcast };

  TestArray(DType dtype, std::vector<std::int64_t> shape, Layout layout, Rng& rng)
      : dtype_(dtype), shape_(std::move(shape)), strides_(shape_.size()) {
    std::vector<std::size_t> order(shape_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (layout != Layout::kDense && chance(rng, 0.6)) std::shuffle(order.begin(), order.end(), rng);
    std::int64_t step = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      const std::size_t d = order[i];
      const bool broadcast = layout == Layout::kRandomBroadcast && chance(rng, 0.2);
      strides_[d] = broadcast ? 0 : step;
      if (!broadcast) step *= std::max<std::int64_t>(shape_[d], 1);
      if (layout != Layout::kDense && chance(rng, 0.15)) step += draw(rng, 1, 3);
    }
    std::int64_t low = 0;
    std::int64_t high = 0;
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      if (layout != Layout::kDense && chance(rng, 0.15)) strides_[d] = -strides_[d];
      const std::int64_t reach = strides_[d] * std::max<std::int64_t>(shape_[d] - 1, 0);
      (reach < 0 ? low : high) += reach;
    }
    allocate(low, high, layout == Layout::kDense ? 0 : draw(rng, 0, 7));
  }

  /// Strides as given, none of them negative.
  TestArray(DType dtype, std::vector<std::int64_t> shape, std::vector<std::int64_t> strides)
      : dtype_(dtype), shape_(std::move(shape)), strides_(std::move(strides)) {
    std::int64_t high = 0;
    for (std::size_t d = 0; d < shape_.size(); ++d) high += strides_[d] * (shape_[d] - 1);
    allocate(0, high, 0);
  }

  /// Another layout of the same elements.
  TestArray(const TestArray& other, Layout layout, Rng& rng)
      : TestArray(other.dtype_, other.shape_, layout, rng) {
    for (std::int64_t i = 0; i < count_of(shape_); ++i) set(i, other.get(i));
  }

  host::Operand operand() const { return {first_, strides_}; }
  DType dtype() const { return dtype_; }
  const std::vector<std::int64_t>& shape() const { return shape_; }
  std::int64_t count() const { return count_of(shape_); }
  std::byte* address(std::int64_t linear) const {
    const auto at = coordinates(shape_, linear);
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < at.size(); ++d) offset += at[d] * strides_[d];
    return first_ + offset * static_cast<std::int64_t>(itemsize(dtype_));
  }
  Value get(std::int64_t linear) const { return read(dtype_, address(linear)); }
  void set(std::int64_t linear, Value value) { write(dtype_, address(linear), value); }

  /// Small integers, so that integer arithmetic does not overflow; floats get fractions, and
  /// special values with probability `special`.
  void fill(Rng& rng, double special = 0.0) {
    const bool inexact = is_floating(dtype_) || is_complex(dtype_);
    const bool is_signed = inexact || kind(dtype_) == DTypeKind::kSignedInteger;
    auto number = [&]() -> long double {
      if (inexact && chance(rng, special)) {
        constexpr long double kInf = std::numeric_limits<long double>::infinity();
        constexpr long double kNan = std::numeric_limits<long double>::quiet_NaN();
        const long double values[] = {kNan, kNan, kInf, -kInf, -0.0L};
        return values[draw(rng, 0, 4)];
      }
      const auto n = static_cast<long double>(draw(rng, is_signed ? -9 : 0, 9));
      return inexact ? n + static_cast<long double>(draw(rng, 0, 1023)) / 1024.0L : n;
    };
    for (std::int64_t i = 0; i < count(); ++i) {
      set(i, is_complex(dtype_) ? Value(number(), number()) : Value(number()));
    }
  }

 private:
  void allocate(std::int64_t low, std::int64_t high, std::int64_t lead) {
    const auto item = static_cast<std::int64_t>(itemsize(dtype_));
    const std::int64_t elements = count_of(shape_) == 0 ? 0 : high - low + 1;
    memory_ = std::make_unique<std::byte[]>(static_cast<std::size_t>((elements + lead) * item));
    first_ = memory_.get() + (lead - low) * item;
  }

  DType dtype_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> strides_;
  std::unique_ptr<std::byte[]> memory_;
  std::byte* first_ = nullptr;
};

/// Writes a program down.
class ProgramBuilder {
 public:
  explicit ProgramBuilder(int rank) { program.rank = rank; }

  int load(DType dtype) {
    Instr instr = make(InstrKind::kLoad, dtype);
    instr.slot = program.load_count++;
    return push(instr);
  }
  int constant(Scalar value, DType dtype) {
    Instr instr = make(InstrKind::kConstant, dtype);
    instr.constant = value;
    return push(instr);
  }
  int index() {
    Instr instr = make(InstrKind::kIndex, DType::kInt64);
    instr.slot = program.index_count++;
    return push(instr);
  }
  int random(int index, RandomSpec spec, DType dtype) {
    Instr instr = make(InstrKind::kRandom, dtype);
    instr.args[0] = index;
    instr.random = spec;
    return push(instr);
  }
  int op(core::ScalarOp op, int a, int b = -1, int c = -1) {
    const DType of = program.instrs[static_cast<std::size_t>(c >= 0 ? b : a)].dtype;
    const core::OpDTypes dtypes = core::infer_dtypes(op, of);
    return push_op(op, dtypes.compute, dtypes.result, {a, b, c});
  }
  int cast(int a, DType dtype) {
    return push_op(core::ScalarOp::kCast, program.instrs[static_cast<std::size_t>(a)].dtype, dtype,
                   {a, -1, -1});
  }
  int push_op(core::ScalarOp op, DType compute, DType dtype, std::array<int, 3> args) {
    Instr instr = make(InstrKind::kOp, dtype);
    instr.op = op;
    instr.compute_dtype = compute;
    instr.args = args;
    return push(instr);
  }
  void reduce(core::ReduceOp op, int value, int index = -1) {
    program.reductions.push_back({.op = op, .value = value, .index = index});
  }

  Program program;

 private:
  static Instr make(InstrKind kind, DType dtype) {
    Instr instr;
    instr.kind = kind;
    instr.dtype = dtype;
    return instr;
  }
  int push(Instr instr) {
    program.instrs.push_back(instr);
    return static_cast<int>(program.instrs.size()) - 1;
  }
};

/// 64-byte aligned memory with a guard behind it.
class Guarded {
 public:
  explicit Guarded(std::size_t bytes)
      : bytes_(bytes), memory_(static_cast<std::byte*>(::operator new(bytes + kGuard, kAlign))) {
    std::memset(memory_, 0, bytes);
    std::memset(memory_ + bytes, 0x5a, kGuard);
  }
  ~Guarded() { ::operator delete(memory_, kAlign); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::byte* data() const { return memory_; }
  std::size_t bytes() const { return bytes_; }
  bool intact() const {
    return std::all_of(memory_ + bytes_, memory_ + bytes_ + kGuard,
                       [](std::byte b) { return b == std::byte{0x5a}; });
  }

 private:
  static constexpr std::size_t kGuard = 256;
  static constexpr std::align_val_t kAlign{64};
  std::size_t bytes_;
  std::byte* memory_;
};

struct RunInput {
  std::vector<std::int64_t> shape;
  std::vector<const TestArray*> loads;
  std::vector<host::AffineIndex> indices;
  std::vector<const TestArray*> stores;
};

inline std::int64_t kept_count(const Program& program, const std::vector<std::int64_t>& shape) {
  std::int64_t kept = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (!program.reduced[d]) kept *= shape[d];
  }
  return kept;
}

/// Runs the program in scratch of exactly the promised size; returns the reductions' buffers.
inline std::vector<std::unique_ptr<Guarded>> run(const host::PreparedProgram& prepared,
                                                 const RunInput& input) {
  const Program& program = prepared.program();
  std::vector<host::Operand> loads;
  std::vector<host::Operand> stores;
  for (const TestArray* array : input.loads) loads.push_back(array->operand());
  for (const TestArray* array : input.stores) stores.push_back(array->operand());
  std::vector<std::unique_ptr<Guarded>> buffers;
  std::vector<std::byte*> reductions;
  for (const ProgramReduction& reduction : program.reductions) {
    const DType dtype = program.instrs[static_cast<std::size_t>(reduction.value)].dtype;
    const std::int64_t kept = kept_count(program, input.shape);
    const std::size_t bytes = reduction.finish ? itemsize(reduced_dtype(reduction.op, dtype)) *
                                                     static_cast<std::size_t>(kept)
                                               : accumulator_bytes(reduction.op, dtype, kept);
    buffers.push_back(std::make_unique<Guarded>(bytes));
    reductions.push_back(buffers.back()->data());
  }
  Guarded scratch(prepared.scratch_bytes());
  prepared.run({input.shape, loads, input.indices, stores, reductions}, scratch.data());
  EXPECT_TRUE(scratch.intact());
  for (const auto& buffer : buffers) EXPECT_TRUE(buffer->intact());
  return buffers;
}

/// Shapes of rank 0 to 5 of some thousand elements, with extents of 1 and sometimes of 0.
inline std::vector<std::int64_t> random_shape(Rng& rng, std::int64_t limit, bool may_be_empty) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(draw(rng, 0, 5)));
  std::int64_t left = limit;
  for (std::int64_t& extent : shape) {
    const double roll = std::uniform_real_distribution<double>(0, 1)(rng);
    if (roll < 0.1) {
      extent = 1;
    } else if (roll < 0.13 && may_be_empty) {
      extent = 0;
    } else if (roll < 0.5) {
      extent = std::min<std::int64_t>(draw(rng, 2, 9), left);
    } else {
      extent = draw(rng, 1, std::min<std::int64_t>(left, 2000));
    }
    extent = std::max<std::int64_t>(extent, extent == 0 ? 0 : 1);
    left = std::max<std::int64_t>(left / std::max<std::int64_t>(extent, 1), 1);
  }
  std::shuffle(shape.begin(), shape.end(), rng);
  return shape;
}

}  // namespace tessera::kernels::test
