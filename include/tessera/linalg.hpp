#pragma once

#include <string_view>
#include <vector>

#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"

// Products of vectors, matrices and stacks of matrices. Operands are converted to their promoted
// dtype, integers included; bool is refused. Results are cut as the operands are along the axes
// they come from. Every function throws InvalidArgument naming both shapes when they do not fit
// each other.

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

}  // namespace tessera
