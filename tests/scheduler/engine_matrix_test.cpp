#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <iostream>
#include <random>

#include "tessera/tessera.hpp"
#include "tests/array/expect_refusal.hpp"

// Matrix functions that are made of others, against loops over whole matrices.

namespace tessera {
namespace {

constexpr std::uint64_t kSeed = 20240718;

template <typename T>
std::vector<T> values(const Array& x) {
  const HostArray host = x.compute();
  const auto span = host.span<T>();
  return {span.begin(), span.end()};
}

// Small whole numbers, so that sums and products are exact.
struct Matrix {
  std::int64_t rows, columns;
  std::vector<double> at;
  double operator()(std::int64_t i, std::int64_t j) const {
    return at[static_cast<std::size_t>(i * columns + j)];
  }
  Array array(std::int64_t chunk) const {
    return copy_memory(at.data(), float64, {rows, columns}, {.chunks = {chunk, chunk}});
  }
};
Matrix draw(std::mt19937_64& engine, std::int64_t rows, std::int64_t columns) {
  Matrix out{rows, columns, {}};
  std::uniform_int_distribution<int> number(-3, 3);
  for (std::int64_t i = 0; i < rows * columns; ++i) out.at.push_back(number(engine));
  return out;
}
Matrix product(const Matrix& a, const Matrix& b) {
  Matrix out{a.rows, b.columns, {}};
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < b.columns; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < a.columns; ++k) sum += a(i, k) * b(k, j);
      out.at.push_back(sum);
    }
  }
  return out;
}

void expect_near(const Array& got, const std::vector<double>& expected, double tolerance) {
  const std::vector<double> numbers = values<double>(got);
  ASSERT_EQ(numbers.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(numbers[i], expected[i], tolerance) << i;
  }
}

TEST(Matrices, PowersAreRepeatedProducts) {
  std::cout << "seed " << kSeed << "\n";
  std::mt19937_64 engine(kSeed);
  for (std::int64_t n = 0; n <= 9; ++n) {
    const Matrix x = draw(engine, 5, 5);
    Matrix power{5, 5, std::vector<double>(25, 0.0)};
    for (std::size_t i = 0; i < 5; ++i) power.at[6 * i] = 1;
    for (std::int64_t k = 0; k < n; ++k) power = product(power, x);
    EXPECT_EQ(values<double>(matrix_power(x.array(2), n)), power.at) << n;
    const Array stack = broadcast_to(x.array(3), {2, 5, 5});
    EXPECT_EQ(values<double>(matrix_power(stack, n)[{1}]), power.at) << n;
  }
  EXPECT_EQ(matrix_power(zeros({3, 3}, {.dtype = int32}), 0).dtype(), int32);
  EXPECT_REFUSED(matrix_power(zeros({2, 3}), 2),
                 "[matrix_power] matrices must be square; got (2, 3)");
  EXPECT_REFUSED(matrix_power(zeros({2, 2}), -1),
                 "[matrix_power] the exponent must not be negative; got -1; try a power of the "
                 "inverse");
  EXPECT_REFUSED(matrix_power(zeros({2, 2}, {.dtype = bool_}), 2),
                 "[matrix_power] the dtype must be numeric; got bool; try astype(int64)");
}

TEST(Matrices, CrossProductsBroadcast) {
  std::mt19937_64 engine(kSeed);
  const Matrix a = draw(engine, 7, 3);
  const Matrix b = draw(engine, 1, 3);
  std::vector<double> expected;
  for (std::int64_t i = 0; i < 7; ++i) {
    for (std::int64_t k = 0; k < 3; ++k) {
      const std::int64_t p = (k + 1) % 3;
      const std::int64_t q = (k + 2) % 3;
      expected.push_back(a(i, p) * b(0, q) - a(i, q) * b(0, p));
    }
  }
  EXPECT_EQ(values<double>(cross(a.array(2), b.array(3))), expected);
  EXPECT_EQ(values<double>(cross(a.array(3), b.array(1)[{0}])), expected);
  const Array along = cross(a.array(3).T(), b.array(3).T(), 0);
  EXPECT_EQ(along.shape(), (Shape{3, 7}));
  EXPECT_EQ(values<double>(along.T()), expected);
  EXPECT_REFUSED(
      cross(zeros({3, 2}), zeros({3, 2})),
      "[cross] the axis must have extent 3 in both; got a (3, 2) and b (3, 2) along axis "
      "-1");
  EXPECT_REFUSED(cross(zeros({3, 3}), zeros({3}), 0),
                 "[cross] the axis must be counted from the end where numbers of axes differ; got "
                 "axis 0 of a (3, 3) and b (3,)");
}

TEST(Matrices, KroneckerProducts) {
  std::mt19937_64 engine(kSeed);
  const Matrix a = draw(engine, 3, 4);
  const Matrix b = draw(engine, 2, 5);
  std::vector<double> expected;
  for (std::int64_t i = 0; i < 6; ++i) {
    for (std::int64_t j = 0; j < 20; ++j) expected.push_back(a(i / 2, j / 5) * b(i % 2, j % 5));
  }
  const Array out = kron(a.array(2), b.array(2));
  EXPECT_EQ(out.shape(), (Shape{6, 20}));
  EXPECT_EQ(values<double>(out), expected);
  EXPECT_EQ(values<std::int32_t>(kron(asarray({1, 2}), asarray({{1}, {10}}))),
            (std::vector<std::int32_t>{1, 2, 10, 20}));
  EXPECT_EQ(kron(full({}, 2.0), full({}, 3.0)).item<double>(), 6.0);
}

TEST(Matrices, NormsRanksAndPseudoInverses) {
  // Singular values 5 and 3.
  const Array x = asarray({{3.0, 2.0, 2.0}, {2.0, 3.0, -2.0}}, {.chunks = {1, 2}});
  const auto norm_of = [&](MatrixNorm ord) { return matrix_norm(x, {.ord = ord}); };
  expect_near(norm_of(MatrixNorm::kFrobenius), {std::sqrt(34.0)}, 1e-14);
  expect_near(norm_of(MatrixNorm::kNuclear), {8.0}, 1e-13);
  expect_near(norm_of(MatrixNorm::kTwo), {5.0}, 1e-13);
  expect_near(norm_of(MatrixNorm::kMinusTwo), {3.0}, 1e-13);
  expect_near(norm_of(MatrixNorm::kOne), {5.0}, 0);
  expect_near(norm_of(MatrixNorm::kMinusOne), {4.0}, 0);
  expect_near(norm_of(MatrixNorm::kInfinity), {7.0}, 0);
  expect_near(norm_of(MatrixNorm::kMinusInfinity), {7.0}, 0);
  EXPECT_EQ(matrix_norm(x, {.keepdims = true, .ord = MatrixNorm::kTwo}).shape(), (Shape{1, 1}));
  EXPECT_EQ(matrix_norm(zeros({4, 2, 3}), {.ord = MatrixNorm::kOne}).shape(), (Shape{4}));
  EXPECT_REFUSED(
      matrix_norm(zeros({4, 2, 3}), {.ord = MatrixNorm::kTwo}),
      "[matrix_norm] singular values need one matrix, no stack; got shape (4, 2, 3); try "
      "an index");
  EXPECT_REFUSED(matrix_norm(zeros({4})),
                 "[matrix_norm] the array must have at least 2 axes; got (4,); try vector_norm()");

  const Array square = matmul(x.T(), x);
  EXPECT_EQ(matrix_rank(square).item<std::int64_t>(), 2);
  EXPECT_EQ(matrix_rank(x, {.rtol = 0.7}).item<std::int64_t>(), 1);
  EXPECT_EQ(matrix_rank(zeros({4, 4})).item<std::int64_t>(), 0);
  const Array inverse = pinv(square);
  expect_near(matmul(matmul(square, inverse), square), values<double>(square), 1e-12);
  expect_near(matmul(matmul(inverse, square), inverse), values<double>(inverse), 1e-12);
  expect_near(matmul(x, pinv(x)), {1, 0, 0, 1}, 1e-13);
  EXPECT_EQ(pinv(zeros({3, 0})).shape(), (Shape{0, 3}));
  const std::complex<double> i(0, 1);
  const Array z = asarray({{1.0 + i, 2.0 * i}});
  const HostArray one = matmul(z, pinv(z)).compute();
  EXPECT_NEAR(std::abs(one.item<std::complex<double>>() - 1.0), 0, 1e-14);
}

TEST(Names, ConstantsAndPromotion) {
  EXPECT_EQ(sin(full({}, pi / 2)).item<double>(), 1.0);
  EXPECT_TRUE(std::isnan(nan));
  EXPECT_GT(inf, 1e308);
  const Array x = zeros({2}, {.dtype = float32});
  EXPECT_EQ(result_type({x, 1.0}), float32);
  EXPECT_EQ(result_type({x, zeros({2}, {.dtype = int32}), 2}), float64);
  EXPECT_EQ(result_type({1, 2.5}), float64);
  EXPECT_REFUSED(result_type({}), "[result_type] there must be at least one operand; got none");
  EXPECT_TRUE(can_cast(x, float64));
  EXPECT_FALSE(can_cast(x, int64));
}

// A product of matrices that do not fit the memory reads each of their blocks for a tile of the
// result and not for each row of it: 16 tiles of 8 x 8 blocks, 32 panels of 8 + 8 blocks each.
TEST(EngineMatrix, AProductThatSpillsReadsPanelsForTiles) {
  constexpr std::int64_t kEdge = 32;
  constexpr std::int64_t kBlocks = 32;
  constexpr std::size_t kBlock = kEdge * kEdge * 8;
  SessionOptions options;
  options.device_memory_bytes = 256 * kBlock;
  options.host_memory_bytes = std::size_t{64} << 20;
  options.workers = 1;
  Session session(options);
  const SessionScope scope(session);
  const std::int64_t n = kEdge * kBlocks;
  const Array a = random::normal({n, n}, {.chunks = {kEdge, kEdge}, .seed = 1}).persist();
  const Array b = random::normal({n, n}, {.chunks = {kEdge, kEdge}, .seed = 2}).persist();
  const Array c = matmul(a, b).persist();
  const RunReport report = session.last_run();
  EXPECT_LE(report.from_host_bytes, 16 * 32 * (8 + 8) * kBlock);
  EXPECT_LE(report.peak_device_bytes[0], *options.device_memory_bytes);
  // Row by row all of b would be read for each of 32 rows, but for what may stay.
  EXPECT_LT(report.from_host_bytes, 31 * (kBlocks * kBlocks - 256) * kBlock / 2);
  const double got = sum(c).item<double>();
  const double expected = sum(sum(a, {.axis = 0}) * sum(b, {.axis = 1})).item<double>();
  EXPECT_NEAR(got, expected, 1e-6 * static_cast<double>(n) * std::sqrt(static_cast<double>(n)));
}

}  // namespace
}  // namespace tessera
