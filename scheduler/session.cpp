#include "tessera/session.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <numeric>
#include <ostream>
#include <utility>

#include "array/node.hpp"
#include "comm/device_links.hpp"
#include "core/environment.hpp"
#include "core/job.hpp"
#include "core/text.hpp"
#include "core/trace.hpp"
#include "device/host_devices.hpp"
#include "scheduler/attempted_calls.hpp"
#include "scheduler/executor/exchange.hpp"
#include "scheduler/executor/host_driver.hpp"
#include "scheduler/lineage.hpp"
#include "scheduler/plan/explain.hpp"
#include "scheduler/plan/lower.hpp"
#include "scheduler/seams.hpp"
#include "scheduler/session_machine.hpp"
#include "scheduler/team.hpp"
#include "tessera/error.hpp"

namespace tessera {

namespace {

using scheduler::Goal;
using scheduler::ResidentArray;
using scheduler::Seams;

std::shared_ptr<std::byte> result_memory(device::HostAllocator& allocator, std::size_t bytes) {
  const std::size_t capacity = (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256;
  std::byte* memory = allocator.allocate(capacity);
  if (memory == nullptr) {
    throw OutOfMemory(core::text("[compute] the result must fit in host memory; got ", format_bytes(bytes), "; try persist() or save()"),
                      bytes, core::available_memory_bytes(), bytes);
  }
  return {memory, [&allocator, capacity](std::byte* p) { allocator.deallocate(p, capacity); }};
}

RunReport report_of(const scheduler::RunCounters& c, double seconds) {
  RunReport out;
  out.seconds = seconds;
  out.tasks = c.tasks;
  out.recomputed_tasks = c.recomputed;
  out.device_to_device_bytes = c.device_to_device_bytes;
  out.to_host_bytes = c.to_host_bytes;
  out.from_host_bytes = c.from_host_bytes;
  out.to_disk_bytes = c.to_disk_bytes;
  out.from_disk_bytes = c.from_disk_bytes;
  out.dropped_bytes = c.dropped_bytes;
  out.fetched_bytes = c.fetched_bytes;
  out.sent_bytes = c.sent_bytes;
  out.peak_device_bytes = c.peak_bytes;
  out.peak_host_bytes = c.peak_host_bytes;
  out.peak_disk_bytes = c.peak_disk_bytes;
  out.peak_state_bytes = c.peak_state_bytes;
  return out;
}

std::string device_names(const device::HostDevices& devices) {
  const std::string first = device::to_string(devices.devices().front().id);
  if (devices.devices().size() == 1) return first;
  return core::text(first, " to ", device::to_string(devices.devices().back().id));
}

const Seams& machine_seams() {
  static const Seams seams;
  return seams;
}

thread_local Session* current_session = nullptr;

// What stands for an array that is kept: errors name the line that built the array.
Array kept_array(const Array& array, const std::shared_ptr<ResidentArray>& blocks, std::shared_ptr<const Array> lineage) {
  std::vector<array::Output> outputs{{array.dtype(), array.chunks(), array.shape(), std::nullopt}};
  const auto node = std::make_shared<array::Node>("persist", array::Resident{blocks, std::move(lineage), {}}, std::vector<Array>(),
                                                  std::move(outputs), std::source_location());
  node->file = array.node()->file;
  node->line = array.node()->line;
  return Array(std::shared_ptr<const array::Node>(node), 0);
}

}  // namespace

struct Session::Impl {
  Impl(const SessionOptions& o, const Seams& s, comm::World& w) : Impl(o, s, w, scheduler::machine_options(o, s, w)) {}
  Impl(const SessionOptions& o, const Seams& s, comm::World& w, const device::HostDevicesOptions& machine)
      : options(o), seams(s), world(w), devices(std::make_shared<device::HostDevices>(machine)), spill_folder(machine.spill_folder) {
    const core::Environment& env = core::environment();
    if (!env.mixed_profile) profile = devices->profile();
    exchange = scheduler::Exchange::of(world);
    product_room = scheduler::product_room(o, world);
    if (devices->cuda() != nullptr && exchange != nullptr) open_links(*machine.cuda);
    if (devices->cuda() != nullptr) cuda_registry = kernels::make_cuda_registry(*devices->cuda(), *seams.kernels);
    fuse = o.fuse.value_or(env.fuse);
    window = env.window;
    if (!env.trace.empty()) {
      trace = std::make_unique<core::Trace>(core::next_trace_path(env.trace), *seams.files, *seams.clock);
    }
    if (core::logs(core::LogLevel::kInfo)) log_start();
  }

  // Blocks go from device to device where NCCL is, and through the hosts where not.
  void open_links(const TesseraCudaApi& cuda) {
    const TesseraNcclApi* nccl = seams.nccl;
    std::string problem = "TESSERA_TRANSPORT asks for another way";
    // Another machine's devices than this one's are not NCCL's.
    const bool real = seams.cuda == nullptr && core::job().carrier == core::Carrier::kAuto;
    if (nccl == nullptr && real) nccl = comm::find_nccl(problem);
    if (nccl == nullptr) {
      core::log(core::LogLevel::kInfo, core::text("blocks between GPUs of different ranks go through the hosts: ", problem));
      return;
    }
    links = exchange->links([&](comm::DeviceLinks::Tell tell) { return comm::open_nccl_links(cuda, *nccl, world.host(world.rank()), std::move(tell)); });
  }

  void log_start() const {
    core::log(core::LogLevel::kInfo,
              core::text("session on ", device_names(*devices), ": ", format_bytes(devices->pool(0).limit_bytes()),
                         " each, host tier ", format_bytes(devices->host_tier().limit_bytes()), ", disk tier ",
                         format_bytes(devices->disk_tier().limit_bytes()), " in ", spill_folder, ", ",
                         devices->workers(), " workers"));
  }

  void log_plan(const scheduler::Plan& plan) const {
    core::log(core::LogLevel::kDebug, core::text("run: ", plan.nodes.size(), " nodes, ", plan.total_tasks(), " tasks on ",
                                                 device_names(*devices)));
  }

  void log_run() const {
    core::log(core::LogLevel::kDebug,
              core::text("run: ", last.tasks, " tasks (", last.recomputed_tasks, " again) in ", last.seconds,
                         " s; between devices ", format_bytes(last.device_to_device_bytes), "; to and from host ",
                         format_bytes(last.to_host_bytes), " and ", format_bytes(last.from_host_bytes),
                         "; to and from disk ", format_bytes(last.to_disk_bytes), " and ",
                         format_bytes(last.from_disk_bytes), "; dropped ", format_bytes(last.dropped_bytes)));
  }

  ~Impl() {
    // Arrays and blocks that outlive the session need no more than their own memory.
    try {
      devices->trim();
    } catch (const Error& e) {
      core::log(core::LogLevel::kError, e.what());
    }
    if (trace == nullptr) return;
    try {
      trace->close();
    } catch (const Error& e) {
      core::log(core::LogLevel::kError, e.what());
    }
  }

  void refuse_inside_run() const {
    if (!scheduler::inside_run_on(*devices)) return;
    throw Error(
        "[session] a task or progress callback cannot ask the session that runs it; got a call from "
        "inside one; try passing what it needs as an argument");
  }

  std::unique_lock<std::mutex> lock() const {
    refuse_inside_run();
    if (exchange != nullptr && scheduler::inside_any_run()) {
      throw Error("[session] with several ranks a task computes nothing of its own; got a call from inside one; try "
                  "passing what it needs as an argument");
    }
    return std::unique_lock(mutex);
  }

  // Whose blocks they are decides who may move them: another session would not see them move.
  std::shared_ptr<ResidentArray> own(const std::shared_ptr<void>& blocks) const {
    auto array = std::static_pointer_cast<ResidentArray>(blocks);
    if (&array->devices() == devices.get()) return array;
    throw InvalidArgument(core::text(
        "[session] an array that is kept in a session is computed in that session; got one of shape ",
        to_string(array->size().grid().shape()), " kept in ", device_names(array->devices()),
        " of another session, in a computation on ", device_names(*devices),
        "; try compute() in its own session, and from_memory() of the result here"));
  }

  // `ranks`: that compute, by their numbers in the world; none: this process alone.
  scheduler::Lowered plan(const std::vector<Goal>& goals, bool with_bystanders,
                          const std::vector<std::int32_t>& ranks,
                          const std::vector<std::shared_ptr<detail::Call>>& calls = {},
                          scheduler::Instead instead = {}) const {
    scheduler::LowerOptions lower;
    lower.calls = calls;
    lower.instead = std::move(instead);
    lower.fuse = fuse;
    double memory = 0.0;
    for (std::size_t d = 0; d < devices->devices().size(); ++d) {
      // What is lent differs from rank to rank.
      const std::size_t lent = exchange == nullptr ? devices->lent_bytes(d) : 0;
      const std::size_t bytes = devices->pool(d).limit_bytes() - lent;
      lower.budget_bytes = std::min(lower.budget_bytes, bytes);
      memory += static_cast<double>(bytes);
    }
    // Ranks with the same budget of each device come to the same plan, however many devices each has.
    lower.memory_bytes = exchange == nullptr ? memory : std::numeric_limits<double>::infinity();
    lower.devices = exchange == nullptr ? static_cast<std::int64_t>(devices->devices().size())
                                        : std::max<std::int64_t>(std::ssize(ranks), 1);
    lower.ranks = ranks;
    lower.registry = &registry();
    if (with_bystanders) {
      for (const std::shared_ptr<ResidentArray>& array : living()) {
        lower.bystanders.push_back({array, array->size(), array->label(), array->origin()});
      }
    }
    return scheduler::lower(goals, lower);
  }

  scheduler::ProductRoom room(const std::vector<std::int32_t>& ranks) const {
    if (exchange != nullptr) return {product_room, static_cast<std::int32_t>(ranks.size())};
    double memory = 0.0;
    for (std::size_t d = 0; d < devices->devices().size(); ++d)
      memory += static_cast<double>(devices->pool(d).limit_bytes() - devices->lent_bytes(d));
    return {scheduler::ProductRoom::of(memory), 1};
  }

  const kernels::Registry& registry() const { return cuda_registry != nullptr ? *cuda_registry : *seams.kernels; }

  std::vector<std::shared_ptr<ResidentArray>> living() const {
    std::vector<std::shared_ptr<ResidentArray>> out;
    for (const std::weak_ptr<ResidentArray>& weak : residents) {
      if (auto array = weak.lock(); array != nullptr && !array->is_forgotten()) out.push_back(std::move(array));
    }
    return out;
  }

  static std::vector<std::int32_t> ranks_of(const scheduler::Exchange::Step& step) {
    std::vector<std::int32_t> ranks;
    for (std::int32_t r = 0; r < step.ranks(); ++r)
      ranks.push_back(step.in_world(comm::Rank{r}).number);
    return ranks;
  }

  // Arrays that have lost blocks with a rank are let go of, and computed anew where the goals need them: these are
  // returned, and have a goal each behind those that were asked for.
  std::vector<std::shared_ptr<ResidentArray>> restore(std::vector<Goal>& goals, const std::vector<std::shared_ptr<detail::Call>>& calls,
                                                      const scheduler::Exchange::Step& step, scheduler::Instead& instead) const {
    const auto is_there = [&step](comm::Rank rank) { return step.here(rank).number >= 0; };
    const auto is_lost = [&](const scheduler::Blocks& blocks) { return own(blocks)->is_lost(is_there); };
    bool any = step.ranks() < world.ranks();
    for (const std::weak_ptr<ResidentArray>& weak : residents) {
      const auto array = weak.lock();
      if (array == nullptr || !array->is_lost(is_there)) continue;
      array->forget();
      any = true;
    }
    if (!any) return {};
    scheduler::Restored restored = scheduler::restore(goals, calls, ranks_of(step), is_lost);
    for (std::size_t i = 0; i < goals.size(); ++i) goals[i].array = restored.arrays[i];
    instead = std::move(restored.instead);
    std::vector<std::shared_ptr<ResidentArray>> out;
    for (const auto& [blocks, array] : restored.again) {
      out.push_back(own(blocks));
      goals.push_back({array, Goal::Kind::kKeep, nullptr});
    }
    return out;
  }

  scheduler::HostRunResult run(std::vector<Goal> goals, const RunOptions& run_options,
                               std::vector<scheduler::SlotIndex>& kept,
                               const std::vector<std::shared_ptr<detail::Call>>& calls, scheduler::Exchange::Step* step) {
    const core::Clock::time_point begin = seams.clock->now();
    std::erase_if(residents, [](const auto& weak) { return weak.expired(); });
    restored.clear();  // of an attempt that was given up
    std::vector<std::shared_ptr<ResidentArray>> again;
    scheduler::Instead instead;
    if (step != nullptr && step->recovers()) again = restore(goals, calls, *step, instead);
    std::vector<std::int32_t> ranks;
    if (step != nullptr) ranks = ranks_of(*step);
    const scheduler::Lowered lowered = plan(goals, true, ranks, calls, std::move(instead));
    const bool logged = core::logs(core::LogLevel::kDebug);
    if (logged) log_plan(lowered.plan);
    const scheduler::TaskOrder order(lowered.plan, room(ranks));
    if (step != nullptr) attempted.note(order, calls, *step);
    scheduler::HostRunOptions host;
    host.step = step;
    host.devices = devices;
    host.registry = &registry();
    host.clock = seams.clock;
    host.transport = seams.transport;
    host.profile = profile;
    for (const auto& [blocks, slot] : lowered.residents) {
      host.residents.push_back({slot, own(blocks)});
    }
    host.window = window;
    host.stop = run_options.stop;
    host.progress = run_options.progress;
    host.trace = trace.get();
    host.shuffle_seed = options.shuffle_seed.value_or(0);
    scheduler::HostRunResult result = scheduler::run_on_host(order, host);
    const auto asked = lowered.kept.end() - static_cast<std::ptrdiff_t>(again.size());
    kept.assign(lowered.kept.begin(), asked);
    for (auto slot = asked; slot != lowered.kept.end(); ++slot) {
      // Blocks are one array's: a second one of the same expression is computed when it is next
      // read.
      if (std::find(lowered.kept.begin(), slot, *slot) != slot) continue;
      restored.emplace_back(again[static_cast<std::size_t>(slot - asked)], made(result, *slot));
    }
    const std::chrono::duration<double> time = core::elapsed(begin, seams.clock->now());
    last = report_of(result.counters, time.count());
    if (logged) log_run();
    return result;
  }

  static std::shared_ptr<ResidentArray> made(const scheduler::HostRunResult& result, scheduler::SlotIndex slot) {
    return std::find_if(result.arrays.begin(), result.arrays.end(), [&](const auto& r) { return r.slot == slot; })->array;
  }

  // Does what all ranks do in one step. What fails here, at whatever point, fails on all. Where ranks are lost, it
  // may be done again by those that are left, unless it is the work of one team.
  template <typename F>
  auto in_step(F&& work, const scheduler::Team* team = nullptr) {
    if (exchange == nullptr) return work(static_cast<scheduler::Exchange::Step*>(nullptr));
    scheduler::Exchange::Step step(*exchange);
    for (;;) {
      step.begin();
      if (team != nullptr && team->ranks() != step.ranks()) {
        step.abandon();
        throw scheduler::Team::Changed();
      }
      try {
        auto out = work(&step);
        if (step.over()) {
          const auto computed_anew = std::exchange(restored, {});
          step.check();
          // Only now: in another attempt all ranks find the same arrays lost.
          for (const auto& [array, computed] : computed_anew) array->adopt(*computed);
          attempted.settle(step.recovers());
          return out;
        }
      } catch (const std::exception& e) {
        step.end(e.what());
        if (attempted.leave(step)) throw;
      } catch (...) {
        step.end("an unknown error");
        if (attempted.leave(step)) throw;
      }
      attempted.undo();
      if (team != nullptr) throw scheduler::Team::Changed();
    }
  }

  // A computation of nothing is over when all ranks have come to it.
  scheduler::HostRunResult meet(scheduler::Exchange::Step* step) {
    std::vector<scheduler::SlotIndex> kept;
    const RunReport before = last;
    scheduler::HostRunResult nothing = run({}, {}, kept, {}, step);
    last = before;
    return nothing;
  }

  std::vector<HostArray> compute(const std::vector<Array>& arrays, const RunOptions& run_options,
                                 const scheduler::Team* team = nullptr);
  // Takes the blocks that this rank made.
  std::vector<DeviceBlock> hand_out(ResidentArray& array, const ChunkGrid& grid) const;

  SessionOptions options;
  const Seams seams;
  comm::World& world;
  std::shared_ptr<scheduler::Exchange> exchange;  // null with one rank
  std::shared_ptr<comm::DeviceLinks> links;       // null: blocks of devices go through the hosts
  std::shared_ptr<device::HostDevices> devices;
  std::unique_ptr<kernels::Registry> cuda_registry;  // of CUDA devices; null on the host
  std::string spill_folder;
  std::size_t product_room = 0;  // of each rank
  std::string profile;  // empty: ranks of any
  bool fuse = true;
  std::uint32_t window = 4096;
  std::unique_ptr<core::Trace> trace;
  mutable std::mutex mutex;
  std::vector<std::weak_ptr<ResidentArray>> residents;
  std::vector<std::pair<std::shared_ptr<ResidentArray>, std::shared_ptr<ResidentArray>>>
      restored;  // arrays that were lost, and what this attempt has computed in their place
  scheduler::AttemptedCalls attempted;  // of this attempt
  RunReport last;
};

std::vector<DeviceBlock> Session::Impl::hand_out(ResidentArray& array,
                                                 const ChunkGrid& grid) const {
  std::vector<DeviceBlock> out;
  for (std::int64_t block = 0; block < array.block_count(); ++block) {
    if (array.owners() != nullptr &&
        (*array.owners())[static_cast<std::size_t>(block)] != world.rank().number)
      continue;
    std::optional<std::size_t> device = array.bring_to_device(block);
    if (!device) {
      std::size_t budget = 0;
      for (const device::Device& each : devices->devices()) budget += each.pool->limit_bytes();
      throw OutOfMemory(
          core::text(
              "[compute_blocks] blocks that are handed out stay in device memory together; got ",
              format_bytes(array.size_bytes()),
              ", beside arrays that are kept and blocks that are "
              "out, for budgets of ",
              format_bytes(budget), "; try compute() or save_zarr()"),
          array.size_bytes(), 0, budget);
    }
    const device::DeviceId id = devices->devices()[*device].id;
    DeviceBlock made{
        nullptr, id.kind == device::DeviceKind::kCuda, id.number, array.size().dtype(), {}, {}, {}};
    made.index = grid.unlinear(block);
    for (int d = 0; d < grid.rank(); ++d) {
      const std::int64_t c = made.index[static_cast<std::size_t>(d)];
      made.start.push_back(grid.axis(d).begin(c));
    }
    made.shape = grid.block_shape(made.index);
    made.memory =
        device::HostDevices::lend(devices, *device, std::move(array.take(block).memory));
    out.push_back(std::move(made));
  }
  return out;
}

std::vector<HostArray> Session::Impl::compute(const std::vector<Array>& arrays, const RunOptions& run_options,
                                              const scheduler::Team* team) {
  const std::unique_lock guard = lock();
  const auto work = [&](scheduler::Exchange::Step* step) {
    std::vector<Goal> goals;
    std::vector<HostArray> out;
    for (const Array& array : arrays) {
      auto memory = result_memory(*seams.allocator, array.nbytes());
      out.emplace_back(array.shape(), array.dtype(), memory);
      goals.push_back({array, Goal::Kind::kDeliver, memory});
    }
    std::vector<scheduler::SlotIndex> kept;
    run(goals, run_options, kept, {}, step);
    return out;
  };
  return in_step(work, team);
}

Session::Session(const SessionOptions& options) : Session(options, machine_seams()) {}
Session::Session(const SessionOptions& options, const Seams& seams)
    : impl_(std::make_shared<Impl>(options, seams, seams.world != nullptr ? *seams.world : scheduler::process_world())) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Session& Session::current() {
  if (current_session != nullptr) return *current_session;
  static Session session;
  return session;
}

Session scheduler::Seams::open(const SessionOptions& options) const { return Session(options, *this); }

const device::HostDevices& scheduler::Seams::devices(const Session& session) { return *session.impl().devices; }

const scheduler::Seams& scheduler::Seams::current() noexcept {
  const bool scoped = current_session != nullptr && current_session->impl_ != nullptr;
  return scoped ? current_session->impl_->seams : machine_seams();
}

scheduler::Team scheduler::Team::current() {
  const Session::Impl& impl = Session::current().impl();
  Team out;
  if (impl.exchange == nullptr) return out;
  const std::vector<std::int32_t> members = impl.exchange->team();
  const auto self = std::find(members.begin(), members.end(), impl.world.rank().number);
  out.rank_ = static_cast<std::int32_t>(self - members.begin());
  out.ranks_ = static_cast<std::int32_t>(members.size());
  out.recovers_ = impl.world.recovers();
  out.tag_ = core::text(impl.world.job_number(), "-", impl.exchange->steps());
  return out;
}

bool scheduler::Team::holds() const {
  const Session::Impl& impl = Session::current().impl();
  return impl.exchange == nullptr || impl.exchange->holds();
}

void scheduler::Team::work(const std::function<void(const Team&, bool)>& work) {
  Session::Impl& impl = Session::current().impl();
  for (bool again = false;; again = true) {
    try {
      return work(current(), again);
    } catch (const Changed&) {
      core::log(core::LogLevel::kWarning, "what the ranks do together is begun again without those that are lost");
    }
    const std::unique_lock lock = impl.lock();
    impl.in_step([&](Exchange::Step* step) { return impl.meet(step); });
  }
}

void scheduler::Team::together(const std::function<void()>& work) const {
  if (alone()) return work();
  Session::Impl& impl = Session::current().impl();
  const std::unique_lock lock = impl.lock();
  const auto all = [&](Exchange::Step* step) {
    work();
    return impl.meet(step);
  };
  impl.in_step(all, this);
}

std::vector<HostArray> scheduler::Team::compute(const std::vector<Array>& arrays) const {
  return Session::current().impl().compute(arrays, {}, alone() ? nullptr : this);
}

Session::Impl& Session::impl() const {
  if (impl_ != nullptr) return *impl_;
  throw Error("[session] a session that was moved from can only be assigned to or destroyed; got a call; try the "
              "session it was moved to");
}

std::vector<HostArray> Session::compute(const std::vector<Array>& arrays, const RunOptions& options) {
  return impl().compute(arrays, options);
}

std::future<std::vector<HostArray>> Session::compute_async(std::vector<Array> arrays, RunOptions options) {
  impl().refuse_inside_run();
  auto work = [impl = impl_, arrays = std::move(arrays), options = std::move(options)]() mutable {
    // Given back when the computation ends, not when the future goes.
    const std::shared_ptr<Impl> session = std::move(impl);
    const std::vector<Array> wanted = std::move(arrays);
    return session->compute(wanted, options);
  };
  return std::async(std::launch::async, std::move(work));
}

std::vector<Array> Session::persist(const std::vector<Array>& arrays, const RunOptions& options) {
  Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  std::vector<Goal> goals;
  for (const Array& array : arrays) {
    if (const auto* kept = std::get_if<array::Resident>(&array.node()->attributes)) {
      impl.own(kept->blocks);
    } else {
      goals.push_back({array, Goal::Kind::kKeep, nullptr});
    }
  }
  std::vector<scheduler::SlotIndex> kept;
  scheduler::HostRunResult result;
  if (!goals.empty()) {
    result = impl.in_step([&](scheduler::Exchange::Step* step) { return impl.run(goals, options, kept, {}, step); });
  }
  std::vector<Array> out;
  std::size_t next = 0;
  for (const Array& array : arrays) {
    if (std::holds_alternative<array::Resident>(array.node()->attributes)) {
      out.push_back(array);
      continue;
    }
    const std::shared_ptr<ResidentArray> blocks = impl.made(result, kept[next++]);
    impl.residents.push_back(blocks);
    const bool may_be_lost = impl.exchange != nullptr && impl.world.recovers();
    out.push_back(kept_array(array, blocks, may_be_lost ? scheduler::lineage_of(array) : nullptr));
  }
  return out;
}

std::vector<DeviceBlock> Session::compute_blocks(const Array& array, const RunOptions& options) {
  Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  // What a session keeps stays the session's: of it copies are handed out.
  const bool is_kept = std::holds_alternative<array::Resident>(array.node()->attributes);
  const Array made =
      is_kept ? array::make_array("compute_blocks", array::Elementwise{core::ScalarOp::kCast},
                                  {array}, array.dtype(), array.chunks(), std::source_location())
              : array;
  return impl.in_step([&](scheduler::Exchange::Step* step) {
    std::vector<scheduler::SlotIndex> kept;
    const scheduler::HostRunResult result =
        impl.run({{made, Goal::Kind::kKeep, nullptr}}, options, kept, {}, step);
    return impl.hand_out(*impl.made(result, kept[0]), made.chunks());
  });
}

void Session::run(const std::vector<std::shared_ptr<detail::Call>>& calls,
                  const RunOptions& options) {
  Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  std::vector<scheduler::SlotIndex> kept;
  impl.in_step([&](scheduler::Exchange::Step* step) { return impl.run({}, options, kept, calls, step); });
}

void detail::run_calls(const std::vector<std::shared_ptr<Call>>& calls, const RunOptions& options) {
  Session::current().run(calls, options);
}

RunReport Session::last_run() const {
  const Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  return impl.last;
}

std::string Session::explain(const std::vector<Array>& arrays) const {
  const Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  std::vector<Goal> goals;
  for (const Array& array : arrays) goals.push_back({array, Goal::Kind::kKeep, nullptr});
  std::vector<std::int32_t> ranks(impl.exchange != nullptr ? static_cast<std::size_t>(impl.world.ranks()) : 0);
  std::iota(ranks.begin(), ranks.end(), 0);
  return scheduler::explain(impl.plan(goals, false, ranks).plan);
}

std::size_t Session::resident_bytes() const {
  const Impl& impl = this->impl();
  const std::unique_lock lock = impl.lock();
  std::size_t total = 0;
  for (const auto& array : impl.living()) total += array->size_bytes();
  return total;
}

std::string Session::describe() const {
  const device::HostDevices& devices = *impl().devices;
  std::string out;
  for (std::size_t d = 0; d < devices.devices().size(); ++d) {
    const device::Device& device = devices.devices()[d];
    out += core::text(device::to_string(device.id), ": ", format_bytes(device.pool->limit_bytes()));
    if (const std::string model = devices.model(d); !model.empty()) out += core::text(" (", model, ")");
    out += "\n";
  }
  return out + core::text("host tier: ", format_bytes(devices.host_tier().limit_bytes()), "\ndisk tier: ",
                          format_bytes(devices.disk_tier().limit_bytes()), " in ", impl().spill_folder, "\nworkers: ",
                          devices.workers(), "\n");
}

SessionScope::SessionScope(Session& session) : previous_(current_session) { current_session = &session; }
SessionScope::~SessionScope() { current_session = previous_; }

std::vector<HostArray> compute(const std::vector<Array>& arrays, const RunOptions& options) {
  return Session::current().compute(arrays, options);
}
std::future<std::vector<HostArray>> compute_async(std::vector<Array> arrays, RunOptions options) {
  return Session::current().compute_async(std::move(arrays), std::move(options));
}
std::vector<Array> persist(const std::vector<Array>& arrays, const RunOptions& options) {
  return Session::current().persist(arrays, options);
}

std::vector<DeviceBlock> compute_blocks(const Array& array, const RunOptions& options) {
  return Session::current().compute_blocks(array, options);
}

HostArray Array::compute() const { return Session::current().compute({*this})[0]; }
Array Array::persist() const { return Session::current().persist({*this})[0]; }
std::string Array::explain() const { return Session::current().explain({*this}); }

std::ostream& operator<<(std::ostream& out, const Array& array) {
  out << "Array<" << array.node()->name << ", shape=" << to_string(array.shape()) << ", dtype=" << array.dtype()
      << ", chunks=" << array.chunks() << ", " << format_bytes(array.nbytes()) << ", ";
  try {
    const scheduler::Lowered lowered = scheduler::lower({{array, Goal::Kind::kKeep, nullptr}}, {});
    out << lowered.plan.total_tasks() << " tasks>";
  } catch (const InvalidArgument&) {
    out << "more tasks than a plan holds>";
  }
  return out;
}

}  // namespace tessera
