#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "device/cuda/cuda_system.hpp"
#include "kernels/block_view.hpp"
#include "kernels/cuda/kernel_cache.hpp"
#include "kernels/task_geometry.hpp"
#include "tessera/scalar.hpp"

// Copies between regions of device memory: the work of slices, transposes, rechunks and halos.
// Owned here: how bytes travel (merged axes, wide loads, tiles through shared memory). Not owned:
// which region belongs to which block (assemble_cuda.cpp). Elements are never converted.

namespace tessera::kernels::cuda {

/// Copies and fills for elements of one size, a power of two up to 16 bytes. Cheap to copy; thread
/// safe.
class RegionCopier {
 public:
  RegionCopier() = default;
  /// Starts to compile what elements of this size need, unless that has been done.
  RegionCopier(KernelCache& cache, std::size_t item_bytes);

  /// Queues a copy of every element of `src` to the same index of `dst`; both lie in memory of the
  /// queue's device. Equal shapes and dtypes of this copier's item size; strides of `src` may be
  /// anything, those of `dst` must name distinct elements. The memories must not overlap.
  void copy(device::cuda::CudaQueue& queue, const BlockView& dst, const ConstBlockView& src) const;
  /// Queues copying what `piece` holds of the box's elements to where they lie in memory whose
  /// element `out` is the box's first one.
  void copy_piece(device::cuda::CudaQueue& queue, const ArrayRead& from, const TaskBox& box,
                  const Piece& piece, std::byte* out, const Extents& strides) const;
  /// Queues writing `value`, converted as `astype` converts it, to every element of `dst`.
  void fill(device::cuda::CudaQueue& queue, const BlockView& dst, const Scalar& value) const;

 private:
  static constexpr std::size_t kWidths = 5;  // 1, 2, 4, 8 and 16 bytes
  std::size_t item_bytes_ = 0;
  std::array<CompiledSource, kWidths> sources_;
};

}  // namespace tessera::kernels::cuda
