#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <iostream>
#include <limits>
#include <map>
#include <random>

#include "tessera/tessera.hpp"
#include "tests/array/expect_refusal.hpp"

// Names of the Array API standard that look elements up, or whose result's shape depends on values,
// against loops over whole arrays.

namespace tessera {
namespace {

constexpr std::uint64_t kSeed = 20240717;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <typename T>
std::vector<T> values(const Array& x) {
  const HostArray host = x.compute();
  const auto span = host.span<T>();
  return {span.begin(), span.end()};
}

std::vector<int> flags(const Array& x) {
  const std::vector<bool> bools = values<bool>(x);
  return {bools.begin(), bools.end()};
}

class Draw {
 public:
  Draw() : engine_(kSeed) { std::cout << "seed " << kSeed << "\n"; }
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  Shape shape(std::int64_t rank, std::int64_t most) {
    Shape out;
    for (std::int64_t i = 0; i < rank; ++i)
      out.push_back(integer(integer(0, 5) == 0 ? 0 : 1, most));
    return out;
  }
  // Ragged chunks of every axis.
  Chunks chunks(const Shape& shape) {
    std::vector<std::vector<std::int64_t>> out;
    for (const std::int64_t extent : shape) {
      std::vector<std::int64_t> axis;
      for (std::int64_t left = extent; left > 0;) {
        axis.push_back(integer(1, left));
        left -= axis.back();
      }
      if (axis.empty()) axis.push_back(0);
      out.push_back(axis);
    }
    return Chunks(out);
  }
  std::vector<double> numbers(std::int64_t count, std::int64_t range, bool special) {
    std::vector<double> out;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t kind = special ? integer(0, 9) : 9;
      const auto number = static_cast<double>(integer(-range, range));
      out.push_back(kind == 0 ? kNan : kind == 1 ? -0.0 : number);
    }
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

Array array_of(const std::vector<double>& numbers, const Shape& shape, const Chunks& chunks) {
  return copy_memory(numbers.data(), float64, shape, {.chunks = chunks});
}

// What the standard says of the distinct elements of a flattened array.
struct Distinct {
  std::vector<double> values;
  std::vector<std::int64_t> indices, inverse, counts;
};
Distinct distinct_of(const std::vector<double>& x) {
  std::map<double, std::int64_t> first, count, place;
  std::vector<std::int64_t> nans;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      nans.push_back(static_cast<std::int64_t>(i));
    } else {
      first.try_emplace(x[i], static_cast<std::int64_t>(i));
      ++count[x[i]];
    }
  }
  Distinct out;
  for (const auto& [value, at] : first) {
    place[value] = static_cast<std::int64_t>(out.values.size());
    out.values.push_back(value);
    out.indices.push_back(at);
    out.counts.push_back(count[value]);
  }
  auto nan_place = static_cast<std::int64_t>(out.values.size());
  for (const double value : x) {
    out.inverse.push_back(std::isnan(value) ? nan_place++ : place[value]);
  }
  for (const std::int64_t at : nans) {
    out.values.push_back(kNan);
    out.indices.push_back(at);
    out.counts.push_back(1);
  }
  return out;
}

void expect_same(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(got[i])) << i;
    } else {
      EXPECT_EQ(got[i], expected[i]) << i;
    }
  }
}

void expect_unique(const std::vector<double>& x, const Shape& shape, const Chunks& chunks) {
  const Distinct expected = distinct_of(x);
  const Array lazy = array_of(x, shape, chunks) * 1.0;
  expect_same(values<double>(unique_values(lazy)), expected.values);
  const UniqueCounts counts = unique_counts(lazy);
  expect_same(values<double>(counts.values), expected.values);
  EXPECT_EQ(values<std::int64_t>(counts.counts), expected.counts);
  const UniqueInverse inverse = unique_inverse(lazy);
  EXPECT_EQ(inverse.inverse_indices.shape(), shape);
  EXPECT_EQ(values<std::int64_t>(inverse.inverse_indices), expected.inverse);
  const UniqueAll all = unique_all(lazy);
  expect_same(values<double>(all.values), expected.values);
  EXPECT_EQ(values<std::int64_t>(all.indices), expected.indices);
  EXPECT_EQ(values<std::int64_t>(all.inverse_indices), expected.inverse);
  EXPECT_EQ(values<std::int64_t>(all.counts), expected.counts);
}

TEST(Lookup, TakeAlongAxisUndoesArgsort) {
  Draw draw;
  for (int round = 0; round < 20; ++round) {
    const Shape shape = draw.shape(draw.integer(1, 3), 6);
    const auto last = static_cast<std::int64_t>(shape.size()) - 1;
    const auto axis = static_cast<int>(draw.integer(0, last));
    const std::vector<double> x = draw.numbers(element_count(shape), 4, true);
    const Array a = rechunk_axes(array_of(x, shape, draw.chunks(shape)), {{axis, -1}});
    const Array order = rechunk(argsort(a, {.axis = axis}), draw.chunks(shape));
    expect_same(values<double>(take_along_axis(a, order, axis)),
                values<double>(sort(a, {.axis = axis})));
  }
}

TEST(Lookup, TakeAlongAxisBroadcastsAndRefuses) {
  const Array x = asarray({{1.0, 2.0, 3.0}, {4.0, 5.0, 6.0}});
  EXPECT_EQ(values<double>(take_along_axis(x, asarray({{-1, 0}}), 1)),
            (std::vector<double>{3, 1, 6, 4}));
  EXPECT_EQ(values<double>(take_along_axis(asarray({{7.0, 8.0}}), asarray({{1}, {0}}), 1)),
            (std::vector<double>{8, 7}));
  EXPECT_EQ(take_along_axis(x, zeros({2, 0}, {.dtype = int8}), 1).shape(), (Shape{2, 0}));
  EXPECT_REFUSED(take_along_axis(x, asarray({{0.5}}), 1),
                 "[take_along_axis] indices must be integers; got float64; try astype(int64)");
  EXPECT_REFUSED(
      take_along_axis(x, asarray({1}), 1),
      "[take_along_axis] x and indices must have the same number of axes; got (2, 3) and "
      "(1,); try expand_dims()");
  EXPECT_REFUSED(
      take_along_axis(rechunk(x, {2, 1}), asarray({{1}, {1}}), 1),
      "[take_along_axis] the axis must lie in one chunk; got 3 chunks along axis 1 of (2, "
      "3); try rechunk_axes(x, {{1, -1}})");
  EXPECT_NE(testing::refusal([&] {
              take_along_axis(x, asarray({{3}, {0}}), 1).compute();
            })
                .find("[take_along_axis] a position must lie on its axis; got 3 for axis 1 of "
                      "extent 3"),
            std::string::npos);
}

TEST(Lookup, IsinAndSearchsortedWorkChunkByChunk) {
  Draw draw;
  for (int round = 0; round < 20; ++round) {
    const Shape shape = draw.shape(draw.integer(0, 2), 8);
    const Shape tested = draw.shape(draw.integer(0, 2), 5);
    const std::vector<double> x = draw.numbers(element_count(shape), 9, true);
    const std::vector<double> test = draw.numbers(element_count(tested), 9, true);
    const Array a = array_of(x, shape, draw.chunks(shape));
    const Array b = array_of(test, tested, draw.chunks(tested));
    std::vector<int> member;
    for (const double v : x) member.push_back(std::count(test.begin(), test.end(), v) > 0 ? 1 : 0);
    EXPECT_EQ(flags(isin(a, b)), member);
    for (int& m : member) m = 1 - m;
    EXPECT_EQ(flags(isin(a, b, {.invert = true})), member);
    std::vector<double> sorted = test;
    std::erase_if(sorted, [](double v) { return std::isnan(v); });
    std::sort(sorted.begin(), sorted.end());
    const Shape line{static_cast<std::int64_t>(sorted.size())};
    const Array table = array_of(sorted, line, draw.chunks(line));
    std::vector<std::int64_t> left, right;
    for (const double v : x) {
      const auto end = sorted.end();
      const bool nan = std::isnan(v);
      left.push_back((nan ? end : std::lower_bound(sorted.begin(), end, v)) - sorted.begin());
      right.push_back((nan ? end : std::upper_bound(sorted.begin(), end, v)) - sorted.begin());
    }
    EXPECT_EQ(values<std::int64_t>(searchsorted(table, a)), left);
    EXPECT_EQ(values<std::int64_t>(searchsorted(table, a, {.right = true})), right);
    EXPECT_EQ(values<std::int64_t>(searchsorted(sorted, a)), left);
  }
}

TEST(Lookup, IsinAndSearchsortedCompareInThePromotedDtype) {
  const std::int64_t large = (std::int64_t{1} << 60) + 1;
  EXPECT_EQ(values<std::int64_t>(searchsorted(asarray({large - 1, large}), asarray({large}))),
            (std::vector<std::int64_t>{1}));
  EXPECT_EQ(flags(isin(asarray({large, large + 1}), asarray({large}))), (std::vector<int>{1, 0}));
  using Complex = std::complex<double>;
  EXPECT_EQ(flags(isin(asarray({Complex(1, 2)}), asarray({Complex(1, 3)}))), std::vector<int>{0});
  EXPECT_REFUSED(searchsorted(zeros({2, 2}), zeros({2})),
                 "[searchsorted] values must have 1 axis; got shape (2, 2); try ravel()");
}

TEST(Counted, MaskedSelectAndNonzero) {
  Draw draw;
  for (int round = 0; round < 20; ++round) {
    const Shape shape = draw.shape(draw.integer(1, 3), 6);
    const std::vector<double> x = draw.numbers(element_count(shape), 2, true);
    const Array a = array_of(x, shape, draw.chunks(shape));
    const Array mask = array_of(x, shape, draw.chunks(shape)) > 0.0;
    std::vector<double> expected;
    std::copy_if(x.begin(), x.end(), std::back_inserter(expected), [](double v) { return v > 0; });
    expect_same(values<double>(masked_select(a, mask)), expected);
    std::vector<std::vector<std::int64_t>> places(shape.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 0) continue;
      auto rest = static_cast<std::int64_t>(i);
      for (std::size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
        places[d].push_back(rest % shape[d]);
      }
    }
    const std::vector<Array> found = nonzero(a);
    ASSERT_EQ(found.size(), shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) {
      EXPECT_EQ(values<std::int64_t>(found[d]), places[d]);
    }
  }
}

TEST(Counted, CompressKeepsWhatEachChunkHasLeft) {
  const Array x = reshape(arange(24), {6, 4});
  const Array rows =
      compress(asarray<bool>({true, false, true, false, false, true}), rechunk(x, {2, 3}), 0);
  EXPECT_EQ(rows.chunks().to_string(), "(1 x 3, 3 x 1 + 1)");
  EXPECT_EQ(values<std::int64_t>(rows),
            (std::vector<std::int64_t>{0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23}));
  const Array columns =
      compress(asarray<bool>({false, false, false, true}), rechunk(x, {4, 2}), -1);
  EXPECT_EQ(columns.chunks().to_string(), "(4 x 1 + 2, 1)");
  EXPECT_EQ(values<std::int64_t>(columns), (std::vector<std::int64_t>{3, 7, 11, 15, 19, 23}));
  EXPECT_EQ(compress(zeros({4}, {.dtype = bool_}), x, 1).shape(), (Shape{6, 0}));
  EXPECT_EQ(compress(zeros({4}, {.dtype = bool_}), x, 1).compute().size(), 0);
  EXPECT_EQ(masked_select(full({}, 3.0), full({}, true)).item<double>(), 3.0);
  EXPECT_EQ(values<std::int64_t>(take(arange(10), asarray({7, -1, 7}))),
            (std::vector<std::int64_t>{7, 9, 7}));
  EXPECT_EQ(take(x, {0, 1}).shape(), (Shape{2, 4}));
}

TEST(Counted, Refusals) {
  const Array x = zeros({2, 3});
  EXPECT_REFUSED(masked_select(x, zeros({2, 3})),
                 "[masked_select] the mask must be bool; got float64; try mask != 0");
  EXPECT_REFUSED(masked_select(x, zeros({3}, {.dtype = bool_})),
                 "[masked_select] the mask must have one element for each of the array's; got (3,) "
                 "for (2, 3)");
  EXPECT_REFUSED(compress(zeros({2}, {.dtype = bool_}), x, 1),
                 "[compress] the mask must have one element for each of the array's; got (2,) for "
                 "(3,)");
  EXPECT_REFUSED(nonzero(full({}, 1.0)),
                 "[nonzero] the array must have at least 1 axis; got a 0-d array; try ravel()");
  EXPECT_REFUSED(take(x, zeros({2})),
                 "[take] indices must be integers along 1 axis; got shape (2,), dtype float64; try "
                 "ravel() or take_along_axis()");
}

TEST(Unique, RandomArrays) {
  Draw draw;
  for (int round = 0; round < 20; ++round) {
    const Shape shape = draw.shape(draw.integer(0, 3), 6);
    const std::int64_t range = draw.integer(0, 60);
    const std::vector<double> x = draw.numbers(element_count(shape), range, round % 3 > 0);
    expect_unique(x, shape, draw.chunks(shape));
    if (HasFailure()) {
      ADD_FAILURE() << "round " << round << ", shape " << to_string(shape);
      return;
    }
  }
}

TEST(Unique, ZerosOfBothSignsAreOneValue) {
  for (const bool positive : {false, true}) {
    std::vector<double> x(9, -0.0);
    if (positive) x[7] = 0.0;
    const UniqueAll all = unique_all(array_of(x, {9}, {2}));
    EXPECT_EQ(values<std::int64_t>(all.counts), (std::vector<std::int64_t>{9}));
    EXPECT_EQ(std::signbit(values<double>(all.values)[0]), !positive);
    EXPECT_EQ(std::signbit(values<double>(unique_values(array_of(x, {9}, {4})))[0]), !positive);
  }
}

TEST(Unique, OtherDtypes) {
  EXPECT_EQ(flags(unique_values(asarray<bool>({true, false, true, true}))),
            (std::vector<int>{0, 1}));
  using Complex = std::complex<double>;
  const std::vector<Complex> z{{2, 1}, {1, kNan}, {2, -1}, {2, 1}, {1, 5}};
  const UniqueAll all = unique_all(asarray(z, {.chunks = {2}}));
  EXPECT_EQ(values<std::int64_t>(all.indices), (std::vector<std::int64_t>{4, 2, 0, 1}));
  EXPECT_EQ(values<std::int64_t>(all.counts), (std::vector<std::int64_t>{1, 1, 2, 1}));
  EXPECT_EQ(values<std::int64_t>(all.inverse_indices), (std::vector<std::int64_t>{2, 3, 1, 2, 0}));
  EXPECT_EQ(values<Complex>(all.values)[3].real(), 1.0);
  EXPECT_EQ(unique_values(zeros({0, 3}, {.dtype = int8})).shape(), (Shape{0}));
  EXPECT_EQ(unique_counts(zeros({0, 3}, {.dtype = int8})).counts.shape(), (Shape{0}));
}

// Blocks with more distinct elements than are kept at first, and too many for one block: ranges.
TEST(Unique, ManyDistinctElementsStayInSeveralChunks) {
  const std::int64_t count = 400'000;
  std::vector<std::int64_t> x;
  Draw draw;
  for (std::int64_t i = 0; i < count; ++i)
    x.push_back(draw.integer(0, 1) * 7 + i * 7919 % 1'000'003);
  const Array a = asarray(x, {.chunks = {90'000}});
  std::vector<std::int64_t> expected = x;
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  const UniqueAll all = unique_all(a);
  EXPECT_GT(all.values.chunks().block_count(), 3);
  EXPECT_LE(all.values.chunks().max_block_elements(), 90'000);
  EXPECT_EQ(values<std::int64_t>(all.values), expected);
  EXPECT_EQ(sum(all.counts).item<std::int64_t>(), count);
  EXPECT_EQ(values<std::int64_t>(take(a, all.indices)), expected);
  const std::vector<std::int64_t> inverse = values<std::int64_t>(all.inverse_indices);
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(expected[static_cast<std::size_t>(inverse[i])], x[i]) << i;
  }
}

// The same bits with little memory, several devices and another order of execution.
TEST(Unique, SessionsDoNotChangeWhatIsFound) {
  const Array x = floor(random::normal({300, 400}, {.chunks = {70, 90}, .seed = 5}) * 9'000.0);
  std::vector<std::vector<double>> found;
  std::vector<std::vector<std::int64_t>> counts;
  for (const char* devices : {"host", "host:3"}) {
    SessionOptions options;
    options.devices = devices;
    options.workers = 3;
    options.device_memory_bytes = std::size_t{8} << 20;
    options.host_memory_bytes = std::size_t{4} << 20;
    options.shuffle_seed = found.size() + 1;
    Session session(options);
    const SessionScope scope(session);
    const UniqueCounts unique = unique_counts(x);
    found.push_back(values<double>(unique.values));
    counts.push_back(values<std::int64_t>(unique.counts));
    EXPECT_EQ(values<std::int64_t>(nonzero(x > 0.0)[1]).size(),
              values<double>(masked_select(x, x > 0.0)).size());
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(counts[0], counts[1]);
  EXPECT_GT(found[0].size(), 20'000u);
}

// Few values in many blocks are merged in groups and end in one chunk.
TEST(Unique, FewValuesInManyBlocks) {
  const Array x = random::integers(0, 20'000, {300'000}, {.chunks = {5'000}, .seed = 3});
  const UniqueCounts found = unique_counts(x);
  std::map<std::int64_t, std::int64_t> expected;
  for (const std::int64_t value : values<std::int64_t>(x)) ++expected[value];
  EXPECT_EQ(found.values.chunks().block_count(), 1);
  const std::vector<std::int64_t> distinct = values<std::int64_t>(found.values);
  const std::vector<std::int64_t> counts = values<std::int64_t>(found.counts);
  ASSERT_EQ(distinct.size(), expected.size());
  std::size_t i = 0;
  for (const auto& [value, number] : expected) {
    EXPECT_EQ(distinct[i], value);
    EXPECT_EQ(counts[i++], number);
  }
}

}  // namespace
}  // namespace tessera
