#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "comm/address.hpp"
#include "core/clock.hpp"
#include "device/device.hpp"
#include "kernels/task_kernel.hpp"
#include "scheduler/executor/resident_array.hpp"

namespace tessera::scheduler {

class HostRun;

/// A task or a copy that the dispatcher has started. Made and recycled by the run.
struct WorkItem final : device::Work {
  void run(device::Queue* queue) override;
  void done(const device::Event& event) noexcept override;

  HostRun* owner = nullptr;
  std::uint32_t id = 0;              ///< the dispatcher's, of the copy or of the task
  int thread = 0;                    ///< for the trace: where a stream runs it
  device::Stream* stream = nullptr;  ///< that does it; null: workers do
  core::Clock::time_point begin;     ///< on a stream, for the trace
  enum class Kind : std::uint8_t { kTask, kCopy, kFetch, kSend } kind = Kind::kTask;
  bool wide = false;
  float expected_ns = 0.0F;  ///< the queue's
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

  // A block that is fetched from another rank or sent to one: `to` or `from` is where it lies here.
  comm::Rank peer;
  BlockKey key;
  std::size_t bytes = 0;
  Place place;
  std::uint32_t request = 0;
  bool staged = false;  ///< it goes through `copy`, host memory of its own
  device::Buffer copy;
};

/// Started work that no thread has taken yet. Guarded by the run's mutex. Taking a task costs two
/// passes of the lock and waking a thread some microseconds, so tasks of nodes that took little
/// time so far are taken several at once, and threads are woken by how long the queue will take.
class ReadyQueue {
 public:
  ReadyQueue(std::size_t nodes, int workers, std::uint64_t shuffle_seed);

  void push(WorkItem* item);
  /// What one thread should do next: one copy, one task, or several short tasks. Nothing when there
  /// is no work, or none that may start beside what is running: a wide task has all workers to
  /// itself.
  void take(std::vector<WorkItem*>& batch);
  /// The first `count` items of a taken batch have run, in so many nanoseconds; the others go back.
  void ran(const std::vector<WorkItem*>& batch, std::size_t count, double nanoseconds);
  /// How many threads are worth having for what could start now: none for little, as long as some
  /// thread comes back for it soon.
  std::size_t worth(bool some_thread_is_near) const noexcept;
  /// Whether a thread that takes the batch is away for long.
  static bool is_long(const std::vector<WorkItem*>& batch) noexcept;
  /// When a thread should stop at a batch of several: they are not as short as was thought.
  static constexpr double kGiveUpNs = 100'000.0;

 private:
  const int workers_;
  const bool shuffle_;
  std::mt19937_64 random_;
  std::deque<WorkItem*> copies_;
  std::deque<WorkItem*> tasks_;
  std::vector<float> node_ns_;  // time to expect of a node's tasks
  double queued_ns_ = 0.0;      // time to expect of tasks_
  std::size_t running_ = 0;     // tasks that were taken and have not run
  bool exclusive_ = false;      // a wide one is among them
};

}  // namespace tessera::scheduler
