#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/block_view.hpp"
#include "kernels/cuda/kernel_cache.hpp"

namespace tessera::kernels::cuda {

/// Gathers along an axis, for elements of one size. Implementation: take_cuda.cpp.
class TakeKernels {
 public:
  TakeKernels(KernelCache& cache, std::size_t item_bytes);

  /// A block that holds elements start .. start + extent of the axis.
  struct Source {
    const std::byte* data;
    std::int64_t start, extent;
  };
  /// Queues what of the block `out` lies in the source: `positions`, in device memory, has one for
  /// each place along the axis.
  void queue(device::cuda::CudaQueue& queue, const AroundAxis& out, std::byte* to,
             const std::byte* positions, const Source& from) const;

 private:
  std::size_t item_bytes_;
  std::array<CompiledSource, 5> sources_;  // by the unit that is moved
};

}  // namespace tessera::kernels::cuda
