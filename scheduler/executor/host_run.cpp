#include "scheduler/executor/host_run.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/text.hpp"
#include "scheduler/executor/task_error.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
constexpr std::chrono::milliseconds kProgressEvery{50};

bool touches_disk(const MoveLaunch& move) {
  return move.from.tier == Tier::kDisk || move.to.tier == Tier::kDisk;
}
}  // namespace

// Threads
// -------------------------------------------------------------------------------------------------

void HostRun::help(int worker) noexcept {
  std::unique_lock lock(mutex_);
  work(lock, worker);
  --helping_;
}

// The calling thread (number 0) stays until the run is over, others until they find nothing to do.
// Little work is left to a thread that is near: two threads at it would pass the dispatcher's
// tables between their caches for longer than it takes.
void HostRun::work(std::unique_lock<std::mutex>& lock, int thread) {
  std::vector<WorkItem*> batch;
  for (;;) {
    if ((!finished_items_.empty() || !peer_events_.empty()) && !reporting_) {
      ++near_;
      report(lock);
      --near_;
    }
    batch.clear();
    if (queue_.worth(near_ > 0) > 0) queue_.take(batch);
    if (!batch.empty()) {
      run_batch(lock, batch, thread);
    } else if (over_ || thread != 0) {
      return;
    } else {
      wait(lock);
      // While all there is to do is waiting for other ranks, nobody else would see that a stop was
      // asked for.
      if (step_ != nullptr && !reporting_ && !end_told_ && stopped()) report(lock);
      if (step_ != nullptr && !reporting_) {
        name_slow_peers();
        watch_standstill(lock);
      }
    }
    if (thread == 0 && options_.progress) report_progress(lock);
  }
}

void HostRun::run_batch(std::unique_lock<std::mutex>& lock, const std::vector<WorkItem*>& batch,
                        int thread) {
  const int near = ReadyQueue::is_long(batch) ? 0 : 1;
  near_ += near;
  wake_others();
  lock.unlock();
  const Clock::time_point begin = clock_.now();
  double nanoseconds = 0.0;
  std::size_t count = 0;
  while (count < batch.size() && nanoseconds < ReadyQueue::kGiveUpNs) {
    WorkItem* item = batch[count++];
    try {
      perform(*item, thread);
    } catch (...) {
      settle(*item, std::current_exception());
    }
    const std::chrono::duration<double, std::nano> time = core::elapsed(begin, clock_.now());
    nanoseconds = time.count();
  }
  lock.lock();
  near_ -= near;
  queue_.ran(batch, count, nanoseconds);
  for (std::size_t i = 0; i < count; ++i) collect(*batch[i]);
}

void HostRun::wait(std::unique_lock<std::mutex>& lock) {
  caller_waits_ = true;
  if (options_.progress || step_ != nullptr) {
    // In the machine's time: a clock that stands still must not keep this thread from work.
    caller_.wait_for(lock, kProgressEvery);
  } else {
    caller_.wait(lock);
  }
  caller_waits_ = false;
}

// Each thread that leaves work behind wakes two more, so that many are up in a few steps and none
// is woken for work that another has taken.
void HostRun::wake_others() {
  auto count = static_cast<int>(std::min<std::size_t>(queue_.worth(near_ > 0), 2));
  if (count > 0 && caller_waits_) {
    caller_waits_ = false;
    caller_.notify_one();
    --count;
  }
  count = std::min(count, devices_.helpers().threads() - helping_);
  if (count > 0) {
    helping_ += count;
    devices_.helpers().invite(*this, count);
  }
}

void HostRun::collect(WorkItem& item) {
  if (item.failure) fail(std::exchange(item.failure, nullptr));
  finished_items_.push_back(&item);
}

void HostRun::fail(std::exception_ptr error) {
  failed_.store(true, std::memory_order_relaxed);
  if (!error_) error_ = std::move(error);
}

void HostRun::finish(WorkItem& item) noexcept {
  if (options_.trace != nullptr && item.stream != nullptr && item.begin != Clock::time_point{}) {
    try {
      trace_item(item, item.thread, item.begin);
    } catch (...) {
      settle(item, std::current_exception());
    }
  }
  std::unique_lock lock(mutex_);
  collect(item);
  if (!reporting_) report(lock);
  wake_others();
}

void HostRun::report_progress(std::unique_lock<std::mutex>& lock) {
  const Clock::time_point now = clock_.now();
  if (now < last_progress_) last_progress_ = now;  // the clock was turned back
  if (now - last_progress_ < kProgressEvery) return;
  last_progress_ = now;
  const std::int64_t done = done_tasks_;
  lock.unlock();
  std::exception_ptr error;
  try {
    const UserCode inside(devices_);
    options_.progress(done, plan_->total_tasks());
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  if (error) fail(error);
}

// The reporting thread
// -------------------------------------------------------------------------------------------------

// Whoever sets reporting_ is alone with the dispatcher, without holding the lock: others go on
// taking work and add to what is finished, which this thread looks at again before it leaves.
void HostRun::report(std::unique_lock<std::mutex>& lock) {
  reporting_ = true;
  if (step_ != nullptr) {
    named_ = quiet_since_ = clock_.now();
    if (quiet_told_) tell_quiet(lock, false);
  }
  do {
    batch_.swap(finished_items_);
    events_.swap(peer_events_);
    lock.unlock();
    report_batch();
    submit_to_streams();
    lock.lock();
    if (broken_error_) fail(std::exchange(broken_error_, nullptr));
    if (!broken_) done_tasks_ = dispatcher_.done_tasks();
    for (WorkItem* item : not_queued_) collect(*item);
    not_queued_.clear();
    for (WorkItem* item : launched_) queue_.push(item);
    launched_.clear();
    if (!finished_items_.empty()) wake_others();
  } while (!finished_items_.empty() || !peer_events_.empty() || tell_end(lock));
  if (step_ != nullptr) quiet_since_ = clock_.now();
  reporting_ = false;
  if (outstanding_ > 0 || !peers_are_done()) return;
  over_ = true;
  if (std::exchange(caller_waits_, false)) caller_.notify_one();
}

void HostRun::report_batch() noexcept {
  outstanding_ -= batch_.size();
  for (WorkItem* item : batch_) {
    const bool sent = item->kind == WorkItem::Kind::kSend;
    const bool copied = item->kind == WorkItem::Kind::kCopy;
    sending_ -= sent ? 1 : 0;
    if (item->staged) {
      item->copy = {};
      message_memory(*item).used_bytes -= item->bytes;
    }
    if ((sent && item->staged && item->place.tier == Tier::kDisk) ||
        (copied && touches_disk(item->move)))
      --stream_load_[static_cast<std::size_t>(item->thread - devices_.workers())];
  }
  try {
    if (!broken_ && stopped() && !end_told_) dispatcher_.cancel();
    if (!std::exchange(started_, true)) dispatcher_.start();
    for (const WorkItem* item : batch_) {
      if (broken_) break;
      if (item->kind == WorkItem::Kind::kCopy) {
        dispatcher_.move_done(item->id);
      } else {
        dispatcher_.task_done(item->id);
      }
    }
    for (const PeerEvent& event : events_) {
      if (broken_) break;
      if (event.kind == PeerEvent::Kind::kAnnounced) {
        dispatcher_.announced(event.key);
      } else {
        if (event.device >= 0 && devices_.cuda() != nullptr)
          pull_devices_[{event.peer.number, event.request}] = event.device;
        dispatcher_.pulled(event.key, event.peer, event.request);
      }
    }
    if (dispatcher_.starved()) throw OutOfMemory(dispatcher_.stuck_reason(), 0, 0, 0);
  } catch (...) {
    broken_ = true;
    broken_error_ = std::current_exception();
    failed_.store(true, std::memory_order_relaxed);
  }
  begin_staged(outgoing_);
  begin_staged(incoming_);
  free_items_.insert(free_items_.end(), batch_.begin(), batch_.end());
  batch_.clear();
  events_.clear();
}

void HostRun::submit_to_streams() noexcept {
  for (WorkItem* item : to_devices_) submit(*item, *item->stream);
  to_devices_.clear();
  const auto& streams = devices_.disk_streams();
  for (WorkItem* item : to_disk_) {
    const auto idle = std::min_element(stream_load_.begin(), stream_load_.end());
    const auto stream = static_cast<std::size_t>(idle - stream_load_.begin());
    ++*idle;
    item->thread = devices_.workers() + static_cast<int>(stream);
    submit(*item, *streams[stream]);
  }
  to_disk_.clear();
}

void HostRun::submit(WorkItem& item, device::Stream& stream) noexcept {
  try {
    stream.submit(item);
  } catch (...) {
    settle(item, std::current_exception());
    not_queued_.push_back(&item);
  }
}

WorkItem& HostRun::new_item() {
  if (free_items_.empty()) {
    items_.emplace_back();
    items_.back().owner = this;
    // Room for all items, so that giving one back cannot fail.
    free_items_.reserve(items_.size());
    return items_.back();
  }
  WorkItem& item = *free_items_.back();
  free_items_.pop_back();
  return item;
}

// Only now, when nothing more can fail, does the run wait for it.
void HostRun::started(WorkItem& item, std::vector<WorkItem*>& queue) {
  queue.push_back(&item);
  ++outstanding_;
}

void HostRun::give_stream(WorkItem& item, DeviceIndex device, StreamUse use) {
  const device::Device& owner = devices_.devices()[device];
  item.stream = use == StreamUse::kCompute  ? owner.compute
                : use == StreamUse::kCopyIn ? owner.copy_in
                                            : owner.copy_out;
  item.begin = {};
  item.thread = stream_row(device, use);
}

int HostRun::stream_row(DeviceIndex device, StreamUse use) const noexcept {
  return devices_.workers() + static_cast<int>(devices_.disk_streams().size()) + 3 * device +
         static_cast<int>(use);
}

StoredBlock& HostRun::stored(BufferId buffer) {
  while (buffers_.size() <= buffer) buffers_.emplace_back();
  return buffers_[buffer];
}

void HostRun::start_task(const TaskLaunch& launch) {
  const PlanNode& node = plan_->nodes[static_cast<std::size_t>(launch.node)];
  WorkItem& item = new_item();
  item.kind = WorkItem::Kind::kTask;
  item.staged = false;
  item.wide = node.wide;
  item.stream = nullptr;
  if (!kernels_[static_cast<std::size_t>(launch.node)].on_workers)
    give_stream(item, launch.device, StreamUse::kCompute);
  item.id = launch.id;
  item.node = launch.node;
  item.block = launch.block;
  item.device = launch.device;
  plan_->decode(launch.node, launch.block, item.coords);
  item.chained = node.chain_axis >= 0 &&
                 !node.chain_start[static_cast<std::size_t>(item.coords[node.chain_axis])];
  item.pieces.clear();
  item.piece_offsets.clear();
  item.piece_offsets.resize(node.inputs.size() + 1);
  const LaunchInput* next = launch.inputs;
  const LaunchInput* end = launch.inputs + launch.input_count;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    item.piece_offsets[i] = static_cast<std::uint32_t>(item.pieces.size());
    for (; next != end && next->input == static_cast<std::int32_t>(i); ++next) {
      item.pieces.push_back(
          {next->key.block / node.inputs[i].links, buffers_[next->buffer].memory.data()});
    }
  }
  item.piece_offsets.back() = static_cast<std::uint32_t>(item.pieces.size());
  item.outputs.clear();
  for (std::size_t o = 0; o < launch.output_count; ++o)
    item.outputs.push_back(&stored(launch.outputs[o]));
  started(item, item.stream != nullptr ? to_devices_ : launched_);
}

void HostRun::start_move(const MoveLaunch& move) {
  WorkItem& item = new_item();
  item.kind = WorkItem::Kind::kCopy;
  item.staged = false;
  item.wide = false;
  item.id = move.id;
  item.move = move;
  item.from = &stored(move.from_buffer);
  item.to = &stored(move.to_buffer);
  if (touches_disk(move)) {
    item.stream = nullptr;
    started(item, to_disk_);
    return;
  }
  const bool inward = move.to.tier == Tier::kDevice;
  const DeviceIndex device = inward ? move.to.device : move.from.device;
  give_stream(item, device, inward ? StreamUse::kCopyIn : StreamUse::kCopyOut);
  started(item, item.stream != nullptr ? to_devices_ : launched_);
}

void HostRun::release(BufferId buffer, Place, std::size_t) { stored(buffer) = StoredBlock{}; }

}  // namespace tessera::scheduler
