#include <algorithm>
#include <set>
#include <vector>

#include "core/storage_dtype.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/gemm_cublas.hpp"
#include "kernels/cuda/gemm_integer_cuda.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// One matrix of an operand: rows along task axis `row`, columns along `col` of (batch..., m, n, k).
DeviceMatrix matrix(const BoundRead& bound, int row, int col) {
  return {bound.data, bound.strides[at(row)], bound.strides[at(col)]};
}

class MatmulTask : public TaskKernel {
 public:
  MatmulTask(KernelCache& cache, const MatmulSpec& spec) : MatmulTask(spec) {
    if (has_gemm(spec.dtype)) {
      copier_ = RegionCopier(cache, itemsize(spec.dtype));
      if (symmetric())
        mirror_ = cache.prepare(mirror_source(itemsize(spec.dtype)), {"mirror_lower"});
    } else {
      integer_ = IntegerGemm(cache, spec.dtype);
    }
  }

  explicit MatmulTask(const MatmulSpec& spec) : spec_(spec) {
    std::vector<AxisChunks> axes = spec.grid.axes();
    axes.push_back(spec.k_chunks);
    space_ = ChunkGrid(std::move(axes));
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    std::int64_t coords[kMaxRank + 1];
    const int rank = spec_.grid.rank();
    find_block(args, coords);
    const TaskBox box = task_box(space_, {coords, at(rank + 1)});
    const std::int64_t m = box.extent[at(rank - 2)], n = box.extent[at(rank - 1)],
                       k = box.extent[at(rank)];
    const bool any = m > 0 && n > 0 && k > 0;
    const BoundRead a = any ? bind(spec_.a, box, args.input(0)[0]) : BoundRead{};
    const BoundRead b = any ? bind(spec_.b, box, args.input(1)[0]) : BoundRead{};
    const auto item = static_cast<std::int64_t>(itemsize(spec_.dtype));
    std::int64_t batches = 1;
    for (int d = 0; d < rank - 2; ++d) batches *= box.extent[at(d)];
    for (std::int64_t batch = 0; batch < batches; ++batch) {
      BoundRead left = a;
      BoundRead right = b;
      std::int64_t rest = batch;
      for (int d = rank - 2; d-- > 0;) {
        const std::int64_t i = rest % box.extent[at(d)];
        rest /= box.extent[at(d)];
        left.data += i * a.strides[at(d)] * item;
        right.data += i * b.strides[at(d)] * item;
      }
      multiply(queue, m, n, k, matrix(left, rank - 2, rank), matrix(right, rank, rank - 1),
               args.outputs[0] + batch * m * n * item, args);
    }
    if (symmetric() && coords[0] == coords[1] && m > 1) mirror(queue, args.outputs[0], m);
  }

  // The most that any block needs; only extents and which strides are 1 matter.
  std::size_t most_scratch() const {
    if (!has_gemm(spec_.dtype)) return 0;
    const int rank = spec_.grid.rank();
    TaskBox box;
    box.rank = rank + 1;
    const DeviceMatrix a = matrix(bind(spec_.a, box, {0, nullptr}), rank - 2, rank);
    const DeviceMatrix b = matrix(bind(spec_.b, box, {0, nullptr}), rank, rank - 1);
    std::size_t most = 0;
    for (std::int64_t m : sizes(spec_.grid.axis(rank - 2))) {
      for (std::int64_t n : sizes(spec_.grid.axis(rank - 1))) {
        for (std::int64_t k : sizes(spec_.k_chunks))
          most = std::max(most, gemm_scratch_bytes(spec_.dtype, m, n, k, a, b));
      }
    }
    return most;
  }

 private:
  // Blocks on the diagonal are to equal their transposes exactly, as the host's do.
  bool symmetric() const { return spec_.pairs && is_floating(spec_.dtype); }

  static std::set<std::int64_t> sizes(const AxisChunks& axis) {
    if (axis.is_regular()) return {axis.size(0), axis.size(axis.count() - 1)};
    const std::vector<std::int64_t> all = axis.extents();
    return {all.begin(), all.end()};
  }

  void find_block(const TaskArgs& args, std::int64_t* coords) const {
    if (!spec_.pairs) {
      std::copy(args.coords.begin(), args.coords.end(), coords);
      return;
    }
    // Task (pair, k) is block (i, j, k) of the space.
    std::int64_t j = 0;
    while ((j + 1) * (j + 2) / 2 <= args.coords[0]) ++j;
    coords[0] = args.coords[0] - j * (j + 1) / 2;
    coords[1] = j;
    coords[2] = args.coords[1];
  }

  void multiply(CudaQueue& queue, std::int64_t m, std::int64_t n, std::int64_t k,
                const DeviceMatrix& a, const DeviceMatrix& b, std::byte* c,
                const TaskArgs& args) const {
    if (has_gemm(spec_.dtype)) {
      gemm(queue, copier_, spec_.dtype, m, n, k, a, b, c, args.chained, args.scratch);
    } else {
      integer_.run(queue, m, n, k, a, b, c, args.chained);
    }
  }

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

  MatmulSpec spec_;
  ChunkGrid space_;
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
