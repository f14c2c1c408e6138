#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/block_view.hpp"

// Sorting of the lanes of a block along one axis. Owns the order of elements and the scratch memory
// that a lane needs; merging the blocks of a chunked axis is built from these by the caller.
//
// Order: NumPy's, ascending with NaN last; complex numbers by real part, then imaginary part, those
// with a NaN part behind the others. Descending order reverses everything but the place of NaN, and
// keeps equal elements in their order, as stability asks. -0.0 equals 0.0.

namespace tessera::kernels::host {

/// Bytes of 64-byte aligned scratch that sort() and argsort() need for a block of this dtype and
/// shape: the lanes of one cache line with their keys and positions, not the block.
std::size_t sort_scratch_bytes(DType dtype, std::span<const std::int64_t> shape, int axis);

/// Writes the lanes of `in` along `axis`, sorted (stably). out.shape == in.shape, same dtype; `out`
/// may be the same view as `in`, but may not overlap it otherwise. \throws InvalidArgument for an
/// axis, shape or dtype that does not fit, or too little scratch.
void sort(ConstBlockView in, int axis, bool descending, BlockView out,
          std::span<std::byte> scratch);

/// Writes the positions (int64) along `axis` that would sort each lane, stably. out.shape ==
/// in.shape. \throws InvalidArgument as sort() does.
void argsort(ConstBlockView in, int axis, bool descending, BlockView out,
             std::span<std::byte> scratch);

/// Where the positions that topk() reports come from.
struct TopkPositions {
  /// Added to positions along the axis: where the block starts in the array.
  std::int64_t first = 0;
  /// int64 view of in.shape whose elements are reported instead, to merge earlier results; may be
  /// null.
  const ConstBlockView* of = nullptr;
};

/// Bytes of 64-byte aligned scratch that topk() needs.
std::size_t topk_scratch_bytes(DType dtype, std::span<const std::int64_t> shape, int axis,
                               std::int64_t k);

/// Writes the k largest elements of each lane, largest first, or for negative k the -k smallest,
/// smallest first, and their positions. Order is that of an ascending sort read from either end, so
/// that NaN counts as largest; of equal elements the one at the smaller position comes first.
/// Extent of outputs along `axis`: min(|k|, in.shape[axis]). Either output may be null. \throws
/// InvalidArgument as sort() does, and for k == 0.
void topk(ConstBlockView in, int axis, std::int64_t k, const BlockView* values,
          const BlockView* positions, const TopkPositions& named, std::span<std::byte> scratch);

}  // namespace tessera::kernels::host
