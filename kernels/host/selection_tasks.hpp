#pragma once

#include <memory>

#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

namespace tessera::kernels::host {

/// Tasks of the families "searchsorted", "take_along_axis", "count_true", "compress" and "unique";
/// null for others.
std::unique_ptr<TaskKernel> make_selection_task(const BlockSpec& spec);
/// Scratch of the largest of these tasks; 0 for other families.
std::size_t selection_task_scratch(const BlockSpec& spec);

}  // namespace tessera::kernels::host
