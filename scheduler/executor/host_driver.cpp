#include "scheduler/executor/host_driver.hpp"

#include <algorithm>
#include <utility>

#include "core/text.hpp"
#include "scheduler/executor/host_run.hpp"
#include "scheduler/executor/task_error.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Tasks admitted at once: three for each worker, so that copies of the next ones arrive while the
// first run and a disk stream that is done finds another one waiting, or some for a device with a
// stream, which is to have work while what has ended is reported; more where tasks are so small
// that reporting them one by one would cost more than they do.
std::uint32_t slots_for(const Plan& plan, const device::HostDevices& devices) {
  constexpr std::size_t kSmallBytes = std::size_t{1} << 20;
  constexpr std::size_t kMost = 128;
  std::size_t largest = 1;
  for (const PlanNode& node : plan.nodes) {
    if (node.task_count == 0) continue;
    std::size_t bytes = node.scratch_bytes;
    for (SlotIndex slot : node.outputs) bytes += plan.slots[at(slot)].size.max_bytes();
    for (const PlanInput& input : node.inputs) bytes += plan.slots[at(input.slot)].size.max_bytes();
    largest = std::max(largest, bytes);
  }
  const std::size_t count = devices.devices().size();
  constexpr std::size_t kOnStream = 12;
  const std::size_t least =
      devices.cuda() != nullptr
          ? kOnStream
          : 3 * ((static_cast<std::size_t>(devices.workers()) + count - 1) / count);
  return static_cast<std::uint32_t>(
      std::clamp(kSmallBytes / largest, least, std::max(least, kMost)));
}

template <typename F>
BlockOwners renumbered(const BlockOwners& owners, F&& number) {
  if (owners == nullptr) return nullptr;
  std::vector<std::int32_t> out;
  for (const std::int32_t rank : *owners) out.push_back(number(rank));
  return std::make_shared<const std::vector<std::int32_t>>(std::move(out));
}

Share share_of(const TaskOrder& order, const HostRunOptions& options) {
  if (options.step == nullptr) return Share(order, {}, {});
  const Exchange::Step& step = *options.step;
  Share share(order, {step.ranks()}, step.self());
  for (const ResidentInput& input : options.residents) {
    share.set_owners(input.slot, renumbered(input.array->owners(), [&](std::int32_t rank) {
                       return step.here(comm::Rank{rank}).number;
                     }));
  }
  return share;
}

DispatcherOptions with_share(DispatcherOptions options, const Share& share) {
  options.share = share.alone() ? nullptr : &share;
  return options;
}

// By their numbers in the world, which they keep.
BlockOwners owners_of(const Share& share, const Exchange::Step& step, SlotIndex slot,
                      std::int64_t count) {
  std::vector<std::int32_t> owners;
  for (std::int64_t block = 0; block < count; ++block)
    owners.push_back(step.in_world(share.owner(slot, block)).number);
  return std::make_shared<const std::vector<std::int32_t>>(std::move(owners));
}

}  // namespace

DispatcherOptions dispatcher_options(const device::HostDevices& devices, const Plan& plan,
                                     const HostRunOptions& options) {
  DispatcherOptions out;
  const std::uint32_t slots = options.slots > 0 ? options.slots : slots_for(plan, devices);
  for (std::size_t d = 0; d < devices.devices().size(); ++d) {
    const device::Device& device = devices.devices()[d];
    const std::size_t lent = devices.lent_bytes(d);
    std::string name = device::to_string(device.id);
    if (lent > 0) name += core::text(" without ", format_bytes(lent), " of blocks that are out");
    out.devices.push_back({device.pool->limit_bytes() - lent, slots, std::move(name)});
  }
  out.host_budget_bytes = devices.host_tier().limit_bytes();
  out.disk_budget_bytes = devices.disk_tier().limit_bytes();
  out.window = options.window;
  return out;
}

namespace {
thread_local const UserCode* innermost = nullptr;
}  // namespace

UserCode::UserCode(const device::HostDevices& devices) noexcept
    : devices_(&devices), outer_(std::exchange(innermost, this)) {}

UserCode::~UserCode() { innermost = outer_; }

bool UserCode::runs_on(const device::HostDevices& devices) noexcept {
  for (const UserCode* code = innermost; code != nullptr; code = code->outer_) {
    if (code->devices_ == &devices) return true;
  }
  return false;
}

bool inside_any_run() noexcept { return innermost != nullptr; }

bool inside_run_on(const device::HostDevices& devices) noexcept {
  return UserCode::runs_on(devices);
}

HostRunResult run_on_host(const TaskOrder& order, const HostRunOptions& options) {
  return HostRun(order, options).run();
}

void WorkItem::run(device::Queue* queue) { owner->perform(*this, thread, queue); }

void WorkItem::done(const device::Event& event) noexcept {
  if (event.failure()) owner->settle(*this, event.failure());
  owner->streamed(*this);
}

// Begin and end
// -------------------------------------------------------------------------------------------------

HostRun::HostRun(const TaskOrder& order, const HostRunOptions& options)
    : order_(&order),
      plan_(&order.plan()),
      options_(options),
      devices_(*options.devices),
      clock_(*options.clock),
      share_(share_of(order, options)),
      step_(options.step),
      dispatcher_(order,
                  with_share(dispatcher_options(*options.devices, order.plan(), options), share_),
                  *this),
      stream_load_(devices_.disk_streams().size()),
      outgoing_{devices_.outgoing(), 0, {}},
      incoming_{devices_.incoming(), 0, {}},
      queue_(order.plan().nodes.size(), devices_.workers(), options.shuffle_seed) {
  for (const PlanNode& node : plan_->nodes) {
    NodeKernel prepared;
    if (node.task_count > 0) {
      if (node.spec) prepared.kernel = options_.registry->prepare(*node.spec);
      prepared.on_workers =
          devices_.cuda() == nullptr || !prepared.kernel || prepared.kernel->occupies_thread();
      for (const PlanInput& input : node.inputs)
        prepared.inputs.push_back(&plan_->slots[at(input.slot)].size);
      for (SlotIndex slot : node.outputs) prepared.outputs.push_back(&plan_->slots[at(slot)].size);
    }
    kernels_.push_back(std::move(prepared));
  }
  check_residents();
}

HostRunResult HostRun::run() {
  if (options_.trace != nullptr) name_trace_rows();
  take_residents();
  {
    const Listening listening(*this);
    std::unique_lock lock(mutex_);
    last_progress_ = clock_.now();
    if (!reporting_) report(lock);
    work(lock, 0);
    lock.unlock();
    devices_.helpers().dismiss(*this);
  }
  if (step_ != nullptr) step_->note_end_of_all(told_well_ && others_well_);
  settle_end();
  return hand_over();
}

void HostRun::name_trace_rows() {
  for (std::size_t d = 0; d < devices_.devices().size(); ++d)
    options_.trace->name_device(static_cast<int>(d), device::to_string(devices_.devices()[d].id));
  for (int w = 0; w < devices_.workers(); ++w)
    options_.trace->name_thread(w, core::text("worker ", w));
  for (std::size_t s = 0; s < devices_.disk_streams().size(); ++s)
    options_.trace->name_thread(devices_.workers() + static_cast<int>(s), core::text("disk ", s));
  for (std::size_t d = 0; d < devices_.devices().size() && devices_.cuda() != nullptr; ++d) {
    const std::string name = device::to_string(devices_.devices()[d].id);
    const auto index = static_cast<DeviceIndex>(d);
    options_.trace->name_thread(stream_row(index, StreamUse::kCompute), name + " compute");
    options_.trace->name_thread(stream_row(index, StreamUse::kCopyIn), name + " copy in");
    options_.trace->name_thread(stream_row(index, StreamUse::kCopyOut), name + " copy out");
  }
}

void HostRun::check_residents() const {
  std::vector<const ResidentArray*> arrays(plan_->slots.size(), nullptr);
  for (const ResidentInput& input : options_.residents) {
    const Slot& slot = plan_->slots[at(input.slot)];
    const bool fits = plan_->nodes[at(slot.node)].resident && arrays[at(input.slot)] == nullptr &&
                      input.array->size().grid() == slot.size.grid() &&
                      input.array->size().max_bytes() == slot.size.max_bytes() &&
                      std::find(arrays.begin(), arrays.end(), input.array.get()) == arrays.end();
    if (!fits) {
      throw InvalidArgument(core::text(
          "[executor] a stored array stands for one slot of a resident node of its own grid; got ",
          input.array->size().grid().to_string(), " for slot ", input.slot, " of ",
          slot.size.grid().to_string()));
    }
    arrays[at(input.slot)] = input.array.get();
    if (input.array->is_forgotten() && !plan_->readers(input.slot).empty()) {
      throw CommError(
          core::text("[compute] an array that is kept has lost blocks with a rank; got ",
                     input.array->label(), " built at ", input.array->origin()));
    }
  }
  for (std::size_t s = 0; s < arrays.size(); ++s) {
    const PlanNode& node = plan_->nodes[at(plan_->slots[s].node)];
    if (node.resident && arrays[s] == nullptr) {
      throw InvalidArgument(
          core::text("[executor] a resident node needs its stored array; got none for slot ", s,
                     " (", node.label, ")"));
    }
  }
}

void HostRun::take_residents() {
  BufferId next = 1;
  for (const ResidentInput& input : options_.residents) {
    for (std::int64_t b = 0; b < input.array->block_count(); ++b) {
      if (share_.owner(input.slot, b) != share_.self()) continue;
      const Place place = input.array->place(b);
      stored(next) = input.array->take(b);
      dispatcher_.add_resident({{input.slot, b}, place, next});
      ++next;
    }
  }
}

// Everything is quiet: what did the run come to?
void HostRun::settle_end() {
  if (!error_ && !dispatcher_.finished() && !dispatcher_.cancelled())
    error_ = std::make_exception_ptr(OutOfMemory(dispatcher_.stuck_reason(), 0, 0, 0));
  if (!error_ && (dispatcher_.cancelled() || skipped_.load())) {
    error_ = std::make_exception_ptr(
        Cancelled(core::text("[compute] a stop was requested; got ", done_tasks_, " of ",
                             plan_->total_tasks(), " tasks done; try computing again")));
  }
  if (error_ || !options_.progress) return;
  try {
    const UserCode inside(devices_);
    options_.progress(plan_->total_tasks(), plan_->total_tasks());
  } catch (...) {
    error_ = std::current_exception();
  }
}

// Blocks of earlier runs go back to where they came from, new ones to their arrays; what else there
// is goes with the run.
HostRunResult HostRun::hand_over() {
  HostRunResult result;
  result.counters = dispatcher_.counters();
  std::vector<ResidentArray*> arrays(plan_->slots.size(), nullptr);
  for (const ResidentInput& input : options_.residents) arrays[at(input.slot)] = input.array.get();
  for (std::size_t s = 0; s < plan_->slots.size() && !error_; ++s) {
    const Slot& slot = plan_->slots[s];
    if (!slot.retained || arrays[s] != nullptr) continue;
    auto array =
        std::make_shared<ResidentArray>(options_.devices, slot.size, plan_->nodes[at(slot.node)]);
    if (!share_.alone())
      array->set_owners(owners_of(share_, *step_, static_cast<SlotIndex>(s), array->block_count()),
                        step_->in_world(share_.self()));
    arrays[s] = array.get();
    result.arrays.push_back({static_cast<SlotIndex>(s), std::move(array)});
  }
  for (const ResidentBlock& block : dispatcher_.residents()) {
    ResidentArray* array = arrays[at(block.key.slot)];
    if (array != nullptr) array->put(block.key.block, std::move(stored(block.buffer)));
  }
  if (error_) std::rethrow_exception(with_frame(error_, "compute", ""));
  return result;
}

// Items
// -------------------------------------------------------------------------------------------------

void HostRun::perform(WorkItem& item, int thread, device::Queue* queue) {
  if (stopped()) {
    skipped_.store(true, std::memory_order_relaxed);
    settle(item, nullptr);
    return;
  }
  const Clock::time_point begin = options_.trace != nullptr ? clock_.now() : Clock::time_point{};
  if (item.kind == WorkItem::Kind::kCopy) {
    run_move(item, queue);
  } else if (item.kind == WorkItem::Kind::kSend) {
    run_send(item, queue);
  } else if (item.kind == WorkItem::Kind::kFetch) {
    run_fetch(item, queue);
  } else {
    run_task(item, queue);
  }
  // What a stream does has only begun.
  item.begin = begin;
  if (options_.trace != nullptr && queue == nullptr) trace_item(item, thread, begin);
}

void HostRun::run_task(WorkItem& item, device::Queue* queue) {
  // Outlives a worker's queue, on which a kernel may wait as often as it likes.
  device::Buffer scratch;
  if (queue != nullptr || devices_.cuda() == nullptr || !kernels_[at(item.node)].kernel) {
    compute(item, queue, scratch);
  } else {
    devices_.with_queue(item.device, [&](device::Queue* own) { compute(item, own, scratch); });
  }
}

void HostRun::compute(WorkItem& item, device::Queue* queue, device::Buffer& scratch) {
  const PlanNode& node = plan_->nodes[at(item.node)];
  const NodeKernel& prepared = kernels_[at(item.node)];
  device::MemoryPool& pool = devices_.pool(item.device);
  item.output_data.clear();
  for (std::size_t o = 0; o < item.outputs.size(); ++o) {
    StoredBlock& output = *item.outputs[o];
    if (!(item.chained && static_cast<int>(o) == node.chain_output))
      output.memory = pool.allocate(prepared.outputs[o]->bytes(item.block));
    item.output_data.push_back(output.memory.data());
  }
  if (!prepared.kernel) return;
  if (node.scratch_bytes > 0) scratch = pool.allocate(node.scratch_bytes);
  kernels::TaskArgs args;
  args.block = item.block;
  args.coords = {item.coords, node.counts.size()};
  args.pieces = item.pieces;
  args.piece_offsets = item.piece_offsets;
  args.outputs = item.output_data;
  args.scratch = scratch.data();
  args.chained = item.chained;
  args.workers = node.wide ? devices_.workers() : 1;
  args.stop = options_.stop;
  args.queue = queue;
  args.input_sizes = prepared.inputs;
  args.output_sizes = prepared.outputs;
  // On a stream it is held until what was queued is done, however the kernel ends.
  if (item.stream != nullptr && scratch) queue->keep(std::move(scratch));
  const UserCode inside(devices_);
  prepared.kernel->run(args);
  if (step_ != nullptr) write_value(item);
}

void HostRun::run_move(WorkItem& item, device::Queue* queue) {
  const MoveLaunch& move = item.move;
  if (move.from.tier == Tier::kDisk || move.to.tier == Tier::kDisk) return run_disk_move(item);
  item.to->memory = pool(move.to).allocate(move.bytes);
  options_.transport->copy({address(move.from), address(move.to), item.from->memory.data(),
                            item.to->memory.data(), move.bytes, move.key.slot, move.key.block,
                            queue});
}

// Files are read and written in the host's memory: blocks of other devices go through some of it.
void HostRun::run_disk_move(WorkItem& item) {
  const MoveLaunch& move = item.move;
  const bool to_disk = move.to.tier == Tier::kDisk;
  const Place other = to_disk ? move.from : move.to;
  if (!to_disk) item.to->memory = pool(move.to).allocate(move.bytes);
  std::byte* memory = (to_disk ? item.from : item.to)->memory.data();
  const auto transfer = [&](std::byte* data) {
    if (to_disk) {
      item.to->disk = devices_.disk_tier().write(move.key.slot, move.key.block, data, move.bytes);
    } else {
      item.from->disk.read(data);
    }
  };
  if (devices_.cuda() == nullptr || other.tier == Tier::kHost) return transfer(memory);
  devices_.with_queue(other.device, [&](device::Queue* queue) {
    device::Buffer staged = queue->staging().allocate(move.bytes);
    if (to_disk) {
      queue->copy(staged.data(), memory, move.bytes);
      queue->wait();
    }
    transfer(staged.data());
    if (!to_disk) queue->copy(memory, staged.data(), move.bytes);
    queue->keep(std::move(staged));
  });
}

device::MemoryPool& HostRun::pool(Place place) {
  return place.tier == Tier::kDevice ? devices_.pool(place.device) : devices_.host_tier();
}

void HostRun::settle(WorkItem& item, const std::exception_ptr& failure) noexcept {
  // A block that could not be moved stays what it was, under its new number: it may belong to an
  // earlier run. Copies between devices leave the first one alone.
  const MoveLaunch& move = item.move;
  const bool copy = item.kind == WorkItem::Kind::kCopy;
  if (copy && !(move.from.tier == Tier::kDevice && move.to.tier == Tier::kDevice))
    *item.to = std::move(*item.from);
  if (!failure) return;
  failed_.store(true, std::memory_order_relaxed);
  try {
    if (item.kind == WorkItem::Kind::kFetch || item.kind == WorkItem::Kind::kSend) {
      const NodeIndex node = plan_->slots[at(item.key.slot)].node;
      const std::string here = address_name(item.place);
      const bool in = item.kind == WorkItem::Kind::kFetch;
      const std::string there = peer_name(item.peer);
      item.failure = with_frame(
          failure, plan_->nodes[at(node)].label,
          move_frame(*plan_, node, item.key.block, in ? there : here, in ? here : there));
    } else if (copy) {
      const NodeIndex node = plan_->slots[at(move.key.slot)].node;
      item.failure = with_frame(
          failure, plan_->nodes[at(node)].label,
          move_frame(*plan_, node, move.key.block, address_name(move.from), address_name(move.to)));
    } else {
      item.failure = with_frame(
          failure, plan_->nodes[at(item.node)].label,
          task_frame(*plan_, item.node, item.block, address_name({Tier::kDevice, item.device})));
    }
  } catch (...) {
    item.failure = failure;
  }
}

comm::BlockAddress HostRun::address(Place place) const noexcept {
  return {step_ == nullptr ? share_.self() : step_->in_world(share_.self()), place};
}

std::string HostRun::place_name(Place place) const {
  if (place.tier == Tier::kDevice) return device::to_string(devices_.devices()[place.device].id);
  return place.tier == Tier::kHost ? "the host tier" : "the disk tier";
}

std::string HostRun::address_name(Place place) const {
  return core::text(place_name(place), " of rank ", address(place).rank.number);
}

void HostRun::trace_item(const WorkItem& item, int thread, Clock::time_point begin) {
  core::Trace::Span span;
  span.thread = thread;
  span.begin = begin;
  span.end = clock_.now();
  if (item.kind == WorkItem::Kind::kCopy) {
    const MoveLaunch& move = item.move;
    const NodeIndex node = plan_->slots[at(move.key.slot)].node;
    const bool between = move.from.tier == Tier::kDevice && move.to.tier == Tier::kDevice;
    span.category = between ? core::Trace::Category::kCopy : core::Trace::Category::kSpill;
    span.name = core::text(plan_->nodes[at(node)].label, ": ", place_name(move.from), " to ",
                           place_name(move.to));
    span.detail = block_name(*plan_, node, move.key.block);
    span.device = move.to.tier == Tier::kDevice ? move.to.device : move.from.device;
    span.size_bytes = move.bytes;
  } else if (item.kind == WorkItem::Kind::kSend || item.kind == WorkItem::Kind::kFetch) {
    const NodeIndex node = plan_->slots[at(item.key.slot)].node;
    const std::string here = place_name(item.place);
    const std::string there = peer_name(item.peer);
    const bool in = item.kind == WorkItem::Kind::kFetch;
    span.category = core::Trace::Category::kCopy;
    span.name = core::text(plan_->nodes[at(node)].label, ": ", in ? there : here, " to ",
                           in ? here : there);
    span.detail = block_name(*plan_, node, item.key.block);
    if (item.place.tier == Tier::kDevice) span.device = item.place.device;
    span.size_bytes = item.bytes;
  } else {
    span.name = plan_->nodes[at(item.node)].label;
    span.detail = block_name(*plan_, item.node, item.block);
    span.device = item.device;
  }
  options_.trace->add(std::move(span));
}

}  // namespace tessera::scheduler
