#pragma once

#include <memory>

#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

namespace tessera::kernels::host {

/// The host kernel of a block operation, by its attributes. \throws InvalidArgument for an unknown family.
std::unique_ptr<TaskKernel> make_block_task(const BlockSpec& spec);
/// Most scratch that one of its tasks needs.
std::size_t block_task_scratch(const BlockSpec& spec);

}  // namespace tessera::kernels::host
