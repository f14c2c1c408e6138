#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/block_view.hpp"

// Factorisations of one matrix in host memory by LAPACK. Owns the copies and workspaces that LAPACK
// wants, all of them in the caller's scratch memory, whose exact size is asked of LAPACK
// beforehand; knows nothing of matrices in several blocks, which are built from these.
//
// dtypes: float32, float64, complex64, complex128. `threads` is the number of threads LAPACK may
// use for the call; with more than one, no other BLAS or LAPACK call of the process runs meanwhile.
// It is part of the numeric profile: another number may give other bits.

namespace tessera::kernels::host {

/// Bytes of 64-byte aligned scratch that qr() needs for an m x n matrix.
/// \throws InvalidArgument for other dtypes and for extents of 2^31 and more.
std::size_t qr_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, bool with_q);

/// Writes the reduced factorisation a = q r: a is m x n with any strides, q is m x k with
/// orthonormal columns, r is k x n, upper triangular, k = min(m, n); both dense in C order. Null q:
/// r alone. Signs are LAPACK's (as in NumPy): the diagonal of r is real for every dtype but may be
/// negative. \throws InvalidArgument as qr_scratch_bytes() does, and for outputs or scratch that do
/// not fit. \throws LibraryError naming LAPACK's routine and its info code.
void qr(ConstBlockView a, const BlockView* q, BlockView r, int threads,
        std::span<std::byte> scratch);

/// Bytes of 64-byte aligned scratch that svd() needs for an m x n matrix.
/// \throws InvalidArgument as qr_scratch_bytes() does.
std::size_t svd_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, bool with_vectors);

/// Writes the reduced decomposition a = u diag(s) vt: u is m x k, s has k values of the real dtype,
/// largest first, vt is k x n (the conjugate transpose of v), k = min(m, n); all dense in C order.
/// Null u and vt: s alone. Divide and conquer (gesdd); should it not converge, QR iteration
/// (gesvd). \throws InvalidArgument as svd_scratch_bytes() does, for outputs or scratch that do not
/// fit, and when only one of u and vt is asked for. \throws LibraryError for a matrix that holds
/// NaN or infinity, and when neither method converges, naming the info code.
void svd(ConstBlockView a, const BlockView* u, BlockView s, const BlockView* vt, int threads,
         std::span<std::byte> scratch);

}  // namespace tessera::kernels::host
