#include <gtest/gtest.h>

#include <cmath>

#include "expect_refusal.hpp"
#include "tessera/tessera.hpp"

// Numbers at the ends of int64 where shapes, chunks and depths are given: each is refused at the
// call, or means what it says.

namespace tessera {
namespace {

constexpr std::int64_t kTwo40 = std::int64_t{1} << 40;
constexpr std::int64_t kTwo61 = std::int64_t{1} << 61;

TEST(Limits, BytesOfAnArrayFit63Bits) {
  EXPECT_REFUSED(random::normal({kTwo61 + 4}, {.chunks = {-1}}),
                 "[normal] the bytes of an array must fit 63 bits; got shape "
                 "(2305843009213693956,) of float64");
  EXPECT_REFUSED(zeros({kTwo61}, {.dtype = complex128}),
                 "[zeros] the bytes of an array must fit 63 bits; got shape "
                 "(2305843009213693952,) of complex128");
  const std::string outer =
      "] the bytes of an array must fit 63 bits; got shape (1099511627776, 1099511627776) of "
      "float64";
  const Array column = zeros({kTwo40, 1});
  const Array row = zeros({1, kTwo40});
  EXPECT_REFUSED(matmul(column, row), "[matmul" + outer);
  EXPECT_REFUSED(column + row, "[add" + outer);
  EXPECT_REFUSED(broadcast_to(row, {kTwo40, kTwo40}), "[broadcast_to" + outer);
  EXPECT_REFUSED(eye(kTwo40), "[eye" + outer);
  EXPECT_REFUSED(astype(zeros({kTwo61}, {.dtype = int8}), float64),
                 "[astype] the bytes of an array must fit 63 bits; got shape "
                 "(2305843009213693952,) of float64");
  const Array wide = zeros({kTwo61, 2}, {.chunks = {-1, -1}, .dtype = int8});
  EXPECT_REFUSED(sum(wide, {.axis = 1}),
                 "[sum] the bytes of an array must fit 63 bits; got shape (2305843009213693952, 1) "
                 "of int64");
  // An empty array must have strides, too.
  EXPECT_REFUSED(zeros({0, kTwo40, kTwo40}),
                 "[zeros] the bytes of an array must fit 63 bits; got shape (0, 1099511627776, "
                 "1099511627776) of float64");
  EXPECT_EQ(zeros({kTwo61 / 4}).nbytes(), std::size_t{1} << 62);
}

TEST(Limits, JoinedExtentsFit63Bits) {
  const Array x = zeros({INT64_MAX - 5}, {.chunks = {-1}, .dtype = int8});
  EXPECT_REFUSED(concat({x, x}),
                 "[concat] an extent must fit 63 bits; got 9223372036854775802 and "
                 "9223372036854775802 more");
  EXPECT_REFUSED(pad(zeros({3}), {{INT64_MAX, 1}}),
                 "[pad] an extent must fit 63 bits; got 9223372036854775807 and 1 more");
  EXPECT_REFUSED(pad(zeros({3}), {{2 * kTwo61, 2 * kTwo61}}),
                 "[pad] an extent must fit 63 bits; got 4611686018427387904 and "
                 "4611686018427387904 more");
  EXPECT_REFUSED(pad(zeros({3}, {.dtype = int8}), {{kTwo61, 0}}),
                 "[chunks] an axis that is joined or cut has at most 134217728 chunks; got "
                 "768614336404564651; try larger chunks");
  EXPECT_REFUSED(pad(zeros({3}), {{kTwo40, 0}}, {.mode = PadMode::kWrap}),
                 "[pad] margins continue an axis at most 1048576 times; got (1099511627776, 0) for "
                 "axis 0 of (3,)");
  EXPECT_REFUSED(tile(zeros({1000}), {INT64_MAX}),
                 "[tile] the extent must fit 63 bits; got 1000 times 9223372036854775807");
  EXPECT_REFUSED(tile(zeros({1}), {kTwo40}),
                 "[tile] a result is put together from at most 1048576 copies; got counts "
                 "(1099511627776); try broadcast_to() and reshape()");
  EXPECT_REFUSED(tile(zeros({1, 1}), {0, kTwo40}),
                 "[tile] a result is put together from at most 1048576 copies; got counts "
                 "(0, 1099511627776); try broadcast_to() and reshape()");
  EXPECT_REFUSED(diag(zeros({3}), INT64_MIN),
                 "[diag] an extent must fit 63 bits; got 3 and 9223372036854775807 more");
}

TEST(Limits, DepthsOfNeighbours) {
  const auto nothing = [](const InputBlock&, const OutputBlock&) {};
  const auto overlap = [&](std::int64_t depth, Boundary boundary) {
    return map_overlap(zeros({5}), nothing, {.depth = {depth}, .boundary = {boundary}});
  };
  EXPECT_EQ(overlap(INT64_MAX, Boundary::kNone).shape(), Shape{5});
  for (const Boundary boundary : {Boundary::kReflect, Boundary::kConstant}) {
    EXPECT_REFUSED(overlap(2 * kTwo61, boundary),
                   "[map_overlap] a depth must be at most 281474976710656; got "
                   "(4611686018427387904)");
    EXPECT_EQ(overlap(kTwo40, boundary).shape(), Shape{5});
  }
  EXPECT_REFUSED(
      map_overlap(zeros({5, 5}), nothing, {.depth = {kTwo40}, .boundary = {Boundary::kNearest}}),
      "[map_overlap] the bytes of an array must fit 63 bits; got shape (2199023255557, "
      "2199023255557) of float64");
}

TEST(Limits, CountsOfResults) {
  EXPECT_REFUSED(histogram(zeros({3}), {.bins = kTwo40, .range = {{0.0, 1.0}}}),
                 "[histogram] there must be at most 67108864 bins; got 1099511627776");
  EXPECT_EQ(topk(zeros({3}), INT64_MIN).values.shape(), Shape{3});
  EXPECT_EQ(topk(zeros({3}), INT64_MAX).values.shape(), Shape{3});
  EXPECT_EQ(diagonal(zeros({4, 6}), {.offset = INT64_MIN}).shape(), Shape{0});
  const std::vector<std::int64_t> labels{0, INT64_MAX};
  EXPECT_REFUSED(groupby_reduce(zeros({2}), labels, "sum"),
                 "[groupby_reduce] an extent must fit 63 bits; got 9223372036854775807 and 1 more");
  const std::vector<std::int64_t> few{0, 1};
  EXPECT_REFUSED(groupby_reduce(zeros({2, 4}), few, "sum", {.group_count = INT64_MAX / 2}),
                 "[groupby_reduce] the bytes of an array must fit 63 bits; got shape "
                 "(4611686018427387903, 4) of float64");
  EXPECT_REFUSED(groupby_reduce(zeros({2}, {.dtype = int8}), few, "min", {.group_count = kTwo40}),
                 "[groupby_reduce] the min of int8 needs an element in every group; got none for "
                 "group 2; try astype(float64) or other labels");
}

TEST(Limits, OptionsWithoutAMeaning) {
  const double nan = std::nan("");
  EXPECT_REFUSED(zeros({4}, {.chunks = "0"}),
                 "[zeros] a chunk must have a size; got \"0\"; try \"128 MiB\" or \"auto\"");
  EXPECT_REFUSED(diff(zeros({5}), {.n = INT32_MAX}),
                 "[diff] n must be at most 65536; got 2147483647");
  EXPECT_EQ(diff(zeros({5}), {.n = 60000}).shape(), Shape{0});
  EXPECT_REFUSED(isclose(zeros({2}), zeros({2}), {.rtol = nan}),
                 "[isclose] tolerances must be numbers; got rtol nan and atol 1e-08");
  EXPECT_REFUSED(allclose(zeros({2}), zeros({2}), nan),
                 "[allclose] tolerances must be numbers; got rtol nan and atol 1e-08");
}

TEST(Limits, RefusalsNameTheFunctionThatWasCalled) {
  const Array i8 = zeros({2, 3}, {.dtype = int8});
  EXPECT_REFUSED(clip(i8, -1000, 5),
                 "[clip] a number must fit the dtype of the array beside it; got -1000 for int8; "
                 "try astype of the array");
  EXPECT_REFUSED(diff(i8, {.prepend = zeros({3, 1})}),
                 "[diff] shapes must agree except along axis 1; got (3, 1) and (2, 3); try "
                 "broadcast_to or pad");
  EXPECT_REFUSED(trace(zeros({3})),
                 "[trace] an axis must lie in [-ndim, ndim); got axis 1 for an array of 1 axis");
  EXPECT_REFUSED(isclose(zeros({2}), zeros({3})),
                 "[isclose] shapes must broadcast; got (2,) and (3,); try reshape or expand_dims");
}

TEST(Limits, HostMemoryExistsAndIsReached) {
  double numbers[3] = {1, 2, 3};
  EXPECT_REFUSED(from_memory(static_cast<const double*>(nullptr), {3}),
                 "[from_memory] the memory must exist; got a null pointer for shape (3,) of "
                 "float64");
  EXPECT_EQ(from_memory(static_cast<const double*>(nullptr), {0, 3}).size(), 0);
  EXPECT_REFUSED(from_memory(numbers, {3}, {.strides = {{kTwo61}}}),
                 "[from_memory] strides must stay within 63 bits of bytes; got strides "
                 "(2305843009213693952) for shape (3,) of float64");
  EXPECT_REFUSED(from_memory(numbers, {3}, {.strides = {{INT64_MIN}}}),
                 "[from_memory] strides must stay within 63 bits of bytes; got strides "
                 "(-9223372036854775808) for shape (3,) of float64");
  EXPECT_EQ(from_memory(numbers + 2, {3}, {.strides = {{-1}}}).size(), 3);
}

}  // namespace
}  // namespace tessera
