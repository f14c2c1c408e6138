#include <gtest/gtest.h>

#include "tessera/tessera.hpp"

// Cases that once went wrong, each on its own.

namespace tessera {
namespace {

TEST(EngineRegression, ReducesAGeneratedRangeThatNothingElseReads) {
  EXPECT_EQ(sum(arange(10, {.chunks = {3}})).item<std::int64_t>(), 45);
  const HostArray rows = max(expand_dims(arange(4), -1), {.axis = -1}).compute();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(rows.span<std::int64_t>()[static_cast<std::size_t>(i)], i);
}

TEST(EngineRegression, ProductWithManyOutputBlocksIsReadFromItsChain) {
  const Array x = random::normal({256, 256}, {.chunks = {16, 16}, .seed = 4}).persist();
  const Array small = matmul(x, x + 1.0);
  const Array large = matmul(rechunk(x, {64, 64}), rechunk(x, {64, 64}) + 1.0);
  EXPECT_LT(max(abs(small - large)).item<double>(), 1e-11);
}

TEST(EngineDecomposition, FactorsOfTallWideAndSquareMatricesMultiplyBack) {
  const double tolerance = 1e-12;
  const struct {
    Shape shape;
    Chunks chunks;
  } cases[] = {{{5000, 40}, {300, 40}}, {{40, 900}, {40, 70}}, {{90, 70}, {16, 20}},
               {{300, 200}, {7, 200}},  {{1, 1}, {1, 1}},      {{64, 64}, {64, 64}},
               {{257, 3}, {1, 3}}};
  for (const auto& c : cases) {
    SCOPED_TRACE(to_string(c.shape));
    const Array x = random::normal(c.shape, {.chunks = c.chunks, .seed = 9});
    const std::int64_t k = std::min(c.shape[0], c.shape[1]);
    const QR f = qr(x);
    EXPECT_LT(max(abs(matmul(f.q, f.r) - x)).item<double>(), tolerance);
    EXPECT_LT(max(abs(matmul(transpose(f.q), f.q) - eye(k))).item<double>(), tolerance);
    EXPECT_EQ(max(abs(tril(f.r, -1))).item<double>(), 0.0);
    const SVD d = svd(x);
    EXPECT_LT(max(abs(matmul(d.u * d.s, d.vt) - x)).item<double>(), tolerance);
    EXPECT_LT(max(abs(matmul(d.vt, transpose(d.vt)) - eye(k))).item<double>(), tolerance);
    EXPECT_LT(max(abs(d.s - svdvals(x))).item<double>(), tolerance);
  }
}

TEST(EngineDecomposition, GatheredMatrixThatDoesNotFitIsRefusedWithSizes) {
  Session session({.devices = "host", .device_memory_bytes = std::size_t{8} << 20, .workers = 1});
  const Array x = random::normal({2000, 2000}, {.chunks = {250, 250}, .seed = 1});
  try {
    session.compute({svd(x).s});
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_EQ(e.budget_bytes, std::size_t{8} << 20);
    EXPECT_GT(e.requested_bytes, std::size_t{32} << 20);
  }
}

TEST(EngineDecomposition, RefusesNaNAndOtherRanks) {
  EXPECT_THROW(svd(ones({3})), InvalidArgument);
  EXPECT_THROW(svd(full({4, 4}, std::nan(""))).s.compute(), LibraryError);
}

}  // namespace
}  // namespace tessera
