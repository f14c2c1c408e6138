#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/block_view.hpp"
#include "tessera/dtype.hpp"

// Products of two matrices in host memory: OpenBLAS for floats and complex numbers, loops of our
// own for integers (which wrap), bool (or of ands) and products with one vector. Owns the choice of the library's call and
// the layouts it is given; batches, groups of k and symmetry between blocks are the caller's.
//
// Bits depend on extents, dtype and values, never on how an operand lies in memory. OpenBLAS's
// kernels for small matrices differ between transposed and plain operands, so that small operands
// are copied to C order first; its blocked kernels do not (measured with 0.3.21, float32 and
// float64).

namespace tessera::kernels::host {

/// Bytes of 64-byte aligned scratch that gemm() needs for such operands: 0 for large ones with one
/// unit stride each, else up to a copy of both.
std::size_t gemm_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k,
                               const MatrixView& a, const MatrixView& b);

/// c = a b, or c += a b with `accumulate`: a is m x k, b is k x n, c is m x n, dense, in C order,
/// all of `dtype`. With k == 0 the product is zero. `c` may not overlap an operand. \throws
/// InvalidArgument for extents of 2^31 and more, storage-only dtypes and too little scratch.
void gemm(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const MatrixView& a,
          const MatrixView& b, std::byte* c, bool accumulate, std::span<std::byte> scratch);

/// Bytes of scratch that gemm_self_transposed() needs: 0, or a copy of a matrix without a unit
/// stride.
std::size_t gemm_self_transposed_scratch_bytes(DType dtype, std::int64_t n, std::int64_t k,
                                               const MatrixView& a);

/// c = a transpose(a) (without conjugation), or c += with `accumulate`, at half the cost of gemm():
/// a is n x k, c is n x n, dense and exactly symmetric, as it must be on entry to accumulate.
/// \throws InvalidArgument as gemm() does, and for integers and bool.
void gemm_self_transposed(DType dtype, std::int64_t n, std::int64_t k, const MatrixView& a,
                          std::byte* c, bool accumulate, std::span<std::byte> scratch);

/// Configuration and chosen core type of the BLAS library, part of the numeric profile.
std::string blas_info();

}  // namespace tessera::kernels::host
