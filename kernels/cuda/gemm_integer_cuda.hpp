#pragma once

#include <cstdint>

#include "device/cuda/cuda_system.hpp"
#include "kernels/block_view.hpp"
#include "kernels/cuda/kernel_cache.hpp"
#include "tessera/dtype.hpp"

// Products of integers, which wrap around, and of bools (or of ands), in device memory: cuBLAS has
// none of them.

namespace tessera::kernels::cuda {

class IntegerGemm {
 public:
  IntegerGemm() = default;
  /// Starts to compile the kernel for an integer dtype or bool.
  IntegerGemm(KernelCache& cache, DType dtype);

  /// Queues c = a b, or c += a b with `accumulate`, or the same with | and &: a is m x k, b is k x
  /// n, with any strides, c is m x n, dense, in C order. `c` may not overlap an operand.
  void run(device::cuda::CudaQueue& queue, std::int64_t m, std::int64_t n, std::int64_t k,
           const MatrixView& a, const MatrixView& b, std::byte* c, bool accumulate) const;

 private:
  CompiledSource source_;
};

}  // namespace tessera::kernels::cuda
