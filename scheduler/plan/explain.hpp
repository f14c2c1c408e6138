#pragma once

#include <string>

#include "scheduler/plan/plan.hpp"

namespace tessera::scheduler {

/// The plan as text, one line a node: number, operations, task grid, what it reads and how, what it keeps.
/// Stable: golden plans in the tests are compared with it.
std::string explain(const Plan& plan);

}  // namespace tessera::scheduler
