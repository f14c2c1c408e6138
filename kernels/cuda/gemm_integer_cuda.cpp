#include "kernels/cuda/gemm_integer_cuda.hpp"

#include "kernels/cuda/block_sources.hpp"

namespace tessera::kernels::cuda {

namespace {

/// `Params` of integer_gemm_source().
struct ProductParams {
  const std::byte* a;
  const std::byte* b;
  std::byte* c;
  std::int64_t a_row, a_col, b_row, b_col, m, n, k;
  std::int32_t accumulate, unused;
};

constexpr std::int64_t kSide = 64;

}  // namespace

IntegerGemm::IntegerGemm(KernelCache& cache, DType dtype)
    : source_(cache.prepare(integer_gemm_source(dtype), {"multiply"})) {}

void IntegerGemm::run(device::cuda::CudaQueue& queue, std::int64_t m, std::int64_t n,
                      std::int64_t k, const MatrixView& a, const MatrixView& b, std::byte* c,
                      bool accumulate) const {
  if (m == 0 || n == 0) return;
  const std::int64_t tiles = ((m + kSide - 1) / kSide) * ((n + kSide - 1) / kSide);
  ProductParams params{a.data,
                       b.data,
                       c,
                       a.row_stride,
                       a.col_stride,
                       b.row_stride,
                       b.col_stride,
                       m,
                       n,
                       k,
                       accumulate ? 1 : 0,
                       0};
  const unsigned grid[3] = {static_cast<unsigned>(tiles), 1, 1};
  const unsigned block[3] = {16, 16, 1};
  void* arguments[] = {&params};
  queue.launch(source_.kernel(queue, "multiply"), "multiply", grid, block, 0, arguments);
}

}  // namespace tessera::kernels::cuda
