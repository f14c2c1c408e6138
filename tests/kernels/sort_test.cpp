#include "kernels/host/sort_host.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::TestScratch;
using test::uniform;

template <typename T>
bool is_nan(T x) {
  if constexpr (kIsComplex<T>) {
    return std::isnan(x.real()) || std::isnan(x.imag());
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::isnan(x);
  } else {
    return false;
  }
}

/// NumPy's `<` for sorting, which puts NaN behind everything.
template <typename T>
bool numpy_less(T a, T b) {
  if constexpr (kIsComplex<T>) {
    if (a.real() < b.real()) return !std::isnan(a.imag()) || std::isnan(b.imag());
    if (a.real() > b.real()) return std::isnan(b.imag()) && !std::isnan(a.imag());
    if (a.real() == b.real() || (std::isnan(a.real()) && std::isnan(b.real()))) {
      return a.imag() < b.imag() || (std::isnan(b.imag()) && !std::isnan(a.imag()));
    }
    return std::isnan(b.real());
  } else {
    return a < b || (is_nan(b) && !is_nan(a));
  }
}

/// Order of a descending sort: larger first, NaN still behind.
template <typename T>
bool numpy_greater(T a, T b) {
  if constexpr (kIsComplex<T>) {
    const auto rank = [](T x) { return 2 * std::isnan(x.real()) + std::isnan(x.imag()); };
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    return numpy_less(b, a);
  } else {
    if (is_nan(a) || is_nan(b)) return is_nan(b) && !is_nan(a);
    return b < a;
  }
}

/// Few distinct values with extremes, zeros of both signs and NaN among them, or any bits.
template <typename T>
T draw(test::Random& random, bool with_nan) {
  if constexpr (kIsComplex<T>) {
    using Real = typename T::value_type;
    return {draw<Real>(random, with_nan), draw<Real>(random, with_nan)};
  } else if constexpr (std::is_floating_point_v<T>) {
    using Limits = std::numeric_limits<T>;
    switch (uniform(random, 0, with_nan ? 8 : 7)) {
      case 0:
        return T{0};
      case 1:
        return -T{0};
      case 2:
        return Limits::infinity();
      case 3:
        return -Limits::infinity();
      case 4:
        return Limits::denorm_min();
      case 8:
        return uniform(random, 0, 1) == 0 ? Limits::quiet_NaN() : -Limits::quiet_NaN();
      default:
        return static_cast<T>(uniform(random, -1000, 1000)) / 8;
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    return uniform(random, 0, 1) == 1;
  } else {
    return uniform(random, 0, 1) == 0 ? static_cast<T>(random())
                                      : static_cast<T>(uniform(random, 0, 5));
  }
}

template <typename T>
std::vector<std::int64_t> stable_order(const std::vector<T>& lane, bool descending) {
  std::vector<std::int64_t> order(lane.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
    const T a = lane[static_cast<std::size_t>(i)];
    const T b = lane[static_cast<std::size_t>(j)];
    return descending ? numpy_greater(a, b) : numpy_less(a, b);
  });
  return order;
}

/// Calls f(first index, elements) for every lane.
template <typename T, typename F>
void for_each_lane(const TestBlock& block, int axis, F&& f) {
  const auto at = static_cast<std::size_t>(axis);
  Index lanes = block.shape();
  lanes[at] = std::min<std::int64_t>(lanes[at], 1);
  test::for_each_index(lanes, [&](const Index& first) {
    std::vector<T> lane;
    Index index = first;
    for (index[at] = 0; index[at] < block.shape()[at]; ++index[at])
      lane.push_back(block.get<T>(index));
    f(first, lane);
  });
}

template <typename T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <typename T>
void check_sort(TestBlock& in, int axis, bool descending, test::Random& random) {
  const auto at = static_cast<std::size_t>(axis);
  TestBlock sorted(in.dtype(), in.shape(), random, false);
  TestBlock order(DType::kInt64, in.shape(), random, false);
  TestScratch scratch(sort_scratch_bytes(in.dtype(), in.shape(), axis));
  sort(in.view(), axis, descending, sorted.view(), scratch.span());
  argsort(in.view(), axis, descending, order.view(), scratch.span());
  for_each_lane<T>(in, axis, [&](const Index& first, const std::vector<T>& lane) {
    const std::vector<std::int64_t> expected = stable_order(lane, descending);
    Index index = first;
    for (std::size_t i = 0; i < lane.size(); ++i) {
      index[at] = static_cast<std::int64_t>(i);
      ASSERT_EQ(order.get<std::int64_t>(index), expected[i]) << "place " << i;
      ASSERT_TRUE(same_bits(sorted.get<T>(index), lane[static_cast<std::size_t>(expected[i])]))
          << "place " << i;
    }
  });
}

template <typename T>
void check_topk(TestBlock& in, int axis, std::int64_t k, test::Random& random) {
  const auto at = static_cast<std::size_t>(axis);
  Index shape = in.shape();
  shape[at] = std::min(std::abs(k), shape[at]);
  TestBlock values(in.dtype(), shape, random, false);
  TestBlock positions(DType::kInt64, shape, random, false);
  TestScratch scratch(topk_scratch_bytes(in.dtype(), in.shape(), axis, k));
  const BlockView value_view = values.view();
  const BlockView position_view = positions.view();
  topk(in.view(), axis, k, &value_view, &position_view, {.first = 100}, scratch.span());
  for_each_lane<T>(in, axis, [&](const Index& first, const std::vector<T>& lane) {
    std::vector<std::int64_t> order(lane.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
      const T a = lane[static_cast<std::size_t>(i)];
      const T b = lane[static_cast<std::size_t>(j)];
      return k > 0 ? numpy_less(b, a) : numpy_less(a, b);
    });
    Index index = first;
    for (index[at] = 0; index[at] < shape[at]; ++index[at]) {
      const std::int64_t expected = order[static_cast<std::size_t>(index[at])];
      ASSERT_EQ(positions.get<std::int64_t>(index), expected + 100);
      ASSERT_TRUE(same_bits(values.get<T>(index), lane[static_cast<std::size_t>(expected)]));
    }
  });
}

template <typename T>
void check_random_sorts(test::Random& random) {
  for (int round = 0; round < 30; ++round) {
    Index shape(static_cast<std::size_t>(uniform(random, 1, 3)));
    for (auto& extent : shape) extent = uniform(random, round % 10 == 0 ? 0 : 1, 12);
    const int axis = static_cast<int>(uniform(random, 0, std::ssize(shape) - 1));
    if (round % 3 == 0) shape[static_cast<std::size_t>(axis)] = uniform(random, 100, 700);
    TestBlock in(dtype_of<T>, shape, random, true);
    in.fill<T>([&](const Index&) { return draw<T>(random, round % 2 == 0); });
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " round " << round);
    check_sort<T>(in, axis, false, random);
    check_sort<T>(in, axis, true, random);
    const std::int64_t k = uniform(random, 1, 15);
    check_topk<T>(in, axis, k, random);
    check_topk<T>(in, axis, -k, random);
  }
}

TEST(Sort, MatchesStableSortWithNumPysOrderForEveryDtype) {
  test::Random random(test::kBlockSeed);
  check_random_sorts<bool>(random);
  check_random_sorts<std::int8_t>(random);
  check_random_sorts<std::int16_t>(random);
  check_random_sorts<std::int32_t>(random);
  check_random_sorts<std::int64_t>(random);
  check_random_sorts<std::uint8_t>(random);
  check_random_sorts<std::uint16_t>(random);
  check_random_sorts<std::uint32_t>(random);
  check_random_sorts<std::uint64_t>(random);
  check_random_sorts<float>(random);
  check_random_sorts<double>(random);
  check_random_sorts<std::complex<float>>(random);
  check_random_sorts<std::complex<double>>(random);
}

TEST(Sort, LongLanesGoThroughBothRadixPasses) {
  test::Random random(test::kBlockSeed + 1);
  test::on_each_target([&] {
    TestBlock in(DType::kFloat64, {1, 150'000});
    in.fill_normal<double>(random, 1000);
    check_sort<double>(in, 1, false, random);
    TestBlock wide(DType::kInt64, {150'000});
    wide.fill<std::int64_t>([&](const Index&) { return static_cast<std::int64_t>(random()); });
    check_sort<std::int64_t>(wide, 0, true, random);
    check_topk<std::int64_t>(wide, 0, 1000, random);
    check_topk<double>(in, 1, -3, random);
  });
}

TEST(Sort, SortsInPlace) {
  test::Random random(test::kBlockSeed + 2);
  for (const int axis : {0, 1}) {
    TestBlock block(DType::kFloat32, {40, 37});
    block.fill<float>([&](const Index&) { return draw<float>(random, true); });
    TestBlock sorted(DType::kFloat32, {40, 37});
    TestScratch scratch(sort_scratch_bytes(DType::kFloat32, block.shape(), axis));
    sort(block.view(), axis, false, sorted.view(), scratch.span());
    sort(block.view(), axis, false, block.view(), scratch.span());
    test::for_each_index(block.shape(), [&](const Index& index) {
      ASSERT_TRUE(same_bits(block.get<float>(index), sorted.get<float>(index)));
    });
  }
}

TEST(Topk, MergesEarlierResultsByTheirPositions) {
  test::Random random(test::kBlockSeed + 3);
  TestBlock in(DType::kInt32, {3, 90});
  in.fill_small(random);
  const std::int64_t k = 7;
  TestBlock found(DType::kInt32, {3, 3 * k});
  TestBlock places(DType::kInt64, {3, 3 * k});
  for (std::int64_t block = 0; block < 3; ++block) {
    const Index shape{3, 30};
    const Index out_shape{3, k};
    const BlockView values{found.at({0, block * k}), DType::kInt32, out_shape,
                           found.view().strides};
    const BlockView positions{places.at({0, block * k}), DType::kInt64, out_shape,
                              places.view().strides};
    TestScratch scratch(topk_scratch_bytes(DType::kInt32, shape, 1, k));
    topk({in.at({0, block * 30}), DType::kInt32, shape, in.view().strides}, 1, k, &values,
         &positions, {.first = block * 30}, scratch.span());
  }
  TestBlock merged(DType::kInt64, {3, k});
  TestBlock direct(DType::kInt64, {3, k});
  const BlockView merged_view = merged.view();
  const BlockView direct_view = direct.view();
  const ConstBlockView names = std::as_const(places).view();
  TestScratch scratch(topk_scratch_bytes(DType::kInt32, in.shape(), 1, k));
  topk(found.view(), 1, k, nullptr, &merged_view, {.of = &names}, scratch.span());
  topk(in.view(), 1, k, nullptr, &direct_view, {}, scratch.span());
  EXPECT_EQ(merged.values<std::int64_t>(), direct.values<std::int64_t>());
}

TEST(Sort, RefusesWhatItCannotDo) {
  TestBlock in(DType::kFloat64, {4, 5});
  TestBlock half(DType::kFloat16, {4});
  TestScratch scratch(sort_scratch_bytes(DType::kFloat64, in.shape(), 0));
  const auto text = [](auto&& f) { return test::thrown_text<InvalidArgument>(f); };
  EXPECT_EQ(text([&] { sort(in.view(), 2, false, in.view(), scratch.span()); }),
            "[sort] the axis must exist; got axis 2 of shape (4, 5); try one in [0, rank)");
  EXPECT_EQ(text([&] { argsort(in.view(), 0, false, in.view(), scratch.span()); }),
            "[argsort] the output must have shape (4, 5) and dtype int64; got (4, 5) and float64; "
            "try allocating it so");
  EXPECT_EQ(text([&] { sort(in.view(), 0, false, in.view(), scratch.span().first(64)); }),
            "[sort] the scratch memory must hold 512 bytes; got 64; try sort_scratch_bytes()");
  EXPECT_EQ(text([&] { sort(half.view(), 0, false, half.view(), scratch.span()); }),
            "[sort] the dtype must have arithmetic; got float16; try astype(float32)");
  EXPECT_EQ(text([&] { topk(in.view(), 0, 0, nullptr, nullptr, {}, scratch.span()); }),
            "[topk] k must not be 0; got 0; try k > 0 for the largest or k < 0 for the smallest");
}

}  // namespace
}  // namespace tessera::kernels::host
