#include <gtest/gtest.h>

#include <limits>

#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

using testing::Dense;
using testing::evaluate;
using Position = std::vector<std::int64_t>;

TEST(Creation, ShapesDtypesChunks) {
  const Array x = zeros({100, 7}, {.chunks = {30, -1}, .dtype = float32});
  EXPECT_EQ(x.chunks().to_string(), "(30 x 3 + 10, 7)");
  EXPECT_EQ(x.dtype(), float32);
  EXPECT_EQ(x.nbytes(), 2800u);
  EXPECT_EQ(ones_like(x).chunks(), x.chunks());
  EXPECT_EQ(full_like(x, 3, {.dtype = int8}).dtype(), int8);
  EXPECT_EQ(full({}, 3).dtype(), int64);
  EXPECT_EQ(full({2}, true).dtype(), bool_);
  EXPECT_EQ(evaluate(full({2}, 2.5)).data, (std::vector<double>{2.5, 2.5}));
  EXPECT_REFUSED(zeros({-1}), "[zeros] extents are not negative; got (-1,)");
  EXPECT_REFUSED(zeros({4}, {.chunks = {1, 2}}),
                 "[zeros] chunks need one extent for each axis; got 2 for shape (4,)");
}

TEST(Creation, ArangeHasNumPysLength) {
  EXPECT_EQ(evaluate(arange(5)).data, (std::vector<double>{0, 1, 2, 3, 4}));
  EXPECT_EQ(evaluate(arange(2, 5)).data, (std::vector<double>{2, 3, 4}));
  EXPECT_EQ(evaluate(arange(5, 0, -2)).data, (std::vector<double>{5, 3, 1}));
  EXPECT_EQ(arange(5, 0).shape(), Shape{0});
  EXPECT_EQ(arange(0, 1, 0.1).shape(), Shape{10});
  EXPECT_EQ(arange(0.5, 3.0).shape(), Shape{3});
  EXPECT_EQ(arange(0, 10, 3).shape(), Shape{4});
  EXPECT_EQ(arange(0, -10, -3).shape(), Shape{4});
  EXPECT_EQ(arange(0.0, 0.3, 0.1).shape(), Shape{3});
  EXPECT_EQ(arange(3).dtype(), int64);
  EXPECT_EQ(arange(3.0).dtype(), float64);
  EXPECT_EQ(arange(3, {.dtype = float32}).dtype(), float32);
  EXPECT_EQ(arange(INT64_MIN, INT64_MAX, INT64_MAX).shape(), Shape{3});
  EXPECT_EQ(arange(10, {.chunks = {4}}).chunks().to_string(), "(4 x 2 + 2,)");
  EXPECT_REFUSED(arange(0, 1, 0), "[arange] step must not be 0; got start 0, stop 1");
  EXPECT_REFUSED(arange(0, 2, 0.5, {.dtype = int32}),
                 "[arange] the dtype must hold every element; got int32 for start 0, step 0.5; try "
                 "astype of the result");
}

TEST(Creation, NumbersFitTheDtype) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto text = [](const char* name, const char* number, const char* dtype) {
    return std::string("[") + name + "] a number must fit the dtype; got " + number + " for " +
           dtype + "; try another dtype";
  };
  EXPECT_REFUSED(full({2}, 300, {.dtype = int8}), text("full", "300", "int8"));
  EXPECT_REFUSED(full({2}, -1, {.dtype = uint8}), text("full", "-1", "uint8"));
  EXPECT_REFUSED(full({2}, 1.5, {.dtype = int8}), text("full", "1.5", "int8"));
  EXPECT_REFUSED(full({2}, nan, {.dtype = int64}), text("full", "nan", "int64"));
  EXPECT_REFUSED(full({2}, 0x1p63, {.dtype = int64}),
                 text("full", "9223372036854775808.0", "int64"));
  EXPECT_REFUSED(full({2}, std::complex<double>(1, 1), {.dtype = float64}),
                 text("full", "(1.0+1.0j)", "float64"));
  EXPECT_REFUSED(full_like(zeros({2}, {.dtype = uint8}), 256), text("full_like", "256", "uint8"));
  EXPECT_REFUSED(asarray(-129, {.dtype = int8}), text("asarray", "-129", "int8"));
  EXPECT_EQ(full({2}, -128.0, {.dtype = int8}).dtype(), int8);
  EXPECT_EQ(full({2}, std::complex<double>(1, 0), {.dtype = uint8}).dtype(), uint8);
  EXPECT_EQ(full({2}, 0x1p63, {.dtype = uint64}).dtype(), uint64);
  EXPECT_EQ(full({2}, 2.5, {.dtype = bool_}).dtype(), bool_);
  const Array i8 = zeros({2}, {.dtype = int8});
  EXPECT_REFUSED(pad(i8, {{1, 1}}, {.value = 300}), text("pad", "300", "int8"));
  EXPECT_REFUSED(pad(i8, {{1, 1}}, {.value = 1.5}), text("pad", "1.5", "int8"));
  EXPECT_REFUSED(pad(zeros({2}), {{1, 1}}, {.value = std::complex<double>(1, 1)}),
                 text("pad", "(1.0+1.0j)", "float64"));
  MapOverlapOptions options;
  options.depth = {1};
  options.value = 128;
  EXPECT_REFUSED(map_overlap(
                     i8, [](const InputBlock&, const OutputBlock&) {}, options),
                 text("map_overlap", "128", "int8"));
}

TEST(Creation, ArangeHoldsEveryElement) {
  const std::uint64_t top = UINT64_MAX;
  EXPECT_EQ(arange(0, 101, 100, {.dtype = int8}).dtype(), int8);
  EXPECT_REFUSED(arange(0, 1000, 100, {.dtype = int8}),
                 "[arange] the dtype must hold every element; got int8 for start 0, step 100; try "
                 "astype of the result");
  EXPECT_REFUSED(arange(-1, 3, {.dtype = uint8}),
                 "[arange] the dtype must hold every element; got uint8 for start -1, step 1; try "
                 "astype of the result");
  EXPECT_EQ(arange(top - 3, top).dtype(), uint64);
  EXPECT_EQ(arange(top - 3, top).shape(), Shape{3});
  EXPECT_EQ(arange(std::uint64_t{3}).dtype(), int64);
  EXPECT_REFUSED(arange(-5, top, std::uint64_t{1} << 62),
                 "[arange] the dtype must hold every element; got uint64 for start -5, step "
                 "4611686018427387904; try astype of the result");
  EXPECT_REFUSED(arange(INT64_MIN, INT64_MAX),
                 "[arange] the length must be a number that fits 63 bits; got start "
                 "-9223372036854775808, stop 9223372036854775807, step 1");
  EXPECT_REFUSED(linspace(-1e308, 1e308, 3),
                 "[linspace] the distance between the bounds must be finite; got -1e+308 and "
                 "1e+308; try a multiple of a narrower range");
}

TEST(Creation, ParametersOfDrawsAreFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_REFUSED(random::uniform({3}, {.low = -1e308, .high = 1e308}),
                 "[uniform] the distance between the bounds must be finite; got low -1e+308 and "
                 "high 1e+308; try a multiple of a narrower range");
  EXPECT_REFUSED(random::normal({3}, {.loc = infinity}), "[normal] loc must be finite; got inf");
  EXPECT_REFUSED(random::normal({3}, {.loc = -std::numeric_limits<double>::quiet_NaN()}),
                 "[normal] loc must be finite; got -nan");
}

TEST(Creation, LinspaceEndsExactly) {
  const Array x = linspace(0, 1, 5);
  EXPECT_EQ(evaluate(x).data, (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(evaluate(linspace(0, 1, 4, {.endpoint = false})).data,
            (std::vector<double>{0, 0.25, 0.5, 0.75}));
  EXPECT_EQ(evaluate(linspace(0, 0.7, 8)).data.back(), 0.7);
  EXPECT_EQ(evaluate(linspace(3, 4, 1)).data, (std::vector<double>{3}));
  EXPECT_EQ(linspace(0, 1, 0).shape(), Shape{0});
  EXPECT_EQ(linspace(0, 1).shape(), Shape{50});
  EXPECT_REFUSED(linspace(0, 1, -1), "[linspace] the count must not be negative; got -1");
}

TEST(Creation, MatricesOfDiagonals) {
  for (const std::int64_t k : {-2, 0, 3}) {
    const Dense lower = testing::make_dense(
        {4, 6}, [&](const Position& i) { return i[1] - i[0] <= k ? 1.0 : 0.0; });
    EXPECT_EQ(evaluate(tri(4, 6, {.k = k})), lower);
    const Array x = reshape(arange(24), {4, 6});
    EXPECT_EQ(evaluate(tril(x, k)), testing::make_dense({4, 6}, [&](const Position& i) {
                return i[1] - i[0] <= k ? static_cast<double>(6 * i[0] + i[1]) : 0.0;
              }));
    EXPECT_EQ(evaluate(triu(x, k)), testing::make_dense({4, 6}, [&](const Position& i) {
                return i[1] - i[0] >= k ? static_cast<double>(6 * i[0] + i[1]) : 0.0;
              }));
    EXPECT_EQ(evaluate(eye(4, 6, {.k = k})), testing::make_dense({4, 6}, [&](const Position& i) {
                return i[1] - i[0] == k ? 1.0 : 0.0;
              }));
    const std::int64_t n = 4 + std::abs(k);
    const Dense diagonal_of = testing::make_dense({n, n}, [&](const Position& i) {
      return i[1] - i[0] == k ? static_cast<double>(1 + std::min(i[0], i[1])) : 0.0;
    });
    EXPECT_EQ(evaluate(diag(arange(1, 5, {.chunks = {3}}), k)), diagonal_of);
    EXPECT_EQ(evaluate(diag(diag(arange(1, 5), k), k)).data, (std::vector<double>{1, 2, 3, 4}));
  }
  EXPECT_EQ(tril(zeros({2, 5, 5}, {.dtype = int8})).dtype(), int8);
  EXPECT_REFUSED(tril(zeros({5})),
                 "[tril] the array must have at least 2 axes; got shape (5,); "
                 "try reshape or expand_dims");
}

TEST(Creation, MeshgridsAreViews) {
  const std::vector<Array> xy = meshgrid({arange(3), arange(4)});
  EXPECT_EQ(xy[0].shape(), (Shape{4, 3}));
  EXPECT_EQ(evaluate(xy[0]).at({2, 1}), 1);
  EXPECT_EQ(evaluate(xy[1]).at({2, 1}), 2);
  const std::vector<Array> ij = meshgrid({arange(3), arange(4), arange(2)}, "ij");
  EXPECT_EQ(ij[1].shape(), (Shape{3, 4, 2}));
  EXPECT_EQ(evaluate(ij[1]).at({2, 1, 0}), 1);
  EXPECT_REFUSED(meshgrid({arange(3)}, "yx"),
                 "[meshgrid] indexing must be \"xy\" or \"ij\"; got \"yx\"");
}

TEST(Creation, WrapsHostMemory) {
  const std::vector<double> values{0, 1, 2, 3, 4, 5};
  const Array x = from_memory(values.data(), {2, 3}, {.chunks = {1, 2}});
  EXPECT_EQ(evaluate(x), (Dense{{2, 3}, values}));
  const Array columns = from_memory(values.data(), {3, 2}, {.strides = {{1, 3}}});
  EXPECT_EQ(evaluate(columns).data, (std::vector<double>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(from_memory(std::span<const double>(values)).shape(), Shape{6});
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{7, 8});
  const std::weak_ptr<std::vector<float>> alive = owner;
  {
    const Array y = from_memory(owner->data(), {2}, {.owner = owner});
    owner.reset();
    EXPECT_FALSE(alive.expired());
    EXPECT_EQ(evaluate(y).data, (std::vector<double>{7, 8}));
  }
  EXPECT_TRUE(alive.expired());
  EXPECT_REFUSED(from_memory(values.data(), {2, 3}, {.strides = {{1}}}),
                 "[from_memory] there must be one stride for each axis; got 1 for shape (2, 3)");
}

TEST(Creation, CopiesValues) {
  EXPECT_EQ(asarray({1.5, 2.5}).dtype(), float64);
  EXPECT_EQ(asarray({1, 2}).dtype(), int32);
  EXPECT_EQ(evaluate(asarray({{1, 2}, {3, 4}})), (Dense{{2, 2}, {1, 2, 3, 4}}));
  EXPECT_EQ(evaluate(asarray(std::vector<bool>{true, false})).data, (std::vector<double>{1, 0}));
  EXPECT_EQ(asarray({1, 2}, {.dtype = float32}).dtype(), float32);
  EXPECT_EQ(asarray(2.5).shape(), Shape{});
  EXPECT_EQ(asarray(std::vector<double>{}).shape(), Shape{0});
  EXPECT_REFUSED(asarray({{1, 2}, {3}}), "[asarray] rows must have one length; got 2 and 1");
}

core::RandomSpec spec_of(const Array& x) {
  return std::get<array::Random>(x.node()->attributes).spec;
}

TEST(Random, SeedsFollowCallsUnlessGiven) {
  random::set_seed(42);
  const Array a = random::normal({3}, {.loc = 1.0, .scale = 2.0});
  const Array b = random::normal({3});
  random::set_seed(42);
  EXPECT_EQ(spec_of(random::normal({3})).seed, spec_of(a).seed);
  EXPECT_EQ(spec_of(random::normal({3})).seed, spec_of(b).seed);
  EXPECT_NE(spec_of(a).seed, spec_of(b).seed);
  EXPECT_EQ(spec_of(random::uniform({3}, {.seed = 7})).seed, 7u);
  EXPECT_EQ(spec_of(a).a, 1.0);
  EXPECT_EQ(spec_of(a).b, 2.0);
}

TEST(Random, IntegersFitTheirDtype) {
  const core::RandomSpec spec = spec_of(random::integers(-5, 5, {4}, {.dtype = int8}));
  EXPECT_EQ(spec.low, -5);
  EXPECT_EQ(spec.range, 10u);
  EXPECT_EQ(spec_of(random::integers(INT64_MIN, INT64_MAX, {4})).range, ~std::uint64_t{0});
  EXPECT_EQ(random::integers(0, 256, {4}, {.dtype = uint8}).dtype(), uint8);
  EXPECT_REFUSED(random::integers(0, 257, {4}, {.dtype = uint8}),
                 "[integers] the range must fit the dtype; got low 0 and high 257 for uint8; try a "
                 "wider dtype");
  EXPECT_REFUSED(random::integers(3, 3, {4}),
                 "[integers] low must lie below high; got low 3 and high 3");
  EXPECT_REFUSED(random::normal({4}, {.dtype = int8}),
                 "[normal] the dtype must be float32 or float64; got int8; try astype of the "
                 "result");
  EXPECT_REFUSED(random::normal({4}, {.scale = -1}),
                 "[normal] scale must be a finite number >= 0; got -1");
}

}  // namespace
}  // namespace tessera
