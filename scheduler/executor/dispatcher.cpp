#include "scheduler/executor/dispatcher.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>

#include "core/text.hpp"
#include "scheduler/plan/task_need.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
using Status = BlockState::Status;
constexpr std::size_t kShortList = 64;  // of inputs; longer ones are not kept for reuse
}  // namespace

Dispatcher::Dispatcher(const TaskOrder& order, DispatcherOptions options, Driver& driver)
    : order_(&order),
      plan_(&order.plan()),
      share_(options.share),
      options_(std::move(options)),
      driver_(&driver),
      cursor_(options_.share == nullptr ? TaskOrder::Cursor(order)
                                        : TaskOrder::Cursor(order, options_.share->boxes())),
      table_(order.plan()) {
  for (const DeviceLimits& limits : options_.devices) {
    Device device;
    device.budget = limits.budget_bytes;
    device.slots = std::max<std::uint32_t>(1, limits.slots);
    devices_.push_back(std::move(device));
  }
  if (devices_.empty()) throw InvalidArgument("[session] at least one device is needed; got none");
  host_.budget = options_.host_budget_bytes;
  disk_.budget = options_.disk_budget_bytes;
  // No longer than the plan: a small one is over before a long window were cleared.
  options_.window = static_cast<std::uint32_t>(
      std::max<std::int64_t>(2, std::min<std::int64_t>(options_.window, plan_->total_tasks())));
  tasks_.resize(std::bit_ceil(options_.window));
  ring_mask_ = tasks_.size() - 1;
  waiters_.push_back({});  // number 0 ends a list
  replicas_.push_back({});
  counters_.peak_bytes.assign(devices_.size(), 0);
  check_fit();
}

void Dispatcher::check_fit() const {
  std::size_t which = 0;
  for (std::size_t d = 1; d < devices_.size(); ++d) {
    if (devices_[d].budget < devices_[which].budget) which = d;
  }
  check_tasks_fit(*plan_, devices_[which].budget, options_.devices[which].name);
}

std::uint64_t Dispatcher::sequence(TaskId id) const noexcept {
  if (id > ring_mask_) return extra_sequences_[id - ring_mask_ - 1];
  return head_ + ((id - head_) & ring_mask_);
}

void Dispatcher::add_input(Task& task, TaskInput input) {
  if (task.input_count < kKnownInputs &&
      input.number <= std::numeric_limits<std::uint16_t>::max()) {
    task.inputs[task.input_count] = input.ref;
    task.input_numbers[task.input_count++] = static_cast<std::uint16_t>(input.number);
    return;
  }
  if (task.input_count != kManyInputs) {
    if (free_lists_.empty()) {
      free_lists_.push_back(static_cast<std::uint32_t>(lists_.size()));
      lists_.emplace_back();
    }
    std::vector<TaskInput>& list = lists_[free_lists_.back()];
    list.clear();
    for (std::size_t i = 0; i < task.input_count; ++i)
      list.push_back({task.inputs[i], task.input_numbers[i]});
    task.inputs[0] = free_lists_.back();
    free_lists_.pop_back();
    task.input_count = kManyInputs;
  }
  lists_[task.inputs[0]].push_back(input);
}

BufferId Dispatcher::new_buffer() {
  if (free_buffers_.empty()) return next_buffer_++;
  const BufferId id = free_buffers_.back();
  free_buffers_.pop_back();
  return id;
}

void Dispatcher::give_back(BufferId buffer, Place place, std::size_t bytes) {
  account(place).used -= bytes;
  driver_->release(buffer, place, bytes);
  free_buffers_.push_back(buffer);
  if (place.tier == Tier::kDevice) {
    ++devices_[place.device].epoch;
    mark(place.device);
  } else if (tier_blocked_) {
    // Somewhere a task waits for room below: there is some now.
    tier_blocked_ = false;
    for (std::size_t d = 0; d < devices_.size(); ++d) {
      ++devices_[d].epoch;
      mark(static_cast<DeviceIndex>(d));
    }
  }
}

void Dispatcher::mark(DeviceIndex device) {
  if (!devices_[device].dirty) {
    devices_[device].dirty = true;
    dirty_.push_back(device);
  }
}

void Dispatcher::add_resident(const ResidentBlock& block) {
  BlockState& state = table_.at(block.key);
  state.status = Status::kPresent;
  state.tier = block.place.tier;
  state.device = block.place.device;
  state.buffer = block.buffer;
  state.retained = true;
  next_buffer_ = std::max(next_buffer_, block.buffer + 1);
  std::int64_t coords[kMaxRank];
  plan_->decode(plan_->slots[at(block.key.slot)].node, block.key.block, coords);
  if (share_ == nullptr) {
    state.readers_left = plan_->reader_count(block.key.slot, coords);
  } else {
    state.readers_left = share_->readers(block.key.slot, coords, others_);
    if (!others_.empty()) kept_for_others_.push_back(block.key);
  }
  state.next_use = next_use_after(block.key, 0, -1);
  const std::size_t bytes = block_bytes(block.key);
  std::size_t& peak = block.place.tier == Tier::kDevice ? counters_.peak_bytes[block.place.device]
                      : block.place.tier == Tier::kHost ? counters_.peak_host_bytes
                                                        : counters_.peak_disk_bytes;
  take(account(block.place), bytes, peak);
  offer(table_.ref(block.key), state);
}

void Dispatcher::start() {
  started_ = true;
  std::int64_t coords[kMaxRank];
  for (const BlockKey& key : kept_for_others_) {
    plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
    BlockState& state = table_.at(key);
    share_->readers(key.slot, coords, others_);
    state.readers_left += static_cast<std::uint32_t>(others_.size());
    state.shared = true;
    unsent_ += static_cast<std::int64_t>(others_.size());
    tell_readers(key, coords);
  }
  kept_for_others_.clear();
  fill_window();
  run_devices();
}

void Dispatcher::cancel() { cancelled_ = true; }

// Window
// -----------------------------------------------------------------------------------------------

void Dispatcher::fill_window() {
  std::int64_t coords[kMaxRank];
  TaskOrder::Cursor::Item item;
  while (!exhausted_ && !cancelled_ && tail_ - head_ < options_.window) {
    if (!cursor_.next(item, coords)) {
      exhausted_ = true;
      break;
    }
    frontier_ = item.position;
    frontier_node_ = item.node;
    set_up(item, coords);
  }
}

void Dispatcher::set_up(const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
  const PlanNode& node = plan_->nodes[at(item.node)];
  const auto id = static_cast<TaskId>(tail_++ & ring_mask_);
  Task task;
  task.node = item.node;
  task.block = item.block;
  task.position = item.position;
  task.phase = Phase::kWaiting;
  task.chained = node.chain_axis >= 0 && !node.chain_start[at(coords[node.chain_axis])];
  tasks_[id] = task;
  std::uint32_t missing = 0;
  plan_->for_each_input(
      item.node, coords, [&](SlotIndex slot, std::int64_t block, std::int32_t input) {
        BlockState* state = table_.find({slot, block});
        if (share_ != nullptr && (state == nullptr || (state->remote && state->readers_left == 0)))
          state = expect({slot, block});
        if (state == nullptr) {
          throw std::logic_error(
              core::text("[plan] the total order reads a block before it is made; got slot ", slot,
                         " block ", block, " read by ", node.label));
        }
        const BlockRef ref = table_.ref({slot, block});
        add_input(task, {ref, input});
        if (state->window_refs++ == 0 && state->next_use != item.position) {
          set_next_use(*state, item.position);
          offer(ref, *state);
        }
        if (state->status == Status::kDropped) recompute(ref, id);
        if (state->status == Status::kPending) {
          wait_for(*state, id);
          ++missing;
        }
      });
  for (SlotIndex slot : node.outputs) {
    BlockState& state = table_.at({slot, item.block});
    state.status = Status::kPending;
    state.retained = plan_->slots[at(slot)].retained;
    if (share_ == nullptr) {
      state.readers_left = plan_->reader_count(slot, coords);
      continue;
    }
    state.readers_left = share_->readers(slot, coords, others_);
    state.readers_left += static_cast<std::uint32_t>(others_.size());
    state.shared = !others_.empty();
    unsent_ += static_cast<std::int64_t>(others_.size());
  }
  task.missing = missing;
  tasks_[id] = task;
  if (missing == 0) make_ready(id);
}

void Dispatcher::wait_for(BlockState& state, TaskId id) {
  std::uint32_t w;
  if (free_waiter_ != 0) {
    w = free_waiter_;
    free_waiter_ = waiters_[w].next;
  } else {
    w = static_cast<std::uint32_t>(waiters_.size());
    waiters_.push_back({});
  }
  waiters_[w] = {id, state.waiters};
  state.waiters = w;
}

// A woken task that has nothing left to wait for is ready; admission looks again at where its
// inputs are.
void Dispatcher::wake(BlockState& state) {
  std::uint32_t w = state.waiters;
  state.waiters = 0;
  while (w != 0) {
    const Waiter waiter = waiters_[w];
    waiters_[w].next = free_waiter_;
    free_waiter_ = w;
    w = waiter.next;
    if (--tasks_[waiter.task].missing > 0) continue;
    if (tasks_[waiter.task].role == Role::kSend) {
      send(waiter.task);
    } else {
      make_ready(waiter.task);
    }
  }
}

void Dispatcher::recompute(BlockRef ref, TaskId reader) {
  const BlockKey key = table_.key(ref);
  BlockState& state = table_.at(ref);
  Task task;
  task.node = plan_->slots[at(key.slot)].node;
  task.block = key.block;
  task.position = tasks_[reader].position;
  task.role = state.remote ? Role::kFetch : Role::kAgain;
  task.inputs[0] = ref;
  state.status = Status::kPending;
  make_ready(new_extra_task(task, sequence(reader)));
}

TaskId Dispatcher::new_extra_task(const Task& task, std::uint64_t sequence) {
  if (free_extra_.empty()) {
    free_extra_.push_back(static_cast<TaskId>(tasks_.size()));
    tasks_.emplace_back();
    extra_sequences_.push_back(0);
  }
  const TaskId id = free_extra_.back();
  free_extra_.pop_back();
  extra_sequences_[id - ring_mask_ - 1] = sequence;
  tasks_[id] = task;
  return id;
}

void Dispatcher::make_ready(TaskId id) {
  Task& task = tasks_[id];
  if (task.device == kNoDevice) task.device = choose_device(task);
  task.phase = Phase::kReady;
  Device& device = devices_[task.device];
  const bool fetch = task.role == Role::kFetch;
  auto& heap = fetch ? device.fetches : device.ready;
  heap.emplace_back(sequence(id), id);
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
  ready_total_ += fetch ? 0 : 1;
  mark(task.device);
}

// Moves
// -----------------------------------------------------------------------------------------------

std::uint32_t Dispatcher::start_move(Move move, std::size_t bytes) {
  std::uint32_t id;
  if (free_moves_.empty()) {
    id = static_cast<std::uint32_t>(moves_.size());
    moves_.push_back({});
  } else {
    id = free_moves_.back();
    free_moves_.pop_back();
  }
  moves_[id] = move;
  ++in_flight_;
  ++counters_.moves;
  driver_->start_move(
      {id, table_.key(move.ref), move.from_buffer, move.to_buffer, move.from, move.to, bytes});
  return id;
}

void Dispatcher::move_done(std::uint32_t id) {
  const Move move = moves_[id];
  free_moves_.push_back(id);
  --in_flight_;
  BlockState& state = table_.at(move.ref);
  const std::size_t bytes = block_bytes(move.ref);
  if (move.replica) {
    find_replica(state, move.to.device)->arriving = false;
    if (--state.pins == 0) offer(move.ref, state);
  } else {
    state.moving = false;
    state.offered = false;
    state.tier = move.to.tier;
    state.device = move.to.device;
    state.buffer = move.to_buffer;
    if (move.from.tier == Tier::kDisk) {
      state.disk_copy = move.from_buffer;
    } else {
      if (move.to.tier != Tier::kDevice) account(move.from).leaving -= bytes;
      give_back(move.from_buffer, move.from, bytes);
    }
  }
  if (move.from.tier == Tier::kDevice) mark(move.from.device);
  if (move.to.tier == Tier::kDevice) mark(move.to.device);
  if (move.from.tier == Tier::kHost && move.to.tier == Tier::kDisk) {
    for (std::size_t d = 0; d < devices_.size(); ++d) mark(static_cast<DeviceIndex>(d));
  }
  if (state.readers_left == 0 && !state.retained && state.waiters == 0 && state.pins == 0) {
    free_block(move.ref, state);
  } else {
    offer(move.ref, state);
    wake(state);
  }
  if (move.task != kNoTask && --tasks_[move.task].missing == 0) launch(move.task);
  run_devices();
}

// Completion
// -------------------------------------------------------------------------------------------

void Dispatcher::task_done(TaskId id) {
  if (tasks_[id].role == Role::kFetch) return fetch_done(id);
  if (tasks_[id].role == Role::kSend) return send_done(id);
  const Task task = tasks_[id];
  const PlanNode& node = plan_->nodes[at(task.node)];
  --in_flight_;
  --devices_[task.device].admitted;
  devices_[task.device].used -= node.scratch_bytes;
  mark(task.device);
  tasks_[id].phase = Phase::kFree;
  if (task.role == Role::kAgain) {
    ++counters_.recomputed;
    free_extra_.push_back(id);
  } else {
    ++counters_.tasks;
    ++done_tasks_;
    for_each_input(task, [&](BlockRef ref, BlockState&, std::int32_t input) {
      release_input(ref, task, input < 0);
    });
    if (task.input_count == kManyInputs) {
      if (std::vector<TaskInput>& list = lists_[task.inputs[0]]; list.capacity() > kShortList)
        list = {};
      free_lists_.push_back(task.inputs[0]);
    }
    while (head_ < tail_ && tasks_[head_ & ring_mask_].phase == Phase::kFree) ++head_;
    mark_first();
  }
  for (SlotIndex slot : node.outputs) {
    const BlockRef ref = table_.ref({slot, task.block});
    BlockState& state = table_.at(ref);
    if (task.role == Role::kAgain && state.status != Status::kPending) continue;
    state.status = Status::kPresent;
    if (state.readers_left == 0 && !state.retained) {
      free_block(ref, state);
      continue;
    }
    if (state.window_refs == 0)
      set_next_use(state, next_use_after({slot, task.block}, frontier_, frontier_node_));
    offer(ref, state);
    wake(state);
    if (state.shared && task.role == Role::kPlan) {
      std::int64_t coords[kMaxRank];
      plan_->decode(task.node, task.block, coords);
      tell_readers({slot, task.block}, coords);
    }
  }
  fill_window();
  run_devices();
}

// By tasks of this rank: the block stays until others have it anyway.
Position Dispatcher::next_use_after(BlockKey key, Position position, NodeIndex node) const {
  std::int64_t coords[kMaxRank];
  plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
  if (share_ == nullptr) return order_->next_reader_after(key.slot, coords, position, node);
  Position best = kNever;
  share_->for_each_reader(key.slot, coords, [&](NodeIndex reader, const std::int64_t* place) {
    const Position p = order_->position(reader, place);
    if (p < best && (p > position || (p == position && reader > node))) best = p;
  });
  return best;
}

// The first unfinished task may evict what it could not before, and so may what makes a dropped
// block again for it: their devices must look again.
void Dispatcher::mark_first() {
  if (head_ == tail_) return;
  const auto look_again = [this](DeviceIndex d) {
    devices_[d].blocked = kNoTask;
    mark(d);
  };
  const Task& task = tasks_[head_ & ring_mask_];
  if (task.phase == Phase::kReady) look_again(task.device);
  for (std::size_t d = 0; d < devices_.size() && share_ != nullptr; ++d) {
    if (!devices_[d].fetches.empty() && devices_[d].fetches.front().first == head_)
      look_again(static_cast<DeviceIndex>(d));
  }
  if (free_extra_.size() == extra_sequences_.size()) return;
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    const TaskId blocked = devices_[d].blocked;
    if (blocked != kNoTask && blocked > ring_mask_ && sequence(blocked) == head_)
      look_again(static_cast<DeviceIndex>(d));
  }
}

void Dispatcher::release_input(BlockRef ref, const Task& task, bool chained) {
  BlockState& state = table_.at(ref);
  --state.window_refs;
  --state.readers_left;
  if (chained) {
    // Its memory lives on as the successor's.
    if (state.disk_copy != 0)
      give_back(state.disk_copy, {Tier::kDisk, state.device}, block_bytes(ref));
    table_.erase(table_.key(ref));
    return;
  }
  if (state.tier == Tier::kDevice && state.device == task.device) {
    --state.pins;
  } else {
    --find_replica(state, task.device)->pins;
  }
  if (state.readers_left == 0 && !state.retained) {
    if (!state.moving) free_block(ref, state);
    return;
  }
  if (state.window_refs == 0) {
    set_next_use(state, next_use_after(table_.key(ref), frontier_, frontier_node_));
  } else if (state.next_use == task.position) {
    mark_stale(state);
  }
  offer(ref, state);
}

void Dispatcher::free_block(BlockRef ref, BlockState& state) {
  const std::size_t bytes = block_bytes(ref);
  drop_replicas(ref, state);
  if (state.status == Status::kPresent) give_back(state.buffer, {state.tier, state.device}, bytes);
  if (state.disk_copy != 0) give_back(state.disk_copy, {Tier::kDisk, state.device}, bytes);
  table_.erase(table_.key(ref));
}

void Dispatcher::drop_replica(BlockRef ref, BlockState& state, DeviceIndex device) {
  give_back(remove_replica(state, device).buffer, {Tier::kDevice, device}, block_bytes(ref));
}

void Dispatcher::drop_replicas(BlockRef ref, BlockState& state) {
  while (state.replicas != 0) drop_replica(ref, state, replicas_[state.replicas].device);
}

// A copy on another device takes the place of the block itself. None is arriving: the block would
// be pinned.
void Dispatcher::promote_replica(BlockRef ref, BlockState& state) {
  const Replica replica = remove_replica(state, replicas_[state.replicas].device);
  state.buffer = replica.buffer;
  state.device = replica.device;
  state.pins = replica.pins;
  state.offered = false;
  offer(ref, state);
}

// Ends
// -------------------------------------------------------------------------------------------------

std::string Dispatcher::stuck_reason() const {
  if (in_flight_ > 0 || cancelled_ || finished()) return {};
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    const auto& heap = devices_[d].ready.empty() ? devices_[d].fetches : devices_[d].ready;
    if (heap.empty()) continue;
    const Task& task = tasks_[heap.front().second];
    return core::text("[", plan_->nodes[at(task.node)].label, "] no room can be made on ",
                      options_.devices[d].name, "; got ", format_bytes(devices_[d].used),
                      " in use of ", format_bytes(devices_[d].budget), ", host tier ",
                      format_bytes(host_.used), " of ", format_bytes(host_.budget), ", disk tier ",
                      format_bytes(disk_.used), " of ", format_bytes(disk_.budget),
                      "; try a larger TESSERA_HOST_MEMORY or a TESSERA_SPILL_DIR with more room");
  }
  return "[executor] tasks are left but none is ready";
}

std::vector<ResidentBlock> Dispatcher::residents() {
  std::vector<ResidentBlock> out;
  table_.for_each([&](BlockKey key, BlockState& state) {
    if (state.retained && state.status == Status::kPresent)
      out.push_back({key, {state.tier, state.device}, state.buffer});
  });
  return out;
}

void Dispatcher::release_all(bool keep_results) {
  std::vector<BlockRef> refs;
  table_.for_each([&](BlockKey key, BlockState& state) {
    const bool known_before = plan_->nodes[at(plan_->slots[at(key.slot)].node)].resident;
    if ((!known_before || state.remote) && !(keep_results && state.retained))
      refs.push_back(table_.ref(key));
  });
  for (const BlockRef ref : refs) free_block(ref, table_.at(ref));
  // Copies that residents had elsewhere go as well: only one place is remembered.
  table_.for_each([&](BlockKey key, BlockState& state) {
    const BlockRef ref = table_.ref(key);
    drop_replicas(ref, state);
    if (state.disk_copy != 0) {
      give_back(state.disk_copy, {Tier::kDisk, state.device}, block_bytes(key));
      state.disk_copy = 0;
    }
  });
}

std::size_t Dispatcher::state_bytes() const noexcept {
  std::size_t total =
      table_.bytes() + tasks_.capacity() * sizeof(Task) + lists_.capacity() * sizeof(lists_[0]) +
      waiters_.capacity() * sizeof(Waiter) + moves_.capacity() * sizeof(Move) +
      free_buffers_.capacity() * sizeof(BufferId) + replicas_.capacity() * sizeof(Replica) +
      host_.heap.capacity() * sizeof(Evictable);
  for (const std::vector<TaskInput>& list : lists_) total += list.capacity() * sizeof(TaskInput);
  for (const Device& device : devices_) {
    total += device.heap.capacity() * sizeof(Evictable) +
             (device.ready.capacity() + device.fetches.capacity()) * sizeof(device.ready[0]);
  }
  return total;
}

}  // namespace tessera::scheduler
