#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tessera/dtype.hpp"

// Borrowed views of the memory of one block, or of a region of it: the operands of every block
// kernel. A view owns nothing; its memory, shape and strides must outlive the call it is passed to.

namespace tessera::kernels {

/// Elements that a kernel may read: first element, dtype, extents, and strides in elements (0:
/// broadcast, negative: flipped). A 0-d view has empty shape and strides and one element.
struct ConstBlockView {
  const std::byte* data = nullptr;
  DType dtype = DType::kFloat64;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;
};

/// Elements that a kernel may write. No two index tuples may name the same element.
struct BlockView {
  std::byte* data = nullptr;
  DType dtype = DType::kFloat64;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;

  operator ConstBlockView() const noexcept { return {data, dtype, shape, strides}; }
};

/// A matrix that a product reads: first element, and strides in elements of any sign, 0 where it is broadcast.
struct MatrixView {
  const std::byte* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
};

/// Product of the extents of a view that exists in memory, so that it cannot overflow.
inline std::int64_t extent_product(std::span<const std::int64_t> shape) noexcept {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) product *= extent;
  return product;
}

/// A dense block as outer x along an axis x inner elements.
struct AroundAxis {
  AroundAxis(std::span<const std::int64_t> shape, int axis)
      : outer(extent_product(shape.first(static_cast<std::size_t>(axis)))),
        along(shape[static_cast<std::size_t>(axis)]),
        inner(extent_product(shape.subspan(static_cast<std::size_t>(axis) + 1))) {}
  std::int64_t outer, along, inner;
};

}  // namespace tessera::kernels
