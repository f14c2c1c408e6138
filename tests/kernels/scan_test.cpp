#include "kernels/host/scan_host.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using core::ReduceOp;
using test::Index;
using test::TestBlock;
using test::uniform;

template <typename T>
using Wide = std::conditional_t<
    kIsComplex<T>, std::complex<double>,
    std::conditional_t<std::is_floating_point_v<T>, double,
                       std::conditional_t<std::is_unsigned_v<T> && !std::is_same_v<T, bool>,
                                          std::uint64_t, std::int64_t>>>;

bool is_product(ReduceOp op) { return op == ReduceOp::kProd || op == ReduceOp::kNanProd; }
bool skips_nan(ReduceOp op) { return op == ReduceOp::kNanSum || op == ReduceOp::kNanProd; }

template <typename W>
W combine(ReduceOp op, W running, W x) {
  if constexpr (kIsComplex<W>) {
    if (skips_nan(op) && (std::isnan(x.real()) || std::isnan(x.imag()))) return running;
    if (!is_product(op)) return running + x;
    return {running.real() * x.real() - running.imag() * x.imag(),
            running.real() * x.imag() + running.imag() * x.real()};
  } else {
    if constexpr (std::is_floating_point_v<W>) {
      if (skips_nan(op) && std::isnan(x)) return running;
      return is_product(op) ? running * x : running + x;
    } else {
      const auto a = static_cast<std::uint64_t>(running);
      const auto b = static_cast<std::uint64_t>(x);
      return static_cast<W>(is_product(op) ? a * b : a + b);
    }
  }
}

/// One element after the other, in C order of lanes.
template <typename T, typename Out>
void naive_scan(ReduceOp op, const TestBlock& in, int axis, bool exclusive,
                const std::vector<Wide<Out>>& carry_in, std::vector<Out>& out,
                std::vector<Wide<Out>>& carry_out) {
  const auto at = static_cast<std::size_t>(axis);
  Index lanes = in.shape();
  lanes[at] = 1;
  TestBlock result(dtype_of<Out>, in.shape());
  std::size_t lane = 0;
  test::for_each_index(lanes, [&](const Index& first) {
    Wide<Out> running = carry_in.empty() ? Wide<Out>(is_product(op) ? 1 : 0) : carry_in[lane];
    Index index = first;
    for (index[at] = 0; index[at] < in.shape()[at]; ++index[at]) {
      const Wide<Out> before = running;
      running = combine(op, running, Wide<Out>(static_cast<Out>(in.get<T>(index))));
      result.set<Out>(index, static_cast<Out>(exclusive ? before : running));
    }
    carry_out.push_back(running);
    ++lane;
  });
  out = result.values<Out>();
}

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <typename T, typename Out = T>
void check_random_scans(test::Random& random, bool allow_nan) {
  for (int round = 0; round < 24; ++round) {
    Index shape(static_cast<std::size_t>(uniform(random, 1, 3)));
    for (auto& extent : shape) extent = uniform(random, round % 8 == 0 ? 0 : 1, 20);
    const int axis = static_cast<int>(uniform(random, 0, std::ssize(shape) - 1));
    if (round % 3 == 0) shape[static_cast<std::size_t>(axis)] = uniform(random, 60, 150);
    // Lanes that are few and contiguous are added up in another order; see the next test.
    const bool innermost = extent_product(std::span<const std::int64_t>(shape).subspan(
                               static_cast<std::size_t>(axis) + 1)) == 1;
    if (innermost && shape.size() > 1) shape[0] = uniform(random, 8, 20);
    const ReduceOp op = std::array{ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kNanSum,
                                   ReduceOp::kNanProd}[static_cast<std::size_t>(round) % 4];
    TestBlock in(dtype_of<T>, shape, random, true);
    if constexpr (std::is_integral_v<T>) {
      in.fill_small(random);
    } else {
      in.template fill_normal<T>(random, allow_nan ? 9 : 0);
    }
    Index lanes = shape;
    lanes[static_cast<std::size_t>(axis)] = 1;
    std::vector<Wide<Out>> carry_in;
    if (round % 2 == 0) {
      for (std::int64_t i = 0; i < extent_product(lanes); ++i) {
        carry_in.push_back(TestBlock::small<Wide<Out>>(random));
      }
    }
    const bool exclusive = round % 5 == 0;
    std::vector<Out> expected;
    std::vector<Wide<Out>> expected_carry;
    naive_scan<T, Out>(op, in, axis, exclusive, carry_in, expected, expected_carry);
    TestBlock out(dtype_of<Out>, shape);
    std::vector<Wide<Out>> carry(expected_carry.size());
    ScanOptions options;
    options.exclusive = exclusive;
    options.carry_in = carry_in.empty() ? nullptr : reinterpret_cast<std::byte*>(carry_in.data());
    options.carry_out = reinterpret_cast<std::byte*>(carry.data());
    scan(op, in.view(), axis, out.view(), options);
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " round " << round);
    ASSERT_TRUE(same(out.template values<Out>(), expected));
    ASSERT_TRUE(same(carry, expected_carry));
    if (!carry_in.empty()) continue;
    std::vector<Wide<Out>> totals(expected_carry.size());
    scan_totals(op, in.view(), axis, dtype_of<Out>, reinterpret_cast<std::byte*>(totals.data()));
    ASSERT_TRUE(same(totals, expected_carry));
  }
}

TEST(Scan, EqualsSequentialAccumulationInTheWideType) {
  test::Random random(test::kBlockSeed);
  test::on_each_target([&] {
    check_random_scans<std::int8_t>(random, false);
    check_random_scans<std::uint16_t>(random, false);
    check_random_scans<std::int32_t>(random, false);
    check_random_scans<std::int64_t>(random, false);
    check_random_scans<std::uint64_t>(random, false);
    check_random_scans<double>(random, true);
    check_random_scans<float>(random, true);
    check_random_scans<std::complex<float>>(random, false);
    check_random_scans<std::complex<double>>(random, false);
    check_random_scans<bool, std::int64_t>(random, false);
    check_random_scans<std::uint8_t, std::uint64_t>(random, false);
    check_random_scans<std::int32_t, double>(random, false);
    check_random_scans<double, float>(random, false);
  });
}

TEST(Scan, FewLongLanesStayCloseToTheExactSum) {
  test::Random random(test::kBlockSeed + 1);
  test::on_each_target([&] {
    for (const std::int64_t n : {1023, 1024, 5000}) {
      TestBlock in(DType::kFloat64, {2, n});
      in.fill_normal<double>(random);
      TestBlock out(DType::kFloat64, {2, n});
      TestBlock shifted(DType::kFloat64, {2, n});
      scan(ReduceOp::kSum, in.view(), 1, out.view());
      scan(ReduceOp::kSum, in.view(), 1, shifted.view(), {.exclusive = true});
      for (std::int64_t lane = 0; lane < 2; ++lane) {
        long double sum = 0;
        long double magnitude = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          ASSERT_NEAR(shifted.get<double>({lane, i}), static_cast<double>(sum),
                      1e-15 * static_cast<double>(magnitude));
          sum += in.get<double>({lane, i});
          magnitude += std::abs(in.get<double>({lane, i}));
          ASSERT_NEAR(out.get<double>({lane, i}), static_cast<double>(sum),
                      1e-15 * static_cast<double>(magnitude));
        }
      }
    }
  });
}

TEST(Scan, BitsDoNotDependOnStridesOrTargets) {
  test::Random random(test::kBlockSeed + 2);
  for (const Index& shape : {Index{1, 3000}, Index{3000, 1}, Index{3, 2100}, Index{40, 90}}) {
    TestBlock dense(DType::kFloat32, shape);
    dense.fill_normal<float>(random, 50);
    TestBlock strided(DType::kFloat32, {shape[1], shape[0]});
    test::for_each_index(shape, [&](const Index& index) {
      strided.set({index[1], index[0]}, dense.get<float>(index));
    });
    const Index strides{1, shape[0]};
    for (const int axis : {0, 1}) {
      TestBlock first(DType::kFloat32, shape);
      scan(ReduceOp::kNanSum, dense.view(), axis, first.view());
      test::on_each_target([&] {
        TestBlock out(DType::kFloat32, shape);
        scan(ReduceOp::kNanSum, {strided.data(), DType::kFloat32, shape, strides}, axis,
             out.view());
        EXPECT_TRUE(out.values<float>() == first.values<float>());
      });
    }
  }
}

TEST(Scan, CarriesJoinBlocksAlongTheAxis) {
  test::Random random(test::kBlockSeed + 3);
  for (const int axis : {0, 1}) {
    TestBlock in(DType::kInt16, {30, 44});
    in.fill_small(random);
    TestBlock whole(DType::kInt64, {30, 44});
    scan(ReduceOp::kSum, in.view(), axis, whole.view());
    std::vector<std::int64_t> carry(44, 0);
    for (std::int64_t begin = 0; begin < in.shape()[static_cast<std::size_t>(axis)]; begin += 11) {
      Index shape = in.shape();
      std::int64_t& extent = shape[static_cast<std::size_t>(axis)];
      extent = std::min<std::int64_t>(11, extent - begin);
      Index from(2, 0);
      from[static_cast<std::size_t>(axis)] = begin;
      const ConstBlockView part{in.at(from), DType::kInt16, shape, in.view().strides};
      TestBlock out(DType::kInt64, shape);
      scan(ReduceOp::kSum, part, axis, out.view(),
           {.carry_in = reinterpret_cast<std::byte*>(carry.data()),
            .carry_out = reinterpret_cast<std::byte*>(carry.data())});
      test::for_each_index(shape, [&](const Index& index) {
        Index at = index;
        at[static_cast<std::size_t>(axis)] += begin;
        ASSERT_EQ(out.get<std::int64_t>(index), whole.get<std::int64_t>(at));
      });
    }
  }
}

TEST(Scan, IntegersWrapAsNumPysDo) {
  TestBlock in(DType::kInt64, {3});
  in.fill<std::int64_t>([](const Index&) { return std::numeric_limits<std::int64_t>::max(); });
  TestBlock out(DType::kInt64, {3});
  scan(ReduceOp::kSum, in.view(), 0, out.view());
  EXPECT_EQ(out.values<std::int64_t>(),
            (std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::max(), -2,
                                       std::numeric_limits<std::int64_t>::max() - 2}));
}

TEST(Scan, RefusesWhatItCannotDo) {
  TestBlock in(DType::kInt64, {3});
  TestBlock flags(DType::kBool, {3});
  TestBlock longer(DType::kInt64, {4});
  EXPECT_EQ(
      test::thrown_text<InvalidArgument>([&] { scan(ReduceOp::kSum, in.view(), 1, in.view()); }),
      "[scan] the axis must exist; got axis 1 of shape (3,); try one in [0, rank)");
  EXPECT_EQ(
      test::thrown_text<InvalidArgument>(
          [&] { scan(ReduceOp::kSum, in.view(), 0, longer.view()); }),
      "[scan] both shapes must be equal; got (3,) and (4,); try an output of the input's shape");
  EXPECT_EQ(
      test::thrown_text<InvalidArgument>([&] { scan(ReduceOp::kSum, in.view(), 0, flags.view()); }),
      "[scan] the output must be a number; got dtype bool; try int64, as NumPy does");
  EXPECT_EQ(
      test::thrown_text<InvalidArgument>([&] { scan(ReduceOp::kMax, in.view(), 0, in.view()); }),
      "[scan] the operation must be a sum or a product; got max; try a reduction");
}

}  // namespace
}  // namespace tessera::kernels::host
