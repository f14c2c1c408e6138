#include <algorithm>
#include <stdexcept>

#include "core/text.hpp"
#include "scheduler/executor/dispatcher.hpp"

// What blocks do between ranks. An owner announces a block to the ranks that read it, which follow
// from the plan, once the block is there; a reader has room for it first and asks for it then. So
// nothing that waits for another rank holds memory, and ranks that wait for each other cannot block
// each other. A rank gets a block once: what it has fetched is its own to keep, in whatever tier,
// until its last task has read it.

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
using Status = BlockState::Status;
}  // namespace

void Driver::announce(BlockKey, comm::Rank) {
  throw std::logic_error("[executor] this driver has one rank; got a block to announce");
}
void Driver::start_fetch(const FetchLaunch&) {
  throw std::logic_error("[executor] this driver has one rank; got a block to fetch");
}
void Driver::start_send(const SendLaunch&) {
  throw std::logic_error("[executor] this driver has one rank; got a block to send");
}

// The state of another rank's block that tasks here read, from the first of them on. Null for a
// block of this rank.
BlockState* Dispatcher::expect(BlockKey key) {
  if (share_->owner(key.slot, key.block) == share_->self()) return nullptr;
  std::int64_t coords[kMaxRank];
  plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
  BlockState& state = table_.at(key);
  if (state.status == Status::kAbsent) state.status = Status::kPending;
  state.remote = true;
  state.readers_left = share_->readers(key.slot, coords);
  return &state;
}

void Dispatcher::tell_readers(BlockKey key, const std::int64_t* coords) {
  share_->readers(key.slot, coords, others_);
  for (const std::int32_t rank : others_) driver_->announce(key, comm::Rank{rank});
}

// What no task of the window reads yet is remembered as a block that can be had again.
void Dispatcher::announced(BlockKey key) {
  if (cancelled_) return;
  BlockState* state = table_.find(key);
  if (state == nullptr) {
    BlockState& fresh = table_.at(key);
    fresh.status = Status::kDropped;
    fresh.remote = true;
    return;
  }
  if (!state->remote || state->status != Status::kPending || state->waiters == 0) {
    throw std::logic_error(
        core::text("[executor] a rank announces a block once, to the ranks that read it; got slot ",
                   key.slot, " block ", key.block, " again"));
  }
  TaskId first = waiters_[state->waiters].task;
  for (std::uint32_t w = state->waiters; w != 0; w = waiters_[w].next) {
    if (sequence(waiters_[w].task) < sequence(first)) first = waiters_[w].task;
  }
  recompute(table_.ref(key), first);
  run_devices();
}

bool Dispatcher::starved() const noexcept { return unsent_ == 0 && starved_unless_taken(); }

bool Dispatcher::starved_unless_taken() const noexcept {
  if (share_ == nullptr || in_flight_ > 0 || cancelled_ || head_ == tail_) return false;
  if (tasks_[head_ & ring_mask_].phase == Phase::kReady) return true;
  return std::any_of(devices_.begin(), devices_.end(), [this](const Device& device) {
    return !device.fetches.empty() && device.fetches.front().first == head_;
  });
}

void Dispatcher::fetch_done(TaskId id) {
  const Task task = tasks_[id];
  const BlockRef ref = task.inputs[0];
  --in_flight_;
  --devices_[task.device].fetching;
  mark(task.device);
  tasks_[id].phase = Phase::kFree;
  free_extra_.push_back(id);
  BlockState& state = table_.at(ref);
  state.status = Status::kPresent;
  offer(ref, state);
  wake(state);
  run_devices();
}

void Dispatcher::pulled(BlockKey key, comm::Rank reader, std::uint32_t request) {
  if (cancelled_) return;
  BlockState* state = table_.find(key);
  if (state == nullptr || !state->shared || state->status == Status::kPending) {
    throw std::logic_error(
        core::text("[executor] a rank asks once for a block that was announced to it; got slot ",
                   key.slot, " block ", key.block, " for rank ", reader.number));
  }
  Task task;
  task.node = plan_->slots[at(key.slot)].node;
  task.block = reader.number;
  task.role = Role::kSend;
  task.phase = Phase::kWaiting;
  task.inputs[0] = table_.ref(key);
  task.inputs[1] = request;
  send(new_extra_task(task, head_));
}

// From wherever the block lies, once it has stopped moving.
void Dispatcher::send(TaskId id) {
  const BlockRef ref = tasks_[id].inputs[0];
  BlockState& state = table_.at(ref);
  if (state.moving) {
    tasks_[id].missing = 1;
    wait_for(state, id);
    return;
  }
  tasks_[id].phase = Phase::kRunning;
  ++state.pins;
  ++in_flight_;
  const std::size_t bytes = block_bytes(ref);
  counters_.sent_bytes += bytes;
  driver_->start_send({id,
                       table_.key(ref),
                       state.buffer,
                       {state.tier, state.device},
                       bytes,
                       comm::Rank{static_cast<std::int32_t>(tasks_[id].block)},
                       tasks_[id].inputs[1]});
}

void Dispatcher::send_done(TaskId id) {
  const BlockRef ref = tasks_[id].inputs[0];
  tasks_[id].phase = Phase::kFree;
  free_extra_.push_back(id);
  --in_flight_;
  --unsent_;
  BlockState& state = table_.at(ref);
  --state.pins;
  --state.readers_left;
  if (state.tier == Tier::kDevice) mark(state.device);
  if (state.readers_left == 0 && !state.retained) {
    free_block(ref, state);
  } else {
    offer(ref, state);
    wake(state);
  }
  run_devices();
}

}  // namespace tessera::scheduler
