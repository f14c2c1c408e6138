#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "core/clock.hpp"
#include "core/trace.hpp"
#include "device/host_devices.hpp"
#include "kernels/registry.hpp"
#include "scheduler/executor/dispatcher.hpp"
#include "scheduler/executor/exchange.hpp"
#include "scheduler/executor/resident_array.hpp"
#include "scheduler/placement/placement.hpp"

// Runs a plan on the virtual devices of this machine: carries out with threads, memory and files
// what the dispatcher decides. Owned for the length of one run: the memory of every block in
// flight, the queue of work that was started, the first error. Not owned: threads, pools and the
// disk tier, which belong to the session's HostDevices, and the decisions, which are the
// dispatcher's.
//
// The calling thread computes along with the session's helper threads, which sleep while there is
// no work worth waking them for. There is no scheduler thread: whoever finishes work, and finds
// nobody else at it, reports all that is finished to the dispatcher, then goes on computing.
//
// The first error ends a run: nothing new starts, what is queued is skipped, what is under way is
// waited for, and all memory goes back. Blocks of earlier runs stay what and where they were.

namespace tessera::scheduler {

/// A stored array of an earlier run, and the slot of a `resident` node that stands for it.
struct ResidentInput {
  SlotIndex slot = -1;
  std::shared_ptr<ResidentArray> array;
};

struct HostRunOptions {
  std::shared_ptr<device::HostDevices> devices;
  const kernels::Registry* registry = nullptr;  ///< makes the kernels; must be set
  std::vector<ResidentInput> residents;         ///< one for each slot of the plan's resident nodes
  std::uint32_t window = 4096;                  ///< tasks looked ahead of the first unfinished one
  std::uint32_t slots = 0;         ///< tasks admitted at once on a device, 0: chosen by their size
  Exchange::Step* step = nullptr;  ///< of all ranks that this run is; null: this one is alone
  /// What bits depend on beside the plan, which must be the same on all ranks of a step.
  std::string profile;
  std::stop_token stop;
  const core::Clock* clock = &core::machine_clock();
  comm::Transport* transport = &comm::local_transport();  ///< of blocks between memories
  core::Trace* trace = nullptr;
  /// Called on the calling thread with tasks done and tasks in all, at most every 50 ms while that
  /// thread is between tasks, and once at the end. What it throws ends the run.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
  std::uint64_t shuffle_seed = 0;  ///< not 0: started work runs in random order (tests)
};

/// A result: the blocks of one retained slot.
struct RetainedArray {
  SlotIndex slot = -1;
  std::shared_ptr<ResidentArray> array;
};

struct HostRunResult {
  std::vector<RetainedArray> arrays;  ///< one for each retained slot that the run made, by slot
  RunCounters counters;
};

/// What the dispatcher is told of these devices: names, budgets, and how many tasks to admit at
/// once.
DispatcherOptions dispatcher_options(const device::HostDevices& devices, const Plan& plan,
                                     const HostRunOptions& options);

/// Runs all tasks of the plan and hands over what is to be kept. One run at a time on a
/// HostDevices. \throws what the first failing task threw, with lines naming operation, block,
/// device and the line that built the node; OutOfMemory when a task cannot fit or no room can be
/// made; IoError when a block cannot be spilled or read back; CommError when one cannot be copied
/// to where it is needed; Cancelled after a stop request.
HostRunResult run_on_host(const TaskOrder& order, const HostRunOptions& options);

/// Whether this thread is inside a task or a progress callback of a run on these devices, which
/// another run would wait for.
bool inside_run_on(const device::HostDevices& devices) noexcept;
/// The same for a run on any devices.
bool inside_any_run() noexcept;

}  // namespace tessera::scheduler
