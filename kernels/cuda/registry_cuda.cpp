#include "kernels/registry.hpp"

#include "kernels/cuda/staged.hpp"
#include "kernels/cuda/tasks_cuda.hpp"

namespace tessera::kernels {

namespace {

class CudaRegistry final : public Registry {
 public:
  CudaRegistry(device::cuda::CudaSystem& system, const Registry& host)
      : system_(system), host_(host), cache_(system) {}

  std::unique_ptr<TaskKernel> prepare(const TaskSpec& spec) const override {
    if (auto kernel = on_device(spec)) return kernel;
    return cuda::make_staged(host_, spec);
  }

  // What runs staged works in host memory.
  std::size_t scratch_bytes(const TaskSpec& spec) const override {
    using namespace cuda;
    if (const auto* s = dynamic_cast<const ProgramSpec*>(&spec))
      return program_scratch_cuda(system_, *s);
    if (const auto* s = dynamic_cast<const MergeSpec*>(&spec)) return merge_scratch_cuda(*s);
    if (const auto* s = dynamic_cast<const MatmulSpec*>(&spec)) return matmul_scratch_cuda(*s);
    if (const auto* s = dynamic_cast<const ScanSpec*>(&spec)) return scan_scratch_cuda(*s);
    if (const auto* s = dynamic_cast<const DeliverSpec*>(&spec)) return deliver_scratch_cuda(*s);
    if (const auto* s = dynamic_cast<const BlockSpec*>(&spec)) {
      return factor_scratch_cuda(system_, *s) + take_scratch_cuda(*s) +
             sort_scratch_cuda(system_, *s) + groupby_scratch_cuda(*s) +
             histogram_scratch_cuda(*s) + selection_scratch_cuda(*s);
    }
    return 0;
  }

 private:
  // Null for what there is no CUDA kernel for: files, callables, and block operations that are not
  // listed.
  std::unique_ptr<TaskKernel> on_device(const TaskSpec& spec) const {
    using namespace cuda;
    if (const auto* s = dynamic_cast<const ProgramSpec*>(&spec))
      return make_program_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const AssembleSpec*>(&spec))
      return make_assemble_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const MergeSpec*>(&spec)) return make_merge_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const AddBlocksSpec*>(&spec))
      return make_add_blocks_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const MatmulSpec*>(&spec)) return make_matmul_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const ScanSpec*>(&spec)) return make_scan_cuda(cache_, *s);
    if (const auto* s = dynamic_cast<const DeliverSpec*>(&spec))
      return make_deliver_cuda(cache_, *s);
    if (dynamic_cast<const AwaitedSpec*>(&spec) != nullptr) return make_awaited_cuda();
    if (const auto* s = dynamic_cast<const BlockSpec*>(&spec)) {
      if (auto kernel = make_take_cuda(cache_, *s)) return kernel;
      if (auto kernel = make_sort_cuda(cache_, *s)) return kernel;
      if (auto kernel = make_groupby_cuda(cache_, *s)) return kernel;
      if (auto kernel = make_histogram_cuda(cache_, *s)) return kernel;
      if (auto kernel = make_selection_cuda(cache_, *s)) return kernel;
      return make_factor_cuda(cache_, *s);
    }
    return nullptr;
  }

  device::cuda::CudaSystem& system_;
  const Registry& host_;
  mutable cuda::KernelCache cache_;
};

}  // namespace

std::unique_ptr<Registry> make_cuda_registry(device::cuda::CudaSystem& system,
                                             const Registry& host) {
  return std::make_unique<CudaRegistry>(system, host);
}

}  // namespace tessera::kernels
