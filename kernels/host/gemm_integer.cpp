#include "kernels/host/gemm_integer.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "kernels/host/visit_dtype.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/gemm_integer.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kDepth = 4;
// Columns of kDepth rows of b and kRows rows of c that stay in L1.
constexpr std::int64_t kColumns = 512;
// Rows of b that stay in L2 while all rows of a pass by.
constexpr std::int64_t kBlockDepth = 128;

// Small types multiply as 32 bits, where unsigned products wrap instead of overflowing int.
template <typename U>
using Arithmetic = std::conditional_t<(sizeof(U) < 4), std::uint32_t, U>;

template <typename U, bool kLogical>
HWY_INLINE HWY_ATTR U add_product(U c, U a, U b) {
  if constexpr (kLogical) {
    return static_cast<U>(c | (a & b));
  } else {
    using A = Arithmetic<U>;
    return static_cast<U>(static_cast<A>(c) + static_cast<A>(a) * static_cast<A>(b));
  }
}

/// kHeight rows of c from kTerms rows of b.
template <typename U, bool kLogical, std::int64_t kHeight, std::int64_t kTerms>
HWY_ATTR void add_outer(std::int64_t n, const U (&a)[kHeight][kTerms], const U* __restrict b,
                        std::int64_t ldb, U* __restrict c, std::int64_t ldc) {
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < kHeight; ++i) {
      U sum = c[i * ldc + j];
      for (std::int64_t t = 0; t < kTerms; ++t) {
        sum = add_product<U, kLogical>(sum, a[i][t], b[t * ldb + j]);
      }
      c[i * ldc + j] = sum;
    }
  }
}

template <typename U, bool kLogical, std::int64_t kHeight>
HWY_ATTR void add_rows(std::int64_t n, std::int64_t k, const U* a, std::int64_t a_row,
                       std::int64_t a_col, const U* b, std::int64_t ldb, U* c, std::int64_t ldc) {
  std::int64_t t = 0;
  for (; t + kDepth <= k; t += kDepth) {
    U terms[kHeight][kDepth];
    for (std::int64_t i = 0; i < kHeight; ++i) {
      for (std::int64_t u = 0; u < kDepth; ++u) terms[i][u] = a[i * a_row + (t + u) * a_col];
    }
    add_outer<U, kLogical, kHeight, kDepth>(n, terms, b + t * ldb, ldb, c, ldc);
  }
  for (; t < k; ++t) {
    U terms[kHeight][1];
    for (std::int64_t i = 0; i < kHeight; ++i) terms[i][0] = a[i * a_row + t * a_col];
    add_outer<U, kLogical, kHeight, 1>(n, terms, b + t * ldb, ldb, c, ldc);
  }
}

template <typename U, bool kLogical>
HWY_ATTR void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const U* a,
                       std::int64_t a_row, std::int64_t a_col, const U* b, U* c) {
  for (std::int64_t j = 0; j < n; j += kColumns) {
    const std::int64_t columns = std::min(kColumns, n - j);
    for (std::int64_t t = 0; t < k; t += kBlockDepth) {
      const std::int64_t depth = std::min(kBlockDepth, k - t);
      const U* from = b + t * n + j;
      std::int64_t i = 0;
      for (; i + kRows <= m; i += kRows) {
        add_rows<U, kLogical, kRows>(columns, depth, a + i * a_row + t * a_col, a_row, a_col, from,
                                     n, c + i * n + j, n);
      }
      for (; i < m; ++i) {
        add_rows<U, kLogical, 1>(columns, depth, a + i * a_row + t * a_col, a_row, a_col, from, n,
                                 c + i * n + j, n);
      }
    }
  }
}

HWY_ATTR void multiply_any(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k,
                           const std::byte* a, std::int64_t a_row, std::int64_t a_col,
                           const std::byte* b, std::byte* c) {
  const auto run = [&]<typename U, bool kLogical>() HWY_ATTR {
    multiply<U, kLogical>(m, n, k, reinterpret_cast<const U*>(a), a_row, a_col,
                          reinterpret_cast<const U*>(b), reinterpret_cast<U*>(c));
  };
  if (dtype == DType::kBool) return run.template operator()<std::uint8_t, true>();
  switch (itemsize(dtype)) {
    case 1:
      return run.template operator()<std::uint8_t, false>();
    case 2:
      return run.template operator()<std::uint16_t, false>();
    case 4:
      return run.template operator()<std::uint32_t, false>();
    default:
      return run.template operator()<std::uint64_t, false>();
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(multiply_any);

void gemm_integer(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const std::byte* a,
                  std::int64_t a_row, std::int64_t a_col, const std::byte* b, std::byte* c) {
  HWY_DYNAMIC_DISPATCH(multiply_any)(dtype, m, n, k, a, a_row, a_col, b, c);
}

}  // namespace tessera::kernels::host
#endif
