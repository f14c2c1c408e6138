#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "scheduler/executor/block_table.hpp"
#include "scheduler/placement/share.hpp"
#include "scheduler/plan/order.hpp"

// The executor's core: a state machine that decides which task runs where and when, which block
// moves, and which one makes room. It owns the residency of blocks and the ledger of every memory
// budget. It has no threads, no clock, no memory and no kernels: a Driver carries out what it
// starts and reports back, so that the same code runs real devices, a modelled cluster and
// randomised tests.
//
// Life of a task: pulled into the window in total order -> waits for inputs -> ready, placed on a
// device -> admitted with a reservation for copies, outputs and scratch -> copies arrive -> runs ->
// its outputs wake their readers, its inputs are released.
//
// Why it cannot deadlock: an admitted task has all the memory it will ever need, so it finishes;
// tasks of a device are admitted in total order only; and the first unfinished task of all may
// evict every block that no admitted task reads.

namespace tessera::scheduler {

using TaskId = std::uint32_t;

/// One block that a task reads, on the task's device.
struct LaunchInput {
  BlockKey key;
  std::int32_t input;  ///< which of the node's inputs, -1: the chain's predecessor
  BufferId buffer;
};

struct TaskLaunch {
  TaskId id;
  NodeIndex node;
  std::int64_t block;
  DeviceIndex device;
  const LaunchInput* inputs;  ///< input by input, in C order; the chain's predecessor last
  std::size_t input_count;
  const BufferId* outputs;  ///< one for each output; the chain's output is its predecessor's buffer
  std::size_t output_count;
  std::size_t scratch_bytes;
};

struct MoveLaunch {
  std::uint32_t id;
  BlockKey key;
  BufferId from_buffer;
  BufferId to_buffer;
  Place from;
  Place to;
  std::size_t bytes;
};

struct FetchLaunch {
  TaskId id;
  BlockKey key;
  BufferId buffer;
  DeviceIndex device;
  std::size_t bytes;
  comm::Rank from;
};

struct SendLaunch {
  TaskId id;
  BlockKey key;
  BufferId buffer;
  Place place;
  std::size_t bytes;
  comm::Rank to;
  std::uint32_t request;  ///< by which the receiver knows it
};

/// Carries out what the dispatcher starts. Calls come from inside dispatcher methods and must not
/// call back.
class Driver {
 public:
  virtual ~Driver() = default;
  /// Begin the task; report with Dispatcher::task_done when its event has fired.
  virtual void start_task(const TaskLaunch& launch) = 0;
  /// Begin the copy; report with Dispatcher::move_done.
  virtual void start_move(const MoveLaunch& move) = 0;
  /// The buffer's memory in that place is free again.
  virtual void release(BufferId buffer, Place place, std::size_t bytes) = 0;
  // With several ranks only.
  /// Tell a rank that a block which it reads is there.
  virtual void announce(BlockKey key, comm::Rank reader);
  /// Begin to fetch a block from its owner; report with Dispatcher::task_done.
  virtual void start_fetch(const FetchLaunch& fetch);
  /// Begin to send a block to a rank that asked for it; report with Dispatcher::task_done.
  virtual void start_send(const SendLaunch& send);
};

struct DeviceLimits {
  std::size_t budget_bytes = 0;
  std::uint32_t slots = 1;  ///< tasks admitted at once
  std::string name;
};

struct DispatcherOptions {
  std::vector<DeviceLimits> devices;
  std::size_t host_budget_bytes = 0;
  std::size_t disk_budget_bytes = 0;
  std::uint32_t window = 4096;
  const Share* share = nullptr;  ///< of several ranks, this one's; null: one rank does everything
};

/// Bytes and counts of one run.
struct RunCounters {
  std::int64_t tasks = 0;
  std::int64_t recomputed = 0;
  std::int64_t moves = 0;  ///< of blocks, between devices and tiers
  std::size_t device_to_device_bytes = 0;
  std::size_t to_host_bytes = 0;
  std::size_t from_host_bytes = 0;
  std::size_t to_disk_bytes = 0;
  std::size_t from_disk_bytes = 0;
  std::size_t dropped_bytes = 0;
  std::size_t fetched_bytes = 0;        ///< from other ranks
  std::size_t sent_bytes = 0;           ///< to other ranks
  std::vector<std::size_t> peak_bytes;  ///< per device
  std::size_t peak_host_bytes = 0;
  std::size_t peak_disk_bytes = 0;
  std::size_t peak_state_bytes = 0;  ///< of the dispatcher's own tables
};

/// A block that exists before the run or stays after it.
struct ResidentBlock {
  BlockKey key;
  Place place;
  BufferId buffer = 0;
};

class Dispatcher {
 public:
  /// \throws OutOfMemory when a task could never fit its device, before anything runs.
  Dispatcher(const TaskOrder& order, DispatcherOptions options, Driver& driver);

  /// Makes a block of an earlier run known. Before start().
  void add_resident(const ResidentBlock& block);
  void start();
  void task_done(TaskId id);
  void move_done(std::uint32_t id);
  /// Another rank has made a block that this one reads.
  void announced(BlockKey key);
  /// A rank asks for a block that was announced to it.
  void pulled(BlockKey key, comm::Rank reader, std::uint32_t request);
  /// Nothing new starts; what is under way is waited for.
  void cancel();

  bool finished() const noexcept {
    if (in_flight_ > 0) return false;
    if (share_ == nullptr) return done_tasks_ == order_->plan().total_tasks();
    return exhausted_ && head_ == tail_ && unsent_ == 0;
  }
  bool idle() const noexcept { return in_flight_ == 0; }
  bool cancelled() const noexcept { return cancelled_; }
  /// Why nothing can go on although tasks are left; empty while something is under way.
  std::string stuck_reason() const;
  /// Whether no other rank can help either: the first unfinished task has its inputs and finds no
  /// room.
  bool starved() const noexcept;
  /// Whether none can help but those who have blocks of this rank still to take.
  bool starved_unless_taken() const noexcept;

  /// Whether it runs a task of the plan, and moves no block between ranks.
  bool computes(TaskId id) const {
    return tasks_[id].role == Role::kPlan || tasks_[id].role == Role::kAgain;
  }
  NodeIndex task_node(TaskId id) const { return tasks_[id].node; }
  std::int64_t task_block(TaskId id) const { return tasks_[id].block; }
  DeviceIndex task_device(TaskId id) const { return tasks_[id].device; }

  /// Blocks that stay: results to keep and blocks known before. Valid when idle.
  std::vector<ResidentBlock> residents();
  /// Releases everything that is not resident from before (after a failure, results too). When
  /// idle.
  void release_all(bool keep_results);

  const RunCounters& counters() const noexcept { return counters_; }
  /// Of the plan's tasks; with several ranks, about as many as all of them will have done.
  std::int64_t done_tasks() const noexcept {
    if (share_ == nullptr) return done_tasks_;
    return std::min(done_tasks_ * share_->ranks(), order_->plan().total_tasks());
  }
  std::size_t used_bytes(DeviceIndex device) const { return devices_[device].used; }
  std::size_t host_used_bytes() const noexcept { return host_.used; }
  std::size_t disk_used_bytes() const noexcept { return disk_.used; }
  std::size_t state_bytes() const noexcept;
  const Plan& plan() const noexcept { return order_->plan(); }

 private:
  static constexpr TaskId kNoTask = 0xffffffff;
  enum class Phase : std::uint8_t { kFree, kWaiting, kReady, kStaging, kRunning };
  // What a task is: one of the plan's; one that makes a dropped block once more; one that fetches a
  // block from another rank, or sends it one (`block` is that rank, inputs[1] its request), whose
  // block is inputs[0] although it reads none.
  enum class Role : std::uint8_t { kPlan, kAgain, kFetch, kSend };
  // Tasks that read more blocks than this keep them in a list.
  static constexpr std::size_t kKnownInputs = 2;
  static constexpr std::uint8_t kManyInputs = 3;
  struct TaskInput {
    BlockRef ref;
    std::int32_t number;  ///< which of the node's inputs it is, -1: the chain's predecessor
  };
  struct Task {
    std::int64_t block = 0;
    Position position = 0;
    NodeIndex node = -1;
    std::uint32_t missing = 0;           ///< inputs (kWaiting) or copies (kStaging) it waits for
    BlockRef inputs[kKnownInputs] = {};  ///< of many: the number of their list
    std::uint16_t input_numbers[kKnownInputs] = {};  ///< which of the node's inputs each is
    DeviceIndex device = kNoDevice;
    Phase phase : 3 = Phase::kFree;
    std::uint8_t input_count : 2 = 0;  ///< or kManyInputs; the chain's is the last
    bool chained : 1 = false;          ///< goes on in its predecessor's memory
    Role role : 2 = Role::kPlan;
  };
  static_assert(sizeof(void*) < 8 || sizeof(Task) == 40);
  struct Waiter {
    TaskId task;
    std::uint32_t next;
  };
  // The block whose next use is furthest away goes first; blocks so small that moving them makes no
  // room to speak of go last.
  struct Evictable {
    Position next_use;
    BlockRef ref;
    bool replica;
    bool small = false;
    bool operator<(const Evictable& o) const noexcept {
      return small != o.small ? small : next_use < o.next_use;
    }
  };
  struct Account {
    std::size_t budget = 0;
    std::size_t used = 0;
    std::size_t leaving = 0;      ///< bytes whose eviction is under way
    std::vector<Evictable> heap;  ///< max-heap by next use; entries may be void
    bool near = false;            ///< what tasks of the window read is up for eviction, too
    std::size_t heap_limit = 256;
    std::size_t stale = 0;  ///< blocks that became needed later since all were looked at
  };
  struct Device : Account {
    std::uint32_t slots = 1;
    std::uint32_t admitted = 0;
    std::vector<std::pair<std::uint64_t, TaskId>> ready;    ///< min-heap by sequence
    std::vector<std::pair<std::uint64_t, TaskId>> fetches;  ///< ready ones, the same way
    std::uint32_t fetching = 0;
    bool dirty = false;
    TaskId blocked = kNoTask;  ///< first ready task, that found no room for `blocked_need` bytes
    std::size_t blocked_need = 0;
    bool blocked_covered = false;  ///< evictions under way make that room
    std::uint64_t blocked_epoch = 0;
    std::size_t ahead = 0;    ///< room to make beyond what is needed now
    std::uint64_t epoch = 0;  ///< counts what has become free or evictable
  };
  struct Replica {
    BufferId buffer;
    std::uint32_t next;  ///< copy of the same block, 0: none
    DeviceIndex device;
    std::uint16_t pins;
    bool arriving;
    bool offered;  ///< up for eviction, at the block's next use
  };
  struct Move {
    BlockRef ref;
    Place from, to;
    BufferId from_buffer, to_buffer;
    TaskId task;  ///< that waits for it, kNoTask for an eviction
    bool replica;
  };
  void check_fit() const;
  /// Calls f(ref, state, number of the node's input) for every block that the task reads.
  template <typename F>
  void for_each_input(const Task& task, F&& f) {
    if (task.input_count != kManyInputs) {
      for (std::size_t i = 0; i < task.input_count; ++i) {
        const bool chain = task.chained && i + 1u == task.input_count;
        f(task.inputs[i], table_.at(task.inputs[i]),
          chain ? -1 : std::int32_t{task.input_numbers[i]});
      }
      return;
    }
    for (const TaskInput& input : lists_[task.inputs[0]])
      f(input.ref, table_.at(input.ref), input.number);
  }
  void add_input(Task& task, TaskInput input);
  void fill_window();
  void set_up(const TaskOrder::Cursor::Item& item, const std::int64_t* coords);
  void make_ready(TaskId id);
  DeviceIndex choose_device(const Task& task);
  std::uint64_t square_of(const Task& task) const;
  void run_devices();
  void start_ready(DeviceIndex device);
  void start_fetches(DeviceIndex device);
  bool still_blocked(Device& device, TaskId id);
  bool steal(DeviceIndex device);
  enum class Admission : std::uint8_t { kAdmitted, kBlocked, kWaits };
  Admission admit(TaskId id);
  void stage(TaskId id);
  void launch(TaskId id);
  bool make_room(DeviceIndex device, std::size_t bytes, TaskId for_task);
  bool reads(const Task& task, BlockRef ref);
  bool evict(DeviceIndex device, const Evictable& victim);
  bool evict_to_lower_tier(DeviceIndex device, BlockRef ref, BlockState& state);
  std::uint32_t start_move(Move move, std::size_t bytes);
  void recompute(BlockRef ref, TaskId reader);
  TaskId new_extra_task(const Task& task, std::uint64_t sequence);
  BlockState* expect(BlockKey key);
  void tell_readers(BlockKey key, const std::int64_t* coords);
  void send(TaskId id);
  void fetch_done(TaskId id);
  void send_done(TaskId id);
  void wait_for(BlockState& state, TaskId id);
  void wake(BlockState& state);
  /// Of the readers that come after a task in the total order.
  Position next_use_after(BlockKey key, Position position, NodeIndex node) const;
  void release_input(BlockRef ref, const Task& task, bool chained);
  void free_block(BlockRef ref, BlockState& state);
  void set_next_use(BlockState& state, Position next_use);
  void mark_stale(BlockState& state);
  void refresh(Account& account, Place place);
  Position next_unfinished_use(BlockKey key);
  void offer(BlockRef ref, BlockState& state);
  void offer_near(Account& account);
  void push_evictable(Account& account, Place place, Evictable entry);
  void set_offered(const Evictable& entry, Place place);
  Evictable pop_evictable(Account& account);
  bool still_evictable(const Evictable& entry, Place place);
  Replica* find_replica(const BlockState& state, DeviceIndex device);
  void add_replica(BlockState& state, Replica replica);
  Replica remove_replica(BlockState& state, DeviceIndex device);
  void drop_replica(BlockRef ref, BlockState& state, DeviceIndex device);
  void drop_replicas(BlockRef ref, BlockState& state);
  void promote_replica(BlockRef ref, BlockState& state);
  void mark(DeviceIndex device);
  void mark_first();
  void take(Account& account, std::size_t bytes, std::size_t& peak) {
    account.used += bytes;
    peak = std::max(peak, account.used);
  }
  BufferId new_buffer();
  void give_back(BufferId buffer, Place place, std::size_t bytes);
  Account& account(Place place) {
    if (place.tier == Tier::kDevice) return devices_[place.device];
    return place.tier == Tier::kHost ? host_ : disk_;
  }
  std::size_t block_bytes(BlockKey key) const {
    return plan_->slots[static_cast<std::size_t>(key.slot)].size.bytes(key.block);
  }
  std::size_t block_bytes(BlockRef ref) const { return block_bytes(table_.key(ref)); }
  std::uint64_t sequence(TaskId id) const noexcept;

  const TaskOrder* order_;
  const Plan* plan_;
  const Share* share_;  ///< null with one rank
  DispatcherOptions options_;
  Driver* driver_;
  TaskOrder::Cursor cursor_;
  BlockTable table_;
  std::vector<Device> devices_;
  Account host_, disk_;
  std::vector<Task> tasks_;  ///< the window, a ring; behind it those that are not the plan's
  std::vector<std::uint64_t> extra_sequences_;  ///< of the tasks behind the ring: their readers'
  std::vector<TaskId> free_extra_;
  std::uint64_t ring_mask_ = 0;
  std::vector<std::vector<TaskInput>> lists_;  ///< of tasks with many inputs
  std::vector<std::uint32_t> free_lists_;
  std::vector<Waiter> waiters_;
  std::uint32_t free_waiter_ = 0;
  std::vector<Move> moves_;
  std::vector<std::uint32_t> free_moves_;
  std::vector<BufferId> free_buffers_;
  BufferId next_buffer_ = 1;
  std::vector<Replica> replicas_;
  std::uint32_t free_replica_ = 0;
  std::vector<DeviceIndex> dirty_;
  std::uint64_t head_ = 0, tail_ = 0;  ///< sequence numbers of the window's tasks
  std::uint64_t state_samples_ = 0;
  Position frontier_ = 0;
  NodeIndex frontier_node_ = -1;
  bool tier_blocked_ = false;  ///< an eviction found no room in the tiers below
  bool exhausted_ = false;
  bool cancelled_ = false;
  bool started_ = false;
  std::int64_t done_tasks_ = 0;
  std::int64_t in_flight_ = 0;  ///< running tasks and moves
  std::uint64_t ready_total_ = 0;
  std::int64_t unsent_ = 0;           ///< reads of other ranks of blocks that are or will be here
  std::vector<std::int32_t> others_;  ///< of the block being looked at: ranks that read it
  std::vector<BlockKey> kept_for_others_;  ///< blocks of earlier runs to announce
  std::vector<BufferId> outputs_;          // of the task being launched
  std::vector<LaunchInput> inputs_;        // of the task being launched
  std::vector<BlockRef> copies_;           // of the task being admitted
  std::vector<Evictable> passed_;          // over, while room is made
  RunCounters counters_;
};

}  // namespace tessera::scheduler
