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
constexpr std::size_t kSmallShare = 4096;  // of a budget
// Squares of blocks that go to one device: larger ones need fewer copies, more of them keep all
// devices at work.
constexpr std::int64_t kLargestSquare = 4;
constexpr std::size_t kSquaresPerDevice = 8;
constexpr std::size_t kShortList = 64;     // of inputs; longer ones are not kept for reuse
// Blocks looked past for room when the tiers below are full, by a task that may as well wait.
constexpr std::size_t kMostPassedOver = 64;
}  // namespace

Dispatcher::Dispatcher(const TaskOrder& order, DispatcherOptions options, Driver& driver)
    : order_(&order),
      plan_(&order.plan()),
      options_(std::move(options)),
      driver_(&driver),
      cursor_(order),
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
  options_.window = std::max<std::uint32_t>(options_.window, 2);
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

std::size_t Dispatcher::block_bytes(BlockKey key) const {
  return plan_->slots[at(key.slot)].size.bytes(key.block);
}

Dispatcher::Account& Dispatcher::account(Place place) {
  if (place.tier == Tier::kDevice) return devices_[place.device];
  return place.tier == Tier::kHost ? host_ : disk_;
}

void Dispatcher::take(Account& account, std::size_t bytes, std::size_t& peak) {
  account.used += bytes;
  peak = std::max(peak, account.used);
}

std::uint64_t Dispatcher::sequence(TaskId id) const noexcept {
  if (id > ring_mask_) return again_sequences_[id - ring_mask_ - 1];
  return head_ + ((id - head_) & ring_mask_);
}

// Calls f(ref, state, number of the node's input) for every block that the task reads.
template <typename F>
void Dispatcher::for_each_input(const Task& task, F&& f) {
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
  state.readers_left = plan_->reader_count(block.key.slot, coords);
  state.next_use = order_->next_reader_after(block.key.slot, coords, 0, -1);
  const std::size_t bytes = block_bytes(block.key);
  std::size_t& peak = block.place.tier == Tier::kDevice ? counters_.peak_bytes[block.place.device]
                      : block.place.tier == Tier::kHost ? counters_.peak_host_bytes
                                                        : counters_.peak_disk_bytes;
  take(account(block.place), bytes, peak);
  offer(table_.ref(block.key), state);
}

void Dispatcher::start() {
  started_ = true;
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
    state.readers_left = plan_->reader_count(slot, coords);
    state.retained = plan_->slots[at(slot)].retained;
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
    if (--tasks_[waiter.task].missing == 0) make_ready(waiter.task);
  }
}

void Dispatcher::recompute(BlockRef ref, TaskId reader) {
  const BlockKey key = table_.key(ref);
  Task task;
  task.node = plan_->slots[at(key.slot)].node;
  task.block = key.block;
  task.position = tasks_[reader].position;
  task.again = true;
  if (free_again_.empty()) {
    free_again_.push_back(static_cast<TaskId>(tasks_.size()));
    tasks_.emplace_back();
    again_sequences_.push_back(0);
  }
  const TaskId id = free_again_.back();
  free_again_.pop_back();
  again_sequences_[id - ring_mask_ - 1] = sequence(reader);
  tasks_[id] = task;
  table_.at(ref).status = Status::kPending;
  make_ready(id);
}

void Dispatcher::make_ready(TaskId id) {
  Task& task = tasks_[id];
  if (task.device == kNoDevice) task.device = choose_device(task);
  task.phase = Phase::kReady;
  Device& device = devices_[task.device];
  device.ready.emplace_back(sequence(id), id);
  std::push_heap(device.ready.begin(), device.ready.end(), std::greater<>());
  ++ready_total_;
  mark(task.device);
}

// The device that holds most of what the task reads; where that is little beside what it writes,
// devices take result blocks in turn, or squares of blocks where there are few results.
DeviceIndex Dispatcher::choose_device(const Task& task) {
  if (devices_.size() == 1) return 0;
  struct Share {
    DeviceIndex device;
    std::size_t bytes;
  };
  Share shares[16];
  std::size_t count = 0;
  for_each_input(task, [&](BlockRef ref, const BlockState& state, std::int32_t) {
    if (state.device == kNoDevice || state.tier != Tier::kDevice) return;
    const std::size_t bytes = block_bytes(ref);
    for (std::size_t i = 0; i < count; ++i) {
      if (shares[i].device == state.device) {
        shares[i].bytes += bytes;
        return;
      }
    }
    if (count < std::size(shares)) shares[count++] = {state.device, bytes};
  });
  std::size_t out_bytes = 0;
  for (SlotIndex output : plan_->nodes[at(task.node)].outputs)
    out_bytes += block_bytes({output, task.block});
  const Share* best = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    if (best == nullptr || shares[i].bytes > best->bytes ||
        (shares[i].bytes == best->bytes &&
         devices_[shares[i].device].used < devices_[best->device].used)) {
      best = &shares[i];
    }
  }
  if (best != nullptr && best->bytes * 4 >= out_bytes) return best->device;
  const bool by_tile = order_->tiles() >= devices_.size();
  return static_cast<DeviceIndex>((by_tile ? order_->tile(task.position) : square_of(task)) %
                                  devices_.size());
}

// Number of the square of blocks that the task's block lies in: neighbours go together where there
// are many.
std::uint64_t Dispatcher::square_of(const Task& task) const {
  const std::vector<std::int64_t>& counts = plan_->nodes[at(task.node)].counts;
  std::int64_t coords[kMaxRank];
  plan_->decode(task.node, task.block, coords);
  const auto squares = [&](std::int64_t edge) {
    std::uint64_t product = 1;
    for (const std::int64_t count : counts)
      product *= static_cast<std::uint64_t>((count + edge - 1) / edge);
    return product;
  };
  std::int64_t edge = kLargestSquare;
  while (edge > 1 && squares(edge) < kSquaresPerDevice * devices_.size()) edge /= 2;
  std::uint64_t number = 0;
  for (std::size_t d = 0; d < counts.size(); ++d) {
    number = number * static_cast<std::uint64_t>((counts[d] + edge - 1) / edge) +
             static_cast<std::uint64_t>(coords[d] / edge);
  }
  return number;
}

// Devices
// ----------------------------------------------------------------------------------------------

void Dispatcher::run_devices() {
  while (!dirty_.empty()) {
    const DeviceIndex device = dirty_.back();
    dirty_.pop_back();
    devices_[device].dirty = false;
    if (!cancelled_) start_ready(device);
  }
  if ((state_samples_++ & 1023) == 0)
    counters_.peak_state_bytes = std::max(counters_.peak_state_bytes, state_bytes());
}

void Dispatcher::start_ready(DeviceIndex index) {
  Device& device = devices_[index];
  while (device.admitted < device.slots) {
    if (device.ready.empty() && !(device.admitted == 0 && ready_total_ > 0 && steal(index))) return;
    const TaskId id = device.ready.front().second;
    if (device.blocked == id) {
      // Look again only when evictions that make enough room are done, or something has become
      // evictable.
      const bool fits = device.used + device.blocked_need <= device.budget;
      const bool waits =
          device.blocked_covered ? device.leaving > 0 : device.epoch == device.blocked_epoch;
      if (waits && !fits) return;
      device.blocked = kNoTask;
    }
    const Admission outcome = admit(id);
    if (outcome == Admission::kBlocked) return;
    std::pop_heap(device.ready.begin(), device.ready.end(), std::greater<>());
    device.ready.pop_back();
    --ready_total_;
    if (outcome == Admission::kWaits) {
      tasks_[id].phase = Phase::kWaiting;
      continue;
    }
    ++device.admitted;
    if (tasks_[id].missing == 0) launch(id);
  }
}

// An idle device takes the most urgent task of the device with the longest queue.
bool Dispatcher::steal(DeviceIndex index) {
  DeviceIndex from = kNoDevice;
  std::size_t longest = 2;
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].ready.size() > longest && devices_[d].admitted >= devices_[d].slots) {
      longest = devices_[d].ready.size();
      from = static_cast<DeviceIndex>(d);
    }
  }
  if (from == kNoDevice) return false;
  auto& victim = devices_[from].ready;
  const auto entry = victim.front();
  // A copy takes about as long as a task or two that would have gone first.
  std::size_t copies = 0;
  for_each_input(tasks_[entry.second], [&](BlockRef, const BlockState& state, std::int32_t) {
    copies += state.tier == Tier::kDevice && state.device != index ? 1 : 0;
  });
  if (longest <= 2 + 2 * copies) return false;
  std::pop_heap(victim.begin(), victim.end(), std::greater<>());
  victim.pop_back();
  tasks_[entry.second].device = index;
  devices_[index].ready.push_back(entry);
  return true;
}

Dispatcher::Replica* Dispatcher::find_replica(const BlockState& state, DeviceIndex device) {
  std::uint32_t r = state.replicas;
  while (r != 0 && replicas_[r].device != device) r = replicas_[r].next;
  return r == 0 ? nullptr : &replicas_[r];
}

void Dispatcher::add_replica(BlockState& state, Replica replica) {
  std::uint32_t r = free_replica_;
  if (r == 0) {
    r = static_cast<std::uint32_t>(replicas_.size());
    replicas_.push_back({});
  } else {
    free_replica_ = replicas_[r].next;
  }
  replica.next = state.replicas;
  replicas_[r] = replica;
  state.replicas = r;
}

Dispatcher::Replica Dispatcher::remove_replica(BlockState& state, DeviceIndex device) {
  std::uint32_t* link = &state.replicas;
  while (replicas_[*link].device != device) link = &replicas_[*link].next;
  const std::uint32_t r = *link;
  const Replica removed = replicas_[r];
  *link = removed.next;
  replicas_[r].next = free_replica_;
  free_replica_ = r;
  return removed;
}

Dispatcher::Admission Dispatcher::admit(TaskId id) {
  const Task task = tasks_[id];
  const PlanNode& node = plan_->nodes[at(task.node)];
  const DeviceIndex d = task.device;
  Device& device = devices_[d];
  copies_.clear();
  std::size_t need = node.scratch_bytes;
  std::uint32_t missing = 0;
  for_each_input(task, [&](BlockRef ref, BlockState& state, std::int32_t) {
    if (state.status == Status::kDropped) recompute(ref, id);
    const bool local =
        state.status == Status::kPresent && state.tier == Tier::kDevice && state.device == d;
    const Replica* replica = find_replica(state, d);
    if (replica != nullptr && !replica->arriving) return;
    if (state.status == Status::kPending || state.moving || replica != nullptr) {
      wait_for(state, id);
      ++missing;
    } else if (!local && std::find(copies_.begin(), copies_.end(), ref) == copies_.end()) {
      copies_.push_back(ref);
      need += block_bytes(ref);
    }
  });
  if (missing > 0) {
    tasks_[id].missing = missing;
    return Admission::kWaits;
  }
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    if (!(task.chained && static_cast<int>(o) == node.chain_output))
      need += block_bytes({node.outputs[o], task.block});
  }
  if (device.used + need + device.ahead > device.budget) {
    if (!make_room(d, need, id)) {
      device.blocked = id;
      device.blocked_need = need;
      device.blocked_covered = device.used + need <= device.budget + device.leaving;
      device.blocked_epoch = device.epoch;
      if (device.budget / 8 >= need)
        device.ahead = std::max(device.ahead, std::min(device.budget / 8, 4 * need));
      return Admission::kBlocked;
    }
    // Making room may have sent one of the blocks to copy on its way: look again when it has
    // arrived.
    for (const BlockRef ref : copies_) {
      BlockState& state = table_.at(ref);
      if (state.moving) {
        wait_for(state, id);
        ++missing;
      }
    }
    if (missing > 0) {
      tasks_[id].missing = missing;
      return Admission::kWaits;
    }
  }
  take(device, need, counters_.peak_bytes[d]);
  tasks_[id].phase = Phase::kStaging;
  tasks_[id].missing = 0;
  stage(id);
  return Admission::kAdmitted;
}

void Dispatcher::stage(TaskId id) {
  const Task& task = tasks_[id];
  const DeviceIndex d = task.device;
  for_each_input(task, [&](BlockRef ref, BlockState& state, std::int32_t input) {
    if (state.tier == Tier::kDevice && state.device == d && !state.moving) {
      ++state.pins;
      return;
    }
    if (Replica* replica = find_replica(state, d)) {
      ++replica->pins;
      return;
    }
    ++state.pins;
    if (state.moving) return;  // the same block twice: its copy is under way
    Move move;
    move.ref = ref;
    move.from = {state.tier, state.device};
    move.to = {Tier::kDevice, d};
    move.from_buffer = state.buffer;
    move.to_buffer = new_buffer();
    move.task = id;
    // A chain's predecessor comes over for good: its memory becomes the successor's.
    move.replica = state.tier == Tier::kDevice && input >= 0;
    const std::size_t bytes = block_bytes(ref);
    if (move.replica) {
      add_replica(state, {move.to_buffer, 0, d, 1, true, false});
    } else {
      state.moving = true;
    }
    (state.tier == Tier::kDevice ? counters_.device_to_device_bytes
     : state.tier == Tier::kHost ? counters_.from_host_bytes
                                 : counters_.from_disk_bytes) += bytes;
    ++tasks_[id].missing;
    start_move(move, bytes);
  });
}

void Dispatcher::launch(TaskId id) {
  Task& task = tasks_[id];
  task.phase = Phase::kRunning;
  const PlanNode& node = plan_->nodes[at(task.node)];
  inputs_.clear();
  for_each_input(task, [&](BlockRef ref, BlockState& state, std::int32_t input) {
    const bool here = state.tier == Tier::kDevice && state.device == task.device;
    inputs_.push_back(
        {table_.key(ref), input, here ? state.buffer : find_replica(state, task.device)->buffer});
  });
  outputs_.clear();
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    BlockState& state = *table_.find({node.outputs[o], task.block});
    const bool chained = task.chained && static_cast<int>(o) == node.chain_output;
    state.buffer = chained ? inputs_.back().buffer : new_buffer();
    state.device = task.device;
    state.tier = Tier::kDevice;
    outputs_.push_back(state.buffer);
  }
  ++in_flight_;
  driver_->start_task({id, task.node, task.block, task.device, inputs_.data(), inputs_.size(),
                       outputs_.data(), outputs_.size(), node.scratch_bytes});
}

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
  if (node.recomputable && state.window_refs == 0 && !state.retained && node.outputs.size() == 1) {
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
  const Task task = tasks_[id];
  const PlanNode& node = plan_->nodes[at(task.node)];
  --in_flight_;
  --devices_[task.device].admitted;
  devices_[task.device].used -= node.scratch_bytes;
  mark(task.device);
  tasks_[id].phase = Phase::kFree;
  if (task.again) {
    ++counters_.recomputed;
    free_again_.push_back(id);
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
    if (task.again && state.status != Status::kPending) continue;
    state.status = Status::kPresent;
    if (state.readers_left == 0 && !state.retained) {
      free_block(ref, state);
      continue;
    }
    if (state.window_refs == 0)
      set_next_use(state, next_use_after({slot, task.block}, frontier_, frontier_node_));
    offer(ref, state);
    wake(state);
  }
  fill_window();
  run_devices();
}

Position Dispatcher::next_use_after(BlockKey key, Position position, NodeIndex node) const {
  std::int64_t coords[kMaxRank];
  plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
  return order_->next_reader_after(key.slot, coords, position, node);
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
  if (free_again_.size() == again_sequences_.size()) return;
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
  plan_->for_each_reader(key.slot, coords, [&](NodeIndex reader, const std::int64_t* place) {
    const Position position = order_->position(reader, place);
    if (position < head || position >= best) return;
    const PlanNode& node = plan_->nodes[at(reader)];
    if (position <= frontier_ && !node.outputs.empty()) {
      const BlockState* made = table_.find(BlockKey{node.outputs[0], plan_->encode(reader, place)});
      if (made == nullptr || made->status != Status::kPending) return;
    }
    best = position;
  });
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

// Ends
// -------------------------------------------------------------------------------------------------

std::string Dispatcher::stuck_reason() const {
  if (in_flight_ > 0 || cancelled_ || finished()) return {};
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].ready.empty()) continue;
    const Task& task = tasks_[devices_[d].ready.front().second];
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
    if (!known_before && !(keep_results && state.retained)) refs.push_back(table_.ref(key));
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
             device.ready.capacity() * sizeof(device.ready[0]);
  }
  return total;
}

}  // namespace tessera::scheduler
