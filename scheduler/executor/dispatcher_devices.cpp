#include "scheduler/executor/dispatcher.hpp"

#include <algorithm>
#include <bit>
#include <limits>

// Which device a task runs on, when it is admitted there, and what is copied for it.

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
using Status = BlockState::Status;
// Squares of blocks that go to one device: larger ones need fewer copies, more of them keep all
// devices at work.
constexpr std::int64_t kLargestSquare = 4;
constexpr std::size_t kSquaresPerDevice = 8;
constexpr std::uint32_t kFetchesAtOnce = 32;  // on one device
}  // namespace

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
  std::int64_t coords[kMaxRank];
  plan_->decode(task.node, task.block, coords);
  const TaskOrder::Lane lane = order_->lane(task.node, coords);
  const std::uint64_t tiles = order_->tiles();
  // What is for one result block goes with it, though other results may need it first.
  const std::uint64_t number = tiles < devices_.size()  ? square_of(task)
                               : 2 * lane.count > tiles ? lane.number
                                                        : order_->tile(task.position);
  return static_cast<DeviceIndex>(number % devices_.size());
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

// Looks again only when evictions that make enough room are done, or something has become
// evictable.
bool Dispatcher::still_blocked(Device& device, TaskId id) {
  if (device.blocked != id) return false;
  const bool fits = device.used + device.blocked_need <= device.budget;
  const bool waits =
      device.blocked_covered ? device.leaving > 0 : device.epoch == device.blocked_epoch;
  if (waits && !fits) return true;
  device.blocked = kNoTask;
  return false;
}

// Blocks come from other ranks beside the computation, and no earlier than there is room to spare,
// but for what the first unfinished task reads.
void Dispatcher::start_fetches(DeviceIndex index) {
  Device& device = devices_[index];
  while (!device.fetches.empty() && device.fetching < kFetchesAtOnce) {
    const auto [number, id] = device.fetches.front();
    const std::size_t bytes = block_bytes(tasks_[id].inputs[0]);
    const bool spare = device.used + bytes <= device.budget - device.budget / 4;
    if (!spare && number != head_ && device.admitted + device.fetching > 0) return;
    if (still_blocked(device, id) || admit(id) == Admission::kBlocked) return;
    std::pop_heap(device.fetches.begin(), device.fetches.end(), std::greater<>());
    device.fetches.pop_back();
    ++device.fetching;
    launch(id);
  }
}

void Dispatcher::start_ready(DeviceIndex index) {
  Device& device = devices_[index];
  start_fetches(index);
  while (device.admitted < device.slots) {
    if (device.ready.empty() && !(device.admitted == 0 && ready_total_ > 0 && steal(index))) return;
    const TaskId id = device.ready.front().second;
    if (still_blocked(device, id)) return;
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
  const bool fetch = task.role == Role::kFetch;
  std::size_t need = fetch ? block_bytes(task.inputs[0]) : node.scratch_bytes;
  std::uint32_t missing = 0;
  for_each_input(task, [&](BlockRef ref, BlockState& state, std::int32_t) {
    if (state.status == Status::kDropped) recompute(ref, id);
    const bool local =
        state.status == Status::kPresent && state.tier == Tier::kDevice && state.device == d;
    const Replica* replica = find_replica(state, d);
    if (replica != nullptr && !replica->arriving) return;
    // One that lies in a lower tier stays there while it is being sent to another rank.
    const bool sending = state.tier != Tier::kDevice && state.pins > 0;
    if (state.status == Status::kPending || state.moving || sending || replica != nullptr) {
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
  for (std::size_t o = 0; o < node.outputs.size() && !fetch; ++o) {
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
  if (task.role == Role::kFetch) {
    BlockState& state = table_.at(task.inputs[0]);
    state.buffer = new_buffer();
    state.device = task.device;
    state.tier = Tier::kDevice;
    const std::size_t bytes = block_bytes(task.inputs[0]);
    counters_.fetched_bytes += bytes;
    ++in_flight_;
    const BlockKey key = table_.key(task.inputs[0]);
    driver_->start_fetch(
        {id, key, state.buffer, task.device, bytes, share_->owner(key.slot, key.block)});
    return;
  }
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

}  // namespace tessera::scheduler
