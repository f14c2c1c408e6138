#pragma once

#include <cstdint>

#include "tessera/dtype.hpp"

namespace tessera::kernels::host {

/// y = a x, or y += a x with `accumulate`, for float32 and float64: a is rows x depth with one unit
/// stride, x and y are contiguous. Each element is the sum of 16 partial sums over every 16th
/// product, combined pairwise, whichever way a lies in memory; OpenBLAS's gemv adds up the two ways
/// differently, and its gemm takes 2.5 times as long.
void matvec(DType dtype, std::int64_t rows, std::int64_t depth, const std::byte* a,
            std::int64_t row_stride, std::int64_t depth_stride, const std::byte* x, std::byte* y,
            bool accumulate);

}  // namespace tessera::kernels::host
