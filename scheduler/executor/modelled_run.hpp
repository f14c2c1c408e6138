#pragma once

#include <cstdint>
#include <vector>

#include "device/cost_model.hpp"
#include "scheduler/executor/dispatcher.hpp"

// Runs a plan on null devices with a modelled clock: everything the dispatcher decides
// (reservations, residency, eviction, placement, transfers) happens for every task, and nothing is
// computed. Each device has one compute engine and one copy engine each way, each doing its work in
// the order it was started.

namespace tessera::scheduler {

struct ModelledReport {
  double seconds = 0.0;  ///< modelled time from start to the last task
  double critical_path_seconds =
      0.0;                    ///< longest chain of dependent tasks, with infinitely many devices
  double busy_seconds = 0.0;  ///< compute engines together
  RunCounters counters;
};

struct ModelledOptions {
  device::CostModel model;
  bool critical_path = false;
  /// Checks with one bit a task that each ran once and after its inputs; a breach throws
  /// std::logic_error.
  bool check = false;
  /// Blocks that are there when the run begins, numbered from 1: all those of the plan's resident
  /// nodes.
  std::vector<ResidentBlock> residents;
};

/// \throws OutOfMemory when a task cannot fit, or when no room can be made.
ModelledReport run_modelled(const TaskOrder& order, const DispatcherOptions& devices,
                            const ModelledOptions& options);

}  // namespace tessera::scheduler
