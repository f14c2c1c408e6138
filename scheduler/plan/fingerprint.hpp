#pragma once

#include <cstdint>
#include <string>

#include "scheduler/plan/plan.hpp"

namespace tessera::scheduler {

/// A hash of what a plan computes: its nodes, grids, tasks and reads. Equal on all ranks that run
/// the same program on devices of the same profile; arrays that are only kept in memory meanwhile
/// do not count.
std::uint64_t fingerprint(const Plan& plan, const std::string& profile);
/// A few words about it: "120 tasks for deliver std".
std::string summary(const Plan& plan);

}  // namespace tessera::scheduler
