#include "kernels/host/factor_tasks.hpp"

#include <algorithm>
#include <string_view>

#include "array/block_attributes.hpp"
#include "core/environment.hpp"
#include "kernels/host/dense_block.hpp"
#include "kernels/host/factor_lapacke.hpp"
#include "kernels/host/gemm_openblas.hpp"

namespace tessera::kernels::host {

namespace {

// Threads of a single-block factorisation. They are part of the numeric profile and therefore do not follow
// the session's workers.
int lapack_threads() {
  return core::environment().lapack_threads.value_or(core::available_cores());
}

class QrTask : public TaskKernel {
 public:
  explicit QrTask(const BlockSpec& spec) : spec_(spec), attributes_(static_cast<const array::QrAttributes&>(*spec.attributes)) {}
  void run(const TaskArgs& args) const override {
    const Dense a(spec_.inputs[0].grid, args.input(0)[0].block);
    const DType dtype = spec_.inputs[0].dtype;
    const std::size_t r_output = attributes_.with_q ? 1 : 0;
    const Dense r(spec_.outputs[r_output].grid, args.block);
    const Dense q(spec_.outputs[0].grid, args.block);
    const BlockView q_view = q.view(args.outputs[0], dtype);
    const std::size_t scratch = qr_scratch_bytes(dtype, a.box.extent[0], a.box.extent[1], attributes_.with_q);
    qr(a.view(args.input(0)[0].data, dtype), attributes_.with_q ? &q_view : nullptr, r.view(args.outputs[r_output], dtype),
       attributes_.wide ? lapack_threads() : 1, {args.scratch, scratch});
  }

 private:
  BlockSpec spec_;
  const array::QrAttributes& attributes_;
};

class SvdTask : public TaskKernel {
 public:
  explicit SvdTask(const BlockSpec& spec)
      : spec_(spec), with_vectors_(static_cast<const array::SvdAttributes&>(*spec.attributes).with_vectors) {}
  void run(const TaskArgs& args) const override {
    const Dense a(spec_.inputs[0].grid, args.input(0)[0].block);
    const DType dtype = spec_.inputs[0].dtype;
    const std::int64_t k[] = {spec_.outputs[0].grid.shape()[1]};
    const std::int64_t stride[] = {1};
    const BlockView s{args.outputs[0], spec_.outputs[0].dtype, k, stride};
    const std::span<std::byte> scratch(args.scratch, svd_scratch_bytes(dtype, a.box.extent[0], a.box.extent[1], with_vectors_));
    const ConstBlockView in = a.view(args.input(0)[0].data, dtype);
    if (!with_vectors_) return svd(in, nullptr, s, nullptr, lapack_threads(), scratch);
    const Dense u(spec_.outputs[1].grid, 0);
    const Dense vt(spec_.outputs[2].grid, 0);
    const BlockView u_view = u.view(args.outputs[1], dtype);
    const BlockView vt_view = vt.view(args.outputs[2], dtype);
    svd(in, &u_view, s, &vt_view, lapack_threads(), scratch);
  }

 private:
  BlockSpec spec_;
  bool with_vectors_;
};

MatrixView matrix(const Dense& block, const std::byte* data) { return {data, block.strides[0], block.strides[1]}; }

class BlockProductTask : public TaskKernel {
 public:
  explicit BlockProductTask(const BlockSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const Dense a(spec_.inputs[0].grid, args.input(0)[0].block);
    const Dense b(spec_.inputs[1].grid, args.input(1)[0].block);
    const MatrixView left = matrix(a, args.input(0)[0].data);
    const MatrixView right = matrix(b, args.input(1)[0].data);
    const std::int64_t m = a.box.extent[0], k = a.box.extent[1], n = b.box.extent[1];
    const DType dtype = spec_.outputs[0].dtype;
    gemm(dtype, m, n, k, left, right, args.outputs[0], false, {args.scratch, gemm_scratch_bytes(dtype, m, n, k, left, right)});
  }

 private:
  BlockSpec spec_;
};

// Row counts of an array's blocks, each once.
std::vector<std::int64_t> row_counts(const ChunkGrid& grid) {
  std::vector<std::int64_t> out = grid.axis(0).extents();
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

std::unique_ptr<TaskKernel> make_factor_task(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "qr") return std::make_unique<QrTask>(spec);
  if (family == "svd") return std::make_unique<SvdTask>(spec);
  if (family == "block_product") return std::make_unique<BlockProductTask>(spec);
  return nullptr;
}

std::size_t factor_task_scratch(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family != "qr" && family != "svd" && family != "block_product") return 0;
  const ChunkGrid& grid = spec.inputs[0].grid;
  const std::int64_t columns = grid.shape()[1];
  const DType dtype = spec.inputs[0].dtype;
  std::size_t most = 0;
  for (std::int64_t rows : row_counts(grid)) {
    if (family == "qr") {
      const bool with_q = static_cast<const array::QrAttributes&>(*spec.attributes).with_q;
      most = std::max(most, qr_scratch_bytes(dtype, rows, columns, with_q));
    } else if (family == "svd") {
      const bool with_vectors = static_cast<const array::SvdAttributes&>(*spec.attributes).with_vectors;
      most = std::max(most, svd_scratch_bytes(dtype, rows, columns, with_vectors));
    } else {
      const std::int64_t n = spec.outputs[0].grid.shape()[1];
      most = std::max(most, gemm_scratch_bytes(dtype, rows, n, columns, {nullptr, columns, 1}, {nullptr, n, 1}));
    }
  }
  return most;
}

}  // namespace tessera::kernels::host
