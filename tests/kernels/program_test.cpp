#include "kernels/program.hpp"

#include <gtest/gtest.h>

#include "kernels/host/loops.hpp"
#include "tessera/chunk_grid.hpp"
#include "tests/kernels/program_fixture.hpp"

namespace tessera::kernels {
namespace {

using core::ReduceOp;
using core::ScalarOp;
using host::PreparedProgram;
using test::chance;
using test::draw;
using test::ProgramBuilder;
using test::Rng;
using test::TestArray;
using test::Value;
using Layout = TestArray::Layout;

constexpr std::uint64_t kSeed = 20240311;

/// One operation on one element, computed in T.
template <typename T>
Value apply(ScalarOp op, Value a, Value b) {
  if constexpr (std::is_same_v<T, bool>) {
    return Value(0);
  } else {
    const T x = test::from_value<T>(a);
    const T y = test::from_value<T>(b);
    switch (op) {
      case ScalarOp::kAdd:
        return test::to_value(static_cast<T>(x + y));
      case ScalarOp::kSubtract:
        return test::to_value(static_cast<T>(x - y));
      case ScalarOp::kMultiply:
        return test::to_value(static_cast<T>(x * y));
      case ScalarOp::kNegative:
        return test::to_value(static_cast<T>(-x));
      default:
        break;
    }
    if constexpr (!host::kIsComplex<T>) return Value(x < y ? 1 : 0);
    return Value(0);
  }
}

Value convert(Value value, DType to) {
  std::array<std::byte, 16> bytes{};
  test::write(to, bytes.data(), value);
  return test::read(to, bytes.data());
}

std::int64_t index_at(const host::AffineIndex& index, const std::vector<std::int64_t>& at) {
  std::int64_t element = index.base;
  for (std::size_t d = 0; d < at.size(); ++d) element += index.strides[d] * at[d];
  return element;
}

/// All values of the program at one point, one instruction after the other.
std::vector<Value> evaluate(const Program& program, const test::RunInput& input,
                            std::int64_t point) {
  std::vector<Value> values;
  for (const Instr& instr : program.instrs) {
    auto arg = [&](std::size_t i) {
      return instr.args[i] < 0 ? Value(0) : values[static_cast<std::size_t>(instr.args[i])];
    };
    switch (instr.kind) {
      case InstrKind::kLoad:
        values.push_back(input.loads[instr.slot]->get(point));
        break;
      case InstrKind::kConstant:
        values.push_back(
            convert(test::to_value(instr.constant.to<std::complex<double>>()), instr.dtype));
        break;
      case InstrKind::kIndex:
        values.push_back(static_cast<long double>(
            index_at(input.indices[instr.slot], test::coordinates(input.shape, point))));
        break;
      case InstrKind::kRandom: {
        alignas(64) std::array<std::int64_t, 8> index{};
        alignas(64) std::array<std::byte, 64> drawn{};
        index[0] = static_cast<std::int64_t>(arg(0).real());
        host::fill_random(instr.random, instr.dtype, index.data(), drawn.data(), 1);
        values.push_back(test::read(instr.dtype, drawn.data()));
        break;
      }
      case InstrKind::kOp:
        if (instr.op == ScalarOp::kCast) {
          values.push_back(convert(arg(0), instr.dtype));
        } else if (instr.op == ScalarOp::kWhere) {
          values.push_back(arg(0) != Value(0) ? arg(1) : arg(2));
        } else {
          values.push_back(host::visit_dtype(instr.compute_dtype, "test",
                                             [&]<typename T>(std::type_identity<T>) {
                                               return apply<T>(instr.op, arg(0), arg(1));
                                             }));
        }
    }
  }
  return values;
}

bool same(Value a, Value b) {
  auto equal = [](long double x, long double y) { return x == y || (x != x && y != y); };
  return equal(a.real(), b.real()) && equal(a.imag(), b.imag());
}

void expect_stores(const Program& program, const test::RunInput& input) {
  for (std::int64_t i = 0; i < test::count_of(input.shape); ++i) {
    const std::vector<Value> values = evaluate(program, input, i);
    for (std::size_t s = 0; s < program.stores.size(); ++s) {
      const Value expected = values[static_cast<std::size_t>(program.stores[s])];
      const Value got = input.stores[s]->get(i);
      ASSERT_TRUE(same(expected, got))
          << "store " << s << " element " << i << " of " << tessera::to_string(input.shape)
          << ": got " << got << ", expected " << expected << "\n"
          << program.to_string();
    }
  }
}

/// A chain over up to three loads, with constants, comparisons and conversions thrown in.
Program random_chain(DType dtype, int rank, Rng& rng) {
  ProgramBuilder b(rank);
  const bool ordered = !is_complex(dtype);
  std::vector<int> values;
  for (std::int64_t i = draw(rng, 1, 3); i > 0; --i) values.push_back(b.load(dtype));
  values.push_back(b.constant(Scalar(2), dtype));
  auto any = [&] { return values[static_cast<std::size_t>(draw(rng, 0, std::ssize(values) - 1))]; };
  for (std::int64_t i = draw(rng, 1, 8); i > 0; --i) {
    switch (draw(rng, 0, 5)) {
      case 0:
        values.push_back(b.op(ScalarOp::kAdd, any(), any()));
        break;
      case 1:
        values.push_back(b.op(ScalarOp::kSubtract, any(), any()));
        break;
      case 2: {
        if (!ordered) break;  // complex products may round in more than one way
        // Products of what is at hand may overflow signed integers: of loads alone they do not.
        const int a = values[0];
        values.push_back(b.op(ScalarOp::kMultiply, a, values.back() == a ? a : values[1]));
        break;
      }
      case 3:
        values.push_back(b.op(ScalarOp::kNegative, any()));
        break;
      case 4:
        if (!ordered) break;
        values.push_back(b.op(ScalarOp::kWhere, b.op(ScalarOp::kLess, any(), any()), any(), any()));
        break;
      default: {
        if (kind(dtype) == DTypeKind::kUnsignedInteger) break;  // negatives have wrapped
        const DType wide = is_integer(dtype) ? DType::kInt64 : DType::kComplex128;
        values.push_back(b.cast(b.cast(any(), wide), dtype));
      }
    }
  }
  b.program.stores.push_back(values.back());
  if (chance(rng, 0.3)) b.program.stores.push_back(any());
  if (chance(rng, 0.3)) b.program.stores.push_back(b.cast(any(), DType::kComplex64));
  return b.program;
}

TEST(Program, PrintsOneLinePerInstruction) {
  ProgramBuilder b(2);
  const int x = b.load(DType::kFloat32);
  const int scaled = b.op(ScalarOp::kMultiply, x, b.constant(Scalar(0.1), DType::kFloat32));
  const int index = b.index();
  const int noise =
      b.random(index, {.distribution = Distribution::kNormal, .seed = 7}, DType::kFloat32);
  b.program.stores.push_back(b.op(ScalarOp::kLess, scaled, noise));
  b.reduce(ReduceOp::kArgMax, scaled, index);
  b.program.reductions.push_back({.op = ReduceOp::kStd,
                                  .value = b.cast(scaled, DType::kFloat64),
                                  .finish = true,
                                  .ddof = 1.0});
  b.program.reduced = {true, false};
  EXPECT_EQ(b.program.to_string(),
            "program rank 2, loads 1, indices 1\n"
            "%0 = load 0 : float32\n"
            "%1 = constant 0.1 : float32\n"
            "%2 = multiply(%0, %1) : float32\n"
            "%3 = index 0 : int64\n"
            "%4 = normal(seed 7, a 0, b 1) at %3 : float32\n"
            "%5 = less(%2, %4) in float32 : bool\n"
            "%6 = cast(%2) in float32 : float64\n"
            "store %5\n"
            "reduced axes (0)\n"
            "reduce argmax(%2, %3)\n"
            "reduce std(%6) finished, ddof 1\n");
}

TEST(Program, PrintsConstantsExactly) {
  ProgramBuilder b(0);
  b.constant(Scalar(std::complex<double>(0.1, -0.0)), DType::kComplex128);
  b.constant(Scalar(std::numeric_limits<std::uint64_t>::max()), DType::kUInt64);
  b.constant(Scalar(std::numeric_limits<std::int64_t>::min()), DType::kInt64);
  b.constant(Scalar(true), DType::kBool);
  EXPECT_EQ(b.program.to_string(),
            "program rank 0, loads 0, indices 0\n"
            "%0 = constant (0.1, -0) : complex128\n"
            "%1 = constant 18446744073709551615 : uint64\n"
            "%2 = constant -9223372036854775808 : int64\n"
            "%3 = constant true : bool\n");
}

TEST(ProgramHost, ChainsEqualElementwiseEvaluation) {
  Rng rng(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (int round = 0; round < 300; ++round) {
    const DType dtype = test::kAllDTypes[static_cast<std::size_t>(draw(rng, 1, 12))];
    const auto shape = test::random_shape(rng, 6000, true);
    const Program program = random_chain(dtype, static_cast<int>(shape.size()), rng);
    std::vector<TestArray> loads;
    std::vector<TestArray> stores;
    test::RunInput input{.shape = shape, .loads = {}, .indices = {}, .stores = {}};
    for (int i = 0; i < program.load_count; ++i) {
      const bool dense = chance(rng, 0.3);
      loads.emplace_back(dtype, shape, dense ? Layout::kDense : Layout::kRandomBroadcast, rng);
      loads.back().fill(rng, 0.05);
    }
    for (const int value : program.stores) {
      const DType stored = program.instrs[static_cast<std::size_t>(value)].dtype;
      stores.emplace_back(stored, shape, chance(rng, 0.7) ? Layout::kDense : Layout::kRandom, rng);
    }
    for (const TestArray& load : loads) input.loads.push_back(&load);
    for (const TestArray& store : stores) input.stores.push_back(&store);
    test::run(PreparedProgram(program), input);
    expect_stores(program, input);
    if (HasFatalFailure()) return;
  }
}

TEST(ProgramHost, BoolsFlowThroughWhere) {
  Rng rng(kSeed + 1);
  for (const std::int64_t n : {1, 63, 64, 65, 5000}) {
    ProgramBuilder b(1);
    const int c = b.load(DType::kBool);
    b.program.stores.push_back(b.op(ScalarOp::kWhere, c, b.load(DType::kBool), c));
    TestArray condition(DType::kBool, {n}, Layout::kRandom, rng);
    TestArray other(DType::kBool, {n}, Layout::kRandom, rng);
    condition.fill(rng);
    other.fill(rng);
    const TestArray out(DType::kBool, {n}, Layout::kDense, rng);
    const test::RunInput input{
        .shape = {n}, .loads = {&condition, &other}, .indices = {}, .stores = {&out}};
    test::run(PreparedProgram(b.program), input);
    expect_stores(b.program, input);
  }
}

TEST(ProgramHost, TransposedLoadsAndStoresOfEveryWidth) {
  Rng rng(kSeed + 2);
  for (const DType dtype : test::kAllDTypes) {
    for (const auto& [n, m] :
         {std::pair<std::int64_t, std::int64_t>{70, 131}, {64, 64}, {3, 500}, {257, 2}, {9, 9}}) {
      ProgramBuilder b(2);
      const int x = b.load(dtype);
      const int y = b.load(dtype);
      b.program.stores = {x, y};
      if (dtype != DType::kBool) b.program.stores.push_back(b.op(ScalarOp::kAdd, x, y));
      TestArray straight(dtype, {n, m}, Layout::kDense, rng);
      TestArray memory(dtype, {m, n}, Layout::kDense, rng);
      straight.fill(rng);
      memory.fill(rng);
      const std::vector<std::int64_t> turned{1, n};
      std::vector<TestArray> stores;
      for (const int value : b.program.stores) {
        stores.emplace_back(b.program.instrs[static_cast<std::size_t>(value)].dtype,
                            std::vector<std::int64_t>{n, m}, Layout::kDense, rng);
      }
      TestArray turned_store(dtype, {m, n}, Layout::kDense, rng);
      const std::vector<std::int64_t> shape{n, m};
      const std::vector<host::Operand> loads{straight.operand(), {memory.address(0), turned}};
      std::vector<host::Operand> outs{{turned_store.address(0), turned}};
      for (std::size_t s = 1; s < stores.size(); ++s) outs.push_back(stores[s].operand());
      const PreparedProgram prepared(b.program);
      test::Guarded scratch(prepared.scratch_bytes());
      prepared.run({shape, loads, {}, outs, {}}, scratch.data());
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < m; ++j) {
          ASSERT_TRUE(same(turned_store.get(j * n + i), straight.get(i * m + j))) << dtype;
          ASSERT_TRUE(same(stores[1].get(i * m + j), memory.get(j * n + i))) << dtype;
        }
      }
    }
  }
}

// Beside a transposed operand tiles have rows: what is dense along them, or repeats, is read in
// place.
TEST(ProgramHost, RowsBesideATransposedLoadEqualElementwiseEvaluation) {
  Rng rng(kSeed + 8);
  const std::vector<std::vector<std::int64_t>> shapes = {
      {64, 64}, {33, 128}, {70, 192}, {40, 200}, {96, 640}};
  for (const DType dtype : {DType::kInt8, DType::kFloat32, DType::kFloat64, DType::kComplex128}) {
    for (const std::vector<std::int64_t>& shape : shapes) {
      SCOPED_TRACE(testing::Message() << dtype << " " << shape[0] << " x " << shape[1]);
      ProgramBuilder b(2);
      const int x = b.load(dtype);
      const int turned = b.load(dtype);
      const int row = b.load(dtype);
      const int one = b.constant(Scalar(1), dtype);
      const int sum = b.op(ScalarOp::kAdd, x, turned);
      const int rest = b.op(ScalarOp::kSubtract, sum, row);
      const int more = b.op(ScalarOp::kAdd, b.op(ScalarOp::kAdd, one, row), x);
      b.program.stores = {rest, b.op(ScalarOp::kSubtract, more, turned), x, row};
      if (!is_complex(dtype)) b.program.stores.push_back(b.op(ScalarOp::kLess, x, row));
      std::vector<TestArray> loads;
      loads.emplace_back(dtype, shape, std::vector<std::int64_t>{shape[1], 1});
      loads.emplace_back(dtype, shape, std::vector<std::int64_t>{1, shape[0]});
      loads.emplace_back(dtype, shape, std::vector<std::int64_t>{0, 1});
      std::vector<TestArray> stores;
      for (const int value : b.program.stores) {
        const DType stored = b.program.instrs[static_cast<std::size_t>(value)].dtype;
        stores.emplace_back(stored, shape, Layout::kDense, rng);
      }
      test::RunInput input{.shape = shape, .loads = {}, .indices = {}, .stores = {}};
      for (TestArray& load : loads) {
        load.fill(rng);
        input.loads.push_back(&load);
      }
      for (const TestArray& store : stores) input.stores.push_back(&store);
      test::run(PreparedProgram(b.program), input);
      expect_stores(b.program, input);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ProgramHost, IndicesAreAffine) {
  Rng rng(kSeed + 3);
  for (int round = 0; round < 60; ++round) {
    const auto shape = test::random_shape(rng, 4000, true);
    std::vector<std::int64_t> strides(shape.size());
    for (std::int64_t& s : strides) s = draw(rng, -5, 5);
    ProgramBuilder b(static_cast<int>(shape.size()));
    const int index = b.index();
    b.program.stores = {index, b.op(ScalarOp::kAdd, index, b.constant(Scalar(3), DType::kInt64))};
    const TestArray first(DType::kInt64, shape, Layout::kDense, rng);
    const TestArray second(DType::kInt64, shape, Layout::kRandom, rng);
    const test::RunInput input{.shape = shape,
                               .loads = {},
                               .indices = {{draw(rng, 0, 1000), strides}},
                               .stores = {&first, &second}};
    test::run(PreparedProgram(b.program), input);
    expect_stores(b.program, input);
    if (HasFatalFailure()) return;
  }
}

TEST(ProgramHost, DrawsBelongToElementNumbers) {
  Rng rng(kSeed + 4);
  for (int round = 0; round < 40; ++round) {
    const auto shape = test::random_shape(rng, 4000, false);
    std::vector<std::int64_t> strides(shape.size());
    std::int64_t step = chance(rng, 0.7) ? 1 : 2;
    for (std::size_t d = shape.size(); d-- > 0; step *= shape[d] + 1) strides[d] = step;
    ProgramBuilder b(static_cast<int>(shape.size()));
    const int index = b.index();
    const RandomSpec spec{.distribution = Distribution::kUniform, .seed = 11, .a = 0.0, .b = 1.0};
    const int uniform = b.random(index, spec, DType::kFloat64);
    b.program.stores = {uniform, b.op(ScalarOp::kAdd, uniform, uniform)};
    if (chance(rng, 0.3)) b.program.stores.push_back(index);
    std::vector<TestArray> outs;
    for (const int value : b.program.stores) {
      outs.emplace_back(b.program.instrs[static_cast<std::size_t>(value)].dtype, shape,
                        chance(rng, 0.7) ? Layout::kDense : Layout::kRandom, rng);
    }
    test::RunInput input{.shape = shape, .loads = {}, .indices = {{5, strides}}, .stores = {}};
    for (const TestArray& out : outs) input.stores.push_back(&out);
    test::run(PreparedProgram(b.program), input);
    expect_stores(b.program, input);
    if (HasFatalFailure()) return;
  }
}

TEST(ProgramHost, LargeStoresThatBypassTheCacheAreComplete) {
  Rng rng(kSeed + 5);
  const std::int64_t n = 1111;
  ProgramBuilder b(2);
  const int x = b.load(DType::kFloat64);
  b.program.stores.push_back(b.op(ScalarOp::kAdd, x, b.load(DType::kFloat64)));
  std::vector<double> in(static_cast<std::size_t>(n * n));
  for (double& v : in) v = static_cast<double>(draw(rng, -1000, 1000));
  std::vector<double> out(static_cast<std::size_t>(n * n));
  const std::vector<std::int64_t> shape{n, n};
  const std::vector<std::int64_t> straight{n, 1};
  const std::vector<std::int64_t> turned{1, n};
  auto* data = reinterpret_cast<std::byte*>(in.data());
  const std::vector<host::Operand> loads{{data, straight}, {data, turned}};
  const std::vector<host::Operand> stores{{reinterpret_cast<std::byte*>(out.data()), straight}};
  const PreparedProgram prepared(b.program);
  test::Guarded scratch(prepared.scratch_bytes());
  prepared.run({shape, loads, {}, stores, {}}, scratch.data());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<std::size_t>(i * n + j);
      ASSERT_EQ(out[at], in[at] + in[static_cast<std::size_t>(j * n + i)]);
    }
  }
}

TEST(ProgramHost, AStoreMayReplaceALoadInPlace) {
  const std::int64_t n = 3000;
  std::vector<double> x(static_cast<std::size_t>(n));
  std::iota(x.begin(), x.end(), 0.0);
  ProgramBuilder b(1);
  const int value = b.load(DType::kFloat64);
  const int twice = b.op(ScalarOp::kAdd, value, value);
  b.program.stores.push_back(b.op(ScalarOp::kMultiply, twice, value));
  const std::vector<std::int64_t> shape{n};
  const std::vector<std::int64_t> strides{1};
  const std::vector<host::Operand> operand{{reinterpret_cast<std::byte*>(x.data()), strides}};
  const PreparedProgram prepared(b.program);
  test::Guarded scratch(prepared.scratch_bytes());
  prepared.run({shape, operand, {}, operand, {}}, scratch.data());
  for (std::int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<double>(i);
    ASSERT_EQ(x[static_cast<std::size_t>(i)], 2.0 * v * v);
  }
}

TEST(ProgramHost, LongChainsReuseRegisters) {
  auto chain = [](int length) {
    ProgramBuilder b(1);
    int value = b.load(DType::kFloat64);
    for (int i = 0; i < length; ++i) {
      value = b.op(ScalarOp::kMultiply, b.op(ScalarOp::kAdd, value, value), value);
    }
    b.program.stores.push_back(value);
    return PreparedProgram(b.program).scratch_bytes();
  };
  EXPECT_LT(chain(200), chain(2) + 200 * 100);
}

std::string message_of(const Program& program) {
  try {
    PreparedProgram prepared(program);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(ProgramHost, RefusesMalformedPrograms) {
  const std::string hint = "; try Program::to_string() to see the whole program";
  ProgramBuilder later(1);
  later.push_op(ScalarOp::kNegative, DType::kFloat64, DType::kFloat64, {1, -1, -1});
  EXPECT_EQ(message_of(later.program),
            "[PreparedProgram] an argument must be an earlier value; got %0 reading %1" + hint);

  ProgramBuilder mixed(1);
  const int x = mixed.load(DType::kFloat64);
  const int y = mixed.load(DType::kFloat32);
  mixed.push_op(ScalarOp::kAdd, DType::kFloat64, DType::kFloat64, {x, y, -1});
  EXPECT_EQ(
      message_of(mixed.program),
      "[PreparedProgram] arguments must have the dtype computed in; got %2 reading float32 as "
      "float64" +
          hint);

  ProgramBuilder store(1);
  store.program.stores.push_back(4);
  EXPECT_EQ(message_of(store.program),
            "[PreparedProgram] a store must name a value; got %4 of 0" + hint);

  ProgramBuilder place(1);
  place.reduce(ReduceOp::kArgMin, place.load(DType::kFloat64));
  place.program.reduced = {true};
  EXPECT_EQ(
      message_of(place.program),
      "[PreparedProgram] an arg-reduction must name an int64 index; got argmin with %-1" + hint);

  ProgramBuilder flags(2);
  flags.reduce(ReduceOp::kSum, flags.load(DType::kFloat64));
  EXPECT_EQ(
      message_of(flags.program),
      "[PreparedProgram] a program with reductions must flag every axis; got 0 flags for rank 2" +
          hint);

  ProgramBuilder complex_min(1);
  complex_min.reduce(ReduceOp::kMin, complex_min.load(DType::kComplex64));
  complex_min.program.reduced = {true};
  EXPECT_EQ(
      message_of(complex_min.program),
      "[min] the elements must have an order; got complex64; try abs(), real() or imag() first");
}

}  // namespace
}  // namespace tessera::kernels
