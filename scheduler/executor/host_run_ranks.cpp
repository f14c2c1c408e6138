#include <algorithm>
#include <future>
#include <utility>

#include "core/text.hpp"
#include "scheduler/executor/host_run.hpp"
#include "scheduler/plan/fingerprint.hpp"
#include "tessera/error.hpp"

// A run's dealings with the other ranks. All ranks end a step together: each says how it went here
// once nothing of it is being sent any more, and the step is over when everyone has said so. What
// fails on one rank thus fails on all, and none returns while another may still write into its
// memory or read from it.

namespace tessera::scheduler {

HostRun::Listening::Listening(HostRun& run) : step_(run.step_) {
  if (step_ == nullptr) return;
  run.peer_ended_.assign(static_cast<std::size_t>(run.share_.ranks()), false);
  run.peer_ended_[static_cast<std::size_t>(run.share_.self().number)] = true;
  run.peer_failed_.assign(static_cast<std::size_t>(run.share_.ranks()), false);
  run.fingerprint_ = fingerprint(*run.plan_);
  step_->listen(run, run.fingerprint_, summary(*run.plan_));
}

HostRun::Listening::~Listening() {
  if (step_ != nullptr) step_->hush();
}

std::string HostRun::peer_name(comm::Rank peer) const {
  return core::text("rank ", peer.number, " on ", step_->exchange().world().host(peer));
}

// What the dispatcher starts
// -------------------------------------------------------------------------------------------------

void HostRun::announce(BlockKey key, comm::Rank reader) { step_->announce(reader, key); }

WorkItem& HostRun::new_link(WorkItem::Kind kind, TaskId id, BlockKey key, comm::Rank peer,
                            Place place, std::size_t bytes) {
  WorkItem& item = new_item();
  item.kind = kind;
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

void HostRun::start_fetch(const FetchLaunch& fetch) {
  WorkItem& item = new_link(WorkItem::Kind::kFetch, fetch.id, fetch.key, fetch.from,
                            {Tier::kDevice, fetch.device}, fetch.bytes);
  item.to = &stored(fetch.buffer);
  ++outstanding_;
  bool waited_for = false;
  try {
    item.to->memory = devices_.pool(fetch.device).allocate(fetch.bytes);
    {
      const std::lock_guard lock(fetch_mutex_);
      if (peer_failed_[static_cast<std::size_t>(fetch.from.number)])
        throw CommError(core::text("[comm] ", peer_name(fetch.from), " sends nothing more"));
      fetches_.emplace(fetch.id, &item);
      waited_for = true;
    }
    step_->pull(fetch.from, fetch.key, fetch.id);
  } catch (...) {
    const std::lock_guard lock(fetch_mutex_);
    // One that the peer's end has given up meanwhile is reported already.
    if (!waited_for || fetches_.erase(fetch.id) > 0) not_begun(item);
  }
}

void HostRun::start_send(const SendLaunch& send) {
  WorkItem& item =
      new_link(WorkItem::Kind::kSend, send.id, send.key, send.to, send.place, send.bytes);
  item.from = &stored(send.buffer);
  item.request = send.request;
  ++sending_;
  if (send.place.tier == Tier::kDisk) return started(item, to_disk_);
  ++outstanding_;
  try {
    step_->send_block(send.to, send.request, item.from->memory.data(), send.bytes,
                      [this, &item](const std::exception_ptr& failure) {
                        if (failure) settle(item, failure);
                        finish(item);
                      });
  } catch (...) {
    not_begun(item);
  }
}

// On a thread of the disk, which has one block of this kind at a time.
void HostRun::send_from_disk(WorkItem& item) {
  item.copy = devices_.outgoing().allocate(item.bytes);
  item.from->disk.read(item.copy.data());
  std::promise<void> sent;
  step_->send_block(item.peer, item.request, item.copy.data(), item.bytes,
                    [&sent](const std::exception_ptr& failure) {
                      failure ? sent.set_exception(failure) : sent.set_value();
                    });
  sent.get_future().get();
  item.copy = {};
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
  hear({PeerEvent::Kind::kAnnounced, peer, key, 0});
}

void HostRun::peer_pulls(comm::Rank peer, BlockKey key, std::uint32_t request) noexcept {
  hear({PeerEvent::Kind::kPulled, peer, key, request});
}

std::byte* HostRun::block_target(comm::Rank peer, std::uint32_t request,
                                 std::size_t bytes) noexcept {
  const std::lock_guard lock(fetch_mutex_);
  const auto it = fetches_.find(request);
  if (it == fetches_.end() || it->second->peer != peer || it->second->bytes != bytes)
    return nullptr;
  return it->second->to->memory.data();
}

void HostRun::block_arrived(comm::Rank peer, std::uint32_t request, std::size_t bytes) noexcept {
  WorkItem* item = nullptr;
  {
    const std::lock_guard lock(fetch_mutex_);
    const auto it = fetches_.find(request);
    if (it == fetches_.end() || it->second->peer != peer) return;
    item = it->second;
    fetches_.erase(it);
  }
  if (item->bytes != bytes) {
    settle(*item, std::make_exception_ptr(CommError(
                      core::text("[comm] a block comes in the size that it has on all ranks; got ",
                                 bytes, " bytes for ", item->bytes, " from ", peer_name(peer)))));
  }
  finish(*item);
}

void HostRun::peer_begins(comm::Rank peer, std::uint64_t fingerprint,
                          const std::string& what) noexcept {
  if (fingerprint == fingerprint_) return;
  // What comes from that rank may be on its way here: its end, which the same will bring about
  // there, says when nothing is.
  fail_run(
      std::make_exception_ptr(CommError(core::text(
          "[compute] all ranks compute the same, in the same order; got ", summary(*plan_),
          " on rank ", share_.self().number, " and ", what, " on ", peer_name(peer), " as step ",
          step_->number(), "; try the same calls on all ranks, from one thread"))),
      {});
}

void HostRun::peer_ends(comm::Rank peer, const std::string* failure) noexcept {
  {
    const std::lock_guard lock(mutex_);
    peer_ended_[static_cast<std::size_t>(peer.number)] = true;
  }
  if (failure != nullptr) {
    return peer_fails(peer, std::make_exception_ptr(CommError(core::text(
                                "[compute] ", peer_name(peer), " could not go on: ", *failure))));
  }
  std::unique_lock lock(mutex_);
  if (!reporting_) report(lock);
  wake_others();
}

void HostRun::peer_lost(comm::Rank peer, const std::string& why) noexcept {
  bool needed = false;
  {
    const std::lock_guard lock(mutex_);
    needed = !peer_ended_[static_cast<std::size_t>(peer.number)];
    peer_ended_[static_cast<std::size_t>(peer.number)] = true;
  }
  // One that leaves after it has ended the step is missed in the next.
  if (needed) {
    peer_fails(peer, std::make_exception_ptr(CommError(core::text(
                         "[comm] ", peer_name(peer), " is lost while it is needed: ", why))));
  }
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

bool HostRun::peers_are_done() const noexcept {
  return step_ == nullptr || (end_told_ && std::all_of(peer_ended_.begin(), peer_ended_.end(),
                                                       [](bool ended) { return ended; }));
}

}  // namespace tessera::scheduler
