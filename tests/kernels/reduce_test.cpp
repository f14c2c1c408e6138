#include <gtest/gtest.h>

#include <cstring>

#include "core/reduce_op.hpp"
#include "kernels/host/reduce_host.hpp"
#include "kernels/host/simd_targets.hpp"
#include "tessera/chunk_grid.hpp"
#include "tests/kernels/program_fixture.hpp"
#include "tests/kernels/reduce_ops.hpp"
//
#include "hwy/highway.h"

namespace tessera::kernels {
namespace {

using core::ReduceOp;
using host::PreparedProgram;
using test::chance;
using test::draw;
using test::kAllReduceOps;
using test::names_places;
using test::ProgramBuilder;
using test::Rng;
using test::TestArray;
using test::Value;
using Layout = TestArray::Layout;

constexpr std::uint64_t kSeed = 20240312;

bool orders(ReduceOp op) { return !has_identity(op); }
bool skips_nan(ReduceOp op) { return name(op).starts_with("nan"); }
bool is_nan(Value x) { return x.real() != x.real() || x.imag() != x.imag(); }
constexpr long double kNan = std::numeric_limits<long double>::quiet_NaN();

struct Element {
  Value value;
  std::int64_t index;
};

/// A finished value by the textbook, in long double; `scale` bounds the terms that were added up.
struct Expected {
  Value value;
  long double scale = 0;
  bool comparable = true;  ///< false where the order of factors decides what overflows
};

Expected place_of(const std::vector<Element>& elements, bool largest, bool skip) {
  const Element* best = nullptr;
  auto beats = [&](const Element& x, const Element& y) {
    if (is_nan(x.value) || is_nan(y.value)) {
      return is_nan(x.value) && (!is_nan(y.value) || x.index < y.index);
    }
    const long double a = x.value.real();
    const long double b = y.value.real();
    return (largest ? a > b : a < b) || (a == b && x.index < y.index);
  };
  for (const Element& element : elements) {
    if (skip && is_nan(element.value)) continue;
    if (best == nullptr || beats(element, *best)) best = &element;
  }
  return {static_cast<long double>(best == nullptr ? -1 : best->index)};
}

Expected variance_of(const std::vector<Value>& values, long double ddof) {
  const auto n = static_cast<long double>(values.size());
  if (n - ddof <= 0) return {kNan};
  Value mean = 0;
  for (const Value& v : values) mean += v;
  mean /= n;
  long double m2 = 0;
  for (const Value& v : values) m2 += std::norm(v - mean);
  return {m2 / (n - ddof), m2 / (n - ddof)};
}

Value times(Value a, Value b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

Expected product_of(const std::vector<Value>& values, DType dtype) {
  Expected out{Value(1)};
  if (!is_floating(dtype) && !is_complex(dtype)) {
    std::uint64_t wrapped = 1;
    for (const Value& v : values) {
      wrapped *= v.real() < 0 ? -static_cast<std::uint64_t>(-v.real())
                              : static_cast<std::uint64_t>(v.real());
    }
    const bool is_signed = kind(dtype) != DTypeKind::kUnsignedInteger;
    out.value = is_signed ? static_cast<long double>(static_cast<std::int64_t>(wrapped))
                          : static_cast<long double>(wrapped);
    return out;
  }
  long double magnitude = 0;
  for (const Value& v : values) {
    out.value = times(out.value, v);
    magnitude += std::abs(std::log2(std::abs(v)));
  }
  out.scale = std::abs(out.value) * static_cast<long double>(values.size());
  out.comparable = magnitude < 120;
  return out;
}

Expected reduce(ReduceOp op, DType dtype, const std::vector<Element>& elements, long double ddof) {
  if (names_places(op)) {
    return place_of(elements, op == ReduceOp::kArgMax || op == ReduceOp::kNanArgMax, skips_nan(op));
  }
  std::vector<Value> values;
  for (const Element& e : elements) {
    if (!skips_nan(op) || !is_nan(e.value)) values.push_back(e.value);
  }
  Expected out{Value(0)};
  const auto n = static_cast<long double>(values.size());
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      for (const Value& v : values) out.value += v;
      for (const Value& v : values) out.scale += std::isfinite(std::abs(v)) ? std::abs(v) : 0;
      if (op == ReduceOp::kMean || op == ReduceOp::kNanMean) {
        // Parts are divided one by one: a complex quotient mixes infinities.
        out.value = n == 0 ? Value(kNan, is_complex(dtype) ? kNan : 0)
                           : Value(out.value.real() / n, out.value.imag() / n);
        out.scale /= n;
      }
      return out;
    case ReduceOp::kProd:
    case ReduceOp::kNanProd:
      return product_of(values, dtype);
    case ReduceOp::kNorm2:
      for (const Value& v : values) out.value += std::norm(v);
      out.value = std::sqrt(out.value.real());
      out.scale = std::abs(out.value);
      return out;
    case ReduceOp::kVar:
    case ReduceOp::kNanVar:
      return variance_of(values, ddof);
    case ReduceOp::kStd:
    case ReduceOp::kNanStd:
      out = variance_of(values, ddof);
      out.value = std::sqrt(out.value.real());
      out.scale = out.value.real();
      return out;
    case ReduceOp::kAny:
      for (const Value& v : values) out.value = out.value != Value(0) || v != Value(0) ? 1 : 0;
      return out;
    case ReduceOp::kAll:
      out.value = 1;
      for (const Value& v : values) out.value = out.value != Value(0) && v != Value(0) ? 1 : 0;
      return out;
    case ReduceOp::kCountNonzero:
      for (const Value& v : values) out.value += v != Value(0) ? 1 : 0;
      return out;
    default:
      break;
  }
  const bool largest = op == ReduceOp::kMax || op == ReduceOp::kNanMax;
  out.value = values.empty() ? Value(kNan) : values[0];
  for (const Value& v : values) {
    if (is_nan(v) || (largest ? v.real() > out.value.real() : v.real() < out.value.real())) {
      out.value = is_nan(out.value) ? out.value : v;
    }
  }
  return out;
}

/// `parts` of the value, each within the rounding of the result dtype and of the sum.
bool close(Value got, const Expected& expected, DType result) {
  if (!expected.comparable) return true;
  const bool narrow = result == DType::kFloat32 || result == DType::kComplex64;
  const long double eps = narrow ? 6e-8L : 2e-15L;
  auto part = [&](long double g, long double e) {
    if (e != e) return g != g;
    if (g == e) return true;
    const long double slack =
        is_floating(result) || is_complex(result) ? eps * std::abs(e) + 1e-14L * expected.scale : 0;
    return std::abs(g - e) <= slack;
  };
  return part(got.real(), expected.value.real()) && part(got.imag(), expected.value.imag());
}

/// Elements of each output, in C order of the kept coordinates.
std::vector<std::vector<Element>> group(const TestArray& x, const std::vector<bool>& reduced) {
  std::int64_t kept = 1;
  for (std::size_t d = 0; d < reduced.size(); ++d) kept *= reduced[d] ? 1 : x.shape()[d];
  std::vector<std::vector<Element>> groups(static_cast<std::size_t>(kept));
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const auto at = test::coordinates(x.shape(), i);
    std::int64_t output = 0;
    std::int64_t place = 0;
    for (std::size_t d = 0; d < at.size(); ++d) {
      if (!reduced[d]) output = output * x.shape()[d] + at[d];
      if (reduced[d]) place = place * x.shape()[d] + at[d];
    }
    groups[static_cast<std::size_t>(output)].push_back({x.get(i), place});
  }
  return groups;
}

/// Strides that number the reduced elements of a slice in C order.
std::vector<std::int64_t> place_strides(const std::vector<std::int64_t>& shape,
                                        const std::vector<bool>& reduced) {
  std::vector<std::int64_t> strides(shape.size(), 0);
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (!reduced[d]) continue;
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

struct Case {
  TestArray x;
  std::vector<bool> reduced;
  std::vector<ReduceOp> ops;
  double ddof;
  bool finish;
};

Program program_of(const Case& c) {
  ProgramBuilder b(static_cast<int>(c.reduced.size()));
  const int x = b.load(c.x.dtype());
  const int index = b.index();
  for (const ReduceOp op : c.ops) {
    b.program.reductions.push_back({.op = op,
                                    .value = x,
                                    .index = names_places(op) ? index : -1,
                                    .finish = c.finish,
                                    .ddof = c.ddof});
  }
  b.program.reduced = c.reduced;
  return b.program;
}

/// The finished values of the case's k-th reduction, whether the run or finish_accumulator made
/// them.
std::vector<Value> finished(const Case& c, const test::Guarded& buffer, std::size_t k,
                            std::int64_t kept) {
  const DType result = reduced_dtype(c.ops[k], c.x.dtype());
  std::vector<std::byte> bytes(itemsize(result) * static_cast<std::size_t>(kept));
  if (c.finish) {
    std::copy_n(buffer.data(), bytes.size(), bytes.begin());
  } else {
    host::finish_accumulator(c.ops[k], c.x.dtype(), result, c.ddof, kept, buffer.data(),
                             bytes.data());
  }
  std::vector<Value> values;
  for (std::size_t i = 0; i < static_cast<std::size_t>(kept); ++i) {
    values.push_back(test::read(result, bytes.data() + i * itemsize(result)));
  }
  return values;
}

void expect_reductions(const Case& c) {
  const Program program = program_of(c);
  const auto groups = group(c.x, c.reduced);
  const auto strides = place_strides(c.x.shape(), c.reduced);
  const test::RunInput input{
      .shape = c.x.shape(), .loads = {&c.x}, .indices = {{0, strides}}, .stores = {}};
  const auto buffers = test::run(PreparedProgram(program), input);
  for (std::size_t k = 0; k < c.ops.size(); ++k) {
    const DType result = reduced_dtype(c.ops[k], c.x.dtype());
    const auto got = finished(c, *buffers[k], k, std::ssize(groups));
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const Expected expected = reduce(c.ops[k], c.x.dtype(), groups[i], c.ddof);
      ASSERT_TRUE(close(got[i], expected, result))
          << name(c.ops[k]) << " of " << c.x.dtype() << tessera::to_string(c.x.shape())
          << " output " << i << ": got " << got[i] << ", expected " << expected.value << "\n"
          << program.to_string();
    }
  }
}

std::vector<ReduceOp> ops_for(DType dtype, Rng& rng) {
  std::vector<ReduceOp> ops;
  for (std::int64_t i = draw(rng, 1, 4); i > 0; --i) {
    const ReduceOp op = kAllReduceOps[draw(rng, 0, std::ssize(kAllReduceOps) - 1)];
    if (!is_complex(dtype) || !orders(op)) ops.push_back(op);
  }
  if (ops.empty()) ops.push_back(ReduceOp::kSum);
  return ops;
}

bool has_empty_slices(const std::vector<std::int64_t>& shape, const std::vector<bool>& reduced) {
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (reduced[d] && shape[d] == 0) return true;
  }
  return false;
}

void check_random_case(Rng& rng, double special) {
  const DType dtype = test::kAllDTypes[static_cast<std::size_t>(draw(rng, 0, 12))];
  const auto shape = test::random_shape(rng, 9000, true);
  std::vector<bool> reduced(shape.size());
  for (std::size_t d = 0; d < shape.size(); ++d) reduced[d] = chance(rng, 0.5);
  std::vector<ReduceOp> ops = ops_for(dtype, rng);
  if (has_empty_slices(shape, reduced)) {
    std::erase_if(ops, [](ReduceOp op) { return orders(op); });
    ops.push_back(ReduceOp::kMean);
  }
  if (special > 0.0) {  // a slice of NaN alone has no place to name
    std::erase_if(ops, [](ReduceOp op) { return names_places(op) && skips_nan(op); });
    ops.push_back(ReduceOp::kCountNonzero);
  }
  const Layout layout = chance(rng, 0.3) ? Layout::kDense : Layout::kRandomBroadcast;
  Case c{TestArray(dtype, shape, layout, rng), reduced, ops, chance(rng, 0.3) ? 1.0 : 0.0,
         chance(rng, 0.5)};
  c.x.fill(rng, special);
  expect_reductions(c);
}

TEST(ReduceOps, DTypesOfAccumulatorsAndResults) {
  using V = std::vector<DType>;
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kSum, float32), V{float64});
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kProd, bool_), V{int64});
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kNanVar, complex64), (V{int64, complex128, float64}));
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kMean, uint8), (V{int64, float64}));
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kMax, int16), (V{int16, bool_}));
  EXPECT_EQ(accumulator_dtypes(ReduceOp::kNanArgMin, float32), (V{float32, int64}));
  EXPECT_EQ(reduced_dtype(ReduceOp::kSum, uint16), uint64);
  EXPECT_EQ(reduced_dtype(ReduceOp::kStd, complex64), float32);
  EXPECT_EQ(reduced_dtype(ReduceOp::kVar, int8), float64);
  EXPECT_EQ(reduced_dtype(ReduceOp::kAll, complex128), bool_);
  EXPECT_EQ(accumulator_bytes(ReduceOp::kVar, float64, 33), 3 * 512);
  EXPECT_EQ(accumulator_offset(ReduceOp::kVar, float64, 33, 2), 2 * 512);
  EXPECT_EQ(accumulator_bytes(ReduceOp::kSum, float64, 0), 0);
}

TEST(ReduceOps, RandomCasesEqualTheTextbook) {
  Rng rng(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (int round = 0; round < 600 && !HasFatalFailure(); ++round) check_random_case(rng, 0.0);
}

TEST(ReduceOps, SpecialValuesEqualTheTextbook) {
  Rng rng(kSeed + 1);
  SCOPED_TRACE("seed " + std::to_string(kSeed + 1));
  for (int round = 0; round < 300 && !HasFatalFailure(); ++round) {
    check_random_case(rng, round % 3 == 0 ? 0.9 : 0.01);
  }
}

TEST(ReduceOps, EveryOperationOnEveryDTypeAndTarget) {
  Rng rng(kSeed + 2);
  for (const std::int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR}) {
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    for (const DType dtype : test::kAllDTypes) {
      for (const ReduceOp op : kAllReduceOps) {
        if (is_complex(dtype) && orders(op)) continue;
        for (const bool columns : {false, true}) {
          Case c{TestArray(dtype, {70, 90}, Layout::kDense, rng),
                 {columns, !columns},
                 {op},
                 1.0,
                 false};
          c.x.fill(rng, 0.002);
          expect_reductions(c);
        }
      }
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

// The smallest and the largest element of a value are found in one pass: to the bits of two.
TEST(ReduceOps, ExtremesTogetherAreThoseOfEach) {
  Rng rng(kSeed + 7);
  const std::vector<ReduceOp> all{ReduceOp::kMax,    ReduceOp::kMin,    ReduceOp::kMax,
                                  ReduceOp::kNanMin, ReduceOp::kNanMax, ReduceOp::kMin};
  for (const std::int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR}) {
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    for (const DType dtype : test::kAllDTypes) {
      if (is_complex(dtype)) continue;
      for (int round = 0; round < 12 && !HasFatalFailure(); ++round) {
        const auto shape = test::random_shape(rng, 9000, false);
        std::vector<bool> reduced(shape.size());
        for (std::size_t d = 0; d < shape.size(); ++d) reduced[d] = chance(rng, 0.6);
        Case c{TestArray(dtype, shape, Layout::kRandomBroadcast, rng), reduced, all, 0.0,
               chance(rng, 0.5)};
        c.x.fill(rng, 0.01);
        expect_reductions(c);
        const auto places = place_strides(shape, reduced);
        const auto outputs = [&](const std::vector<ReduceOp>& ops) {
          c.ops = ops;
          const test::RunInput input{.shape = shape,
                                     .loads = {&c.x},
                                     .indices = {{0, places}},
                                     .stores = {}};
          return test::run(PreparedProgram(program_of(c)), input);
        };
        const auto of_all = outputs(all);
        for (std::size_t k = 0; k < all.size(); ++k) {
          const auto one = outputs({all[k]});
          ASSERT_EQ(of_all[k]->bytes(), one[0]->bytes());
          ASSERT_EQ(std::memcmp(of_all[k]->data(), one[0]->data(), one[0]->bytes()), 0)
              << name(all[k]) << " of " << dtype << tessera::to_string(shape);
        }
      }
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

TEST(ReduceOps, ComputedValuesAreStoredAndReducedInOnePass) {
  Rng rng(kSeed + 3);
  for (int round = 0; round < 60 && !HasFatalFailure(); ++round) {
    const auto shape = test::random_shape(rng, 6000, false);
    std::vector<bool> reduced(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) reduced[d] = chance(rng, 0.6);
    TestArray x(float64, shape, Layout::kRandomBroadcast, rng);
    TestArray y(float64, shape, Layout::kRandomBroadcast, rng);
    x.fill(rng);
    y.fill(rng);
    TestArray sum(float64, shape, Layout::kDense, rng);
    ProgramBuilder b(static_cast<int>(shape.size()));
    const int z = b.op(core::ScalarOp::kAdd, b.load(float64), b.load(float64));
    b.program.stores.push_back(z);
    for (const ReduceOp op : {ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kMean}) {
      b.program.reductions.push_back({.op = op, .value = z, .finish = true});
    }
    b.program.reduced = reduced;
    const test::RunInput input{.shape = shape, .loads = {&x, &y}, .indices = {}, .stores = {&sum}};
    const auto buffers = test::run(PreparedProgram(b.program), input);
    for (std::int64_t i = 0; i < sum.count(); ++i) ASSERT_EQ(sum.get(i), x.get(i) + y.get(i));
    const auto groups = group(sum, reduced);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      for (std::size_t k = 0; k < 3; ++k) {
        const Value got = test::read(float64, buffers[k]->data() + 8 * i);
        ASSERT_TRUE(close(got, reduce(b.program.reductions[k].op, float64, groups[i], 0), float64))
            << b.program.to_string() << tessera::to_string(shape);
      }
    }
  }
}

/// Accumulator bytes of reductions that round, over an array in the given layout.
std::vector<std::byte> rounding_bits(const TestArray& x, const std::vector<bool>& reduced) {
  ProgramBuilder b(static_cast<int>(reduced.size()));
  const int v = b.load(x.dtype());
  const int squared = b.op(core::ScalarOp::kMultiply, v, v);
  for (const int value : {v, squared}) {
    for (const ReduceOp op :
         {ReduceOp::kSum, ReduceOp::kVar, ReduceOp::kProd, ReduceOp::kNanMean, ReduceOp::kNorm2}) {
      b.reduce(op, value);
    }
  }
  b.program.reduced = reduced;
  const test::RunInput input{.shape = x.shape(), .loads = {&x}, .indices = {}, .stores = {}};
  std::vector<std::byte> bits;
  for (const auto& buffer : test::run(PreparedProgram(b.program), input)) {
    bits.insert(bits.end(), buffer->data(), buffer->data() + buffer->bytes());
  }
  return bits;
}

TEST(ReduceOps, BitsDependOnNeitherStridesNorAlignment) {
  Rng rng(kSeed + 4);
  std::vector<std::vector<std::int64_t>> shapes = {{600, 700}, {3, 200, 300}, {100000},
                                                   {2000, 3},  {3, 2000},     {40, 50, 60},
                                                   {700, 20},  {9, 9, 9, 9}};
  for (int i = 0; i < 30; ++i) shapes.push_back(test::random_shape(rng, 20000, false));
  for (const auto& shape : shapes) {
    const DType dtype = chance(rng, 0.5) ? float64 : (chance(rng, 0.5) ? float32 : complex128);
    std::vector<bool> reduced(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) reduced[d] = chance(rng, 0.6);
    TestArray x(dtype, shape, Layout::kDense, rng);
    for (std::int64_t i = 0; i < x.count(); ++i) {
      std::uniform_real_distribution<long double> uniform(0.5L, 1.5L);
      x.set(i, Value(uniform(rng), is_complex(dtype) ? uniform(rng) : 0.0L));
    }
    const auto bits = rounding_bits(x, reduced);
    for (int layout = 0; layout < 4; ++layout) {
      const TestArray other(x, Layout::kRandom, rng);
      ASSERT_EQ(bits, rounding_bits(other, reduced)) << dtype << tessera::to_string(shape);
    }
  }
}

TEST(ReduceOps, MergedPartsEqualTheWhole) {
  Rng rng(kSeed + 5);
  for (int round = 0; round < 150 && !HasFatalFailure(); ++round) {
    const DType dtype = test::kAllDTypes[static_cast<std::size_t>(draw(rng, 0, 12))];
    const std::int64_t kept = draw(rng, 1, 300);
    const std::int64_t length = draw(rng, 1, 60);
    const ReduceOp op = ops_for(dtype, rng)[0];
    TestArray whole(dtype, {length, kept}, Layout::kDense, rng);
    whole.fill(rng, 0.01);
    std::vector<std::unique_ptr<test::Guarded>> partials;
    std::vector<const std::byte*> pointers;
    const std::vector<std::int64_t> strides{kept, 1};
    const std::vector<std::int64_t> places{1, 0};
    for (std::int64_t begin = 0; begin < length;) {
      const std::int64_t rows = std::min(draw(rng, 0, 9), length - begin);  // some parts are empty
      Case c{TestArray(dtype, {0, 0}, Layout::kDense, rng), {true, false}, {op}, 0.0, false};
      const PreparedProgram prepared(program_of(c));
      test::Guarded scratch(prepared.scratch_bytes());
      partials.push_back(std::make_unique<test::Guarded>(accumulator_bytes(op, dtype, kept)));
      pointers.push_back(partials.back()->data());
      const std::vector<std::int64_t> shape{rows, kept};
      const std::vector<host::Operand> load{{whole.address(begin * kept), strides}};
      const std::vector<host::AffineIndex> index{{begin, places}};
      const std::vector<std::byte*> out{partials.back()->data()};
      prepared.run({shape, load, index, {}, out}, scratch.data());
      begin += rows;
    }
    const test::Guarded merged(accumulator_bytes(op, dtype, kept));
    host::merge_accumulators(op, dtype, kept, pointers, merged.data());
    const Case c{std::move(whole), {true, false}, {op}, 0.0, false};
    const auto groups = group(c.x, c.reduced);
    if (op == ReduceOp::kNanArgMin || op == ReduceOp::kNanArgMax) continue;
    const auto got = finished(c, merged, 0, kept);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const Expected expected = reduce(op, dtype, groups[i], 0);
      ASSERT_TRUE(close(got[i], expected, reduced_dtype(op, dtype)))
          << name(op) << " of " << dtype << ": got " << got[i] << ", expected " << expected.value;
    }
  }
}

/// A reduction of one load, finished.
double reduce_doubles(ReduceOp op, std::span<const double> x, std::vector<std::int64_t> shape,
                      std::vector<std::int64_t> strides, std::vector<bool> reduced) {
  ProgramBuilder b(static_cast<int>(shape.size()));
  b.program.reductions.push_back({.op = op, .value = b.load(float64), .finish = true});
  b.program.reduced = std::move(reduced);
  const PreparedProgram prepared(b.program);
  test::Guarded scratch(prepared.scratch_bytes());
  double out = 0;
  auto* data = reinterpret_cast<std::byte*>(const_cast<double*>(x.data()));
  const std::vector<host::Operand> loads{{data, strides}};
  const std::vector<std::byte*> outs{reinterpret_cast<std::byte*>(&out)};
  prepared.run({shape, loads, {}, {}, outs}, scratch.data());
  return out;
}

TEST(ReduceOps, AHundredMillionFloat32AddUp) {
  // Ten thousand numbers near 0.1, each ten thousand times: the exact sum is known.
  constexpr std::int64_t kSide = 10000;
  Rng rng(kSeed + 6);
  std::vector<float> x(kSide);
  std::uniform_real_distribution<float> uniform(0.0999f, 0.1001f);
  for (float& v : x) v = uniform(rng);
  const long double exact = std::accumulate(x.begin(), x.end(), 0.0L) * kSide;
  for (const bool turned : {false, true}) {
    ProgramBuilder b(2);
    b.reduce(ReduceOp::kSum, b.load(float32));
    b.program.reduced = {true, true};
    const PreparedProgram prepared(b.program);
    test::Guarded scratch(prepared.scratch_bytes());
    double sum = 0;
    const std::vector<std::int64_t> shape{kSide, kSide};
    const std::vector<std::int64_t> strides =
        turned ? std::vector<std::int64_t>{1, 0} : std::vector<std::int64_t>{0, 1};
    const std::vector<host::Operand> loads{{reinterpret_cast<std::byte*>(x.data()), strides}};
    const std::vector<std::byte*> outs{reinterpret_cast<std::byte*>(&sum)};
    prepared.run({shape, loads, {}, {}, outs}, scratch.data());
    EXPECT_NEAR(sum, static_cast<double>(exact), static_cast<double>(exact) * 1e-14);
  }
}

TEST(ReduceOps, Float64SumsDoNotDriftWithLength) {
  const std::vector<double> tenth{0.1};
  const std::int64_t n = 30'000'001;
  const double sum = reduce_doubles(ReduceOp::kSum, tenth, {n}, {0}, {true});
  const long double exact = static_cast<long double>(0.1) * n;
  EXPECT_NEAR(sum, static_cast<double>(exact), static_cast<double>(exact) * 1e-14);
}

TEST(ReduceOps, VarianceSurvivesLargeOffsetsAndOutliers) {
  Rng rng(kSeed + 7);
  std::normal_distribution<double> normal;
  for (const double offset : {0.0, 1e6, 1e12, -1e15}) {
    for (const double outlier : {0.0, 1e9}) {
      std::vector<double> x(10000);
      for (double& v : x) v = offset + normal(rng);
      x[0] += outlier;
      long double mean = 0;
      for (const double v : x) mean += v;
      mean /= 10000;
      long double m2 = 0;
      for (const double v : x) m2 += (v - mean) * (v - mean);
      const auto expected = static_cast<double>(m2 / 10000);
      for (const auto& [shape, strides] :
           {std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>{{10000}, {1}},
            {{10000, 1}, {1, 1}},
            {{100, 100}, {1, 100}}}) {
        const std::vector<bool> reduced(shape.size(), true);
        // Partial means are rounded to doubles, a step of eps * |mean| in units of the deviation.
        const double slack = 4e-16 * std::abs(offset) * std::sqrt(expected);
        EXPECT_NEAR(reduce_doubles(ReduceOp::kVar, x, shape, strides, reduced), expected,
                    expected * 5e-13 + slack)
            << offset << " " << outlier;
      }
    }
  }
}

TEST(ReduceOps, VarianceOfHugeAndEqualValues) {
  const std::vector<double> huge(1000, 1.7e308);
  EXPECT_EQ(reduce_doubles(ReduceOp::kVar, huge, {1000}, {1}, {true}), 0.0);
  const std::vector<double> one{42.0};
  EXPECT_EQ(reduce_doubles(ReduceOp::kStd, one, {}, {}, {}), 0.0);
  EXPECT_EQ(reduce_doubles(ReduceOp::kStd, one, {5'000'000}, {0}, {true}), 0.0);
}

TEST(ReduceOps, EmptySpacesGiveIdentities) {
  auto of_nothing = [](ReduceOp op) {
    return reduce_doubles(op, {}, {3, 0}, {1, 1}, {true, true});
  };
  EXPECT_EQ(of_nothing(ReduceOp::kSum), 0.0);
  EXPECT_EQ(of_nothing(ReduceOp::kProd), 1.0);
  EXPECT_EQ(of_nothing(ReduceOp::kNorm2), 0.0);
  EXPECT_TRUE(std::isnan(of_nothing(ReduceOp::kMean)));
  EXPECT_TRUE(std::isnan(of_nothing(ReduceOp::kVar)));
  EXPECT_TRUE(std::isnan(of_nothing(ReduceOp::kMin)));
}

TEST(ReduceOps, IntegerSumsWrap) {
  ProgramBuilder b(1);
  b.program.reductions.push_back({.op = ReduceOp::kSum, .value = b.load(int64), .finish = true});
  b.program.reduced = {true};
  const PreparedProgram prepared(b.program);
  test::Guarded scratch(prepared.scratch_bytes());
  std::int64_t out = 0;
  std::int64_t x[] = {std::numeric_limits<std::int64_t>::max(), 2, 5};
  const std::vector<std::int64_t> shape{3};
  const std::vector<std::int64_t> strides{1};
  const std::vector<host::Operand> loads{{reinterpret_cast<std::byte*>(x), strides}};
  const std::vector<std::byte*> outs{reinterpret_cast<std::byte*>(&out)};
  prepared.run({shape, loads, {}, {}, outs}, scratch.data());
  EXPECT_EQ(out, std::numeric_limits<std::int64_t>::min() + 6);
}

TEST(ReduceOps, RefusesWhatHasNoMeaning) {
  auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([] { accumulator_dtypes(ReduceOp::kSum, DType::kFloat16); }),
            "[sum] the dtype must have arithmetic; got float16; try astype(float32)");
  EXPECT_EQ(message([] { reduced_dtype(ReduceOp::kArgMax, complex128); }),
            "[argmax] the elements must have an order; got complex128; try abs(), real() or imag() "
            "first");
  EXPECT_EQ(
      message([] {
        float out = 0;
        std::vector<std::byte> accumulator(accumulator_bytes(ReduceOp::kNanArgMin, float32, 1));
        const std::int64_t none = -1;
        std::memcpy(accumulator.data() + 256, &none, sizeof(none));
        host::finish_accumulator(ReduceOp::kNanArgMin, float32, int64, 0.0, 1, accumulator.data(),
                                 reinterpret_cast<std::byte*>(&out));
      }),
      "[nanargmin] every slice must hold a number; got a slice of NaN alone; "
      "try where(isnan(x), fill, x) first");
}

}  // namespace
}  // namespace tessera::kernels
