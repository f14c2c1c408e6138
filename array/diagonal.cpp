#include <algorithm>

#include "array/node.hpp"
#include "array/refuse.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {

Array diagonal(const Array& x, const DiagonalOptions& options, std::source_location where) {
  const int a = array::normalize_axis(options.axis1, x.ndim(), "diagonal");
  const int b = array::normalize_axis(options.axis2, x.ndim(), "diagonal");
  if (a == b) {
    array::refuse("diagonal", "the two axes must differ; got ", options.axis1, " and ",
                  options.axis2);
  }
  const Array y = moveaxis(x, {a, b}, {-2, -1}, where);
  // The negative of the least number has no int64.
  const std::int64_t down = std::max<std::int64_t>(0, -std::max(options.offset, -INT64_MAX));
  const std::int64_t right = std::max<std::int64_t>(0, options.offset);
  const std::int64_t rows = y.shape()[y.shape().size() - 2];
  const std::int64_t columns = y.shape().back();
  const std::int64_t extent = std::max<std::int64_t>(0, std::min(rows - down, columns - right));
  Shape shape(y.shape().begin(), y.shape().end() - 2);
  shape.push_back(extent);
  array::AffineRead read = array::identity_read(y.ndim() - 2);
  read.push_back({y.ndim() - 2, down, 1});
  read.push_back({y.ndim() - 2, right, 1});
  return array::make_view("diagonal", y, std::move(read), std::move(shape), where);
}

}  // namespace tessera
