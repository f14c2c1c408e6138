#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"

// Products of vectors, matrices and stacks of matrices. Operands are converted to their promoted
// dtype, integers included; two of bool are refused. Results are cut as the operands are along the
// axes they come from. Every function throws InvalidArgument naming both shapes when they do not
// fit each other.

namespace tessera {

/// a @ b: (batch..., M, K) with (batch..., K, N) gives (batch..., M, N). Batch axes broadcast; a
/// 1-d operand counts as a row on the left and as a column on the right, and its axis is left out
/// again.
TESSERA_EXPORT Array matmul(const Array& a, const Array& b,
                            std::source_location where = std::source_location::current());
/// Sum of products over the last `axes` axes of `a` and the first of `b`. Result: the other axes of
/// `a`, then those of `b`.
TESSERA_EXPORT Array tensordot(const Array& a, const Array& b, int axes = 2,
                               std::source_location where = std::source_location::current());
/// The same over given pairs of axes.
TESSERA_EXPORT Array tensordot(const Array& a, const Array& b, const std::vector<int>& axes_a,
                               const std::vector<int>& axes_b,
                               std::source_location where = std::source_location::current());
/// Sum of conj(a) * b along an axis that both have; the other axes broadcast.
TESSERA_EXPORT Array vecdot(const Array& a, const Array& b, int axis = -1,
                            std::source_location where = std::source_location::current());
/// NumPy's dot: a product for numbers, else the sum over the last axis of `a` and the last but one
/// (or the only one) of `b`.
TESSERA_EXPORT Array dot(const Array& a, const Array& b,
                         std::source_location where = std::source_location::current());
/// Sum of conj(a) * b over all elements of both, flattened.
TESSERA_EXPORT Array vdot(const Array& a, const Array& b,
                          std::source_location where = std::source_location::current());
/// All products a[i] * b[j] of the flattened arrays, as a matrix.
TESSERA_EXPORT Array outer(const Array& a, const Array& b,
                           std::source_location where = std::source_location::current());
/// Sum of a diagonal; the axes and the dtype rule are those of diagonal() and sum().
TESSERA_EXPORT Array trace(const Array& x, const DiagonalOptions& options = {},
                           std::source_location where = std::source_location::current());
/// The cross product of vectors along an axis of extent 3 that both have; the other axes broadcast.
/// The result has the axis in the same place, cut as in `a`. Where the numbers of axes differ, the
/// axis is to be counted from the end.
TESSERA_EXPORT Array cross(const Array& a, const Array& b, int axis = -1,
                           std::source_location where = std::source_location::current());
/// The Kronecker product: a[i, j] * b in place of every element of `a`. The operand of fewer axes
/// gets more in front.
TESSERA_EXPORT Array kron(const Array& a, const Array& b,
                          std::source_location where = std::source_location::current());
/// The product of `n` matrices x, by repeated squaring: about log2(n) to 2 log2(n) products; the
/// identity for n == 0. x may be a stack (batch..., M, M). \throws InvalidArgument for n < 0.
TESSERA_EXPORT Array matrix_power(const Array& x, std::int64_t n,
                                  std::source_location where = std::source_location::current());
/// Einstein's summation, "ij,jk->ik": labels left out of the result are summed over. Without "->"
/// the result has the labels that occur once, in alphabetical order. Letters only, no ellipsis.
/// Operands are combined from left to right, two at a time. \throws InvalidArgument for subscripts
/// that do not fit the operands.
TESSERA_EXPORT Array einsum(std::string_view subscripts, const std::vector<Array>& operands,
                            std::source_location where = std::source_location::current());

struct VectorNormOptions {
  Axes axis = {};
  bool keepdims = false;
  double ord = 2.0;  ///< any number, infinities included; 0 counts what is not 0
};
/// (sum of abs(x)^ord)^(1/ord) over the axes, taken together; the largest or smallest magnitude for
/// an infinite ord. Real floating-point.
TESSERA_EXPORT Array vector_norm(const Array& x, const VectorNormOptions& options = {},
                                 std::source_location where = std::source_location::current());

/// What matrix_norm() takes of a matrix.
enum class MatrixNorm : std::uint8_t {
  kFrobenius,      ///< square root of the sum of squared magnitudes
  kNuclear,        ///< sum of the singular values
  kOne,            ///< largest column sum of magnitudes
  kMinusOne,       ///< smallest column sum
  kInfinity,       ///< largest row sum
  kMinusInfinity,  ///< smallest row sum
  kTwo,            ///< largest singular value
  kMinusTwo,       ///< smallest singular value
};
struct MatrixNormOptions {
  bool keepdims = false;
  MatrixNorm ord = MatrixNorm::kFrobenius;
};
/// A norm of the matrices in the last two axes. Real floating-point. Norms by singular values take
/// one matrix, no stack, and cost a singular value decomposition.
TESSERA_EXPORT Array matrix_norm(const Array& x, const MatrixNormOptions& options = {},
                                 std::source_location where = std::source_location::current());

struct RankOptions {
  /// Singular values up to this times the largest count as 0. Default: max(M, N) times the dtype's
  /// eps.
  std::optional<double> rtol = std::nullopt;
};
/// How many singular values of the matrix x (M, N) are not 0 (0-d int64).
TESSERA_EXPORT Array matrix_rank(const Array& x, const RankOptions& options = {},
                                 std::source_location where = std::source_location::current());
/// The Moore-Penrose pseudo-inverse (N, M) of the matrix x (M, N), by its singular values. Integers
/// are taken as float64.
TESSERA_EXPORT Array pinv(const Array& x, const RankOptions& options = {},
                          std::source_location where = std::source_location::current());

}  // namespace tessera
