#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "device/device.hpp"
#include "kernels/task_kernel.hpp"
#include "scheduler/executor/resident_array.hpp"

namespace tessera::scheduler {

class HostRun;

/// A task or a copy that the dispatcher has started. Made and recycled by the run.
struct WorkItem final : device::Work {
  void run() override;
  void done(const device::Event& event) noexcept override;

  HostRun* owner = nullptr;
  std::uint32_t id = 0;  ///< the dispatcher's, of the task or of the copy
  int thread = 0;        ///< for the trace: where a disk stream runs it
  bool is_move = false;
  bool wide = false;
  std::exception_ptr failure;

  // A task.
  NodeIndex node = -1;
  std::int64_t block = 0;
  DeviceIndex device = 0;
  bool chained = false;
  std::int64_t coords[kMaxRank];
  std::vector<kernels::Piece> pieces;
  std::vector<std::uint32_t> piece_offsets;
  std::vector<StoredBlock*> outputs;
  std::vector<std::byte*> output_data;

  // A copy.
  MoveLaunch move{};
  StoredBlock* from = nullptr;
  StoredBlock* to = nullptr;
};

/// Started work that no thread has taken yet. Guarded by the run's mutex.
class ReadyQueue {
 public:
  /// With one worker nothing runs beside a wide task anyway.
  ReadyQueue(std::size_t nodes, int workers, std::uint64_t shuffle_seed);

  void push(WorkItem* item);
  /// What one thread should do next: one copy, one task, or several tasks that took little time so
  /// far. Nothing when there is no work, or none that may start beside what is running: a wide task
  /// has all workers to itself.
  void take(std::vector<WorkItem*>& batch);
  /// A batch that was taken has run, in so many nanoseconds.
  void ran(const std::vector<WorkItem*>& batch, double nanoseconds);
  /// How many more threads would find work.
  std::size_t waiting() const noexcept;

 private:
  float cost(const WorkItem& item) const noexcept {
    return node_ns_[static_cast<std::size_t>(item.node)];
  }

  const bool alone_;
  const bool shuffle_;
  std::mt19937_64 random_;
  std::deque<WorkItem*> copies_;
  std::deque<WorkItem*> tasks_;
  std::vector<float> node_ns_;  // mean time of a node's tasks, negative while unknown
  std::size_t running_ = 0;     // tasks that were taken and have not run
  bool exclusive_ = false;      // a wide one is among them
};

}  // namespace tessera::scheduler
