#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tessera/chunk_grid.hpp"

// What an array may be at most. Shapes are checked here, once, where arrays are made, so that
// products of their extents and byte sizes need no check later on.

namespace tessera::core {

/// Most chunks along an axis that are listed one by one: a GiB of offsets.
inline constexpr std::int64_t kMaxListedChunks = std::int64_t{1} << 27;

/// Bytes of an array with elements of `element_bytes`, where an extent of 0 counts as 1, so that
/// strides fit too. \throws InvalidArgument naming `where`, the shape and the dtype when they do
/// not fit 63 bits or an extent is negative.
std::int64_t array_bytes(std::string_view where, const Shape& shape, DType dtype,
                         std::size_t element_bytes);
inline std::int64_t array_bytes(std::string_view where, const Shape& shape, DType dtype) {
  return array_bytes(where, shape, dtype, itemsize(dtype));
}

/// Sum of two parts of an extent. \throws InvalidArgument naming `where` when it does not fit.
std::int64_t checked_extent(std::string_view where, std::int64_t a, std::int64_t b);

}  // namespace tessera::core
