#pragma once

#include <complex>
#include <type_traits>
#define lapack_complex_float std::complex<float>
#define lapack_complex_double std::complex<double>
#include <lapacke.h>

// LAPACK's routines under one name for all four types, column-major, with the caller's workspaces;
// and the seam at which tests see a routine fail. Private to factor_lapacke.cpp and its test.

namespace tessera::kernels::host {

/// Given what `routine` returned, says what to go by.
using LapackInfoHook = lapack_int (*)(const char* routine, lapack_int info);
/// Replaces the hook for all threads and returns the one before; null: info codes as they are.
LapackInfoHook set_lapack_info_hook(LapackInfoHook hook) noexcept;

template <typename T>
struct LapackNames;
template <>
struct LapackNames<float> {
  static constexpr auto kGeqrf = LAPACKE_sgeqrf_work;
  static constexpr auto kOrgqr = LAPACKE_sorgqr_work;
  static constexpr auto kGesdd = LAPACKE_sgesdd_work;
  static constexpr auto kGesvd = LAPACKE_sgesvd_work;
};
template <>
struct LapackNames<double> {
  static constexpr auto kGeqrf = LAPACKE_dgeqrf_work;
  static constexpr auto kOrgqr = LAPACKE_dorgqr_work;
  static constexpr auto kGesdd = LAPACKE_dgesdd_work;
  static constexpr auto kGesvd = LAPACKE_dgesvd_work;
};
template <>
struct LapackNames<std::complex<float>> {
  static constexpr auto kGeqrf = LAPACKE_cgeqrf_work;
  static constexpr auto kOrgqr = LAPACKE_cungqr_work;
  static constexpr auto kGesdd = LAPACKE_cgesdd_work;
  static constexpr auto kGesvd = LAPACKE_cgesvd_work;
};
template <>
struct LapackNames<std::complex<double>> {
  static constexpr auto kGeqrf = LAPACKE_zgeqrf_work;
  static constexpr auto kOrgqr = LAPACKE_zungqr_work;
  static constexpr auto kGesdd = LAPACKE_zgesdd_work;
  static constexpr auto kGesvd = LAPACKE_zgesvd_work;
};

template <typename T>
struct Lapack {
  using Real = decltype(std::real(T{}));
  static constexpr bool kComplex = !std::is_same_v<T, Real>;
  using Names = LapackNames<T>;

  static lapack_int geqrf(lapack_int m, lapack_int n, T* a, T* tau, T* work, lapack_int lwork) {
    return Names::kGeqrf(LAPACK_COL_MAJOR, m, n, a, m, tau, work, lwork);
  }
  /// The first k columns of q.
  static lapack_int orgqr(lapack_int m, lapack_int k, T* a, const T* tau, T* work,
                          lapack_int lwork) {
    return Names::kOrgqr(LAPACK_COL_MAJOR, m, k, k, a, m, tau, work, lwork);
  }
  /// `rwork` is for complex types only.
  static lapack_int gesdd(char job, lapack_int m, lapack_int n, T* a, Real* s, T* u, T* vt, T* work,
                          lapack_int lwork, Real* rwork, lapack_int* iwork) {
    const lapack_int k = m < n ? m : n;
    if constexpr (kComplex) {
      return Names::kGesdd(LAPACK_COL_MAJOR, job, m, n, a, m, s, u, m, vt, k, work, lwork, rwork,
                           iwork);
    } else {
      return Names::kGesdd(LAPACK_COL_MAJOR, job, m, n, a, m, s, u, m, vt, k, work, lwork, iwork);
    }
  }
  static lapack_int gesvd(char job, lapack_int m, lapack_int n, T* a, Real* s, T* u, T* vt, T* work,
                          lapack_int lwork, Real* rwork) {
    const lapack_int k = m < n ? m : n;
    if constexpr (kComplex) {
      return Names::kGesvd(LAPACK_COL_MAJOR, job, job, m, n, a, m, s, u, m, vt, k, work, lwork,
                           rwork);
    } else {
      return Names::kGesvd(LAPACK_COL_MAJOR, job, job, m, n, a, m, s, u, m, vt, k, work, lwork);
    }
  }
};

}  // namespace tessera::kernels::host
