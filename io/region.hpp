#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/file_system.hpp"
#include "tessera/chunk_grid.hpp"

// Rectangles of C-order arrays, in memory and in files: bounds, contiguous runs, copies, byte
// order. Knows no format.

namespace tessera::io {

/// \throws InvalidArgument unless 0 <= start, 0 <= count and start + count <= shape on every axis.
void check_region(std::string_view where, std::string_view path, const Shape& shape,
                  const Shape& start, const Shape& count);

/// Number of elements of a region that check_region accepted.
std::int64_t region_elements(const Shape& count) noexcept;

/// Calls visit(offset, dense_offset, length) for each contiguous run of a region, in C order, where
/// `offset` counts elements in the array and `dense_offset` in the dense region. Full trailing axes
/// merge.
template <typename Visit>
void for_each_run(const Shape& shape, const Shape& start, const Shape& count, Visit visit) {
  const std::size_t rank = shape.size();
  std::array<std::int64_t, kMaxRank> strides{};
  std::int64_t stride = 1;
  std::int64_t base = 0;
  for (std::size_t axis = rank; axis-- > 0;) {
    if (count[axis] == 0) return;
    strides[axis] = stride;
    base += start[axis] * stride;
    stride *= shape[axis];
  }
  // Axes from `inner` on lie in one run: all of them full but the first.
  std::size_t inner = rank;
  std::int64_t run = 1;
  while (inner > 0) {
    --inner;
    run *= count[inner];
    if (count[inner] != shape[inner]) break;
  }
  std::array<std::int64_t, kMaxRank> index{};
  std::int64_t dense = 0;
  std::int64_t offset = base;
  while (true) {
    visit(offset, dense, run);
    dense += run;
    std::size_t axis = inner;
    while (axis > 0) {
      --axis;
      offset += strides[axis];
      if (++index[axis] < count[axis]) break;
      offset -= strides[axis] * count[axis];
      index[axis] = 0;
      if (axis == 0) return;
    }
    if (inner == 0) return;
  }
}

/// Copies a `count` rectangle at `from_start` of one C-order array to `to_start` of another.
void copy_region(const void* from, const Shape& from_shape, const Shape& from_start, void* to,
                 const Shape& to_shape, const Shape& to_start, const Shape& count,
                 std::size_t itemsize);

/// Reads a region of the C-order array that starts at byte `data_offset` of `file` into a dense
/// buffer. Runs that lie close together are fetched with one read.
void read_dense(const core::File& file, std::uint64_t data_offset, const Shape& shape,
                const Shape& start, const Shape& count, std::size_t itemsize, void* out);

/// Reverses the bytes of each of `elements` values of `width` bytes.
void swap_bytes(void* data, std::size_t elements, std::size_t width) noexcept;

/// Bytes of the numbers an element is made of: half of the item for complex dtypes.
std::size_t component_width(DType dtype) noexcept;

}  // namespace tessera::io
