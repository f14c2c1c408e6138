#include "kernels/host/matvec.hpp"

#include <algorithm>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/matvec.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t kPartials = 16;
// Partial sums of so many rows of float64 fill 32 KiB of L1.
constexpr std::int64_t kBlockRows = 256;

/// Rows are contiguous.
template <typename T>
HWY_ATTR void multiply_rows(std::int64_t rows, std::int64_t depth, const T* a,
                            std::int64_t row_stride, const T* __restrict x, T* __restrict y,
                            bool accumulate) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* __restrict row = a + r * row_stride;
    T partials[kPartials] = {};
    std::int64_t k = 0;
    for (; k + kPartials <= depth; k += kPartials) {
      for (std::int64_t p = 0; p < kPartials; ++p) partials[p] += row[k + p] * x[k + p];
    }
    for (std::int64_t p = 0; k + p < depth; ++p) partials[p] += row[k + p] * x[k + p];
    for (std::int64_t half = kPartials / 2; half > 0; half /= 2) {
      for (std::int64_t p = 0; p < half; ++p) partials[p] += partials[p + half];
    }
    y[r] = accumulate ? y[r] + partials[0] : partials[0];
  }
}

/// Columns are contiguous: a block of rows takes its products column by column.
template <typename T>
HWY_ATTR void multiply_columns(std::int64_t rows, std::int64_t depth, const T* a,
                               std::int64_t depth_stride, const T* __restrict x, T* __restrict y,
                               bool accumulate) {
  alignas(64) T partials[kPartials][kBlockRows];
  for (std::int64_t r0 = 0; r0 < rows; r0 += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, rows - r0);
    for (auto& partial : partials) std::fill_n(partial, count, T{0});
    for (std::int64_t k = 0; k < depth; ++k) {
      const T* __restrict column = a + r0 + k * depth_stride;
      T* __restrict partial = partials[k % kPartials];
      for (std::int64_t r = 0; r < count; ++r) partial[r] += column[r] * x[k];
    }
    for (std::int64_t half = kPartials / 2; half > 0; half /= 2) {
      for (std::int64_t p = 0; p < half; ++p) {
        for (std::int64_t r = 0; r < count; ++r) partials[p][r] += partials[p + half][r];
      }
    }
    for (std::int64_t r = 0; r < count; ++r) {
      y[r0 + r] = accumulate ? y[r0 + r] + partials[0][r] : partials[0][r];
    }
  }
}

template <typename T>
HWY_ATTR void multiply(std::int64_t rows, std::int64_t depth, const std::byte* a,
                       std::int64_t row_stride, std::int64_t depth_stride, const std::byte* x,
                       std::byte* y, bool accumulate) {
  const T* matrix = reinterpret_cast<const T*>(a);
  const T* vector = reinterpret_cast<const T*>(x);
  T* result = reinterpret_cast<T*>(y);
  if (depth_stride == 1 || depth == 1) {
    multiply_rows(rows, depth, matrix, row_stride, vector, result, accumulate);
  } else {
    multiply_columns(rows, depth, matrix, depth_stride, vector, result, accumulate);
  }
}

HWY_ATTR void multiply_any(DType dtype, std::int64_t rows, std::int64_t depth, const std::byte* a,
                           std::int64_t row_stride, std::int64_t depth_stride, const std::byte* x,
                           std::byte* y, bool accumulate) {
  dtype == DType::kFloat32
      ? multiply<float>(rows, depth, a, row_stride, depth_stride, x, y, accumulate)
      : multiply<double>(rows, depth, a, row_stride, depth_stride, x, y, accumulate);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(multiply_any);

void matvec(DType dtype, std::int64_t rows, std::int64_t depth, const std::byte* a,
            std::int64_t row_stride, std::int64_t depth_stride, const std::byte* x, std::byte* y,
            bool accumulate) {
  HWY_DYNAMIC_DISPATCH(multiply_any)
  (dtype, rows, depth, a, row_stride, depth_stride, x, y, accumulate);
}

}  // namespace tessera::kernels::host
#endif
