#pragma once

#include <cstdint>

#include "tessera/dtype.hpp"

namespace tessera::kernels::host {

/// c += a b for integers modulo 2^bits, or c |= a b of bools: a is m x k with any strides, b and c
/// are in C order with rows of n elements. Vectorised for this processor.
void gemm_integer(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const std::byte* a,
                  std::int64_t a_row, std::int64_t a_col, const std::byte* b, std::byte* c);

}  // namespace tessera::kernels::host
