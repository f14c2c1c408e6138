#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/reduce_op.hpp"
#include "device/cuda/cuda_system.hpp"

namespace tessera::kernels::cuda {

/// Marks in device memory that kernels leave where a nan-arg-reduction found no number.
class MissingPlaces {
 public:
  /// Bytes of marks for so many reductions.
  static std::size_t bytes(std::size_t reductions) noexcept {
    return (reductions * sizeof(int) + 255) / 256 * 256;
  }

  /// `marks` has room for one mark for each of `ops`; queues that there are none yet.
  MissingPlaces(device::cuda::CudaQueue& queue, std::byte* marks, std::vector<core::ReduceOp> ops);
  int* marks() const noexcept { return reinterpret_cast<int*>(marks_); }
  /// Waits for the queue. \throws InvalidArgument when there is a mark.
  void check() const;

 private:
  device::cuda::CudaQueue& queue_;
  std::byte* marks_;
  std::vector<core::ReduceOp> ops_;
};

}  // namespace tessera::kernels::cuda
