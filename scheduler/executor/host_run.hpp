#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler/executor/exchange.hpp"
#include "scheduler/executor/host_driver.hpp"
#include "scheduler/executor/ready_queue.hpp"

// One run of a plan on the devices of this machine; see host_driver.hpp. Three kinds of state:
//   - the dispatcher, the buffers' table and the items belong to the thread that reports finished
//     work (the one that set reporting_);
//   - the queue, the finished items and the first error are guarded by mutex_;
//   - a taken item and the buffers it names belong to the thread that runs it.

namespace tessera::scheduler {

/// While it lives, its thread runs what may be the user's code, for a run on these devices.
class UserCode {
 public:
  explicit UserCode(const device::HostDevices& devices) noexcept;
  ~UserCode();
  UserCode(const UserCode&) = delete;
  UserCode& operator=(const UserCode&) = delete;
  /// Whether this thread is inside such code. A task may run another session, whose tasks then run
  /// on the same thread: all levels count.
  static bool runs_on(const device::HostDevices& devices) noexcept;

 private:
  const device::HostDevices* devices_;
  const UserCode* outer_;
};

class HostRun final : public Driver, private device::WorkerPool::Job, private ExchangeClient {
 public:
  HostRun(const TaskOrder& order, const HostRunOptions& options);
  HostRunResult run();

  /// Runs an item on whichever thread; an item of a stopped run is skipped.
  void perform(WorkItem& item, int thread, device::Queue* queue = nullptr);
  /// Books how an item ended.
  void settle(WorkItem& item, const std::exception_ptr& failure) noexcept;
  /// A stream is done with an item.
  void streamed(WorkItem& item) noexcept;
  /// An item that no worker carries out has ended.
  void finish(WorkItem& item) noexcept;

  void start_task(const TaskLaunch& launch) override;
  void start_move(const MoveLaunch& move) override;
  void release(BufferId buffer, Place place, std::size_t bytes) override;
  void announce(BlockKey key, comm::Rank reader) override;
  void start_fetch(const FetchLaunch& fetch) override;
  void start_send(const SendLaunch& send) override;

 private:
  struct NodeKernel {
    std::unique_ptr<kernels::TaskKernel> kernel;
    std::vector<const kernels::BlockSize*> inputs;
    std::vector<const kernels::BlockSize*> outputs;
    bool on_workers = true;
  };
  using Clock = core::Clock;
  enum class StreamUse : std::uint8_t { kCompute, kCopyIn, kCopyOut };

  // Threads
  void help(int worker) noexcept override;
  void work(std::unique_lock<std::mutex>& lock, int thread);
  void run_batch(std::unique_lock<std::mutex>& lock, const std::vector<WorkItem*>& batch,
                 int thread);
  void wait(std::unique_lock<std::mutex>& lock);
  void wake_others();
  void collect(WorkItem& item);
  void fail(std::exception_ptr error);
  void report_progress(std::unique_lock<std::mutex>& lock);

  // The reporting thread
  void report(std::unique_lock<std::mutex>& lock);
  void report_batch() noexcept;
  void submit_to_streams() noexcept;
  void submit(WorkItem& item, device::Stream& stream) noexcept;
  WorkItem& new_item();
  void started(WorkItem& item, std::vector<WorkItem*>& queue);
  void give_stream(WorkItem& item, DeviceIndex device, StreamUse use);
  int stream_row(DeviceIndex device, StreamUse use) const noexcept;
  StoredBlock& stored(BufferId buffer);

  // Items
  void run_task(WorkItem& item, device::Queue* queue);
  void compute(WorkItem& item, device::Queue* queue, device::Buffer& scratch);
  void run_move(WorkItem& item, device::Queue* queue);
  void run_disk_move(WorkItem& item);
  device::MemoryPool& pool(Place place);
  comm::BlockAddress address(Place place) const noexcept;
  std::string place_name(Place place) const;
  std::string address_name(Place place) const;
  void trace_item(const WorkItem& item, int thread, Clock::time_point begin);
  bool stopped() const noexcept {
    return failed_.load(std::memory_order_relaxed) || options_.stop.stop_requested();
  }

  // Other ranks (host_run_ranks.cpp); the overrides run on threads of the messenger
  struct PeerEvent {
    enum class Kind : std::uint8_t { kAnnounced, kPulled } kind;
    comm::Rank peer;
    BlockKey key;
    std::uint32_t request;
    std::int32_t device;  // of a pull
  };
  void peer_begins(comm::Rank peer, std::uint64_t fingerprint,
                   const std::string& what) noexcept override;
  void peer_announces(comm::Rank peer, BlockKey key) noexcept override;
  void peer_sends_value(comm::Rank peer, BlockKey key,
                        std::optional<std::string> value) noexcept override;
  void peer_pulls(comm::Rank peer, BlockKey key, std::uint32_t request,
                  std::int32_t device) noexcept override;
  std::byte* block_target(comm::Rank peer, std::uint32_t request,
                          std::size_t bytes) noexcept override;
  void block_arrived(comm::Rank peer, std::uint32_t request, std::size_t bytes) noexcept override;
  std::byte* direct_target(comm::Rank peer, std::uint32_t request,
                           std::size_t bytes) noexcept override;
  void direct_arrived(std::uint32_t request, const std::exception_ptr& failure) noexcept override;
  void peer_is_quiet(comm::Rank peer, bool is) noexcept override;
  void peer_ends(comm::Rank peer, const std::string* failure, bool again) noexcept override;
  void peer_lost(comm::Rank peer, const std::string& why) noexcept override;
  /// While it lives, the run hears what other ranks tell.
  class Listening {
   public:
    explicit Listening(HostRun& run);
    ~Listening();
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;

   private:
    Exchange::Step* const step_;
  };
  WorkItem& new_link(WorkItem::Kind kind, TaskId id, BlockKey key, comm::Rank peer, Place place,
                     std::size_t bytes);
  void not_begun(WorkItem& item) noexcept;
  void hear(const PeerEvent& event) noexcept;
  void look_again() noexcept;
  void peer_fails(comm::Rank peer, const std::exception_ptr& error) noexcept;
  void fail_run(const std::exception_ptr& error, const std::vector<WorkItem*>& given_up) noexcept;
  bool tell_end(std::unique_lock<std::mutex>& lock);
  void name_slow_peers();
  void tell_quiet(std::unique_lock<std::mutex>& lock, bool is);
  void watch_standstill(std::unique_lock<std::mutex>& lock);
  bool peers_are_done() const noexcept;
  /// Host memory of blocks on their way in one direction, and those that wait for some, in order.
  /// Of the reporting thread.
  struct MessageMemory {
    device::MemoryPool& pool;
    std::size_t used_bytes = 0;
    std::deque<WorkItem*> waiting;
  };
  void stage(WorkItem& item);
  void begin_staged(MessageMemory& memory) noexcept;
  void begin_staged(WorkItem& item);
  void begin_fetch(WorkItem& item);
  void run_fetch(WorkItem& item, device::Queue* queue);
  void run_send(WorkItem& item, device::Queue* queue);
  void send(WorkItem& item, const std::byte* data) noexcept;
  bool send_direct(WorkItem& item);
  comm::Messenger::Done when_sent(WorkItem& item);
  MessageMemory& message_memory(const WorkItem& item) noexcept {
    return item.kind == WorkItem::Kind::kFetch ? incoming_ : outgoing_;
  }
  tessera::detail::Call* call_of(NodeIndex node, std::int64_t block) const noexcept;
  void write_value(const WorkItem& item);
  std::string peer_name(comm::Rank peer) const;
  std::string last_block_of(comm::Rank peer);
  std::string described() const;

  // Begin and end
  void name_trace_rows();
  void take_residents();
  void check_residents() const;
  void settle_end();
  HostRunResult hand_over();

  const TaskOrder* order_;
  const Plan* plan_;
  const HostRunOptions& options_;
  device::HostDevices& devices_;
  const Clock& clock_;
  Share share_;
  Exchange::Step* const step_;  // null: this rank is alone
  std::vector<NodeKernel> kernels_;

  Dispatcher dispatcher_;
  std::deque<StoredBlock> buffers_;  // by id; a deque, so that threads keep addresses
  std::deque<WorkItem> items_;
  std::vector<WorkItem*> free_items_;
  std::vector<WorkItem*> launched_;         // for workers
  std::vector<WorkItem*> to_disk_;          // for disk streams
  std::vector<WorkItem*> to_devices_;       // for streams of devices
  std::vector<WorkItem*> not_queued_;       // that no stream took
  std::vector<WorkItem*> batch_;            // being reported
  std::size_t outstanding_ = 0;             // items started and not reported
  std::vector<std::uint32_t> stream_load_;  // items given to each disk stream and not reported
  bool started_ = false;
  std::vector<PeerEvent> events_;  // being reported
  std::uint64_t fingerprint_ = 0;  // of the plan
  std::size_t sending_ = 0;        // blocks on their way to other ranks
  MessageMemory outgoing_;
  MessageMemory incoming_;
  // Where pulled blocks go: CUDA's numbers of devices, by rank and request.
  std::map<std::pair<std::int32_t, std::uint32_t>, std::int32_t> pull_devices_;
  bool end_told_ = false;
  bool told_well_ = false;
  bool others_well_ = true;  // guarded by mutex_
  bool broken_ = false;  // the dispatcher has thrown and is not to be called again
  std::exception_ptr broken_error_;

  std::mutex mutex_;
  std::condition_variable caller_;
  ReadyQueue queue_;
  std::vector<WorkItem*> finished_items_;
  std::vector<PeerEvent> peer_events_;
  std::vector<bool> peer_ended_;  // by rank; its own is true
  std::vector<std::optional<Clock::time_point>> peer_quiet_;  // by rank: since when it is
  std::exception_ptr error_;
  std::int64_t done_tasks_ = 0;
  int near_ = 0;     // threads that report or run a short batch, and come for more
  int helping_ = 0;  // helpers invited or inside
  bool reporting_ = false;
  bool caller_waits_ = false;
  bool over_ = false;
  bool quiet_told_ = false;
  Clock::time_point last_progress_;
  Clock::time_point quiet_since_;  // with several ranks: nothing was reported
  Clock::time_point quiet_told_at_;
  Clock::time_point named_;        // the last time that somebody was waited for too long

  std::mutex fetch_mutex_;
  std::unordered_map<std::uint32_t, WorkItem*> fetches_;  // by request; guarded by fetch_mutex_
  std::unordered_map<std::uint32_t, WorkItem*> direct_;   // what comes by a link; the same way
  std::vector<bool> peer_failed_;                         // by rank; guarded by fetch_mutex_
  std::vector<BlockKey> last_block_;  // that came from a rank, slot -1: none; the same way
  // Values of delayed calls that ran here, by node and block, for ranks that are still to get them;
  // the same way.
  struct Value {
    std::shared_ptr<const std::string> bytes;
    std::size_t readers = 0;
  };
  std::map<std::pair<NodeIndex, std::int64_t>, Value> values_;
  // Values on their way; of the sends themselves, which may outlive the run.
  std::shared_ptr<std::atomic<std::size_t>> values_leaving_ =
      std::make_shared<std::atomic<std::size_t>>(0);

  std::atomic<bool> failed_{false};
  std::atomic<bool> skipped_{false};
};

}  // namespace tessera::scheduler
