#include "kernels/host/groupby_host.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/host/program_host.hpp"
#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using core::ReduceOp;
using test::Index;
using test::TestBlock;
using test::uniform;

const std::array kOps{ReduceOp::kSum,    ReduceOp::kProd,   ReduceOp::kMin,
                      ReduceOp::kMax,    ReduceOp::kMean,   ReduceOp::kVar,
                      ReduceOp::kStd,    ReduceOp::kNanSum, ReduceOp::kNanProd,
                      ReduceOp::kNanMin, ReduceOp::kNanMax, ReduceOp::kNanMean,
                      ReduceOp::kNanVar, ReduceOp::kNanStd, ReduceOp::kCountNonzero};

bool skips_nan(ReduceOp op) { return op >= ReduceOp::kNanSum && op <= ReduceOp::kNanStd; }

template <typename T>
using Exact = std::conditional_t<kIsComplex<T>, std::complex<long double>, long double>;

template <typename T>
bool is_nan(T x) {
  if constexpr (kIsComplex<T>) {
    return std::isnan(x.real()) || std::isnan(x.imag());
  } else {
    return std::isnan(static_cast<long double>(x));
  }
}

/// The reduction of a group's elements in long double.
template <typename T>
Exact<T> reduce(ReduceOp op, std::vector<Exact<T>> elements) {
  using E = Exact<T>;
  if (skips_nan(op) || op == ReduceOp::kCountNonzero) {
    std::erase_if(elements, [](const E& x) { return is_nan(x); });
  }
  const auto n = static_cast<long double>(elements.size());
  E sum(0);
  E product(1);
  for (const E& x : elements) {
    sum += x;
    product = product * x;
  }
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
      return sum;
    case ReduceOp::kProd:
    case ReduceOp::kNanProd:
      return product;
    case ReduceOp::kCountNonzero:
      return n;
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      return sum / n;
    default:
      break;
  }
  if constexpr (!kIsComplex<T>) {
    const bool is_min = op == ReduceOp::kMin || op == ReduceOp::kNanMin;
    if (is_min || op == ReduceOp::kMax || op == ReduceOp::kNanMax) {
      E best = elements[0];
      for (const E& x : elements) {
        if (is_nan(best)) break;
        if (is_nan(x) || (is_min ? x < best : x > best)) best = x;
      }
      return best;
    }
  }
  long double squares = 0;
  for (const E& x : elements) squares += std::norm(x - sum / n);
  const long double variance = squares / n;
  return op == ReduceOp::kStd || op == ReduceOp::kNanStd ? std::sqrt(variance) : variance;
}

bool has_value(ReduceOp op, std::size_t count) {
  if (count > 0) return true;
  return op == ReduceOp::kSum || op == ReduceOp::kProd || op == ReduceOp::kNanSum ||
         op == ReduceOp::kNanProd || op == ReduceOp::kCountNonzero;
}

/// Finished values of accumulators, in the widest type of their kind.
template <typename T>
std::vector<Exact<T>> finished(ReduceOp op, std::int64_t count, const std::byte* accumulator) {
  const bool order = op == ReduceOp::kMin || op == ReduceOp::kMax || op == ReduceOp::kNanMin ||
                     op == ReduceOp::kNanMax;
  DType dtype = order ? dtype_of<T> : DType::kFloat64;
  const bool real = op == ReduceOp::kVar || op == ReduceOp::kStd || op == ReduceOp::kNanVar ||
                    op == ReduceOp::kNanStd || op == ReduceOp::kCountNonzero;
  if (kIsComplex<T> && !real) dtype = DType::kComplex128;
  if (std::is_integral_v<T> && !order) dtype = reduced_dtype(op, dtype_of<T>);
  if (op == ReduceOp::kCountNonzero) dtype = DType::kInt64;
  std::vector<std::byte> out(static_cast<std::size_t>(count) * itemsize(dtype) + 64);
  finish_accumulator(op, dtype_of<T>, dtype, 0.0, count, accumulator, out.data());
  std::vector<Exact<T>> values;
  visit_dtype(dtype, "test", [&]<typename R>(std::type_identity<R>) {
    if constexpr (kIsComplex<T> || !kIsComplex<R>) {
      for (std::int64_t i = 0; i < count; ++i) {
        values.push_back(static_cast<Exact<T>>(reinterpret_cast<const R*>(out.data())[i]));
      }
    }
  });
  return values;
}

struct Accumulator {
  Accumulator(ReduceOp op, DType dtype, std::int64_t count)
      : memory(accumulator_bytes(op, dtype, count) + 64 + 256) {}
  std::byte* data() {
    return memory.data() + (256 - reinterpret_cast<std::uintptr_t>(memory.data()) % 256) % 256;
  }
  std::vector<std::byte> memory;
};

template <typename T>
void check_groups(ReduceOp op, TestBlock& in, int axis, const std::vector<std::int64_t>& labels,
                  std::int64_t groups, long double tolerance = 1e-13L) {
  const auto at = static_cast<std::size_t>(axis);
  Index shape = in.shape();
  shape[at] = groups;
  const std::int64_t count = extent_product(shape);
  Accumulator whole(op, dtype_of<T>, count);
  groupby_bins(op, in.view(), axis, labels.data(), groups, whole.data());

  // Two halves along the axis, merged, are the same accumulators up to rounding.
  const std::int64_t middle = in.shape()[at] / 2;
  std::vector<Accumulator> halves;
  std::vector<const std::byte*> partials;
  for (const auto& [begin, end] : {std::pair{std::int64_t{0}, middle}, {middle, in.shape()[at]}}) {
    Index part = in.shape();
    part[at] = end - begin;
    Index first(part.size(), 0);
    first[at] = begin;
    halves.emplace_back(op, dtype_of<T>, count);
    groupby_bins(op, {in.at(first), in.dtype(), part, in.view().strides}, axis,
                 labels.data() + begin, groups, halves.back().data());
  }
  for (Accumulator& half : halves) partials.push_back(half.data());
  Accumulator merged(op, dtype_of<T>, count);
  merge_accumulators(op, dtype_of<T>, count, partials, merged.data());

  const auto direct_values = finished<T>(op, count, whole.data());
  const auto merged_values = finished<T>(op, count, merged.data());
  std::size_t place = 0;
  test::for_each_index(shape, [&](const Index& index) {
    std::vector<Exact<T>> elements;
    Index from = index;
    for (from[at] = 0; from[at] < in.shape()[at]; ++from[at]) {
      if (labels[static_cast<std::size_t>(from[at])] != index[at]) continue;
      elements.push_back(static_cast<Exact<T>>(in.get<T>(from)));
    }
    const std::size_t here = place++;
    std::size_t numbers = elements.size();
    if (skips_nan(op)) {
      numbers -= static_cast<std::size_t>(
          std::ranges::count_if(elements, [](const auto& x) { return is_nan(x); }));
    }
    if (!has_value(op, numbers)) return;
    const Exact<T> expected = reduce<T>(op, elements);
    for (const bool direct : {true, false}) {
      SCOPED_TRACE(direct ? "direct" : "merged");
      const Exact<T> value = direct ? direct_values[here] : merged_values[here];
      if (is_nan(expected)) {
        ASSERT_TRUE(is_nan(value));
      } else {
        ASSERT_LE(std::abs(value - expected), tolerance * (1 + std::abs(expected)));
      }
    }
  });
}

template <typename T>
void check_random_groups(test::Random& random) {
  for (int round = 0; round < 60; ++round) {
    Index shape(static_cast<std::size_t>(uniform(random, 1, 3)));
    for (auto& extent : shape) extent = uniform(random, round % 15 == 0 ? 0 : 1, 13);
    const int axis = static_cast<int>(uniform(random, 0, std::ssize(shape) - 1));
    if (round % 6 == 0) shape[static_cast<std::size_t>(axis)] = 90;
    if (round % 7 == 0) shape[0] = 70;
    const std::int64_t groups = uniform(random, 1, 5);
    std::vector<std::int64_t> labels(
        static_cast<std::size_t>(shape[static_cast<std::size_t>(axis)]));
    for (auto& label : labels) label = uniform(random, -1, groups - 1);
    const ReduceOp op = kOps[static_cast<std::size_t>(round) % kOps.size()];
    const bool order = op == ReduceOp::kMin || op == ReduceOp::kMax || op == ReduceOp::kNanMin ||
                       op == ReduceOp::kNanMax;
    if (kIsComplex<T> && order) continue;
    TestBlock in(dtype_of<T>, shape, random, true);
    if constexpr (std::is_integral_v<T>) {
      const bool product = op == ReduceOp::kProd || op == ReduceOp::kNanProd;
      in.fill<T>([&](const Index&) { return static_cast<T>(uniform(random, 0, product ? 1 : 9)); });
    } else {
      in.template fill_normal<T>(random, round % 2 == 0 ? 8 : 0);
    }
    SCOPED_TRACE(testing::Message()
                 << core::name(op) << " of " << dtype_of<T> << ", round " << round);
    check_groups<T>(op, in, axis, labels, groups);
  }
}

TEST(GroupBy, MatchesReductionsInLongDouble) {
  test::Random random(test::kBlockSeed);
  test::on_each_target([&] {
    check_random_groups<double>(random);
    check_random_groups<float>(random);
    check_random_groups<std::int32_t>(random);
    check_random_groups<std::uint8_t>(random);
    check_random_groups<bool>(random);
    check_random_groups<std::complex<double>>(random);
    check_random_groups<std::complex<float>>(random);
  });
}

TEST(GroupBy, BitsDoNotDependOnStridesOrTargets) {
  test::Random random(test::kBlockSeed + 1);
  const Index shape{130, 75};
  TestBlock dense(DType::kFloat32, shape);
  dense.fill_normal<float>(random, 20);
  TestBlock stored(DType::kFloat32, {75, 130});
  test::for_each_index(shape, [&](const Index& index) {
    stored.set({index[1], index[0]}, dense.get<float>(index));
  });
  const Index strides{1, 130};
  const ConstBlockView transposed{stored.data(), DType::kFloat32, shape, strides};
  for (const int axis : {0, 1}) {
    std::vector<std::int64_t> labels(
        static_cast<std::size_t>(shape[static_cast<std::size_t>(axis)]));
    for (auto& label : labels) label = uniform(random, -1, 6);
    for (const ReduceOp op : kOps) {
      const std::int64_t count = 7 * shape[static_cast<std::size_t>(1 - axis)];
      Accumulator first(op, DType::kFloat32, count);
      groupby_bins(op, dense.view(), axis, labels.data(), 7, first.data());
      test::on_each_target([&] {
        Accumulator other(op, DType::kFloat32, count);
        groupby_bins(op, transposed, axis, labels.data(), 7, other.data());
        const auto dtypes = accumulator_dtypes(op, DType::kFloat32);
        for (int component = 0; component < std::ssize(dtypes); ++component) {
          const std::size_t offset = accumulator_offset(op, DType::kFloat32, count, component);
          EXPECT_EQ(0, std::memcmp(first.data() + offset, other.data() + offset,
                                   static_cast<std::size_t>(count) *
                                       itemsize(dtypes[static_cast<std::size_t>(component)])))
              << core::name(op);
        }
      });
    }
  }
}

TEST(GroupBy, VarianceOfNearlyEqualElementsIsStable) {
  test::Random random(test::kBlockSeed + 2);
  TestBlock in(DType::kFloat64, {3000});
  in.fill<double>([&](const Index&) { return 1e8 + static_cast<double>(uniform(random, -9, 9)); });
  check_groups<double>(ReduceOp::kVar, in, 0, std::vector<std::int64_t>(3000, 0), 1, 1e-11L);
}

TEST(GroupBy, RefusesWhatItCannotDo) {
  TestBlock in(DType::kFloat64, {3});
  TestBlock numbers(DType::kComplex64, {3});
  Accumulator acc(ReduceOp::kVar, DType::kComplex128, 100);
  const std::vector<std::int64_t> labels{0, 1, 2};
  const auto text = [&](ReduceOp op, TestBlock& block, int axis, std::int64_t groups) {
    return test::thrown_text<InvalidArgument>(
        [&] { groupby_bins(op, block.view(), axis, labels.data(), groups, acc.data()); });
  };
  EXPECT_EQ(text(ReduceOp::kSum, in, 0, 2),
            "[groupby_bins] labels must be in [-1, 2); got 2 at position 2; try more groups, or -1 "
            "for elements to leave out");
  EXPECT_EQ(text(ReduceOp::kSum, in, 1, 3),
            "[groupby_bins] the axis must exist; got axis 1 of a block with 1 axes; try one in [0, "
            "rank)");
  EXPECT_EQ(text(ReduceOp::kArgMax, in, 0, 3),
            "[groupby_bins] the operation must be a sum, product, minimum, maximum, count, mean or "
            "variance; got argmax; try one of those");
  EXPECT_EQ(text(ReduceOp::kMin, numbers, 0, 3),
            "[min] the elements must have an order; got complex64; try abs(), real() or imag() "
            "first");
}

}  // namespace
}  // namespace tessera::kernels::host
