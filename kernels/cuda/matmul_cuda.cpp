#include <algorithm>

#include "core/storage_dtype.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/gemm_cublas.hpp"
#include "kernels/cuda/gemm_integer_cuda.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/matmul_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;

class MatmulTask : public TaskKernel {
 public:
  MatmulTask(KernelCache& cache, const MatmulSpec& spec) : MatmulTask(spec) {
    if (has_gemm(spec.dtype)) {
      copier_ = RegionCopier(cache, itemsize(spec.dtype));
      if (spec.pairs && is_floating(spec.dtype))
        mirror_ = cache.prepare(mirror_source(itemsize(spec.dtype)), {"mirror_lower"});
    } else {
      integer_ = IntegerGemm(cache, spec.dtype);
    }
  }

  explicit MatmulTask(const MatmulSpec& spec) : dtype_(spec.dtype), geometry_(spec) {}

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    geometry_.for_each_product(args, [&](const MatmulGeometry::Product& p) {
      if (!has_gemm(dtype_)) {
        integer_.run(queue, p.m, p.n, p.k, p.a, p.b, p.c, args.chained);
        return;
      }
      gemm(queue, copier_, dtype_, queue.system().precision(), p.m, p.n, p.k, p.a, p.b, p.c,
           args.chained, args.scratch);
      // Blocks on the diagonal are to equal their transposes exactly, as the host's do.
      if (p.on_diagonal && mirror_ && p.m > 1) mirror(queue, p.c, p.m);
    });
  }

  // The most that any block needs; only extents and which strides are 1 matter.
  std::size_t most_scratch() const {
    std::size_t most = 0;
    if (!has_gemm(dtype_)) return most;
    geometry_.for_each_size([&](const MatmulGeometry::Product& p) {
      most = std::max(most, gemm_scratch_bytes(dtype_, p.m, p.n, p.k, p.a, p.b));
    });
    return most;
  }

 private:
  void mirror(CudaQueue& queue, std::byte* c, std::int64_t n) const {
    struct {
      std::byte* c;
      std::int64_t n;
    } params{c, n};
    const auto tiles = static_cast<unsigned>((n + 31) / 32);
    const unsigned grid[3] = {tiles, tiles, 1};
    const unsigned block[3] = {32, 8, 1};
    void* arguments[] = {&params};
    queue.launch(mirror_.kernel(queue, "mirror_lower"), "mirror_lower", grid, block, 0, arguments);
  }

  DType dtype_;
  MatmulGeometry geometry_;
  RegionCopier copier_;
  IntegerGemm integer_;
  CompiledSource mirror_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_matmul_cuda(KernelCache& cache, const MatmulSpec& spec) {
  if (!core::has_arithmetic(spec.dtype)) return nullptr;
  return std::make_unique<MatmulTask>(cache, spec);
}

std::size_t matmul_scratch_cuda(const MatmulSpec& spec) { return MatmulTask(spec).most_scratch(); }

}  // namespace tessera::kernels::cuda
