#include <algorithm>
#include <string_view>

#include "array/block_attributes.hpp"
#include "kernels/cuda/factor_cusolver.hpp"
#include "kernels/cuda/gemm_cublas.hpp"
#include "kernels/cuda/tasks_cuda.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;

/// Extents of one block of a matrix.
struct MatrixShape {
  MatrixShape(const ChunkGrid& grid, std::int64_t block)
      : rows(grid.axis(0).size(block / grid.axis(1).count())),
        cols(grid.axis(1).size(block % grid.axis(1).count())) {}
  std::int64_t rows, cols;
};

class QrTask : public TaskKernel {
 public:
  QrTask(KernelCache& cache, const BlockSpec& spec)
      : grid_(spec.inputs[0].grid),
        with_q_(static_cast<const array::QrAttributes&>(*spec.attributes).with_q),
        factoriser_(cache, spec.inputs[0].dtype) {}
  bool occupies_thread() const noexcept override { return true; }
  void run(const TaskArgs& args) const override {
    const Piece& piece = args.input(0)[0];
    const MatrixShape a(grid_, piece.block);
    factoriser_.qr(static_cast<CudaQueue&>(*args.queue), a.rows, a.cols, piece.data,
                   with_q_ ? args.outputs[0] : nullptr, args.outputs[with_q_ ? 1 : 0],
                   args.scratch);
  }

 private:
  ChunkGrid grid_;
  bool with_q_;
  Factoriser factoriser_;
};

class SvdTask : public TaskKernel {
 public:
  SvdTask(KernelCache& cache, const BlockSpec& spec)
      : grid_(spec.inputs[0].grid),
        with_vectors_(static_cast<const array::SvdAttributes&>(*spec.attributes).with_vectors),
        factoriser_(cache, spec.inputs[0].dtype) {}
  bool occupies_thread() const noexcept override { return true; }
  void run(const TaskArgs& args) const override {
    const Piece& piece = args.input(0)[0];
    const MatrixShape a(grid_, piece.block);
    factoriser_.svd(static_cast<CudaQueue&>(*args.queue), a.rows, a.cols, piece.data,
                    with_vectors_ ? args.outputs[1] : nullptr, args.outputs[0],
                    with_vectors_ ? args.outputs[2] : nullptr, args.scratch);
  }

 private:
  ChunkGrid grid_;
  bool with_vectors_;
  Factoriser factoriser_;
};

class BlockProductTask : public TaskKernel {
 public:
  BlockProductTask(KernelCache& cache, const BlockSpec& spec)
      : a_(spec.inputs[0].grid),
        b_(spec.inputs[1].grid),
        dtype_(spec.outputs[0].dtype),
        copier_(cache, itemsize(dtype_)) {}
  void run(const TaskArgs& args) const override {
    const MatrixShape a(a_, args.input(0)[0].block), b(b_, args.input(1)[0].block);
    // Stored blocks are dense, so that nothing is copied.
    gemm(static_cast<CudaQueue&>(*args.queue), copier_, dtype_, TESSERA_CUDA_FULL, a.rows, b.cols,
         a.cols, {args.input(0)[0].data, a.cols, 1}, {args.input(1)[0].data, b.cols, 1},
         args.outputs[0], false, nullptr);
  }

 private:
  ChunkGrid a_, b_;
  DType dtype_;
  RegionCopier copier_;
};

// Chunk sizes along an axis, each once.
std::vector<std::int64_t> sizes(const AxisChunks& axis) {
  std::vector<std::int64_t> out = axis.extents();
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool is_factorisation(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  return (family == "qr" || family == "svd") && has_gemm(spec.inputs[0].dtype);
}

}  // namespace

std::unique_ptr<TaskKernel> make_factor_cuda(KernelCache& cache, const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (is_factorisation(spec)) {
    if (family == "qr") return std::make_unique<QrTask>(cache, spec);
    return std::make_unique<SvdTask>(cache, spec);
  }
  if (family == "block_product" && has_gemm(spec.outputs[0].dtype))
    return std::make_unique<BlockProductTask>(cache, spec);
  return nullptr;
}

std::size_t factor_scratch_cuda(device::cuda::CudaSystem& system, const BlockSpec& spec) {
  if (!is_factorisation(spec)) return 0;
  const ChunkGrid& grid = spec.inputs[0].grid;
  const DType dtype = spec.inputs[0].dtype;
  const bool is_qr = std::string_view(spec.kernel()) == "qr";
  const auto bytes = [&](CudaQueue& queue, std::int64_t rows, std::int64_t cols) {
    if (is_qr) {
      return qr_scratch_bytes(queue, dtype, rows, cols,
                              static_cast<const array::QrAttributes&>(*spec.attributes).with_q);
    }
    return svd_scratch_bytes(
        queue, dtype, rows, cols,
        static_cast<const array::SvdAttributes&>(*spec.attributes).with_vectors);
  };
  std::size_t most = 0;
  // Devices of several kinds may ask for different workspaces; a task may run on any of them.
  for (std::size_t d = 0; d < system.devices().size(); ++d) {
    const device::cuda::BorrowedQueue queue(system, d);
    for (const std::int64_t rows : sizes(grid.axis(0))) {
      for (const std::int64_t cols : sizes(grid.axis(1)))
        most = std::max(most, bytes(*queue, rows, cols));
    }
  }
  return most;
}

}  // namespace tessera::kernels::cuda
