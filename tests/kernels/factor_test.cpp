#include "kernels/host/factor_lapacke.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "kernels/host/lapack_routines.hpp"
#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::TestScratch;
using test::uniform;

template <typename T>
using Real = decltype(std::abs(T{}));

template <typename T>
T conjugate(T x) {
  if constexpr (kIsComplex<T>) return std::conj(x);
  return x;
}

/// Largest |conj(q)^T q - I|.
template <typename T>
Real<T> orthogonality_error(const TestBlock& q, bool rows) {
  const std::int64_t count = q.shape()[rows ? 0 : 1];
  const std::int64_t length = q.shape()[rows ? 1 : 0];
  const auto element = [&](std::int64_t vector, std::int64_t i) {
    return rows ? q.get<T>({vector, i}) : q.get<T>({i, vector});
  };
  Real<T> worst = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      T dot{0};
      for (std::int64_t l = 0; l < length; ++l) dot += conjugate(element(i, l)) * element(j, l);
      worst = std::max(worst, std::abs(dot - T(i == j ? 1 : 0)));
    }
  }
  return worst;
}

/// Largest |a - left diag(scale) right|, with `scale` of ones if empty.
template <typename T>
Real<T> residual(const TestBlock& a, const TestBlock& left, const std::vector<Real<T>>& scale,
                 const TestBlock& right) {
  Real<T> worst = 0;
  test::for_each_index(a.shape(), [&](const Index& index) {
    T sum{0};
    for (std::int64_t l = 0; l < left.shape()[1]; ++l) {
      const Real<T> s = scale.empty() ? Real<T>{1} : scale[static_cast<std::size_t>(l)];
      sum += left.get<T>({index[0], l}) * s * right.get<T>({l, index[1]});
    }
    worst = std::max(worst, std::abs(sum - a.get<T>(index)));
  });
  return worst;
}

template <typename T>
Real<T> tolerance(const TestBlock& a) {
  return Real<T>(4) * std::numeric_limits<Real<T>>::epsilon() *
         static_cast<Real<T>>(a.shape()[0] + a.shape()[1] + 4);
}

struct Qr {
  TestBlock q;
  TestBlock r;
};

Qr run_qr(TestBlock& a, int threads = 1) {
  const std::int64_t m = a.shape()[0];
  const std::int64_t n = a.shape()[1];
  const std::int64_t k = std::min(m, n);
  Qr result{TestBlock(a.dtype(), {m, k}), TestBlock(a.dtype(), {k, n})};
  TestScratch scratch(qr_scratch_bytes(a.dtype(), m, n, true));
  const BlockView q = result.q.view();
  qr(a.view(), &q, result.r.view(), threads, scratch.span());
  return result;
}

struct Svd {
  TestBlock u;
  TestBlock s;
  TestBlock vt;
};

Svd run_svd(TestBlock& a, int threads = 1) {
  const std::int64_t m = a.shape()[0];
  const std::int64_t n = a.shape()[1];
  const std::int64_t k = std::min(m, n);
  Svd result{TestBlock(a.dtype(), {m, k}), TestBlock(real_dtype(a.dtype()), {k}),
             TestBlock(a.dtype(), {k, n})};
  TestScratch scratch(svd_scratch_bytes(a.dtype(), m, n, true));
  const BlockView u = result.u.view();
  const BlockView vt = result.vt.view();
  svd(a.view(), &u, result.s.view(), &vt, threads, scratch.span());
  return result;
}

const std::vector<std::pair<std::int64_t, std::int64_t>> kShapes = {
    {1, 1}, {5, 5}, {30, 7}, {7, 30}, {1, 9}, {9, 1}, {120, 40}, {40, 90}};

template <typename T>
void check_qr(test::Random& random) {
  for (const auto& [m, n] : kShapes) {
    TestBlock a(dtype_of<T>, {m, n}, random, false);
    a.fill_normal<T>(random);
    const Qr result = run_qr(a);
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " " << m << " x " << n);
    const Real<T> bound = tolerance<T>(a);
    EXPECT_LE(orthogonality_error<T>(result.q, false), bound);
    EXPECT_LE(residual<T>(a, result.q, {}, result.r), bound * 4);
    test::for_each_index(result.r.shape(), [&](const Index& index) {
      if (index[1] > index[0]) return;
      const T element = result.r.get<T>(index);
      ASSERT_EQ(index[1] < index[0] ? std::abs(element) : std::imag(element), 0);
    });
    TestBlock r_only(dtype_of<T>, result.r.shape());
    TestScratch scratch(qr_scratch_bytes(dtype_of<T>, m, n, false));
    qr(a.view(), nullptr, r_only.view(), 1, scratch.span());
    EXPECT_TRUE(r_only.values<T>() == result.r.values<T>());
  }
}

TEST(Qr, IsOrthogonalTriangularAndExactEverywhere) {
  test::Random random(test::kBlockSeed);
  check_qr<float>(random);
  check_qr<double>(random);
  check_qr<std::complex<float>>(random);
  check_qr<std::complex<double>>(random);
}

// numpy.linalg.qr([[3, 1], [4, 2]]): R = [[-5, -2.2], [0, 0.4]].
TEST(Qr, HasLapacksSigns) {
  TestBlock a(DType::kFloat64, {2, 2});
  a.fill<double>([](const Index& i) {
    return std::array{3.0, 1.0, 4.0, 2.0}[static_cast<std::size_t>(2 * i[0] + i[1])];
  });
  const Qr result = run_qr(a);
  EXPECT_NEAR(result.r.get<double>({0, 0}), -5.0, 1e-15);
  EXPECT_NEAR(result.r.get<double>({0, 1}), -2.2, 1e-15);
  EXPECT_NEAR(result.r.get<double>({1, 1}), 0.4, 1e-15);
  EXPECT_NEAR(result.q.get<double>({0, 0}), -0.6, 1e-15);
}

template <typename T>
void check_svd(test::Random& random) {
  for (const auto& [m, n] : kShapes) {
    TestBlock a(dtype_of<T>, {m, n}, random, false);
    a.fill_normal<T>(random);
    const Svd result = run_svd(a);
    SCOPED_TRACE(testing::Message() << dtype_of<T> << " " << m << " x " << n);
    const Real<T> bound = tolerance<T>(a);
    const auto s = result.s.values<Real<T>>();
    EXPECT_LE(orthogonality_error<T>(result.u, false), bound);
    EXPECT_LE(orthogonality_error<T>(result.vt, true), bound);
    EXPECT_LE(residual<T>(a, result.u, s, result.vt), bound * s[0]);
    EXPECT_TRUE(std::ranges::is_sorted(s, std::greater<>{}));
    EXPECT_GE(s.back(), 0);
    TestBlock s_only(real_dtype(dtype_of<T>), result.s.shape());
    TestScratch scratch(svd_scratch_bytes(dtype_of<T>, m, n, false));
    svd(a.view(), nullptr, s_only.view(), nullptr, 1, scratch.span());
    for (std::size_t i = 0; i < s.size(); ++i) {
      EXPECT_NEAR(s_only.get<Real<T>>({static_cast<std::int64_t>(i)}), s[i], bound * s[0]);
    }
  }
}

TEST(Svd, IsOrthogonalSortedAndExactEverywhere) {
  test::Random random(test::kBlockSeed + 1);
  check_svd<float>(random);
  check_svd<double>(random);
  check_svd<std::complex<float>>(random);
  check_svd<std::complex<double>>(random);
}

/// u diag(spectrum) v^T with random orthonormal u and v, so that the singular values are known.
TestBlock with_spectrum(std::int64_t m, std::int64_t n, const std::vector<double>& spectrum,
                        test::Random& random) {
  const auto k = std::ssize(spectrum);
  TestBlock left(DType::kFloat64, {m, k});
  TestBlock right(DType::kFloat64, {n, k});
  left.fill_normal<double>(random);
  right.fill_normal<double>(random);
  const Qr u = run_qr(left);
  const Qr v = run_qr(right);
  TestBlock a(DType::kFloat64, {m, n});
  a.fill<double>([&](const Index& index) {
    double sum = 0;
    for (std::int64_t l = 0; l < k; ++l) {
      sum += u.q.get<double>({index[0], l}) * spectrum[static_cast<std::size_t>(l)] *
             v.q.get<double>({index[1], l});
    }
    return sum;
  });
  return a;
}

TEST(Svd, FindsAKnownSpectrum) {
  test::Random random(test::kBlockSeed + 2);
  std::vector<double> spectrum;
  for (int i = 0; i < 20; ++i) spectrum.push_back(std::pow(10.0, -0.6 * i));
  for (const auto& [m, n] : {std::pair{60, 20}, {25, 70}}) {
    TestBlock a = with_spectrum(m, n, spectrum, random);
    const auto s = run_svd(a).s.values<double>();
    for (std::size_t i = 0; i < spectrum.size(); ++i) EXPECT_NEAR(s[i], spectrum[i], 1e-14);
    for (std::size_t i = spectrum.size(); i < s.size(); ++i) EXPECT_LE(s[i], 1e-14);
  }
  TestBlock zero(DType::kFloat64, {6, 4});
  zero.fill<double>([](const Index&) { return 0.0; });
  EXPECT_EQ(run_svd(zero).s.values<double>(), std::vector<double>(4, 0.0));
}

lapack_int fail_gesdd(const char* routine, lapack_int info) {
  return std::string_view(routine) == "gesdd" ? 1 : info;
}
lapack_int fail_all(const char*, lapack_int) { return 3; }
lapack_int illegal(const char*, lapack_int) { return -4; }

/// Info codes replaced while it lives.
class HookedInfo {
 public:
  explicit HookedInfo(LapackInfoHook hook) : before_(set_lapack_info_hook(hook)) {}
  ~HookedInfo() { set_lapack_info_hook(before_); }

 private:
  LapackInfoHook before_;
};

TEST(Svd, FallsBackToQrIteration) {
  test::Random random(test::kBlockSeed + 3);
  TestBlock a(DType::kComplex128, {30, 20}, random, false);
  a.fill_normal<std::complex<double>>(random);
  const std::vector<double> expected = run_svd(a).s.values<double>();
  const HookedInfo hooked(fail_gesdd);
  const Svd result = run_svd(a);
  const auto s = result.s.values<double>();
  for (std::size_t i = 0; i < s.size(); ++i) EXPECT_NEAR(s[i], expected[i], 1e-13);
  EXPECT_LE(residual<std::complex<double>>(a, result.u, s, result.vt), 1e-13);
}

TEST(Factor, ReportsLapacksFailures) {
  TestBlock a(DType::kFloat64, {3, 3});
  a.fill<double>([](const Index& i) { return static_cast<double>(i[0] == i[1]); });
  {
    const HookedInfo hooked(fail_all);
    EXPECT_EQ(test::thrown_text<LibraryError>([&] { run_svd(a); }),
              "[svd] LAPACK's gesdd and then gesvd must succeed; got info 3 (no convergence); try "
              "scaling the matrix, or another chunking");
  }
  const HookedInfo hooked(illegal);
  EXPECT_EQ(test::thrown_text<LibraryError>([&] { run_qr(a); }),
            "[qr] LAPACK's geqrf must succeed; got info -4 (illegal argument); try scaling the "
            "matrix, or another chunking");
}

TEST(Svd, RefusesNanAndInfinity) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    TestBlock a(DType::kFloat64, {3, 3});
    a.fill<double>([&](const Index& i) { return i[0] == 2 && i[1] == 1 ? bad : 1.0; });
    EXPECT_EQ(test::thrown_text<LibraryError>([&] { run_svd(a); }),
              "[svd] the matrix must be finite, or the iteration does not converge; got NaN or "
              "infinity; try nan_to_num");
  }
}

TEST(Factor, EmptyMatricesHaveEmptyFactors) {
  for (const auto& [m, n] : {std::pair{0, 4}, {4, 0}, {0, 0}}) {
    TestBlock a(DType::kFloat32, {m, n});
    EXPECT_EQ(run_qr(a).q.shape(), (Index{m, 0}));
    EXPECT_EQ(run_svd(a).s.shape(), (Index{0}));
    EXPECT_EQ(svd_scratch_bytes(DType::kFloat32, m, n, true), 0U);
  }
}

TEST(Factor, SeveralThreadsGiveValidFactors) {
  test::Random random(test::kBlockSeed + 4);
  TestBlock a(DType::kFloat64, {400, 150});
  a.fill_normal<double>(random);
  const Qr one = run_qr(a);
  const Qr two = run_qr(a, 2);
  EXPECT_LE(residual<double>(a, two.q, {}, two.r), tolerance<double>(a) * 4);
  const Svd wide = run_svd(a, 2);
  EXPECT_LE(residual<double>(a, wide.u, wide.s.values<double>(), wide.vt),
            tolerance<double>(a) * wide.s.get<double>({0}));
  // Back to one thread afterwards.
  EXPECT_TRUE(run_qr(a).r.values<double>() == one.r.values<double>());
}

TEST(Factor, RefusesWhatItCannotDo) {
  TestBlock a(DType::kFloat64, {3, 2});
  TestBlock whole(DType::kInt32, {3, 2});
  TestBlock r(DType::kFloat64, {2, 2});
  TestBlock s(DType::kFloat64, {2});
  const BlockView view = a.view();
  const auto text = [](auto&& f) { return test::thrown_text<InvalidArgument>(f); };
  EXPECT_EQ(text([&] { qr(whole.view(), nullptr, r.view(), 1, {}); }),
            "[qr] the dtype must be float32, float64, complex64 or complex128; got int32; try "
            "astype(float64)");
  EXPECT_EQ(text([&] { qr(a.view(), nullptr, a.view(), 1, {}); }),
            "[qr] r must have shape (2, 2) and dtype float64; got (3, 2) and float64; try "
            "allocating it so");
  EXPECT_EQ(text([&] { qr(s.view(), nullptr, a.view(), 1, {}); }),
            "[qr] the input must be a matrix; got 1 axes; try reshape");
  EXPECT_NE(
      text([&] { qr(a.view(), nullptr, r.view(), 1, {}); }).find("got 0; try qr_scratch_bytes()"),
      std::string::npos);
  EXPECT_EQ(text([&] { svd(a.view(), &view, s.view(), nullptr, 1, {}); }),
            "[svd] u and vt must be asked for together; got one of them; try both or neither");
}

}  // namespace
}  // namespace tessera::kernels::host
