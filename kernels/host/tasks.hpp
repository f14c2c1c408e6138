#pragma once

#include <memory>

#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

// The host kernels of the task descriptions in kernels/specs.hpp, one factory each. registry_host.cpp lists
// them.

namespace tessera::kernels::host {

std::unique_ptr<TaskKernel> make_program(const ProgramSpec& spec);
std::unique_ptr<TaskKernel> make_assemble(const AssembleSpec& spec);
std::unique_ptr<TaskKernel> make_merge(const MergeSpec& spec);
std::unique_ptr<TaskKernel> make_add_blocks(const AddBlocksSpec& spec);
std::unique_ptr<TaskKernel> make_matmul(const MatmulSpec& spec);
std::unique_ptr<TaskKernel> make_scan(const ScanSpec& spec);
std::unique_ptr<TaskKernel> make_read(const ReadSpec& spec);
std::unique_ptr<TaskKernel> make_deliver(const DeliverSpec& spec);
std::unique_ptr<TaskKernel> make_calls(const CallsSpec& spec);
std::unique_ptr<TaskKernel> make_call_values(const CallValuesSpec& spec);
std::unique_ptr<TaskKernel> make_awaited();

std::size_t program_scratch(const ProgramSpec& spec);
std::size_t matmul_scratch(const MatmulSpec& spec);

}  // namespace tessera::kernels::host
