#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "device/cost_model.hpp"
#include "scheduler/executor/dispatcher.hpp"

// Runs a plan on null devices with a modelled clock: everything the dispatchers decide
// (reservations, residency, eviction, placement, transfers) happens for every task, and nothing is
// computed. Each device has one compute engine and one copy engine each way, each doing its work in
// the order it was started.
//
// Of several ranks each has a dispatcher of its own, the one that a process would have, and is a
// node of the modelled cluster. Announcements and requests arrive a latency after they were sent.
// A node sends its blocks one after the other, in the order in which they were asked for, and
// receives them one after the other, in the order in which they left; the network between nodes has
// room for all.

namespace tessera::scheduler {

struct ModelledReport {
  double seconds = 0.0;  ///< modelled time from start to the last task
  double critical_path_seconds =
      0.0;                    ///< longest chain of dependent tasks, with infinitely many devices
  double busy_seconds = 0.0;  ///< compute engines together
  /// Of all ranks together; peaks of devices stand rank by rank, other peaks are the largest
  /// rank's.
  RunCounters counters;
  std::vector<RunCounters> ranks;
  double rank_planning_seconds = 0.0;  ///< see ModelledOptions::measure
};

struct ModelledOptions {
  device::CostModel model;
  bool critical_path = false;
  /// Checks with one bit a task that each ran once and after its inputs; a breach throws
  /// std::logic_error.
  bool check = false;
  std::int32_t ranks = 1;
  /// Measures, with this machine's clock, what the dispatcher of one rank takes for its whole
  /// share: those of the first, the middle and the last rank are run again by themselves, and the
  /// slowest counts.
  bool measure = false;
  /// Blocks that are there when the run begins, by rank, each rank's numbered from 1: all those of
  /// the plan's resident nodes.
  std::vector<std::vector<ResidentBlock>> residents;
  /// Of several ranks, whose those blocks are.
  std::vector<std::pair<SlotIndex, BlockOwners>> owners;
};

/// `devices` are each rank's. \throws OutOfMemory when a task cannot fit, or when no room can be
/// made.
ModelledReport run_modelled(const TaskOrder& order, const DispatcherOptions& devices,
                            const ModelledOptions& options);

}  // namespace tessera::scheduler
