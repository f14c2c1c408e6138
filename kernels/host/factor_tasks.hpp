#pragma once

#include <memory>

#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

namespace tessera::kernels::host {

/// The kernel of the families "qr", "svd" and "block_product"; null for any other.
std::unique_ptr<TaskKernel> make_factor_task(const BlockSpec& spec);
/// Most scratch that one of their tasks needs; 0 for other families.
std::size_t factor_task_scratch(const BlockSpec& spec);

}  // namespace tessera::kernels::host
