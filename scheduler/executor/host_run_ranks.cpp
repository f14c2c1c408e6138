#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/environment.hpp"
#include "core/job.hpp"
#include "core/text.hpp"
#include "kernels/specs.hpp"
#include "scheduler/executor/host_run.hpp"
#include "scheduler/executor/task_error.hpp"
#include "scheduler/plan/fingerprint.hpp"
#include "tessera/delayed.hpp"
#include "tessera/error.hpp"

// A run's dealings with the other ranks. All ranks end a step together: each says how it went here
// once nothing of it is being sent any more, and the step is over when everyone has said so. What
// fails on one rank thus fails on all, and none returns while another may still write into its
// memory or read from it.

namespace tessera::scheduler {

namespace {
// A live rank is waited for however long it takes, but not in silence.
constexpr std::chrono::seconds kSlow{30};
// How long a rank is quiet before it says so.
constexpr std::chrono::seconds kQuiet{1};
}  // namespace

HostRun::Listening::Listening(HostRun& run) : step_(run.step_) {
  if (step_ == nullptr) return;
  run.peer_ended_.assign(static_cast<std::size_t>(run.share_.ranks()), false);
  run.peer_ended_[static_cast<std::size_t>(run.share_.self().number)] = true;
  run.peer_quiet_.assign(static_cast<std::size_t>(run.share_.ranks()), std::nullopt);
  run.peer_failed_.assign(static_cast<std::size_t>(run.share_.ranks()), false);
  run.last_block_.assign(static_cast<std::size_t>(run.share_.ranks()), {-1, 0});
  run.fingerprint_ =
      fingerprint(*run.plan_, core::text(run.options_.profile, " ", run.order_->room().bytes));
  step_->listen(run, run.fingerprint_, run.described());
}

HostRun::Listening::~Listening() {
  if (step_ != nullptr) step_->hush();
}

std::string HostRun::described() const {
  return core::text(summary(*plan_), options_.profile.empty() ? "" : ", on ", options_.profile);
}

std::string HostRun::peer_name(comm::Rank peer) const {
  const comm::Rank rank = step_->in_world(peer);
  return core::text("rank ", rank.number, " on ", step_->exchange().world().host(rank));
}

// What the dispatcher starts
// -------------------------------------------------------------------------------------------------

// Calls of several ranks stand for their values, which their blocks do not hold.
tessera::detail::Call* HostRun::call_of(NodeIndex node, std::int64_t block) const noexcept {
  const auto* calls = dynamic_cast<const kernels::CallsSpec*>(
      plan_->nodes[static_cast<std::size_t>(node)].spec.get());
  const bool is_one = calls != nullptr && block >= 0 && block < std::ssize(calls->calls);
  return is_one ? calls->calls[static_cast<std::size_t>(block)].get() : nullptr;
}

// On the thread that ran the call, whose errors are the call's.
void HostRun::write_value(const WorkItem& item) {
  const tessera::detail::Call* call = call_of(item.node, item.block);
  if (call == nullptr) return;
  const SlotIndex slot = plan_->nodes[static_cast<std::size_t>(item.node)].outputs[0];
  std::vector<std::int32_t> others;
  share_.readers(slot, item.coords, others);
  if (others.empty()) return;
  auto bytes = std::make_shared<const std::string>(call->written());
  const std::lock_guard lock(fetch_mutex_);
  values_[{item.node, item.block}] = {std::move(bytes), others.size()};
}

void HostRun::announce(BlockKey key, comm::Rank reader) {
  const NodeIndex node = plan_->slots[static_cast<std::size_t>(key.slot)].node;
  if (call_of(node, key.block) == nullptr) return step_->announce(reader, key);
  std::shared_ptr<const std::string> bytes;
  {
    const std::lock_guard lock(fetch_mutex_);
    const auto value = values_.find({node, key.block});
    if (value == values_.end())
      throw std::logic_error("[executor] a call is announced to ranks that read it");
    bytes = value->second.bytes;
    if (--value->second.readers == 0) values_.erase(value);
  }
  ++*values_leaving_;
  try {
    step_->announce(reader, key, bytes,
                    [leaving = values_leaving_](const std::exception_ptr&) { --*leaving; });
  } catch (...) {
    --*values_leaving_;
    throw;
  }
}

WorkItem& HostRun::new_link(WorkItem::Kind kind, TaskId id, BlockKey key, comm::Rank peer,
                            Place place, std::size_t bytes) {
  WorkItem& item = new_item();
  item.kind = kind;
  item.staged = false;
  item.wide = false;
  item.stream = nullptr;
  item.id = id;
  item.key = key;
  item.peer = peer;
  item.place = place;
  item.bytes = bytes;
  return item;
}

// The item that could not even begin, for the error that is being handled, is reported like any
// other.
void HostRun::not_begun(WorkItem& item) noexcept {
  settle(item, std::current_exception());
  not_queued_.push_back(&item);
}

// Other devices' blocks come through the host's memory, but for those that hold nothing.
void HostRun::start_fetch(const FetchLaunch& fetch) {
  WorkItem& item = new_link(WorkItem::Kind::kFetch, fetch.id, fetch.key, fetch.from,
                            {Tier::kDevice, fetch.device}, fetch.bytes);
  item.to = &stored(fetch.buffer);
  ++outstanding_;
  try {
    if (devices_.cuda() != nullptr && item.bytes > 0) return stage(item);
  } catch (...) {
    return not_begun(item);
  }
  begin_fetch(item);
}

void HostRun::begin_fetch(WorkItem& item) {
  bool waited_for = false;
  try {
    item.to->memory = devices_.pool(item.place.device).allocate(item.bytes);
    if (item.staged) {
      item.copy = incoming_.pool.allocate(item.bytes);
      give_stream(item, item.place.device, StreamUse::kCopyIn);
    }
    {
      const std::lock_guard lock(fetch_mutex_);
      if (peer_failed_[static_cast<std::size_t>(item.peer.number)])
        throw CommError(core::text("[comm] ", peer_name(item.peer), " sends nothing more"));
      fetches_.emplace(item.id, &item);
      waited_for = true;
    }
    const int number = devices_.devices()[item.place.device].id.number;
    step_->pull(item.peer, item.key, item.id, item.staged ? number : -1);
  } catch (...) {
    const std::lock_guard lock(fetch_mutex_);
    // One that the peer's end has given up meanwhile is reported already.
    if (!waited_for || fetches_.erase(item.id) > 0) not_begun(item);
  }
}

// What has come, on a stream.
void HostRun::run_fetch(WorkItem& item, device::Queue* queue) {
  queue->copy(item.to->memory.data(), item.copy.data(), item.bytes);
}

void HostRun::start_send(const SendLaunch& launch) {
  WorkItem& item =
      new_link(WorkItem::Kind::kSend, launch.id, launch.key, launch.to, launch.place, launch.bytes);
  item.from = &stored(launch.buffer);
  item.request = launch.request;
  ++sending_;
  const bool elsewhere =
      launch.bytes > 0 && (launch.place.tier == Tier::kDisk ||
                           (launch.place.tier == Tier::kDevice && devices_.cuda() != nullptr));
  ++outstanding_;
  try {
    if (send_direct(item)) return;
    if (elsewhere) return stage(item);
  } catch (...) {
    return not_begun(item);
  }
  send(item, item.from->memory.data());
}

// From a device to the device that waits for the block.
bool HostRun::send_direct(WorkItem& item) {
  const auto target = pull_devices_.find({item.peer.number, item.request});
  if (target == pull_devices_.end()) return false;
  const std::int32_t there = target->second;
  pull_devices_.erase(target);
  if (item.place.tier != Tier::kDevice) return false;
  const int here = devices_.devices()[item.place.device].id.number;
  return step_->send_direct({item.peer, here, there}, item.request, item.from->memory.data(),
                            item.bytes, when_sent(item));
}

// On a stream of the disk or of a device, which then sends it.
void HostRun::run_send(WorkItem& item, device::Queue* queue) {
  item.copy = outgoing_.pool.allocate(item.bytes);
  if (item.place.tier == Tier::kDisk) {
    item.from->disk.read(item.copy.data());
  } else {
    queue->copy(item.copy.data(), item.from->memory.data(), item.bytes);
  }
}

comm::Messenger::Done HostRun::when_sent(WorkItem& item) {
  return [this, &item](const std::exception_ptr& failure) {
    if (failure) settle(item, failure);
    finish(item);
  };
}

// What cannot reach a lost rank is no error where the others go on without it: they are told of the
// loss right after.
void HostRun::send(WorkItem& item, const std::byte* data) noexcept {
  try {
    comm::Messenger::Done done = when_sent(item);
    if (step_->recovers()) done = [this, &item](const std::exception_ptr&) { finish(item); };
    step_->send_block(item.peer, item.request, data, item.bytes, std::move(done));
  } catch (...) {
    settle(item, std::current_exception());
    finish(item);
  }
}

void HostRun::streamed(WorkItem& item) noexcept {
  if (item.kind == WorkItem::Kind::kSend && item.copy && !item.failure)
    return send(item, item.copy.data());
  finish(item);
}

// Blocks that go through host memory wait until there is some. Those before them need nothing but
// what they have: a peer asks for what it has memory for.
void HostRun::stage(WorkItem& item) {
  MessageMemory& memory = message_memory(item);
  const std::size_t limit = memory.pool.limit_bytes();
  if (item.bytes <= limit) return memory.waiting.push_back(&item);
  throw OutOfMemory(
      core::text(
          "[memory] a block on its way between ranks must fit half of the message memory; got ",
          format_bytes(item.bytes), " with ", format_bytes(limit),
          "; try smaller chunks or another TESSERA_MESSAGE_MEMORY"),
      item.bytes, limit, limit);
}

void HostRun::begin_staged(MessageMemory& memory) noexcept {
  while (!memory.waiting.empty()) {
    WorkItem& item = *memory.waiting.front();
    if (stopped()) {
      skipped_.store(true, std::memory_order_relaxed);
      not_queued_.push_back(&item);
    } else {
      if (memory.used_bytes + item.bytes > memory.pool.limit_bytes()) return;
      item.staged = true;
      memory.used_bytes += item.bytes;
      begin_staged(item);
    }
    memory.waiting.pop_front();
  }
}

void HostRun::begin_staged(WorkItem& item) {
  if (item.kind == WorkItem::Kind::kFetch) return begin_fetch(item);
  if (item.place.tier == Tier::kDisk) {
    to_disk_.push_back(&item);
  } else {
    give_stream(item, item.place.device, StreamUse::kCopyOut);
    to_devices_.push_back(&item);
  }
}

// What other ranks tell
// -------------------------------------------------------------------------------------------------

void HostRun::hear(const PeerEvent& event) noexcept {
  std::unique_lock lock(mutex_);
  peer_events_.push_back(event);
  if (!reporting_) report(lock);
  wake_others();
}

void HostRun::peer_announces(comm::Rank peer, BlockKey key) noexcept {
  hear({PeerEvent::Kind::kAnnounced, peer, key, 0, -1});
}

void HostRun::peer_sends_value(comm::Rank peer, BlockKey key,
                               std::optional<std::string> value) noexcept {
  const bool known = key.slot >= 0 && key.slot < std::ssize(plan_->slots);
  const NodeIndex node = known ? plan_->slots[static_cast<std::size_t>(key.slot)].node : -1;
  tessera::detail::Call* call = known ? call_of(node, key.block) : nullptr;
  if (call == nullptr) return;  // of another plan, which is an error already
  if (!value || !call->arrived(std::move(*value))) {
    return peer_fails(
        peer,
        std::make_exception_ptr(OutOfMemory(
            core::text("[delayed] a call's value must fit in memory; got one of ", peer_name(peer)),
            0, 0, 0)));
  }
  peer_announces(peer, key);
}

void HostRun::peer_pulls(comm::Rank peer, BlockKey key, std::uint32_t request,
                         std::int32_t device) noexcept {
  hear({PeerEvent::Kind::kPulled, peer, key, request, device});
}

std::byte* HostRun::block_target(comm::Rank peer, std::uint32_t request,
                                 std::size_t bytes) noexcept {
  const std::lock_guard lock(fetch_mutex_);
  const auto it = fetches_.find(request);
  if (it == fetches_.end() || it->second->peer != peer || it->second->bytes != bytes)
    return nullptr;
  return it->second->staged ? it->second->copy.data() : it->second->to->memory.data();
}

void HostRun::block_arrived(comm::Rank peer, std::uint32_t request, std::size_t bytes) noexcept {
  WorkItem* item = nullptr;
  {
    const std::lock_guard lock(fetch_mutex_);
    const auto it = fetches_.find(request);
    if (it == fetches_.end() || it->second->peer != peer) return;
    item = it->second;
    fetches_.erase(it);
    last_block_[static_cast<std::size_t>(peer.number)] = item->key;
  }
  if (item->bytes != bytes) {
    settle(*item, std::make_exception_ptr(CommError(
                      core::text("[comm] a block comes in the size that it has on all ranks; got ",
                                 bytes, " bytes for ", item->bytes, " from ", peer_name(peer)))));
  } else if (item->staged) {
    try {
      return item->stream->submit(*item);
    } catch (...) {
      settle(*item, std::current_exception());
    }
  }
  finish(*item);
}

std::byte* HostRun::direct_target(comm::Rank peer, std::uint32_t request,
                                  std::size_t bytes) noexcept {
  const std::lock_guard lock(fetch_mutex_);
  const auto it = fetches_.find(request);
  if (it == fetches_.end() || it->second->peer != peer || it->second->bytes != bytes)
    return nullptr;
  WorkItem* item = it->second;
  direct_.emplace(request, item);
  fetches_.erase(it);
  return item->to->memory.data();
}

void HostRun::direct_arrived(std::uint32_t request, const std::exception_ptr& failure) noexcept {
  WorkItem* item = nullptr;
  {
    const std::lock_guard lock(fetch_mutex_);
    const auto it = direct_.find(request);
    if (it == direct_.end()) return;
    item = it->second;
    direct_.erase(it);
    if (!failure) last_block_[static_cast<std::size_t>(item->peer.number)] = item->key;
  }
  if (failure) settle(*item, failure);
  finish(*item);
}

void HostRun::peer_begins(comm::Rank peer, std::uint64_t fingerprint,
                          const std::string& what) noexcept {
  if (fingerprint == fingerprint_) return;
  // What comes from that rank may be on its way here: its end, which the same will bring about
  // there, says when nothing is.
  fail_run(
      std::make_exception_ptr(CommError(core::text(
          "[compute] all ranks compute the same, in the same order; got ", described(), " on rank ",
          address(Place{}).rank.number, " and ", what, " on ", peer_name(peer), " as step ",
          step_->number(), "; try the same calls on all ranks, from one thread"))),
      {});
}

void HostRun::peer_ends(comm::Rank peer, const std::string* failure, bool again) noexcept {
  bool fails = failure != nullptr;
  {
    const std::lock_guard lock(mutex_);
    peer_ended_[static_cast<std::size_t>(peer.number)] = true;
    others_well_ = others_well_ && failure == nullptr;
    fails = fails && !(again && told_well_);
  }
  if (fails) {
    return peer_fails(peer, std::make_exception_ptr(CommError(core::text(
                                "[compute] ", peer_name(peer), " could not go on: ", *failure))));
  }
  look_again();
}

// Whether the run is over may have changed.
void HostRun::look_again() noexcept {
  std::unique_lock lock(mutex_);
  if (!reporting_) report(lock);
  wake_others();
}

void HostRun::peer_lost(comm::Rank peer, const std::string& why) noexcept {
  bool needed = false;
  bool through = false;
  {
    const std::lock_guard lock(mutex_);
    needed = !peer_ended_[static_cast<std::size_t>(peer.number)];
    others_well_ = others_well_ && !needed;
    peer_ended_[static_cast<std::size_t>(peer.number)] = true;
    through = step_->recovers() && told_well_;
  }
  // One that leaves after it has ended the step is missed in the next.
  if (through) return look_again();
  if (needed) {
    peer_fails(peer, std::make_exception_ptr(CommError(core::text(
                         "[comm] ", peer_name(peer), " is lost while it is needed: ", why, "; ",
                         last_block_of(peer)))));
  }
}

std::string HostRun::last_block_of(comm::Rank peer) {
  const std::lock_guard lock(fetch_mutex_);
  const BlockKey last = last_block_[static_cast<std::size_t>(peer.number)];
  if (last.slot < 0) return "no block had come from it";
  const NodeIndex node = plan_->slots[static_cast<std::size_t>(last.slot)].node;
  return core::text("the last block that came from it was ", block_name(*plan_, node, last.block),
                    " of ", plan_->nodes[static_cast<std::size_t>(node)].label);
}

// Nothing of what is fetched from that rank will come.
void HostRun::peer_fails(comm::Rank peer, const std::exception_ptr& error) noexcept {
  std::vector<WorkItem*> given_up;
  {
    const std::lock_guard lock(fetch_mutex_);
    peer_failed_[static_cast<std::size_t>(peer.number)] = true;
    for (auto it = fetches_.begin(); it != fetches_.end();) {
      if (it->second->peer == peer) {
        given_up.push_back(it->second);
        it = fetches_.erase(it);
      } else {
        ++it;
      }
    }
  }
  fail_run(error, given_up);
}

void HostRun::fail_run(const std::exception_ptr& error,
                       const std::vector<WorkItem*>& given_up) noexcept {
  std::unique_lock lock(mutex_);
  fail(error);
  for (WorkItem* item : given_up) collect(*item);
  if (!reporting_) report(lock);
  wake_others();
}

// The end
// -------------------------------------------------------------------------------------------------

// Once nothing more is sent from here, and there is nothing left to do or no going on. Whether it
// has told, during which others may have finished work.
bool HostRun::tell_end(std::unique_lock<std::mutex>& lock) {
  if (step_ == nullptr || end_told_ || sending_ > 0) return false;
  if (!stopped() && (broken_ || !dispatcher_.finished())) return false;
  // What failed is seen before its error is collected, and the end names it.
  if (stopped() && !error_ && !options_.stop.stop_requested()) return false;
  end_told_ = true;
  const bool failed = stopped();
  told_well_ = !failed;
  std::string failure = "a stop was requested";
  try {
    if (failed && error_) std::rethrow_exception(error_);
  } catch (const std::exception& e) {
    failure = e.what();
  } catch (...) {
    failure = "an unknown error";
  }
  lock.unlock();
  failed ? step_->end(failure) : step_->end();
  lock.lock();
  return true;
}

// A rank that is slow is waited for, and named: those whose blocks are waited for or, where there
// are none, all that have not ended.
void HostRun::name_slow_peers() {
  const Clock::time_point now = clock_.now();
  if (core::elapsed(named_, now) < kSlow) return;
  std::set<std::int32_t> slow;
  {
    const std::lock_guard lock(fetch_mutex_);
    if (outstanding_ > fetches_.size() + direct_.size()) return;  // this one computes
    for (const auto& [request, item] : fetches_) slow.insert(item->peer.number);
    for (const auto& [request, item] : direct_) slow.insert(item->peer.number);
  }
  for (std::size_t r = 0; slow.empty() && r < peer_ended_.size(); ++r) {
    if (!peer_ended_[r]) slow.insert(static_cast<std::int32_t>(r));
  }
  if (slow.empty()) return;
  std::string names;
  for (const std::int32_t rank : slow)
    names += core::text(names.empty() ? "" : ", ", peer_name(comm::Rank{rank}));
  named_ = now;
  const std::chrono::duration<double> time = core::elapsed(quiet_since_, now);
  core::log(core::LogLevel::kWarning,
            core::text("step ", step_->number(), " waits for ", names, ": nothing came for ",
                       std::llround(time.count()), " s"));
}

void HostRun::peer_is_quiet(comm::Rank peer, bool is) noexcept {
  const std::lock_guard lock(mutex_);
  auto& since = peer_quiet_[static_cast<std::size_t>(peer.number)];
  since = is ? std::optional(clock_.now()) : std::nullopt;
}

// Of the reporting thread, so that the others hear it in the order in which it was.
void HostRun::tell_quiet(std::unique_lock<std::mutex>& lock, bool is) {
  quiet_told_ = is;
  lock.unlock();
  step_->quiet(is);
  lock.lock();
  quiet_told_at_ = clock_.now();
}

// Where each rank waits for another to make room, none ever will: which is so when all have been
// quiet for longer than a word of theirs can be on its way. A rank whose words take longer than the
// time of silence is lost.
void HostRun::watch_standstill(std::unique_lock<std::mutex>& lock) {
  if (outstanding_ > 0 || stopped() || broken_ || end_told_ || dispatcher_.finished()) return;
  if (*values_leaving_ > 0) {
    quiet_since_ = clock_.now();
    return;
  }
  const Clock::time_point now = clock_.now();
  if (core::elapsed(quiet_since_, now) < kQuiet) return;
  if (!quiet_told_) {
    reporting_ = true;
    tell_quiet(lock, true);
    reporting_ = false;
    // What came meanwhile was left to this thread.
    if (!finished_items_.empty() || !peer_events_.empty() || stopped()) report(lock);
    return;
  }
  const std::chrono::duration<double> long_enough(2 * core::job().silence_s);
  if (core::elapsed(quiet_told_at_, now) < long_enough || !dispatcher_.starved_unless_taken())
    return;
  for (std::size_t r = 0; r < peer_ended_.size(); ++r) {
    if (peer_ended_[r]) continue;
    if (!peer_quiet_[r] || core::elapsed(*peer_quiet_[r], now) < long_enough) return;
  }
  fail(std::make_exception_ptr(
      OutOfMemory(dispatcher_.stuck_reason() + "; the other ranks wait, too", 0, 0, 0)));
  report(lock);
}

bool HostRun::peers_are_done() const noexcept {
  return step_ == nullptr || (end_told_ && std::all_of(peer_ended_.begin(), peer_ended_.end(),
                                                       [](bool ended) { return ended; }));
}

}  // namespace tessera::scheduler
