#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cuda/cuda_system.hpp"
#include "kernels/cuda/copy_cuda.hpp"
#include "kernels/block_view.hpp"
#include "tessera/dtype.hpp"

// Products of two matrices in device memory by cuBLAS, for float32, float64, complex64 and
// complex128 in full precision. Owned here: the layouts that cuBLAS is given. Batches, groups of k
// and symmetry between blocks are the caller's. Bits depend on extents, dtype, values and on how
// operands lie in memory, which follows from chunk grids alone; never on stream or worker: each
// queue's handle has a workspace of its own, of one size.

namespace tessera::kernels::cuda {

/// Whether gemm() takes the dtype.
bool has_gemm(DType dtype) noexcept;

/// Bytes of 256-byte aligned device memory that gemm() needs for such operands: 0 for those with
/// one unit stride, else a dense copy of each.
std::size_t gemm_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k,
                               const MatrixView& a, const MatrixView& b);

/// Queues c = a b, or c += a b with `accumulate`: a is m x k, b is k x n, c is m x n, dense, in C
/// order. With k == 0 the product is zero. `c` may not overlap an operand.
void gemm(device::cuda::CudaQueue& queue, const RegionCopier& copier, DType dtype,
          TesseraCudaPrecision precision, std::int64_t m, std::int64_t n, std::int64_t k,
          const MatrixView& a, const MatrixView& b, std::byte* c, bool accumulate,
          std::byte* scratch);

}  // namespace tessera::kernels::cuda
