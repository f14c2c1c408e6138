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

HostRun::InStep::InStep(HostRun& run) : exchange_(run.exchange_) {
  if (exchange_ == nullptr) return;
  run.step_ = exchange_->enter();
  try {
    run.join_step();
  } catch (...) {
    exchange_->leave();
    throw;
  }
}

HostRun::InStep::~InStep() {
  if (exchange_ != nullptr) exchange_->leave();
}

void HostRun::join_step() {
  peer_ended_.assign(static_cast<std::size_t>(share_.ranks()), false);
  peer_ended_[static_cast<std::size_t>(share_.self().number)] = true;
  peer_failed_.assign(static_cast<std::size_t>(share_.ranks()), false);
  fingerprint_ = fingerprint(*plan_);
  exchange_->begin(step_, fingerprint_, summary(*plan_));
  exchange_->listen(*this);
}

std::string HostRun::peer_name(comm::Rank peer) const {
  return core::text("rank ", peer.number, " on ", exchange_->world().host(peer));
}

// What the dispatcher starts
// -------------------------------------------------------------------------------------------------

void HostRun::announce(BlockKey key, comm::Rank reader) { exchange_->announce(step_, reader, key); }

void HostRun::start_fetch(const FetchLaunch& fetch) {
  WorkItem& item = new_item();
  item.is_move = false;
  item.link = WorkItem::Link::kFetch;
  item.wide = false;
  item.stream = nullptr;
  item.id = fetch.id;
  item.key = fetch.key;
  item.to = &stored(fetch.buffer);
  item.peer = fetch.from;
  item.bytes = fetch.bytes;
  item.place = {Tier::kDevice, fetch.device};
  ++outstanding_;
  try {
    item.to->memory = devices_.pool(fetch.device).allocate(fetch.bytes);
    {
      const std::lock_guard lock(fetch_mutex_);
      if (peer_failed_[static_cast<std::size_t>(fetch.from.number)])
        throw CommError(core::text("[comm] ", peer_name(fetch.from), " sends nothing more"));
      fetches_.emplace(fetch.id, &item);
    }
    exchange_->pull(step_, fetch.from, fetch.key, fetch.id);
  } catch (...) {
    const std::lock_guard lock(fetch_mutex_);
    fetches_.erase(fetch.id);
    settle(item, std::current_exception());
    not_queued_.push_back(&item);
  }
}

void HostRun::start_send(const SendLaunch& send) {
  WorkItem& item = new_item();
  item.is_move = false;
  item.link = WorkItem::Link::kSend;
  item.wide = false;
  item.stream = nullptr;
  item.id = send.id;
  item.key = send.key;
  item.from = &stored(send.buffer);
  item.peer = send.to;
  item.bytes = send.bytes;
  item.place = send.place;
  item.request = send.request;
  ++sending_;
  if (send.place.tier == Tier::kDisk) return started(item, to_disk_);
  ++outstanding_;
  exchange_->send_block(step_, send.to, send.request, item.from->memory.data(), send.bytes,
                        [this, &item](const std::exception_ptr& failure) {
                          if (failure) settle(item, failure);
                          finish(item);
                        });
}

// On a thread of the disk, which has one block of this kind at a time.
void HostRun::send_from_disk(WorkItem& item) {
  item.copy = devices_.outgoing().allocate(item.bytes);
  item.from->disk.read(item.copy.data());
  std::promise<void> sent;
  exchange_->send_block(step_, item.peer, item.request, item.copy.data(), item.bytes,
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
  peer_fails(peer,
             std::make_exception_ptr(CommError(core::text(
                 "[compute] all ranks compute the same, in the same order; got ", summary(*plan_),
                 " on rank ", share_.self().number, " and ", what, " on ", peer_name(peer),
                 " as step ", step_, "; try the same calls on all ranks, from one thread"))));
}

void HostRun::peer_ends(comm::Rank peer, const std::string& failure) noexcept {
  {
    const std::lock_guard lock(mutex_);
    peer_ended_[static_cast<std::size_t>(peer.number)] = true;
  }
  if (!failure.empty()) {
    return peer_fails(peer, std::make_exception_ptr(CommError(core::text(
                                "[compute] ", peer_name(peer), " could not go on: ", failure))));
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
  if (exchange_ == nullptr || end_told_ || sending_ > 0) return false;
  if (!stopped() && (broken_ || !dispatcher_.finished())) return false;
  end_told_ = true;
  std::string failure;
  if (stopped()) {
    failure = "a stop was requested";
    try {
      if (error_) std::rethrow_exception(error_);
    } catch (const std::exception& e) {
      failure = e.what();
    } catch (...) {
      failure = "an unknown error";
    }
  }
  lock.unlock();
  exchange_->end(step_, failure);
  lock.lock();
  return true;
}

bool HostRun::peers_are_done() const noexcept {
  return exchange_ == nullptr || (end_told_ && std::all_of(peer_ended_.begin(), peer_ended_.end(),
                                                           [](bool e) { return e; }));
}

}  // namespace tessera::scheduler
