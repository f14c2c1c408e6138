#include "kernels/cuda/gemm_cublas.hpp"

#include <array>

#include "kernels/cuda/cuda_type.hpp"

namespace tessera::kernels::cuda {

namespace {

enum class Layout : std::uint8_t { kPlain, kTransposed, kNeither };

/// Whether rows of `inner` elements, `outer_stride` apart, are a matrix with a leading dimension.
/// Strides along an extent of 1 do not count.
bool has_leading_dimension(std::int64_t inner, std::int64_t inner_stride, std::int64_t outer,
                           std::int64_t outer_stride) {
  return (inner == 1 || inner_stride == 1) && (outer == 1 || outer_stride >= inner);
}

Layout layout_of(std::int64_t rows, std::int64_t cols, const MatrixView& m) {
  if (has_leading_dimension(cols, m.col_stride, rows, m.row_stride)) return Layout::kPlain;
  if (has_leading_dimension(rows, m.row_stride, cols, m.col_stride)) return Layout::kTransposed;
  return Layout::kNeither;
}

std::size_t copy_bytes(DType dtype, std::int64_t rows, std::int64_t cols, const MatrixView& m) {
  if (rows == 0 || cols == 0 || layout_of(rows, cols, m) != Layout::kNeither) return 0;
  return (static_cast<std::size_t>(rows * cols) * itemsize(dtype) + 255) / 256 * 256;
}

/// The operand itself, or a dense copy of it in scratch, which moves on behind it.
MatrixView readable(device::cuda::CudaQueue& queue, const RegionCopier& copier, DType dtype,
                      std::int64_t rows, std::int64_t cols, const MatrixView& m,
                      std::byte*& scratch) {
  const std::size_t bytes = copy_bytes(dtype, rows, cols, m);
  if (bytes == 0) return m;
  const std::array<std::int64_t, 2> shape{rows, cols}, dense{cols, 1},
      strides{m.row_stride, m.col_stride};
  copier.copy(queue, {scratch, dtype, shape, dense}, {m.data, dtype, shape, strides});
  const MatrixView copy{scratch, cols, 1};
  scratch += bytes;
  return copy;
}

/// An operand as cuBLAS reads its transpose: a row-major matrix is the column-major one of its
/// transpose.
struct Operand {
  int op;
  std::int64_t leading;
};

Operand operand(std::int64_t rows, std::int64_t cols, const MatrixView& m) {
  if (layout_of(rows, cols, m) == Layout::kPlain)
    return {TESSERA_CUDA_AS_IS, rows == 1 ? cols : m.row_stride};
  return {TESSERA_CUDA_TRANSPOSED, cols == 1 ? rows : m.col_stride};
}

}  // namespace

bool has_gemm(DType dtype) noexcept { return cuda_type(dtype).has_value(); }

std::size_t gemm_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k,
                               const MatrixView& a, const MatrixView& b) {
  if (m == 0 || n == 0 || k == 0) return 0;
  return copy_bytes(dtype, m, k, a) + copy_bytes(dtype, k, n, b);
}

void gemm(device::cuda::CudaQueue& queue, const RegionCopier& copier, DType dtype,
          TesseraCudaPrecision precision, std::int64_t m, std::int64_t n, std::int64_t k,
          const MatrixView& a, const MatrixView& b, std::byte* c, bool accumulate,
          std::byte* scratch) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) queue.fill(c, 0, static_cast<std::size_t>(m * n) * itemsize(dtype));
    return;
  }
  const MatrixView left = readable(queue, copier, dtype, m, k, a, scratch);
  const MatrixView right = readable(queue, copier, dtype, k, n, b, scratch);
  const Operand first = operand(k, n, right);
  const Operand second = operand(m, k, left);
  const CudaScalar one = cuda_scalar(dtype, 1.0);
  const CudaScalar beta = cuda_scalar(dtype, accumulate ? 1.0 : 0.0);
  // In row-major order c = a b; what cuBLAS sees are the transposes, c' = b' a'.
  const TesseraCudaApi& api = queue.api();
  void* handle = queue.blas();
  device::cuda::check(
      api, TESSERA_CUDA_BLAS,
      api.blas_gemm(handle, *cuda_type(dtype), precision, first.op, second.op, n, m, k, one.bytes,
                    right.data, first.leading, left.data, second.leading, beta.bytes, c, n),
      "blas_gemm");
}

}  // namespace tessera::kernels::cuda
