#include "kernels/host/gemm_openblas.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <thread>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::TestScratch;
using test::uniform;

MatrixView matrix(TestBlock& block) {
  const BlockView view = block.view();
  return {view.data, view.strides[0], view.strides[1]};
}

void multiply(TestBlock& a, TestBlock& b, TestBlock& c, bool accumulate) {
  const std::int64_t m = a.shape()[0];
  const std::int64_t k = a.shape()[1];
  const std::int64_t n = b.shape()[1];
  TestScratch scratch(gemm_scratch_bytes(a.dtype(), m, n, k, matrix(a), matrix(b)));
  gemm(a.dtype(), m, n, k, matrix(a), matrix(b), c.data(), accumulate, scratch.span());
}

/// A copy of the elements in another layout.
template <typename T>
TestBlock laid_out_as(const TestBlock& from, TestBlock to) {
  to.fill<T>([&](const Index& index) { return from.get<T>(index); });
  return to;
}

template <typename T>
TestBlock column_major(const TestBlock& from, TestBlock& keep) {
  keep = TestBlock(from.dtype(), {from.shape()[1], from.shape()[0]});
  keep.fill<T>([&](const Index& index) { return from.get<T>({index[1], index[0]}); });
  return keep;
}

template <typename T>
using Exact = std::conditional_t<kIsComplex<T>, std::complex<long double>, long double>;

template <typename T>
void check_float_products(test::Random& random) {
  using Real = decltype(std::abs(T{}));
  const long double eps = std::numeric_limits<Real>::epsilon();
  for (int round = 0; round < 60; ++round) {
    const std::int64_t most = round % 12 == 0 ? 130 : 24;
    const std::int64_t m = uniform(random, round % 10 == 0 ? 0 : 1, most);
    const std::int64_t n = uniform(random, round % 9 == 0 ? 0 : 1, most);
    const std::int64_t k = uniform(random, round % 8 == 0 ? 0 : 1, most);
    TestBlock a(dtype_of<T>, {m, k}, random, true);
    TestBlock b(dtype_of<T>, {k, n}, random, true);
    a.fill_normal<T>(random);
    b.fill_normal<T>(random);
    TestBlock c(dtype_of<T>, {m, n});
    const bool accumulate = round % 2 == 0;
    // What beta = 0 meets must not matter.
    c.fill<T>([&](const Index&) {
      return accumulate ? TestBlock::normal<T>(random, 0) : std::numeric_limits<Real>::quiet_NaN();
    });
    const TestBlock before = c;
    multiply(a, b, c, accumulate);
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " round " << round);
    test::for_each_index(c.shape(), [&](const Index& index) {
      Exact<T> sum(0);
      long double size = 0;
      if (accumulate) sum = static_cast<Exact<T>>(before.get<T>(index));
      for (std::int64_t i = 0; i < k; ++i) {
        const auto x = static_cast<Exact<T>>(a.get<T>({index[0], i}));
        const auto y = static_cast<Exact<T>>(b.get<T>({i, index[1]}));
        sum += x * y;
        size += std::abs(x) * std::abs(y);
      }
      const long double bound = static_cast<long double>(k + 4) * eps * (size + std::abs(sum));
      ASSERT_LE(std::abs(static_cast<Exact<T>>(c.get<T>(index)) - sum), bound);
    });
  }
}

TEST(Gemm, FloatProductsAreWithinTheErrorBound) {
  test::Random random(test::kBlockSeed);
  check_float_products<float>(random);
  check_float_products<double>(random);
  check_float_products<std::complex<float>>(random);
  check_float_products<std::complex<double>>(random);
}

template <typename T>
void check_integer_products(test::Random& random) {
  for (int round = 0; round < 12; ++round) {
    const std::int64_t m = uniform(random, 0, 20);
    const std::int64_t n = round == 0 ? 1100 : uniform(random, 0, 40);
    const std::int64_t k = round == 1 ? 300 : uniform(random, 0, 40);
    TestBlock a(dtype_of<T>, {m, k}, random, true);
    TestBlock b(dtype_of<T>, {k, n}, random, true);
    TestBlock c(dtype_of<T>, {m, n});
    const auto draw = [&](const Index&) {
      if constexpr (std::is_same_v<T, bool>) return uniform(random, 0, 9) == 0;
      return static_cast<T>(random());
    };
    a.fill<T>(draw);
    b.fill<T>(draw);
    c.fill<T>(draw);
    const TestBlock before = c;
    const bool accumulate = round % 2 == 0;
    multiply(a, b, c, accumulate);
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " round " << round);
    test::for_each_index(c.shape(), [&](const Index& index) {
      std::uint64_t sum = accumulate ? static_cast<std::uint64_t>(before.get<T>(index)) : 0;
      for (std::int64_t i = 0; i < k; ++i) {
        sum += static_cast<std::uint64_t>(a.get<T>({index[0], i})) *
               static_cast<std::uint64_t>(b.get<T>({i, index[1]}));
      }
      ASSERT_EQ(c.get<T>(index), static_cast<T>(sum));
    });
  }
}

TEST(Gemm, IntegersWrapAndBoolsAreOredExactly) {
  test::Random random(test::kBlockSeed + 1);
  test::on_each_target([&] {
    check_integer_products<bool>(random);
    check_integer_products<std::int8_t>(random);
    check_integer_products<std::uint8_t>(random);
    check_integer_products<std::int16_t>(random);
    check_integer_products<std::uint16_t>(random);
    check_integer_products<std::int32_t>(random);
    check_integer_products<std::uint32_t>(random);
    check_integer_products<std::int64_t>(random);
    check_integer_products<std::uint64_t>(random);
  });
}

template <typename T>
void check_layout_bits(std::int64_t m, std::int64_t n, std::int64_t k, test::Random& random) {
  TestBlock a(dtype_of<T>, {m, k});
  TestBlock b(dtype_of<T>, {k, n});
  a.fill_normal<T>(random);
  b.fill_normal<T>(random);
  TestBlock expected(dtype_of<T>, {m, n});
  multiply(a, b, expected, false);
  TestBlock a_stored(dtype_of<T>, {});
  TestBlock b_stored(dtype_of<T>, {});
  column_major<T>(a, a_stored);
  column_major<T>(b, b_stored);
  TestBlock a_odd = laid_out_as<T>(a, TestBlock(dtype_of<T>, {m, k}, random, false));
  TestBlock b_odd = laid_out_as<T>(b, TestBlock(dtype_of<T>, {k, n}, random, false));
  for (const MatrixView& left : {matrix(a), MatrixView{a_stored.data(), 1, m}, matrix(a_odd)}) {
    for (const MatrixView& right : {matrix(b), MatrixView{b_stored.data(), 1, k}, matrix(b_odd)}) {
      TestBlock c(dtype_of<T>, {m, n});
      TestScratch scratch(gemm_scratch_bytes(dtype_of<T>, m, n, k, left, right));
      gemm(dtype_of<T>, m, n, k, left, right, c.data(), false, scratch.span());
      ASSERT_TRUE(c.values<T>() == expected.values<T>())
          << dtype_of<T> << " (" << m << ", " << k << ") x (" << k << ", " << n << ")";
    }
  }
}

TEST(Gemm, BitsDoNotDependOnTheLayoutOfOperands) {
  test::Random random(test::kBlockSeed + 2);
  for (int round = 0; round < 30; ++round) {
    const std::int64_t most = round < 25 ? 40 : 200;
    const std::int64_t m = uniform(random, 1, most);
    const std::int64_t n = uniform(random, 1, most);
    const std::int64_t k = uniform(random, 1, most);
    check_layout_bits<float>(m, n, k, random);
    check_layout_bits<double>(m, n, k, random);
    check_layout_bits<std::complex<float>>(m, n, k, random);
    check_layout_bits<std::complex<double>>(m, n, k, random);
  }
  check_layout_bits<double>(101, 100, 100, random);
  test::on_each_target([&] {
    for (const std::int64_t k : {1, 15, 400}) {
      check_layout_bits<double>(1, 300, k, random);
      check_layout_bits<double>(700, 1, k, random);
      check_layout_bits<float>(1, 1, k, random);
    }
  });
}

template <typename T>
void check_self_transposed(std::int64_t n, std::int64_t k, test::Random& random) {
  using Real = decltype(std::abs(T{}));
  TestBlock a(dtype_of<T>, {n, k});
  a.fill_normal<T>(random);
  TestBlock stored(dtype_of<T>, {});
  column_major<T>(a, stored);
  TestBlock odd = laid_out_as<T>(a, TestBlock(dtype_of<T>, {n, k}, random, false));
  TestBlock at(dtype_of<T>, {k, n});
  at.fill<T>([&](const Index& index) { return a.get<T>({index[1], index[0]}); });
  TestBlock product(dtype_of<T>, {n, n});
  multiply(a, at, product, false);
  std::vector<T> first;
  for (const MatrixView& view : {matrix(a), MatrixView{stored.data(), 1, n}, matrix(odd)}) {
    TestBlock c(dtype_of<T>, {n, n});
    TestScratch scratch(gemm_self_transposed_scratch_bytes(dtype_of<T>, n, k, view));
    gemm_self_transposed(dtype_of<T>, n, k, view, c.data(), false, scratch.span());
    if (first.empty()) first = c.values<T>();
    EXPECT_TRUE(c.values<T>() == first);
    gemm_self_transposed(dtype_of<T>, n, k, view, c.data(), true, scratch.span());
    const Real bound = static_cast<Real>(8 * (k + 1)) * std::numeric_limits<Real>::epsilon();
    test::for_each_index(c.shape(), [&](const Index& index) {
      ASSERT_EQ(c.get<T>(index), c.get<T>({index[1], index[0]}));
      const T expected = product.get<T>(index) * Real{2};
      ASSERT_LE(std::abs(c.get<T>(index) - expected), bound * (std::abs(expected) + Real(k)));
    });
  }
}

TEST(GemmSelfTransposed, IsExactlySymmetricAndEqualsTheProduct) {
  test::Random random(test::kBlockSeed + 3);
  for (const auto& [n, k] : {std::pair{1, 1}, {7, 3}, {64, 65}, {130, 20}, {5, 200}}) {
    check_self_transposed<float>(n, k, random);
    check_self_transposed<double>(n, k, random);
    check_self_transposed<std::complex<float>>(n, k, random);
    check_self_transposed<std::complex<double>>(n, k, random);
  }
}

TEST(GemmSelfTransposed, EmptySumsAreZero) {
  TestBlock c(DType::kFloat64, {2, 2});
  c.fill<double>([](const Index&) { return 5.0; });
  gemm_self_transposed(DType::kFloat64, 2, 0, {}, c.data(), true, {});
  EXPECT_EQ(c.values<double>(), std::vector<double>(4, 5.0));
  gemm_self_transposed(DType::kFloat64, 2, 0, {}, c.data(), false, {});
  EXPECT_EQ(c.values<double>(), std::vector<double>(4, 0.0));
}

TEST(Gemm, CallsFromSeveralThreadsGiveTheBitsOfOne) {
  test::Random random(test::kBlockSeed + 4);
  TestBlock a(DType::kFloat64, {150, 150});
  a.fill_normal<double>(random);
  TestBlock expected(DType::kFloat64, {150, 150});
  multiply(a, a, expected, false);
  std::vector<TestBlock> results(4, TestBlock(DType::kFloat64, {150, 150}));
  std::vector<std::jthread> threads;
  for (TestBlock& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) multiply(a, a, result, false);
    });
  }
  threads.clear();
  for (const TestBlock& result : results) {
    EXPECT_TRUE(result.values<double>() == expected.values<double>());
  }
}

TEST(Gemm, RefusesWhatItCannotDo) {
  const auto text = [](auto&& f) { return test::thrown_text<InvalidArgument>(f); };
  TestBlock a(DType::kFloat64, {2, 3});
  EXPECT_EQ(text([&] { gemm(DType::kFloat16, 1, 1, 1, {}, {}, nullptr, false, {}); }),
            "[gemm] the dtype must have arithmetic; got float16; try astype(float32)");
  EXPECT_EQ(
      text([&] { gemm(DType::kFloat64, std::int64_t{1} << 31, 1, 1, {}, {}, nullptr, false, {}); }),
      "[gemm] extents of a block must be below 2^31; got 2147483648; try smaller chunks");
  EXPECT_EQ(text([&] {
              gemm(DType::kFloat64, 2, 2, 3, matrix(a), {a.data(), 1, 3}, a.data(), false, {});
            }),
            "[gemm] the scratch memory must hold 64 bytes; got 0; try gemm_scratch_bytes()");
  EXPECT_EQ(text([&] { gemm_self_transposed(DType::kInt32, 1, 1, {}, nullptr, false, {}); }),
            "[gemm_self_transposed] the dtype must be floating or complex; got int32; try gemm");
}

TEST(BlasInfo, NamesTheLibraryAndTheCore) {
  EXPECT_NE(blas_info().find("OpenBLAS"), std::string::npos);
  EXPECT_NE(blas_info().find(", core "), std::string::npos);
}

#if defined(__x86_64__)
// OpenBLAS takes its oldest kernels on processors that it does not know.
TEST(BlasCore, FitsTheProcessor) {
  if (std::getenv("OPENBLAS_CORETYPE") != nullptr) GTEST_SKIP() << "OPENBLAS_CORETYPE is set";
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    GTEST_SKIP() << "a processor without AVX2";
  EXPECT_EQ(blas_info().find(", core Prescott"), std::string::npos) << blas_info();
}
#endif

}  // namespace
}  // namespace tessera::kernels::host
