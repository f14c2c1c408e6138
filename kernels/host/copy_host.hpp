#pragma once

#include "kernels/block_view.hpp"
#include "tessera/scalar.hpp"

// Copies between block memories: the work of slices, transposes, rechunks, halos and broadcasts.
// These functions own how bytes travel through the caches (merged axes, packed transposes, stores
// that bypass the cache); they know nothing of which region belongs to which block, and never
// convert elements.

namespace tessera::kernels::host {

/// Writes every element of `src` to the same index of `dst`. src.shape == dst.shape, equal dtypes
/// (storage-only ones included); strides of `src` may be anything, those of `dst` must name
/// distinct elements. The memories must not overlap. \throws InvalidArgument when shapes or dtypes
/// differ.
void copy_region(BlockView dst, ConstBlockView src);

/// Writes `value`, converted as `astype` converts it, to every element of `dst`.
void fill_region(BlockView dst, const Scalar& value);

}  // namespace tessera::kernels::host
