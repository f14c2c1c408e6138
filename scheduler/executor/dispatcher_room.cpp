#include "scheduler/executor/dispatcher.hpp"

#include <algorithm>

// Which blocks leave a device or a tier when memory runs out, and what of them is up for it.

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
using Status = BlockState::Status;
constexpr std::size_t kSmallShare = 4096;  // of a budget
// Blocks looked past for room when the tiers below are full, by a task that may as well wait.
constexpr std::size_t kMostPassedOver = 64;
}  // namespace

// Making room
// ------------------------------------------------------------------------------------------

bool Dispatcher::make_room(DeviceIndex d, std::size_t need, TaskId for_task) {
  const Task task = tasks_[for_task];
  Device& device = devices_[d];
  const bool first = sequence(for_task) == head_;
  passed_.clear();
  refresh(device, {Tier::kDevice, d});
  const auto lacks = [&](std::size_t bytes) {
    return device.used + bytes > device.budget + device.leaving;
  };
  // Once tasks had to wait for room, more of it is made than the next one needs, so that what
  // leaves does so beside the computation.
  while (lacks(need + device.ahead)) {
    if (device.heap.empty()) {
      if (device.near || !lacks(need)) break;
      offer_near(device);
      continue;
    }
    const Evictable victim = pop_evictable(device);
    if (!still_evictable(victim, {Tier::kDevice, d})) continue;
    const bool needed_before = victim.next_use <= task.position;
    if ((!needed_before || first) && reads(task, victim.ref)) {
      passed_.push_back(victim);
      continue;
    }
    const bool may_go = !needed_before || (first && lacks(need));
    if (may_go && evict(d, victim)) continue;
    passed_.push_back(victim);
    // Where the tiers below are full a later one may still go: it can be made again, or has a copy.
    if (!may_go || host_.leaving > 0 || (!first && passed_.size() >= kMostPassedOver)) break;
  }
  for (const Evictable& entry : passed_) push_evictable(device, {Tier::kDevice, d}, entry);
  return device.used + need <= device.budget;
}

bool Dispatcher::reads(const Task& task, BlockRef ref) {
  bool found = false;
  for_each_input(task, [&](BlockRef input, const BlockState&, std::int32_t) {
    found = found || input == ref;
  });
  return found;
}

Dispatcher::Evictable Dispatcher::pop_evictable(Account& account) {
  const Evictable entry = account.heap.front();
  std::pop_heap(account.heap.begin(), account.heap.end());
  account.heap.pop_back();
  return entry;
}

// Whether an entry taken from the heap of a place is true, and no other one for the same copy was
// before it. The block counts as not offered there any more.
bool Dispatcher::still_evictable(const Evictable& entry, Place place) {
  BlockState* state = table_.find(entry.ref);
  if (state == nullptr || state->status != Status::kPresent || state->next_use != entry.next_use)
    return false;
  if (entry.replica) {
    Replica* replica = find_replica(*state, place.device);
    if (replica == nullptr || !replica->offered) return false;
    replica->offered = false;
    return replica->pins == 0 && !replica->arriving;
  }
  if (state->tier != place.tier || (place.tier == Tier::kDevice && state->device != place.device))
    return false;
  if (!state->offered) return false;
  state->offered = false;
  return state->pins == 0 && !state->moving;
}

bool Dispatcher::evict(DeviceIndex d, const Evictable& victim) {
  BlockState& state = table_.at(victim.ref);
  if (victim.replica) {
    drop_replica(victim.ref, state, d);
    return true;
  }
  const BufferId from = state.buffer;
  const BlockKey key = table_.key(victim.ref);
  const std::size_t bytes = block_bytes(key);
  if (state.replicas > 0) {
    promote_replica(victim.ref, state);
    give_back(from, {Tier::kDevice, d}, bytes);
    return true;
  }
  const PlanNode& node = plan_->nodes[at(plan_->slots[at(key.slot)].node)];
  if (state.disk_copy != 0) {
    give_back(state.buffer, {Tier::kDevice, d}, bytes);
    state.buffer = state.disk_copy;
    state.disk_copy = 0;
    state.tier = Tier::kDisk;
    return true;
  }
  const bool only_here = !state.remote && !state.shared;
  if (node.recomputable && only_here && state.window_refs == 0 && !state.retained &&
      node.outputs.size() == 1) {
    give_back(state.buffer, {Tier::kDevice, d}, bytes);
    state.buffer = 0;
    state.device = kNoDevice;
    state.status = Status::kDropped;
    counters_.dropped_bytes += bytes;
    return true;
  }
  return evict_to_lower_tier(d, victim.ref, state);
}

bool Dispatcher::evict_to_lower_tier(DeviceIndex d, BlockRef ref, BlockState& state) {
  const std::size_t bytes = block_bytes(ref);
  Place to{Tier::kHost, d};
  if (host_.used + bytes > host_.budget) {
    // Blocks of the host tier that are needed later than this one go down first.
    refresh(host_, {Tier::kHost, 0});
    while (bytes <= host_.budget && host_.used + bytes > host_.budget + host_.leaving) {
      if (host_.heap.empty()) {
        if (host_.near) break;
        offer_near(host_);
        continue;
      }
      const Evictable other = pop_evictable(host_);
      if (!still_evictable(other, {Tier::kHost, 0})) continue;
      const std::size_t other_bytes = block_bytes(other.ref);
      if (other.next_use <= state.next_use || disk_.used + other_bytes > disk_.budget) {
        push_evictable(host_, {Tier::kHost, 0}, other);
        break;
      }
      BlockState& lower = table_.at(other.ref);
      take(disk_, other_bytes, counters_.peak_disk_bytes);
      counters_.to_disk_bytes += other_bytes;
      host_.leaving += other_bytes;
      lower.moving = true;
      start_move({other.ref,
                  {Tier::kHost, lower.device},
                  {Tier::kDisk, lower.device},
                  lower.buffer,
                  new_buffer(),
                  kNoTask,
                  false},
                 other_bytes);
    }
    if (host_.leaving > 0 && bytes <= host_.budget &&
        host_.used + bytes <= host_.budget + host_.leaving) {
      tier_blocked_ = true;
      return false;
    }
    if (disk_.used + bytes > disk_.budget) {
      tier_blocked_ = true;
      return false;
    }
    to.tier = Tier::kDisk;
  }
  if (to.tier == Tier::kHost) {
    take(host_, bytes, counters_.peak_host_bytes);
    counters_.to_host_bytes += bytes;
  } else {
    take(disk_, bytes, counters_.peak_disk_bytes);
    counters_.to_disk_bytes += bytes;
  }
  devices_[d].leaving += bytes;
  state.moving = true;
  start_move({ref, {Tier::kDevice, d}, to, state.buffer, new_buffer(), kNoTask, false}, bytes);
  return true;
}

// What may leave
// ----------------------------------------------------------------------------------------------

void Dispatcher::set_next_use(BlockState& state, Position next_use) {
  state.stale = false;
  if (state.next_use == next_use) return;
  state.next_use = next_use;
  state.offered = false;
  for (std::uint32_t r = state.replicas; r != 0; r = replicas_[r].next)
    replicas_[r].offered = false;
}

// The task that the block's next use stood for has run, and later ones of the window read it, too:
// until somebody asks, it counts as needed earlier than it is.
void Dispatcher::mark_stale(BlockState& state) {
  if (state.stale) return;
  state.stale = true;
  if (state.status != Status::kPresent || state.tier == Tier::kDisk) return;
  ++account({state.tier, state.device}).stale;
  for (std::uint32_t r = state.replicas; r != 0; r = replicas_[r].next)
    ++devices_[replicas_[r].device].stale;
}

// Looks up when stale blocks are needed next, once that pays: as long as blocks that only tasks
// beyond the window read can make room, nobody asks.
void Dispatcher::refresh(Account& account, Place place) {
  if (account.stale == 0 || account.heap.empty() || account.heap.front().next_use > frontier_)
    return;
  if (account.heap.size() > 64 * account.stale) return;
  account.stale = 0;
  std::vector<Evictable> stale;
  std::erase_if(account.heap, [&](const Evictable& entry) {
    const BlockState* state = table_.find(entry.ref);
    if (state == nullptr || !state->stale) return false;
    // One that is pinned comes back when it is let go.
    if (still_evictable(entry, place)) stale.push_back(entry);
    return true;
  });
  std::make_heap(account.heap.begin(), account.heap.end());
  for (Evictable& entry : stale) {
    BlockState& state = table_.at(entry.ref);
    if (state.stale) set_next_use(state, next_unfinished_use(table_.key(entry.ref)));
    entry.next_use = state.next_use;
    push_evictable(account, place, entry);
    offer(entry.ref, state);
  }
}

// Of the tasks that read a block and have not run.
Position Dispatcher::next_unfinished_use(BlockKey key) {
  std::int64_t coords[kMaxRank];
  plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
  const Position head = head_ == tail_ ? frontier_ : tasks_[head_ & ring_mask_].position;
  Position best = kNever;
  const auto look_at = [&](NodeIndex reader, const std::int64_t* place) {
    const Position position = order_->position(reader, place);
    if (position < head || position >= best) return;
    const PlanNode& node = plan_->nodes[at(reader)];
    if (position <= frontier_ && !node.outputs.empty()) {
      const BlockState* made = table_.find(BlockKey{node.outputs[0], plan_->encode(reader, place)});
      if (made == nullptr || made->status != Status::kPending) return;
    }
    best = position;
  };
  if (share_ == nullptr) {
    plan_->for_each_reader(key.slot, coords, look_at);
  } else {
    share_->for_each_reader(key.slot, coords, look_at);
  }
  return best;
}

// Puts up for eviction what tasks of the window read, now that nothing else makes room here.
void Dispatcher::offer_near(Account& account) {
  account.near = true;
  table_.for_each([&](BlockKey key, BlockState& state) {
    if (state.window_refs > 0) offer(table_.ref(key), state);
  });
}

// Puts every unpinned copy of the block up for eviction.
void Dispatcher::offer(BlockRef ref, BlockState& state) {
  if (state.status != Status::kPresent) return;
  const bool far = state.window_refs == 0;
  if (state.pins == 0 && !state.moving && state.tier != Tier::kDisk) {
    if (state.tier == Tier::kDevice) ++devices_[state.device].epoch;
    const Place place{state.tier, state.device};
    Account& there = account(place);
    if (!state.offered && (far || there.near))
      push_evictable(there, place, {state.next_use, ref, false});
  }
  for (std::uint32_t r = state.replicas; r != 0; r = replicas_[r].next) {
    const Replica& copy = replicas_[r];
    if (copy.pins > 0 || copy.arriving) continue;
    ++devices_[copy.device].epoch;
    if (!copy.offered && (far || devices_[copy.device].near))
      push_evictable(devices_[copy.device], {Tier::kDevice, copy.device},
                     {state.next_use, ref, true});
  }
}

void Dispatcher::push_evictable(Account& account, Place place, Evictable entry) {
  if (account.heap.size() >= account.heap_limit) {
    std::erase_if(account.heap, [&](const Evictable& e) { return !still_evictable(e, place); });
    for (const Evictable& e : account.heap) set_offered(e, place);
    std::make_heap(account.heap.begin(), account.heap.end());
    account.heap_limit = std::max<std::size_t>(256, 4 * account.heap.size());
  }
  entry.small = block_bytes(entry.ref) < account.budget / kSmallShare;
  account.heap.push_back(entry);
  std::push_heap(account.heap.begin(), account.heap.end());
  set_offered(entry, place);
}

void Dispatcher::set_offered(const Evictable& entry, Place place) {
  if (entry.replica) {
    find_replica(table_.at(entry.ref), place.device)->offered = true;
  } else {
    table_.at(entry.ref).offered = true;
  }
}

}  // namespace tessera::scheduler
