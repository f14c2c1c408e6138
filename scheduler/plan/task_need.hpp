#pragma once

#include <cstddef>
#include <string>

#include "scheduler/plan/plan.hpp"

// What a task takes of its device's memory at most, known from the plan alone.

namespace tessera::scheduler {

/// Bytes of inputs, outputs and scratch that the largest task of a plan needs at once.
std::size_t largest_task_bytes(const Plan& plan);
/// \throws OutOfMemory when a task needs more than `budget_bytes`, naming the operation, what it
/// reads and writes, and the device.
void check_tasks_fit(const Plan& plan, std::size_t budget_bytes, const std::string& device);

}  // namespace tessera::scheduler
