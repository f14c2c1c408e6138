#pragma once

#include "tessera/array.hpp"

// Matrix factorisations. A matrix cut along its rows only is factored block by block (TSQR); any other
// chunking is gathered into one block, which must fit one device's memory budget.

namespace tessera {

/// The factors of qr(): x = q r.
struct QR {
  Array q;  ///< (M, K), orthonormal columns, K = min(M, N)
  Array r;  ///< (K, N), upper triangular
};
/// Reduced QR factorisation of a matrix (M, N), real or complex; integers are taken as float64. Signs are
/// LAPACK's: the diagonal of r may be negative. Row-chunked matrices with M >= N use TSQR (Demmel, Grigori,
/// Hoemmen, Langou, "Communication-optimal parallel and sequential QR and LU factorizations", 2012) over
/// groups of 8 blocks; q keeps the rows' chunks where each has at least N rows.
/// \throws InvalidArgument for other ranks.
TESSERA_EXPORT QR qr(const Array& x, std::source_location where = std::source_location::current());
/// Only r, for about half of the work.
TESSERA_EXPORT Array qr_r(const Array& x, std::source_location where = std::source_location::current());

/// The factors of svd(): x = u diag(s) vt.
struct SVD {
  Array u;   ///< (M, K), orthonormal columns, K = min(M, N)
  Array s;   ///< (K,), real, largest first
  Array vt;  ///< (K, N), orthonormal rows
};
/// Reduced singular value decomposition of a matrix (M, N), real or complex; integers are taken as float64.
/// A matrix cut along its longer axis only goes through TSQR; any other is gathered into one block.
/// \throws InvalidArgument for other ranks; when computed, OutOfMemory with sizes and budget when the gathered
/// matrix does not fit, LibraryError for NaN or infinity in the matrix.
TESSERA_EXPORT SVD svd(const Array& x, std::source_location where = std::source_location::current());
/// Only the singular values; no vectors are computed.
TESSERA_EXPORT Array svdvals(const Array& x, std::source_location where = std::source_location::current());

}  // namespace tessera
