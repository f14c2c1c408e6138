#include <string_view>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "kernels/host/block_tasks.hpp"
#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/loops.hpp"
#include "kernels/host/tasks.hpp"
#include "kernels/registry.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels {

namespace {

// A merge that finishes needs room for the merged accumulators.
std::size_t merge_scratch(const MergeSpec& spec) {
  return spec.finish ? core::accumulator_bytes(spec.op, spec.element, spec.grid.max_block_elements()) : 0;
}

class HostRegistry : public Registry {
 public:
  std::unique_ptr<TaskKernel> prepare(const TaskSpec& spec) const override {
    using namespace host;
    if (const auto* s = dynamic_cast<const ProgramSpec*>(&spec)) return make_program(*s);
    if (const auto* s = dynamic_cast<const AssembleSpec*>(&spec)) return make_assemble(*s);
    if (const auto* s = dynamic_cast<const MergeSpec*>(&spec)) return make_merge(*s);
    if (const auto* s = dynamic_cast<const AddBlocksSpec*>(&spec)) return make_add_blocks(*s);
    if (const auto* s = dynamic_cast<const MatmulSpec*>(&spec)) return make_matmul(*s);
    if (const auto* s = dynamic_cast<const ScanSpec*>(&spec)) return make_scan(*s);
    if (const auto* s = dynamic_cast<const ReadSpec*>(&spec)) return make_read(*s);
    if (const auto* s = dynamic_cast<const DeliverSpec*>(&spec)) return make_deliver(*s);
    if (const auto* s = dynamic_cast<const BlockSpec*>(&spec)) return make_block_task(*s);
    if (const auto* s = dynamic_cast<const CallsSpec*>(&spec)) return make_calls(*s);
    if (const auto* s = dynamic_cast<const CallValuesSpec*>(&spec)) return make_call_values(*s);
    if (dynamic_cast<const AwaitedSpec*>(&spec) != nullptr) return make_awaited();
    throw InvalidArgument(core::text("[registry] host devices have no such kernel; got \"", spec.kernel(), "\""));
  }
  std::size_t scratch_bytes(const TaskSpec& spec) const override {
    if (const auto* s = dynamic_cast<const ProgramSpec*>(&spec)) return host::program_scratch(*s);
    if (const auto* s = dynamic_cast<const MergeSpec*>(&spec)) return merge_scratch(*s);
    if (const auto* s = dynamic_cast<const MatmulSpec*>(&spec)) return host::matmul_scratch(*s);
    if (const auto* s = dynamic_cast<const BlockSpec*>(&spec)) return host::block_task_scratch(*s);
    return 0;
  }
};

}  // namespace

std::string numeric_profile() {
  const core::Environment& env = core::environment();
  return core::text(host::simd_target(), ", ", host::blas_info(), ", ",
                    env.lapack_threads.value_or(core::available_cores()), " LAPACK threads");
}

const Registry& host_registry() {
  static const HostRegistry kRegistry;
  return kRegistry;
}

}  // namespace tessera::kernels
