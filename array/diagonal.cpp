#include <algorithm>

#include "array/node.hpp"
#include "array/refuse.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"

namespace tessera {
namespace {

using array::refuse;

// The diagonal of the last two axes, which are equal and lie in one block: what a mask leaves of
// each row. A product with ones keeps every real number as it is, the sign of 0 and NaN included.
Array masked_diagonal(const Array& x, const std::source_location& where) {
  const std::int64_t n = x.shape().back();
  const Array mask =
      array::make_array("eye", array::Eye{0}, {}, DType::kBool, ChunkGrid::whole({n, n}), where);
  const bool factors = x.dtype() != DType::kBool && !is_complex(x.dtype());
  const Operand rest = factors ? Operand(1, where) : Operand(false, where);
  const Array rows = tessera::where(Operand(mask, where), Operand(x, where), rest);
  if (x.dtype() == DType::kBool) return any(rows, {.axis = -1}, where);
  if (factors) return prod(rows, {.axis = -1, .dtype = x.dtype()}, where);
  return sum(rows, {.axis = -1}, where);
}

// How the diagonal is cut by the blocks along one of the two axes.
AxisChunks cut_by(const AxisChunks& axis, std::int64_t offset, std::int64_t extent, DType dtype) {
  return array::view_grid(ChunkGrid({axis}), {{0, offset, 1}}, {extent}, dtype).axis(0);
}

}  // namespace

// A read that moves along two axes of an array at once does not split into one relation of blocks
// for each axis, on which plans rest. So each block on the diagonal gives its own piece.
Array diagonal(const Array& x, const DiagonalOptions& options, std::source_location where) {
  const int a = array::normalize_axis(options.axis1, x.ndim(), "diagonal");
  const int b = array::normalize_axis(options.axis2, x.ndim(), "diagonal");
  if (a == b) {
    refuse("diagonal", "the two axes must differ; got ", options.axis1, " and ", options.axis2);
  }
  const Array y = moveaxis(x, {a, b}, {-2, -1}, where);
  const std::int64_t down = std::max<std::int64_t>(0, -options.offset);
  const std::int64_t right = std::max<std::int64_t>(0, options.offset);
  const std::int64_t rows = y.shape()[y.shape().size() - 2];
  const std::int64_t columns = y.shape().back();
  const std::int64_t extent = std::max<std::int64_t>(0, std::min(rows - down, columns - right));
  Shape shape(y.shape().begin(), y.shape().end() - 2);
  shape.push_back(extent);
  if (element_count(shape) == 0 || std::holds_alternative<array::Constant>(y.node()->attributes)) {
    array::AffineRead read = array::identity_read(y.ndim() - 2);
    read.push_back({y.ndim() - 2, down, 1});
    read.push_back({y.ndim() - 2, right, 1});
    return array::make_view("diagonal", y, std::move(read), std::move(shape), where);
  }
  const AxisChunks pieces =
      array::refine(cut_by(y.chunks().axis(y.ndim() - 2), down, extent, y.dtype()),
                    cut_by(y.chunks().axis(y.ndim() - 1), right, extent, y.dtype()));
  std::vector<Array> parts;
  for (std::int64_t i = 0; i < pieces.count(); ++i) {
    const Slice row{.start = down + pieces.begin(i), .stop = down + pieces.end(i)};
    const Slice column{.start = right + pieces.begin(i), .stop = right + pieces.end(i)};
    parts.push_back(masked_diagonal(y.at({ellipsis, row, column}, where), where));
  }
  return concat(parts, -1, where);
}

}  // namespace tessera
