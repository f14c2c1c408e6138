#include <algorithm>
#include <cmath>
#include <optional>

#include "array/node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/linalg.hpp"

namespace tessera {
namespace {

using array::refuse;

DType product_dtype(const char* name, const Array& a, const Array& b) {
  const DType dtype = result_type(a.dtype(), b.dtype());
  if (dtype == DType::kBool) {
    refuse(name, "the dtype must be numeric; got ", dtype, "; try astype(int64)");
  }
  array::check_arithmetic(name, dtype);
  return dtype;
}

[[noreturn]] void refuse_inner(const char* name, const Array& a, const Array& b) {
  refuse(name, "inner extents must match; got a ", to_string(a.shape()), " and b ",
         to_string(b.shape()), "; try transpose");
}

// sum(conj(a) * b) over the last axis, in the promoted dtype.
Array sum_of_products(const char* name, const Array& a, const Array& b, bool conjugate,
                      const std::source_location& where) {
  const DType dtype = product_dtype(name, a, b);
  const Array left = array::cast(a, dtype, where);
  const Array right = array::cast(b, dtype, where);
  const Array factor = conjugate ? conj(Operand(left, where)) : left;
  const Array products = multiply(Operand(factor, where), Operand(right, where));
  return sum(products, {.axis = -1, .dtype = dtype}, where);
}

// The grid of a product of stacks of matrices; batch extents of 1 take the other's.
ChunkGrid product_grid(const Array& a, const Array& b) {
  const int rank = a.ndim();
  std::vector<AxisChunks> axes;
  for (int i = 0; i < rank - 2; ++i) {
    const AxisChunks& x = a.chunks().axis(i);
    const AxisChunks& y = b.chunks().axis(i);
    axes.push_back(x.extent() == y.extent() ? array::refine(x, y) : x.extent() == 1 ? y : x);
  }
  axes.push_back(a.chunks().axis(rank - 2));
  axes.push_back(b.chunks().axis(rank - 1));
  return ChunkGrid(std::move(axes));
}

// The matrices of x under `count` batch axes in all.
Array with_batch_axes(const Array& x, int count, const std::source_location& where) {
  std::vector<int> added;
  for (int i = x.ndim() - 2; i < count; ++i) added.push_back(static_cast<int>(added.size()));
  return expand_dims(x, added, where);
}

Array multiply_matrices(const Array& a, const Array& b, const std::source_location& where) {
  const DType dtype = product_dtype("matmul", a, b);
  const int batch = std::max(a.ndim(), b.ndim()) - 2;
  const Array left = with_batch_axes(array::cast(a, dtype, where), batch, where);
  const Array right = with_batch_axes(array::cast(b, dtype, where), batch, where);
  const Shape batch_a(left.shape().begin(), left.shape().end() - 2);
  const Shape batch_b(right.shape().begin(), right.shape().end() - 2);
  broadcast_shapes(batch_a, batch_b, "matmul");
  ChunkGrid grid = product_grid(left, right);
  if (left.shape().back() == 0) {
    return array::make_array("matmul", array::Constant{0}, {}, dtype, std::move(grid), where);
  }
  return array::make_array("matmul", array::Matmul{}, {left, right}, dtype, std::move(grid), where);
}

std::vector<int> others(int rank, const std::vector<int>& axes) {
  std::vector<int> out;
  for (int i = 0; i < rank; ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) out.push_back(i);
  }
  return out;
}

std::int64_t extent_over(const Array& x, const std::vector<int>& axes) {
  std::int64_t out = 1;
  for (const int axis : axes) out *= x.shape()[static_cast<std::size_t>(axis)];
  return out;
}

std::vector<int> joined(std::vector<int> a, const std::vector<int>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<int> checked_axes(const Array& x, const std::vector<int>& axes) {
  array::normalize_axes(Axes(axes), x.ndim(), "tensordot");
  std::vector<int> out;
  for (const int axis : axes) out.push_back(array::normalize_axis(axis, x.ndim(), "tensordot"));
  return out;
}

}  // namespace

Array matmul(const Array& a, const Array& b, std::source_location where) {
  if (a.ndim() == 0 || b.ndim() == 0) {
    refuse("matmul", "operands must have at least 1 axis; got a ", to_string(a.shape()), " and b ",
           to_string(b.shape()), "; try multiply()");
  }
  const std::size_t row = b.shape().size() - std::min<std::size_t>(2, b.shape().size());
  if (a.shape().back() != b.shape()[row]) refuse_inner("matmul", a, b);
  if (a.ndim() == 1 && b.ndim() == 1) return sum_of_products("matmul", a, b, false, where);
  if (a.ndim() == 1) {
    return squeeze(multiply_matrices(expand_dims(a, 0, where), b, where), -2, where);
  }
  if (b.ndim() == 1) {
    return squeeze(multiply_matrices(a, expand_dims(b, 1, where), where), -1, where);
  }
  return multiply_matrices(a, b, where);
}

Array tensordot(const Array& a, const Array& b, int axes, std::source_location where) {
  if (axes < 0 || axes > a.ndim() || axes > b.ndim()) {
    refuse("tensordot", "the number of axes must lie between 0 and both operands' own; got ", axes,
           " for a ", to_string(a.shape()), " and b ", to_string(b.shape()));
  }
  std::vector<int> last;
  std::vector<int> first;
  for (int i = 0; i < axes; ++i) {
    last.push_back(a.ndim() - axes + i);
    first.push_back(i);
  }
  return tensordot(a, b, last, first, where);
}

Array tensordot(const Array& a, const Array& b, const std::vector<int>& axes_a,
                const std::vector<int>& axes_b, std::source_location where) {
  const std::vector<int> summed_a = checked_axes(a, axes_a);
  const std::vector<int> summed_b = checked_axes(b, axes_b);
  bool fits = summed_a.size() == summed_b.size();
  for (std::size_t i = 0; i < summed_a.size() && fits; ++i) {
    fits = a.shape()[static_cast<std::size_t>(summed_a[i])] ==
           b.shape()[static_cast<std::size_t>(summed_b[i])];
  }
  if (!fits) {
    refuse("tensordot", "extents of the summed axes must match; got axes ",
           array::list_text(axes_a), " of a ", to_string(a.shape()), " and ",
           array::list_text(axes_b), " of b ", to_string(b.shape()));
  }
  const std::vector<int> kept_a = others(a.ndim(), summed_a);
  const std::vector<int> kept_b = others(b.ndim(), summed_b);
  const Array rows = reshape(permute_dims(a, joined(kept_a, summed_a), where),
                             {extent_over(a, kept_a), extent_over(a, summed_a)}, where);
  const Array columns = reshape(permute_dims(b, joined(summed_b, kept_b), where),
                                {extent_over(b, summed_b), extent_over(b, kept_b)}, where);
  Shape shape;
  for (const int axis : kept_a) shape.push_back(a.shape()[static_cast<std::size_t>(axis)]);
  for (const int axis : kept_b) shape.push_back(b.shape()[static_cast<std::size_t>(axis)]);
  return reshape(matmul(rows, columns, where), shape, where);
}

Array vecdot(const Array& a, const Array& b, int axis, std::source_location where) {
  const int i = array::normalize_axis(axis, a.ndim(), "vecdot");
  const int j = array::normalize_axis(axis, b.ndim(), "vecdot");
  if (a.shape()[static_cast<std::size_t>(i)] != b.shape()[static_cast<std::size_t>(j)]) {
    refuse_inner("vecdot", a, b);
  }
  return sum_of_products("vecdot", moveaxis(a, i, -1, where), moveaxis(b, j, -1, where), true,
                         where);
}

Array dot(const Array& a, const Array& b, std::source_location where) {
  if (a.ndim() == 0 || b.ndim() == 0) return multiply(Operand(a, where), Operand(b, where));
  if (a.ndim() <= 2 && b.ndim() <= 2) return matmul(a, b, where);
  const int row = std::max(0, b.ndim() - 2);
  if (a.shape().back() != b.shape()[static_cast<std::size_t>(row)]) refuse_inner("dot", a, b);
  return tensordot(a, b, {a.ndim() - 1}, {row}, where);
}

Array vdot(const Array& a, const Array& b, std::source_location where) {
  if (a.size() != b.size()) refuse_inner("vdot", a, b);
  return sum_of_products("vdot", ravel(a, where), ravel(b, where), true, where);
}

Array outer(const Array& a, const Array& b, std::source_location where) {
  const Array column = expand_dims(ravel(a, where), 1, where);
  return multiply(Operand(column, where), Operand(ravel(b, where), where));
}

Array trace(const Array& x, const DiagonalOptions& options, std::source_location where) {
  return array::in_name_of("trace",
                           [&] { return sum(diagonal(x, options, where), {.axis = -1}, where); });
}

Array cross(const Array& a, const Array& b, int axis, std::source_location where) {
  const int i = array::normalize_axis(axis, a.ndim(), "cross");
  const int j = array::normalize_axis(axis, b.ndim(), "cross");
  if (a.shape()[static_cast<std::size_t>(i)] != 3 || b.shape()[static_cast<std::size_t>(j)] != 3) {
    refuse("cross", "the axis must have extent 3 in both; got a ", to_string(a.shape()), " and b ",
           to_string(b.shape()), " along axis ", axis);
  }
  if (axis >= 0 && a.ndim() != b.ndim()) {
    refuse("cross", "the axis must be counted from the end where numbers of axes differ; got axis ",
           axis, " of a ", to_string(a.shape()), " and b ", to_string(b.shape()));
  }
  const DType dtype = product_dtype("cross", a, b);
  const Array left = array::cast(a, dtype, where);
  const Array right = array::cast(b, dtype, where);
  const auto turned = [&](const Array& x, int along, std::int64_t first) {
    return take(x, std::vector<std::int64_t>{first, (first + 1) % 3, (first + 2) % 3}, along,
                where);
  };
  const auto product = [&](std::int64_t first) {
    return multiply(Operand(turned(left, i, first), where),
                    Operand(turned(right, j, 3 - first), where));
  };
  return subtract(Operand(product(1), where), Operand(product(2), where));
}

Array kron(const Array& a, const Array& b, std::source_location where) {
  const DType dtype = product_dtype("kron", a, b);
  const int rank = std::max(a.ndim(), b.ndim());
  // Axis k of `a` becomes axis 2k, that of `b` 2k + 1; then the pairs are merged.
  const auto spread = [&](const Array& x, int place) {
    Shape shape(static_cast<std::size_t>(2 * rank), 1);
    for (int k = 0; k < x.ndim(); ++k) {
      shape[static_cast<std::size_t>(2 * (rank - x.ndim() + k) + place)] =
          x.shape()[static_cast<std::size_t>(k)];
    }
    return reshape(array::cast(x, dtype, where), shape, where);
  };
  const Array products = multiply(Operand(spread(a, 0), where), Operand(spread(b, 1), where));
  Shape shape;
  for (std::size_t k = 0; k < products.shape().size(); k += 2) {
    shape.push_back(products.shape()[k] * products.shape()[k + 1]);
  }
  return reshape(products, shape, where);
}

Array matrix_power(const Array& x, std::int64_t n, std::source_location where) {
  if (x.ndim() < 2 || x.shape().back() != x.shape()[x.shape().size() - 2]) {
    refuse("matrix_power", "matrices must be square; got ", to_string(x.shape()));
  }
  if (n < 0) {
    refuse("matrix_power", "the exponent must not be negative; got ", n,
           "; try a power of the inverse");
  }
  const DType dtype = product_dtype("matrix_power", x, x);
  if (n == 0) {
    const ChunkGrid grid({x.chunks().axis(x.ndim() - 2), x.chunks().axis(x.ndim() - 1)});
    return broadcast_to(array::make_array("matrix_power", array::Eye{0}, {}, dtype, grid, where),
                        x.shape(), where);
  }
  std::optional<Array> out;
  Array square = x;
  for (;; n >>= 1) {
    if ((n & 1) != 0) out = out ? matmul(*out, square, where) : square;
    if (n <= 1) return *out;
    square = matmul(square, square, where);
  }
}

Array vector_norm(const Array& x, const VectorNormOptions& options, std::source_location where) {
  const ReduceOptions over{.axis = options.axis, .keepdims = options.keepdims};
  const SumOptions summed{.axis = options.axis, .keepdims = options.keepdims};
  if (options.ord == 2.0) return norm(x, over, where);
  const Array floating = is_integer(x.dtype()) || x.dtype() == DType::kBool
                             ? array::cast(x, DType::kFloat64, where)
                             : x;
  const Array size = abs(Operand(floating, where));
  if (std::isnan(options.ord)) refuse("vector_norm", "ord must be a number; got NaN");
  if (std::isinf(options.ord)) {
    return options.ord > 0 ? max(size, over, where) : min(size, over, where);
  }
  if (options.ord == 0.0) {
    return array::cast(count_nonzero(size, over, where), size.dtype(), where);
  }
  if (options.ord == 1.0) return sum(size, summed, where);
  const Array powers = pow(Operand(size, where), Operand(options.ord, where));
  return pow(Operand(sum(powers, summed, where), where), Operand(1.0 / options.ord, where));
}

}  // namespace tessera
