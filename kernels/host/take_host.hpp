#pragma once

#include <cstdint>
#include <span>

#include "kernels/block_view.hpp"

// Gathers along one axis out of the blocks of a chunked array: integer-array indexing. Owns finding
// the block of each index and moving elements; negative indices are made positive by the caller.

namespace tessera::kernels::host {

/// One source block: its elements and where it begins along the axis.
struct TakePiece {
  ConstBlockView src;
  std::int64_t start = 0;
};

/// Writes dst[..., i, ...] = source[..., indices[i], ...], where pieces, sorted by start, are the
/// parts of the source that are at hand. dst.shape[axis] == indices.size(); other extents and
/// dtypes are equal. \throws InvalidArgument for an index in no piece, and shapes, an axis or
/// dtypes that do not fit.
void take_along(BlockView dst, int axis, std::span<const TakePiece> pieces,
                std::span<const std::int64_t> indices);

}  // namespace tessera::kernels::host
