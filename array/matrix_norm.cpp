#include <algorithm>

#include "array/node.hpp"
#include "array/refuse.hpp"
#include "tessera/decomposition.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/linalg.hpp"

namespace tessera {
namespace {

using array::refuse;

Array as_floating(const Array& x, const std::source_location& where) {
  const bool exact = is_integer(x.dtype()) || x.dtype() == DType::kBool;
  return exact ? array::cast(x, DType::kFloat64, where) : x;
}

// What a matrix has in its singular values, as a 0-d array.
Array of_singular_values(const char* name, const Array& x, const std::source_location& where) {
  if (x.ndim() != 2) {
    refuse(name, "singular values need one matrix, no stack; got shape ", to_string(x.shape()),
           "; try an index");
  }
  return svdvals(x, where);
}

// Below which a singular value counts as 0.
Array cutoff(const Array& x, const Array& singular, const RankOptions& options,
             const std::source_location& where) {
  const auto longest = static_cast<double>(std::max(x.shape()[0], x.shape()[1]));
  const double rtol = options.rtol.value_or(longest * finfo(singular.dtype()).eps);
  return multiply(Operand(max(singular, {}, where), where), Operand(rtol, where));
}

bool is_empty(const Array& x) { return x.size() == 0; }

}  // namespace

Array matrix_norm(const Array& given, const MatrixNormOptions& options,
                  std::source_location where) {
  if (given.ndim() < 2) {
    refuse("matrix_norm", "the array must have at least 2 axes; got ", to_string(given.shape()),
           "; try vector_norm()");
  }
  const Array x = as_floating(given, where);
  const auto sums = [&](int axis) {
    return sum(abs(Operand(x, where)), {.axis = axis, .keepdims = true}, where);
  };
  const auto finished = [&](const Array& norms) {
    return options.keepdims ? norms : squeeze(norms, {-2, -1}, where);
  };
  const auto singular = [&](const auto& reduce) {
    const Array s = of_singular_values("matrix_norm", x, where);
    return finished(expand_dims(reduce(s), {0, 1}, where));
  };
  switch (options.ord) {
    case MatrixNorm::kFrobenius:
      return norm(x, {.axis = {-2, -1}, .keepdims = options.keepdims}, where);
    case MatrixNorm::kNuclear:
      return singular([&](const Array& s) { return sum(s, {}, where); });
    case MatrixNorm::kOne:
      return finished(max(sums(-2), {.axis = -1, .keepdims = true}, where));
    case MatrixNorm::kMinusOne:
      return finished(min(sums(-2), {.axis = -1, .keepdims = true}, where));
    case MatrixNorm::kInfinity:
      return finished(max(sums(-1), {.axis = -2, .keepdims = true}, where));
    case MatrixNorm::kMinusInfinity:
      return finished(min(sums(-1), {.axis = -2, .keepdims = true}, where));
    case MatrixNorm::kTwo:
      return singular([&](const Array& s) { return max(s, {}, where); });
    case MatrixNorm::kMinusTwo:
      break;
  }
  return singular([&](const Array& s) { return min(s, {}, where); });
}

Array matrix_rank(const Array& given, const RankOptions& options, std::source_location where) {
  const Array x = as_floating(given, where);
  const Array singular = of_singular_values("matrix_rank", x, where);
  if (is_empty(singular)) return count_nonzero(singular, {}, where);
  const Array limit = cutoff(x, singular, options, where);
  return count_nonzero(greater(Operand(singular, where), Operand(limit, where)), {}, where);
}

Array pinv(const Array& given, const RankOptions& options, std::source_location where) {
  const Array x = as_floating(given, where);
  if (x.ndim() != 2) {
    refuse("pinv", "singular values need one matrix, no stack; got shape ", to_string(x.shape()),
           "; try an index");
  }
  if (is_empty(x)) return conj(Operand(matrix_transpose(x, where), where));
  const SVD factors = svd(x, where);
  const Operand singular(factors.s, where);
  const Array kept = greater(singular, Operand(cutoff(x, factors.s, options, where), where));
  const Array inverse =
      tessera::where(Operand(kept, where), reciprocal(singular), Operand(0, where));
  const Array v = conj(Operand(matrix_transpose(factors.vt, where), where));
  const Array scaled = multiply(Operand(v, where), Operand(inverse, where));
  return matmul(scaled, conj(Operand(matrix_transpose(factors.u, where), where)), where);
}

}  // namespace tessera
