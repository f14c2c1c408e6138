#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/text.hpp"
#include "scheduler/executor/modelled_run.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/error.hpp"
#include "tessera/session.hpp"

namespace tessera {

namespace {

constexpr int kMostDevices = 65534;  // that a device index can name
constexpr int kMostRanks = 65536;
constexpr std::uint32_t kSlots = 4;
constexpr int kPlans = 20;  // made to measure one; the fastest counts

void check(const SimulationOptions& o) {
  if (o.ranks < 1 || o.ranks > kMostRanks) {
    throw InvalidArgument(
        core::text("[simulate] ranks are 1 to ", kMostRanks, "; got ", o.ranks, "; try 2"));
  }
  if (o.devices < 1 || o.devices > kMostDevices) {
    throw InvalidArgument(
        core::text("[simulate] devices are 1 to ", kMostDevices, "; got ", o.devices, "; try 8"));
  }
  if (o.device_memory_bytes == 0) {
    throw InvalidArgument(
        "[simulate] a device needs memory; got device_memory_bytes of 0; try 128 GiB");
  }
  const std::pair<const char*, double> rates[] = {
      {"memory_bytes_per_s", o.memory_bytes_per_s}, {"flops_per_s", o.flops_per_s},
      {"link_bytes_per_s", o.link_bytes_per_s},     {"host_bytes_per_s", o.host_bytes_per_s},
      {"disk_bytes_per_s", o.disk_bytes_per_s},     {"network_bytes_per_s", o.network_bytes_per_s}};
  for (const auto& [name, rate] : rates) {
    if (rate > 0.0) continue;
    throw InvalidArgument(core::text("[simulate] a rate is above 0; got ", name, " of ", rate,
                                     "; try the default, ", "which one GPU reaches"));
  }
  if (!(o.task_overhead_s >= 0.0) || std::isinf(o.task_overhead_s)) {
    throw InvalidArgument(
        core::text("[simulate] a task's overhead is 0 s or more; got task_overhead_s of ",
                   o.task_overhead_s, "; try 0"));
  }
  if (!(o.network_latency_s >= 0.0) || std::isinf(o.network_latency_s)) {
    throw InvalidArgument(
        core::text("[simulate] a message's latency is 0 s or more; got network_latency_s of ",
                   o.network_latency_s, "; try 5e-6"));
  }
}

// Deals the blocks of arrays that are kept to the devices in turn; what these cannot hold goes to
// the tiers below.
class Dealer {
 public:
  explicit Dealer(const scheduler::DispatcherOptions& machine)
      : host_free_(machine.host_budget_bytes), disk_free_(machine.disk_budget_bytes) {
    for (const scheduler::DeviceLimits& device : machine.devices)
      device_free_.push_back(device.budget_bytes);
  }

  scheduler::Place place(std::size_t bytes) {
    for (std::size_t i = 0; i < device_free_.size(); ++i) {
      const std::size_t device = next_;
      next_ = (next_ + 1) % device_free_.size();
      if (take(device_free_[device], bytes))
        return {scheduler::Tier::kDevice, static_cast<scheduler::DeviceIndex>(device)};
    }
    if (take(host_free_, bytes)) return {scheduler::Tier::kHost, 0};
    if (take(disk_free_, bytes)) return {scheduler::Tier::kDisk, 0};
    throw OutOfMemory(
        core::text(
            "[simulate] what is kept in a session must fit the modelled tiers; got a block of ",
            format_bytes(bytes), " more; try a larger device_memory_bytes"),
        bytes, disk_free_, 0);
  }

 private:
  static bool take(std::size_t& free, std::size_t bytes) {
    if (bytes > free) return false;
    free -= bytes;
    return true;
  }

  std::vector<std::size_t> device_free_;
  std::size_t host_free_, disk_free_;
  std::size_t next_ = 0;
};

// Every rank has one run of each kept array's blocks.
void deal(const scheduler::Lowered& lowered, const scheduler::DispatcherOptions& machine,
          scheduler::ModelledOptions& out) {
  const auto ranks = static_cast<std::size_t>(out.ranks);
  std::vector<Dealer> dealers(ranks, Dealer(machine));
  out.residents.resize(ranks);
  for (const auto& [blocks, slot] : lowered.residents) {
    const kernels::BlockSize& size = lowered.plan.slots[static_cast<std::size_t>(slot)].size;
    const std::int64_t count = size.grid().block_count();
    std::vector<std::int32_t> owners;
    for (std::int64_t b = 0; b < count; ++b) {
      const auto rank = static_cast<std::size_t>(b * out.ranks / count);
      std::vector<scheduler::ResidentBlock>& own = out.residents[rank];
      const auto buffer = static_cast<scheduler::BufferId>(own.size() + 1);
      own.push_back({{slot, b}, dealers[rank].place(size.bytes(b)), buffer});
      owners.push_back(static_cast<std::int32_t>(rank));
    }
    if (out.ranks > 1) {
      out.owners.emplace_back(slot,
                              std::make_shared<const std::vector<std::int32_t>>(std::move(owners)));
    }
  }
}

double seconds_to_plan(const std::vector<scheduler::Goal>& goals,
                       const scheduler::LowerOptions& options, scheduler::ProductRoom room) {
  const core::Clock& clock = core::machine_clock();
  const auto begin = clock.now();
  const scheduler::Lowered lowered = scheduler::lower(goals, options);
  const scheduler::TaskOrder order(lowered.plan, room);
  return std::chrono::duration<double>(core::elapsed(begin, clock.now())).count();
}

}  // namespace

SimulationReport simulate(const std::vector<Array>& arrays, const SimulationOptions& options) {
  check(options);
  std::vector<scheduler::Goal> goals;
  for (const Array& array : arrays) {
    goals.push_back(
        {array, options.deliver ? scheduler::Goal::Kind::kDeliver : scheduler::Goal::Kind::kKeep,
         nullptr});
  }
  scheduler::LowerOptions lower;
  lower.fuse = options.fuse;
  lower.budget_bytes = options.device_memory_bytes;
  // As a session has them.
  lower.devices = options.ranks > 1 ? options.ranks : options.devices;
  const double memory =
      static_cast<double>(options.devices) * static_cast<double>(options.device_memory_bytes);
  if (options.ranks == 1) lower.memory_bytes = memory;
  const scheduler::ProductRoom room = {scheduler::ProductRoom::of(memory), options.ranks};
  double plan_seconds = 0.0;
  for (int i = 0; i < kPlans && options.measure_planning; ++i) {
    const double seconds = seconds_to_plan(goals, lower, room);
    plan_seconds = i == 0 ? seconds : std::min(plan_seconds, seconds);
  }
  const scheduler::Lowered lowered = scheduler::lower(goals, lower);
  const scheduler::TaskOrder order(lowered.plan, room);
  scheduler::DispatcherOptions machine;
  for (int d = 0; d < options.devices; ++d) {
    machine.devices.push_back({options.device_memory_bytes, kSlots, core::text("null:", d)});
  }
  machine.host_budget_bytes = options.host_memory_bytes;
  machine.disk_budget_bytes = options.disk_memory_bytes;
  scheduler::ModelledOptions modelled;
  modelled.model = {options.memory_bytes_per_s,  options.flops_per_s,      options.link_bytes_per_s,
                    options.host_bytes_per_s,    options.disk_bytes_per_s, options.task_overhead_s,
                    options.network_bytes_per_s, options.network_latency_s};
  modelled.critical_path = options.critical_path;
  modelled.check = options.check;
  modelled.ranks = options.ranks;
  modelled.measure = options.measure_planning;
  deal(lowered, machine, modelled);
  const scheduler::ModelledReport run = scheduler::run_modelled(order, machine, modelled);
  SimulationReport out;
  out.seconds = run.seconds;
  out.critical_path_seconds = run.critical_path_seconds;
  out.busy_seconds = run.busy_seconds;
  out.tasks = run.counters.tasks;
  out.moves = run.counters.moves;
  out.device_to_device_bytes = run.counters.device_to_device_bytes;
  out.network_bytes = run.counters.fetched_bytes;
  out.spilled_bytes = run.counters.to_host_bytes + run.counters.to_disk_bytes;
  out.peak_device_bytes = run.counters.peak_bytes;
  out.peak_state_bytes = run.counters.peak_state_bytes;
  for (const scheduler::RunCounters& rank : run.ranks) {
    out.most_sent_bytes = std::max(out.most_sent_bytes, rank.sent_bytes);
    out.most_fetched_bytes = std::max(out.most_fetched_bytes, rank.fetched_bytes);
    out.rank_tasks.push_back(rank.tasks);
  }
  out.plan_seconds = plan_seconds;
  out.rank_planning_seconds = run.rank_planning_seconds;
  return out;
}

}  // namespace tessera
