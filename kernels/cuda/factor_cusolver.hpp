#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cuda/cuda_system.hpp"
#include "kernels/cuda/copy_cuda.hpp"
#include "tessera/dtype.hpp"

// Factorisations of one matrix in device memory by cuSOLVER, for float32, float64, complex64 and
// complex128. Owned here: the column-major copies and workspaces that cuSOLVER wants, all of them
// in the caller's scratch memory, and what its info codes mean. Matrices are dense, in C order.
// Each call waits for its work: only then is it known whether it succeeded.

namespace tessera::kernels::cuda {

class Factoriser {
 public:
  /// Starts to compile what matrices of the dtype, one that cuBLAS has, need beside cuSOLVER.
  Factoriser(KernelCache& cache, DType dtype);

  /// The reduced factorisation a = q r, as host::qr() defines it: a is m x n, q is m x k, r is k x
  /// n, k = min(m, n). Null q: r alone. \throws LibraryError naming the routine and its info code.
  void qr(device::cuda::CudaQueue& queue, std::int64_t m, std::int64_t n, const std::byte* a,
          std::byte* q, std::byte* r, std::byte* scratch) const;

  /// The reduced decomposition a = u diag(s) vt, as host::svd() defines it: u is m x k, s has k
  /// real values, vt is k x n. Null u and vt: s alone. \throws LibraryError for a matrix that holds
  /// NaN or infinity, and when the iteration does not converge.
  void svd(device::cuda::CudaQueue& queue, std::int64_t m, std::int64_t n, const std::byte* a,
           std::byte* u, std::byte* s, std::byte* vt, std::byte* scratch) const;

 private:
  DType dtype_;
  RegionCopier copier_;
  CompiledSource source_;
};

/// Bytes of 256-byte aligned device memory that the calls need; cuSOLVER is asked for its part.
std::size_t qr_scratch_bytes(device::cuda::CudaQueue& queue, DType dtype, std::int64_t m,
                             std::int64_t n, bool with_q);
std::size_t svd_scratch_bytes(device::cuda::CudaQueue& queue, DType dtype, std::int64_t m,
                              std::int64_t n, bool with_vectors);

}  // namespace tessera::kernels::cuda
