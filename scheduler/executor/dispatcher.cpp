#include "scheduler/executor/dispatcher.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
using Status = BlockState::Status;
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
  ring_.assign(std::max<std::uint32_t>(options_.window, 2), 0);
  ring_tasks_.assign(ring_.size(), kNoTask);
  waiters_.push_back({});  // number 0 ends a list
  counters_.peak_bytes.assign(devices_.size(), 0);
  check_fit();
}

void Dispatcher::check_fit() const {
  std::size_t least = devices_[0].budget;
  std::size_t which = 0;
  for (std::size_t d = 1; d < devices_.size(); ++d) {
    if (devices_[d].budget < least) least = devices_[d].budget, which = d;
  }
  for (const PlanNode& node : plan_->nodes) {
    if (node.task_count == 0) continue;
    std::size_t need = node.scratch_bytes;
    for (SlotIndex output : node.outputs) need += plan_->slots[at(output)].size.max_bytes();
    for (const PlanInput& input : node.inputs) {
      const kernels::BlockSize& size = plan_->slots[at(input.slot)].size;
      double blocks = 1.0;
      double elements = 1.0;
      for (std::size_t d = input.access.mirror ? 1 : 0; d < input.access.links.size(); ++d) {
        const AxisLink& link = input.access.links[d];
        const AxisChunks& chunks = size.grid().axis(static_cast<int>(d));
        std::int64_t most = 0;
        std::int64_t extent = 0;
        if (link.map.is_identity()) {
          most = 1, extent = chunks.max_size();
        } else if (link.map.is_all()) {
          most = chunks.count(), extent = chunks.extent();
        } else {
          for (std::int64_t c = 0; c < link.map.from_count(); ++c) {
            const CoordSet set = link.map.of(c);
            std::int64_t sum = 0;
            for (std::int64_t s = 0; s < set.count; ++s) sum += chunks.size(set[s]);
            most = std::max(most, set.count);
            extent = std::max(extent, sum);
          }
        }
        blocks *= static_cast<double>(most);
        elements *= static_cast<double>(extent);
      }
      need +=
          size.is_accumulator() || input.access.mirror
              ? static_cast<std::size_t>(blocks * static_cast<double>(size.max_bytes()))
              : static_cast<std::size_t>(elements * static_cast<double>(itemsize(size.dtype())));
    }
    if (need > least) {
      throw OutOfMemory(
          core::text("[", node.label, "] a task must fit its device's budget; got a need of ",
                     format_bytes(need), " for inputs, outputs and scratch on ",
                     options_.devices[which].name, " with ", format_bytes(least),
                     "; try smaller chunks or a larger TESSERA_DEVICE_MEMORY",
                     node.origin.empty() ? "" : "\n  built at ", node.origin),
          need, least, least);
    }
  }
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

TaskId Dispatcher::new_task() {
  if (free_tasks_.empty()) {
    tasks_.push_back({});
    return static_cast<TaskId>(tasks_.size() - 1);
  }
  const TaskId id = free_tasks_.back();
  free_tasks_.pop_back();
  tasks_[id] = Task{};
  return id;
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
  offer(block.key, state);
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
  while (!exhausted_ && !cancelled_ && tail_ - head_ < ring_.size()) {
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
  const TaskId id = new_task();
  Task& task = tasks_[id];
  task.node = item.node;
  task.block = item.block;
  task.position = item.position;
  task.sequence = tail_++;
  ring_tasks_[task.sequence % ring_.size()] = id;
  task.phase = Phase::kWaiting;
  std::uint32_t missing = 0;
  plan_->for_each_input(item.node, coords, [&](SlotIndex slot, std::int64_t block) {
    const BlockKey key{slot, block};
    BlockState* state = table_.find(key);
    if (state == nullptr) {
      throw std::logic_error(
          core::text("[plan] the total order reads a block before it is made; got slot ", slot,
                     " block ", block, " read by ", plan_->nodes[at(item.node)].label));
    }
    if (state->window_refs++ == 0 && state->next_use != item.position) {
      state->next_use = item.position;
      offer(key, *state);
    }
    if (state->status == Status::kDropped) recompute(key, tasks_[id]);
    if (state->status == Status::kPending) {
      wait_for(*state, id);
      ++missing;
    }
  });
  for (SlotIndex slot : plan_->nodes[at(item.node)].outputs) {
    BlockState& state = table_.at({slot, item.block});
    state.status = Status::kPending;
    state.readers_left = plan_->reader_count(slot, coords);
    state.retained = plan_->slots[at(slot)].retained;
  }
  tasks_[id].missing = missing;
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

void Dispatcher::recompute(BlockKey key, const Task& reader) {
  const std::uint64_t sequence = reader.sequence;
  const Position position = reader.position;
  const TaskId id = new_task();
  Task& task = tasks_[id];
  task.node = plan_->slots[at(key.slot)].node;
  task.block = key.block;
  task.position = position;
  task.sequence = sequence;
  task.again = true;
  table_.at(key).status = Status::kPending;
  make_ready(id);
}

void Dispatcher::make_ready(TaskId id) {
  Task& task = tasks_[id];
  if (task.device == kNoDevice) {
    std::int64_t coords[kMaxRank];
    if (devices_.size() > 1) plan_->decode(task.node, task.block, coords);
    task.device = choose_device(task, coords);
  }
  task.phase = Phase::kReady;
  Device& device = devices_[task.device];
  device.ready.emplace_back(task.sequence, id);
  std::push_heap(device.ready.begin(), device.ready.end(), std::greater<>());
  ++ready_total_;
  mark(task.device);
}

// The device that holds most of what the task reads; where that is little beside what it writes,
// devices take result blocks in turn.
DeviceIndex Dispatcher::choose_device(const Task& task, const std::int64_t* coords) {
  if (devices_.size() == 1) return 0;
  struct Share {
    DeviceIndex device;
    std::size_t bytes;
  };
  Share shares[16];
  std::size_t count = 0;
  plan_->for_each_input(task.node, coords, [&](SlotIndex slot, std::int64_t block) {
    const BlockState* state = table_.find({slot, block});
    if (state == nullptr || state->device == kNoDevice || state->tier != Tier::kDevice) return;
    const std::size_t bytes = block_bytes({slot, block});
    for (std::size_t i = 0; i < count; ++i) {
      if (shares[i].device == state->device) {
        shares[i].bytes += bytes;
        return;
      }
    }
    if (count < std::size(shares)) shares[count++] = {state->device, bytes};
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
  return static_cast<DeviceIndex>(order_->tile(task.position) % devices_.size());
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
  std::pop_heap(victim.begin(), victim.end(), std::greater<>());
  victim.pop_back();
  tasks_[entry.second].device = index;
  devices_[index].ready.push_back(entry);
  return true;
}

bool Dispatcher::is_first(const Task& task) const noexcept { return task.sequence == head_; }

Dispatcher::Replica* Dispatcher::find_replica(BlockKey key, DeviceIndex device) {
  const auto it = replicas_.find(key);
  if (it == replicas_.end()) return nullptr;
  for (Replica& r : it->second) {
    if (r.device == device) return &r;
  }
  return nullptr;
}

Dispatcher::Admission Dispatcher::admit(TaskId id) {
  std::int64_t coords[kMaxRank];
  const NodeIndex node_index = tasks_[id].node;
  plan_->decode(node_index, tasks_[id].block, coords);
  const PlanNode& node = plan_->nodes[at(node_index)];
  const DeviceIndex d = tasks_[id].device;
  Device& device = devices_[d];
  copies_.clear();
  std::size_t need = node.scratch_bytes;
  std::uint32_t missing = 0;
  bool chained = false;
  if (!tasks_[id].again) {
    chained = node.chain_axis >= 0 && !node.chain_start[at(coords[node.chain_axis])];
    plan_->for_each_input(node_index, coords, [&](SlotIndex slot, std::int64_t block) {
      const BlockKey key{slot, block};
      BlockState& state = *table_.find(key);
      if (state.status == Status::kDropped) recompute(key, tasks_[id]);
      const bool local =
          state.status == Status::kPresent && state.tier == Tier::kDevice && state.device == d;
      const Replica* replica = state.replicas > 0 ? find_replica(key, d) : nullptr;
      if (replica != nullptr && !replica->arriving) return;
      if (state.status == Status::kPending || state.moving || replica != nullptr) {
        wait_for(state, id);
        ++missing;
      } else if (!local && std::find(copies_.begin(), copies_.end(), key) == copies_.end()) {
        copies_.push_back(key);
        need += block_bytes(key);
      }
    });
  }
  if (missing > 0) {
    tasks_[id].missing = missing;
    return Admission::kWaits;
  }
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    if (!(chained && static_cast<int>(o) == node.chain_output))
      need += block_bytes({node.outputs[o], tasks_[id].block});
  }
  if (device.used + need > device.budget) {
    pin_local(tasks_[id], coords, true);
    const bool room = make_room(d, need, tasks_[id]);
    pin_local(tasks_[id], coords, false);
    if (!room) {
      device.blocked = id;
      device.blocked_need = need;
      device.blocked_covered = device.used + need <= device.budget + device.leaving;
      device.blocked_epoch = device.epoch;
      return Admission::kBlocked;
    }
    // Making room may have sent one of the blocks to copy on its way: look again when it has
    // arrived.
    for (const BlockKey& key : copies_) {
      BlockState& state = *table_.find(key);
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
  if (!tasks_[id].again) stage(id, coords);
  return Admission::kAdmitted;
}

// Inputs that are here must not be evicted to make room for the very task that reads them.
void Dispatcher::pin_local(const Task& task, const std::int64_t* coords, bool pin) {
  if (task.again) return;
  const DeviceIndex d = task.device;
  plan_->for_each_input(task.node, coords, [&](SlotIndex slot, std::int64_t block) {
    const BlockKey key{slot, block};
    BlockState& state = *table_.find(key);
    std::uint16_t* pins = nullptr;
    if (state.tier == Tier::kDevice && state.device == d) {
      pins = &state.pins;
    } else if (Replica* replica = state.replicas > 0 ? find_replica(key, d) : nullptr) {
      pins = &replica->pins;
    }
    if (pins == nullptr) return;
    if (pin) {
      ++*pins;
    } else if (--*pins == 0) {
      offer(key, state);
    }
  });
}

void Dispatcher::stage(TaskId id, const std::int64_t* coords) {
  const DeviceIndex d = tasks_[id].device;
  const PlanNode& node = plan_->nodes[at(tasks_[id].node)];
  const SlotIndex chain_slot = node.chain_axis >= 0 ? node.outputs[at(node.chain_output)] : -1;
  plan_->for_each_input(tasks_[id].node, coords, [&](SlotIndex slot, std::int64_t block) {
    const BlockKey key{slot, block};
    BlockState& state = *table_.find(key);
    if (state.tier == Tier::kDevice && state.device == d && !state.moving) {
      ++state.pins;
      return;
    }
    if (Replica* replica = state.replicas > 0 ? find_replica(key, d) : nullptr) {
      ++replica->pins;
      return;
    }
    ++state.pins;
    if (state.moving) return;  // the same block twice: its copy is under way
    Move move;
    move.key = key;
    move.from = {state.tier, state.device};
    move.to = {Tier::kDevice, d};
    move.from_buffer = state.buffer;
    move.to_buffer = new_buffer();
    move.task = id;
    // A chain's predecessor comes over for good: its memory becomes the successor's.
    move.replica = state.tier == Tier::kDevice && slot != chain_slot;
    const std::size_t bytes = block_bytes(key);
    if (move.replica) {
      replicas_[key].push_back({d, move.to_buffer, 1, true});
      ++state.replicas;
    } else {
      state.moving = true;
    }
    (state.tier == Tier::kDevice ? counters_.device_to_device_bytes
     : state.tier == Tier::kHost ? counters_.from_host_bytes
                                 : counters_.from_disk_bytes) += bytes;
    ++tasks_[id].missing;
    start_move(std::move(move), bytes);
  });
}

void Dispatcher::launch(TaskId id) {
  Task& task = tasks_[id];
  task.phase = Phase::kRunning;
  const PlanNode& node = plan_->nodes[at(task.node)];
  std::int64_t coords[kMaxRank];
  plan_->decode(task.node, task.block, coords);
  outputs_.clear();
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    BlockState& state = table_.at({node.outputs[o], task.block});
    const bool chained = node.chain_axis >= 0 && static_cast<int>(o) == node.chain_output &&
                         !node.chain_start[at(coords[node.chain_axis])];
    if (chained) {
      coords[node.chain_axis] -= 1;
      state.buffer = table_.find({node.outputs[o], plan_->encode(task.node, coords)})->buffer;
      coords[node.chain_axis] += 1;
    } else {
      state.buffer = new_buffer();
    }
    state.device = task.device;
    state.tier = Tier::kDevice;
    outputs_.push_back(state.buffer);
  }
  ++in_flight_;
  driver_->start_task({id, task.node, task.block, task.device, outputs_.data(), outputs_.size(),
                       node.scratch_bytes});
}

BufferId Dispatcher::input_buffer(BlockKey key, DeviceIndex device) const {
  auto* self = const_cast<Dispatcher*>(this);
  const BlockState* state = self->table_.find(key);
  if (state->tier == Tier::kDevice && state->device == device) return state->buffer;
  return self->find_replica(key, device)->buffer;
}

// Making room
// ------------------------------------------------------------------------------------------

bool Dispatcher::make_room(DeviceIndex d, std::size_t need, const Task& task) {
  Device& device = devices_[d];
  const bool first = is_first(task);
  while (device.used + need > device.budget + device.leaving) {
    if (device.heap.empty()) break;
    const Evictable victim = device.heap.front();
    std::pop_heap(device.heap.begin(), device.heap.end());
    device.heap.pop_back();
    if (!still_evictable(victim, {Tier::kDevice, d})) continue;
    if ((!first && victim.next_use <= task.position) || !evict(d, victim)) {
      push_evictable(device, victim);
      break;
    }
  }
  return device.used + need <= device.budget;
}

bool Dispatcher::still_evictable(const Evictable& entry, Place place) {
  BlockState* state = table_.find(entry.key);
  if (state == nullptr || state->status != Status::kPresent || state->next_use != entry.next_use)
    return false;
  if (entry.replica) {
    const Replica* replica = state->replicas > 0 ? find_replica(entry.key, place.device) : nullptr;
    return replica != nullptr && replica->pins == 0 && !replica->arriving;
  }
  return state->tier == place.tier &&
         (place.tier != Tier::kDevice || state->device == place.device) && state->pins == 0 &&
         !state->moving;
}

bool Dispatcher::evict(DeviceIndex d, const Evictable& victim) {
  BlockState& state = *table_.find(victim.key);
  const std::size_t bytes = block_bytes(victim.key);
  if (victim.replica) {
    drop_replica(victim.key, state, d);
    return true;
  }
  const PlanNode& node = plan_->nodes[at(plan_->slots[at(victim.key.slot)].node)];
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
  return evict_to_lower_tier(d, victim.key, state);
}

bool Dispatcher::evict_to_lower_tier(DeviceIndex d, BlockKey key, BlockState& state) {
  const std::size_t bytes = block_bytes(key);
  Place to{Tier::kHost, d};
  if (host_.used + bytes > host_.budget) {
    // Blocks of the host tier that are needed later than this one go down first.
    while (bytes <= host_.budget && host_.used + bytes > host_.budget + host_.leaving &&
           !host_.heap.empty()) {
      const Evictable other = host_.heap.front();
      std::pop_heap(host_.heap.begin(), host_.heap.end());
      host_.heap.pop_back();
      if (!still_evictable(other, {Tier::kHost, 0})) continue;
      const std::size_t other_bytes = block_bytes(other.key);
      if (other.next_use <= state.next_use || disk_.used + other_bytes > disk_.budget) {
        push_evictable(host_, other);
        break;
      }
      BlockState& lower = *table_.find(other.key);
      take(disk_, other_bytes, counters_.peak_disk_bytes);
      counters_.to_disk_bytes += other_bytes;
      host_.leaving += other_bytes;
      lower.moving = true;
      start_move({other.key,
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
  start_move({key, {Tier::kDevice, d}, to, state.buffer, new_buffer(), kNoTask, false}, bytes);
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
  driver_->start_move({id, move.key, move.from_buffer, move.to_buffer, move.from, move.to, bytes});
  return id;
}

void Dispatcher::move_done(std::uint32_t id) {
  const Move move = moves_[id];
  free_moves_.push_back(id);
  --in_flight_;
  BlockState& state = *table_.find(move.key);
  const std::size_t bytes = block_bytes(move.key);
  if (move.replica) {
    Replica* replica = find_replica(move.key, move.to.device);
    replica->arriving = false;
    if (--state.pins == 0) offer(move.key, state);
  } else {
    state.moving = false;
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
    free_block(move.key, state);
  } else {
    offer(move.key, state);
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
  std::int64_t coords[kMaxRank];
  plan_->decode(task.node, task.block, coords);
  --in_flight_;
  --devices_[task.device].admitted;
  devices_[task.device].used -= node.scratch_bytes;
  mark(task.device);
  if (task.again) {
    ++counters_.recomputed;
  } else {
    ++counters_.tasks;
    ++done_tasks_;
    const bool chained = node.chain_axis >= 0 && !node.chain_start[at(coords[node.chain_axis])];
    const SlotIndex chain_slot = chained ? node.outputs[at(node.chain_output)] : -1;
    plan_->for_each_input(task.node, coords, [&](SlotIndex slot, std::int64_t block) {
      release_input({slot, block}, task, slot == chain_slot);
    });
    ring_[task.sequence % ring_.size()] = 1;
    while (head_ < tail_ && ring_[head_ % ring_.size()] != 0) ring_[head_++ % ring_.size()] = 0;
    mark_first();
  }
  for (SlotIndex slot : node.outputs) {
    const BlockKey key{slot, task.block};
    BlockState& state = *table_.find(key);
    if (task.again && state.status != Status::kPending) continue;
    state.status = Status::kPresent;
    if (state.readers_left == 0 && !state.retained) {
      free_block(key, state);
      continue;
    }
    if (state.window_refs == 0) {
      state.next_use = order_->next_reader_after(slot, coords, frontier_, frontier_node_);
    }
    offer(key, state);
    wake(state);
  }
  tasks_[id].phase = Phase::kFree;
  free_tasks_.push_back(id);
  fill_window();
  run_devices();
}

// The first unfinished task may evict what it could not before: its device must look again.
void Dispatcher::mark_first() {
  if (head_ == tail_) return;
  const Task& task = tasks_[ring_tasks_[head_ % ring_.size()]];
  if (task.phase != Phase::kReady) return;
  devices_[task.device].blocked = kNoTask;
  mark(task.device);
}

void Dispatcher::release_input(BlockKey key, const Task& task, bool chained) {
  BlockState& state = *table_.find(key);
  --state.window_refs;
  --state.readers_left;
  if (chained) {
    // Its memory lives on as the successor's.
    if (state.disk_copy != 0)
      give_back(state.disk_copy, {Tier::kDisk, state.device}, block_bytes(key));
    table_.erase(key);
    return;
  }
  Replica* replica = nullptr;
  if (state.tier == Tier::kDevice && state.device == task.device) {
    --state.pins;
  } else {
    replica = find_replica(key, task.device);
    --replica->pins;
  }
  if (state.readers_left == 0 && !state.retained) {
    if (!state.moving) free_block(key, state);
    return;
  }
  if (state.window_refs == 0) {
    std::int64_t coords[kMaxRank];
    plan_->decode(plan_->slots[at(key.slot)].node, key.block, coords);
    state.next_use = order_->next_reader_after(key.slot, coords, frontier_, frontier_node_);
  }
  offer(key, state);
}

void Dispatcher::free_block(BlockKey key, BlockState& state) {
  const std::size_t bytes = block_bytes(key);
  while (state.replicas > 0) drop_replica(key, state, replicas_.find(key)->second.back().device);
  if (state.status == Status::kPresent) give_back(state.buffer, {state.tier, state.device}, bytes);
  if (state.disk_copy != 0) give_back(state.disk_copy, {Tier::kDisk, state.device}, bytes);
  table_.erase(key);
}

void Dispatcher::drop_replica(BlockKey key, BlockState& state, DeviceIndex device) {
  const auto it = replicas_.find(key);
  for (std::size_t i = 0; i < it->second.size(); ++i) {
    if (it->second[i].device != device) continue;
    give_back(it->second[i].buffer, {Tier::kDevice, device}, block_bytes(key));
    it->second.erase(it->second.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  if (it->second.empty()) replicas_.erase(it);
  --state.replicas;
}

// Puts every unpinned copy of the block up for eviction.
void Dispatcher::offer(BlockKey key, BlockState& state) {
  if (state.status != Status::kPresent) return;
  if (state.pins == 0 && !state.moving && state.tier != Tier::kDisk) {
    if (state.tier == Tier::kDevice) ++devices_[state.device].epoch;
    push_evictable(account({state.tier, state.device}), {state.next_use, key, false});
  }
  if (state.replicas > 0) {
    for (const Replica& r : replicas_.find(key)->second) {
      if (r.pins == 0 && !r.arriving)
        push_evictable(devices_[r.device], {state.next_use, key, true});
    }
  }
}

void Dispatcher::push_evictable(Account& account, Evictable entry) {
  account.heap.push_back(entry);
  std::push_heap(account.heap.begin(), account.heap.end());
  if (account.heap.size() <= account.heap_limit) return;
  Place place{Tier::kHost, 0};
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (&devices_[d] == &account) place = {Tier::kDevice, static_cast<DeviceIndex>(d)};
  }
  std::erase_if(account.heap, [&](const Evictable& e) { return !still_evictable(e, place); });
  std::sort(account.heap.begin(), account.heap.end(), [](const Evictable& a, const Evictable& b) {
    return std::tie(a.next_use, a.key.slot, a.key.block, a.replica) <
           std::tie(b.next_use, b.key.slot, b.key.block, b.replica);
  });
  account.heap.erase(std::unique(account.heap.begin(), account.heap.end(),
                                 [](const Evictable& a, const Evictable& b) {
                                   return a.next_use == b.next_use && a.key == b.key &&
                                          a.replica == b.replica;
                                 }),
                     account.heap.end());
  std::make_heap(account.heap.begin(), account.heap.end());
  account.heap_limit = std::max<std::size_t>(256, 2 * account.heap.size());
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
  std::vector<BlockKey> keys;
  table_.for_each([&](BlockKey key, BlockState& state) {
    const bool known_before = plan_->nodes[at(plan_->slots[at(key.slot)].node)].resident;
    if (!known_before && !(keep_results && state.retained)) keys.push_back(key);
  });
  for (BlockKey key : keys) {
    BlockState& state = *table_.find(key);
    if (state.status != Status::kPresent) {
      state.buffer = 0;
    }
    free_block(key, state);
  }
  // Copies that residents had elsewhere go as well: only one place is remembered.
  table_.for_each([&](BlockKey key, BlockState& state) {
    while (state.replicas > 0) drop_replica(key, state, replicas_.find(key)->second.back().device);
    if (state.disk_copy != 0) {
      give_back(state.disk_copy, {Tier::kDisk, state.device}, block_bytes(key));
      state.disk_copy = 0;
    }
  });
}

std::size_t Dispatcher::state_bytes() const noexcept {
  std::size_t total = table_.bytes() + tasks_.capacity() * sizeof(Task) +
                      waiters_.capacity() * sizeof(Waiter) + moves_.capacity() * sizeof(Move) +
                      free_buffers_.capacity() * sizeof(BufferId) +
                      replicas_.size() * (sizeof(BlockKey) + sizeof(Replica) + 4 * sizeof(void*)) +
                      host_.heap.capacity() * sizeof(Evictable);
  for (const Device& device : devices_) {
    total += device.heap.capacity() * sizeof(Evictable) +
             device.ready.capacity() * sizeof(device.ready[0]);
  }
  return total;
}

}  // namespace tessera::scheduler
