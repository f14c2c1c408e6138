#include <algorithm>

#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/tasks.hpp"
#include "kernels/matmul_geometry.hpp"

namespace tessera::kernels::host {

namespace {

class MatmulTask : public TaskKernel {
 public:
  explicit MatmulTask(const MatmulSpec& spec) : dtype_(spec.dtype), geometry_(spec) {}

  void run(const TaskArgs& args) const override {
    geometry_.for_each_product(args, [&](const MatmulGeometry::Product& p) {
      const std::span<std::byte> scratch(args.scratch, scratch_bytes(p));
      if (symmetric(p)) {
        gemm_self_transposed(dtype_, p.m, p.k, p.a, p.c, args.chained, scratch);
      } else {
        gemm(dtype_, p.m, p.n, p.k, p.a, p.b, p.c, args.chained, scratch);
      }
    });
  }

  // The most that any block needs; only extents and which strides are 1 matter.
  std::size_t most_scratch() const {
    std::size_t most = 0;
    geometry_.for_each_size(
        [&](const MatmulGeometry::Product& p) { most = std::max(most, scratch_bytes(p)); });
    return most;
  }

 private:
  bool symmetric(const MatmulGeometry::Product& p) const {
    return p.on_diagonal && is_floating(dtype_);
  }
  std::size_t scratch_bytes(const MatmulGeometry::Product& p) const {
    if (symmetric(p)) return gemm_self_transposed_scratch_bytes(dtype_, p.m, p.k, p.a);
    return gemm_scratch_bytes(dtype_, p.m, p.n, p.k, p.a, p.b);
  }

  DType dtype_;
  MatmulGeometry geometry_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_matmul(const MatmulSpec& spec) {
  return std::make_unique<MatmulTask>(spec);
}

std::size_t matmul_scratch(const MatmulSpec& spec) { return MatmulTask(spec).most_scratch(); }

}  // namespace tessera::kernels::host
