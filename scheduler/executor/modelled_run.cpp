#include "scheduler/executor/modelled_run.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <stdexcept>

#include "core/text.hpp"
#include "scheduler/executor/dispatcher_replay.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Of one rank; the fastest counts. Short ones are told apart from what else the machine does by
// many.
constexpr int kLeastReplays = 3;
constexpr int kMostReplays = 50;
constexpr double kReplaySeconds = 0.1;

// That each task ran once and after its inputs, on whichever rank.
class RunCheck {
 public:
  RunCheck(const Plan& plan, std::int32_t ranks) : plan_(&plan), ranks_(ranks) {
    for (const PlanNode& node : plan.nodes) {
      std::int64_t count = node.task_count > 0 ? blocks(node) : 0;
      if (node.everywhere) count *= ranks;
      ran_.emplace_back(at(count), false);
    }
  }

  void starts(const TaskLaunch& launch) const {
    for (std::size_t i = 0; i < launch.input_count; ++i) {
      const auto& [slot, block] = launch.inputs[i].key;
      const NodeIndex producer = plan_->slots[at(slot)].node;
      if (plan_->nodes[at(producer)].resident || ran_[at(producer)][at(block)]) continue;
      throw std::logic_error(core::text("[modelled run] a task runs after its inputs; got ",
                                        plan_->nodes[at(launch.node)].label, " before block ",
                                        block, " of ", plan_->nodes[at(producer)].label));
    }
  }

  void done(NodeIndex number, std::int64_t block, std::int32_t rank) {
    const PlanNode& node = plan_->nodes[at(number)];
    const std::int64_t place = node.everywhere ? rank * blocks(node) + block : block;
    if (ran_[at(number)][at(place)] && !node.recomputable)
      throw std::logic_error("[modelled run] a task ran twice; got " + node.label);
    ran_[at(number)][at(place)] = true;
  }

  void all_done() const {
    for (std::size_t n = 0; n < ran_.size(); ++n) {
      const PlanNode& node = plan_->nodes[n];
      const auto count = std::count(ran_[n].begin(), ran_[n].end(), true);
      const std::int64_t wanted = node.task_count * (node.everywhere ? ranks_ : 1);
      if (count == wanted) continue;
      throw std::logic_error(core::text("[modelled run] every task runs once; got ", count, " of ",
                                        wanted, " of ", node.label));
    }
  }

 private:
  static std::int64_t blocks(const PlanNode& node) {
    std::int64_t count = 1;
    for (const std::int64_t c : node.counts) count *= c;
    return count;
  }

  const Plan* plan_;
  std::int32_t ranks_;
  std::vector<std::vector<bool>> ran_;  // by node
};

struct Event {
  enum class Kind : std::uint8_t {
    kTask,       // done: a task, a block that has come, or one that has been sent
    kMove,       // done
    kAnnounced,  // by another rank
    kPulled,     // by another rank
    kLeaves,     // a block whose bytes begin to come in
  };
  double time = 0.0;
  std::uint64_t sequence = 0;
  Kind kind = Kind::kTask;
  std::int32_t rank = 0;  // where it happens
  std::int32_t peer = 0;  // kPulled: who asks
  std::uint32_t id = 0;
  BlockKey key;
  double seconds = 0.0;  // kLeaves: on the wire
  double path = 0.0;     // kLeaves: the longest chain of tasks that led to the block
  bool operator<(const Event& o) const noexcept {
    return time != o.time ? time > o.time : sequence > o.sequence;
  }
};

// What all ranks share: the clock and what will happen.
class Timeline {
 public:
  double now() const noexcept { return now_; }
  void add(Event event) {
    event.sequence = sequence_++;
    events_.push_back(event);
    std::push_heap(events_.begin(), events_.end());
  }
  std::optional<Event> next() {
    if (events_.empty()) return std::nullopt;
    std::pop_heap(events_.begin(), events_.end());
    const Event event = events_.back();
    events_.pop_back();
    now_ = event.time;
    return event;
  }

 private:
  std::vector<Event> events_;
  double now_ = 0.0;
  std::uint64_t sequence_ = 0;
};

class ModelledRank final : public Driver {
 public:
  ModelledRank(const TaskOrder& order, DispatcherOptions devices, const ModelledOptions& options,
               std::int32_t self, Timeline& timeline, RunCheck* check)
      : plan_(&order.plan()),
        options_(options),
        timeline_(timeline),
        check_(check),
        self_(self),
        share_(order, {options.ranks}, comm::Rank{self}),
        engines_(devices.devices.size()) {
    for (const auto& [slot, owners] : options.owners) share_.set_owners(slot, owners);
    devices.share = share_.alone() ? nullptr : &share_;
    if (options.measure) machine_ = devices;
    dispatcher_.emplace(order, std::move(devices), *this);
    for (const ResidentBlock& block : residents()) {
      dispatcher_->add_resident(block);
      if (options_.critical_path) path(block.buffer) = 0.0;
    }
  }
  ModelledRank(const ModelledRank&) = delete;
  ModelledRank& operator=(const ModelledRank&) = delete;

  Dispatcher& dispatcher() noexcept { return *dispatcher_; }
  void record() { replay_.emplace(); }
  double busy_seconds() const noexcept { return busy_seconds_; }
  double critical_path_seconds() const noexcept { return critical_path_seconds_; }

  /// The fastest of several replays of what this rank has done.
  double planning_seconds(const TaskOrder& order) const {
    double best = replay_->seconds(order, machine_, residents());
    double total = best;
    for (int i = 1; i < kMostReplays && (i < kLeastReplays || total < kReplaySeconds); ++i) {
      const double seconds = replay_->seconds(order, machine_, residents());
      best = std::min(best, seconds);
      total += seconds;
    }
    return best;
  }

  void start_task(const TaskLaunch& launch) override {
    const PlanNode& node = plan_->nodes[at(launch.node)];
    double bytes = 0.0;
    for (SlotIndex output : node.outputs)
      bytes += static_cast<double>(plan_->slots[at(output)].size.bytes(launch.block));
    double earliest = 0.0;
    if (check_ != nullptr) check_->starts(launch);
    for (std::size_t i = 0; i < launch.input_count; ++i) {
      const auto& [slot, block] = launch.inputs[i].key;
      bytes += static_cast<double>(plan_->slots[at(slot)].size.bytes(block));
      if (options_.critical_path) earliest = std::max(earliest, path_[launch.inputs[i].buffer]);
    }
    const double seconds = options_.model.task_seconds(bytes, node.flops);
    busy_seconds_ += seconds;
    if (options_.critical_path) {
      for (std::size_t o = 0; o < launch.output_count; ++o)
        path(launch.outputs[o]) = earliest + seconds;
      critical_path_seconds_ = std::max(critical_path_seconds_, earliest + seconds);
    }
    work(engines_[launch.device].compute, seconds, launch.id, Event::Kind::kTask);
  }

  void start_move(const MoveLaunch& move) override {
    const auto bytes = static_cast<double>(move.bytes);
    const bool disk = move.from.tier == Tier::kDisk || move.to.tier == Tier::kDisk;
    const bool between = move.from.tier == Tier::kDevice && move.to.tier == Tier::kDevice;
    const double rate = disk      ? options_.model.disk_bytes_per_s
                        : between ? options_.model.link_bytes_per_s
                                  : options_.model.host_bytes_per_s;
    if (options_.critical_path) path(move.to_buffer) = path_[move.from_buffer];
    Engines& e = engines_[move.to.tier == Tier::kDevice ? move.to.device : move.from.device];
    work(move.to.tier == Tier::kDevice ? e.copy_in : e.copy_out, bytes / rate, move.id,
         Event::Kind::kMove);
  }

  void release(BufferId, Place, std::size_t) override {}

  void announce(BlockKey key, comm::Rank reader) override {
    Event event = message(Event::Kind::kAnnounced, reader);
    event.key = key;
    timeline_.add(event);
  }

  void start_fetch(const FetchLaunch& fetch) override {
    if (options_.critical_path) {
      if (fetch.id >= fetched_.size()) fetched_.resize(2 * at(fetch.id) + 1);
      fetched_[fetch.id] = fetch.buffer;
    }
    Event event = message(Event::Kind::kPulled, fetch.from);
    event.key = fetch.key;
    event.id = fetch.id;
    timeline_.add(event);
  }

  // A block that lies below the devices leaves as fast as its tier gives it.
  void start_send(const SendLaunch& send) override {
    double rate = options_.model.network_bytes_per_s;
    if (send.place.tier == Tier::kHost) rate = std::min(rate, options_.model.host_bytes_per_s);
    if (send.place.tier == Tier::kDisk) rate = std::min(rate, options_.model.disk_bytes_per_s);
    const double seconds = static_cast<double>(send.bytes) / rate;
    const double begin = std::max(outgoing_, timeline_.now());
    Event event = message(Event::Kind::kLeaves, send.to);
    event.time = begin + options_.model.network_latency_s;
    event.id = send.request;
    event.seconds = seconds;
    if (options_.critical_path) event.path = path_[send.buffer];
    timeline_.add(event);
    work(outgoing_, seconds, send.id, Event::Kind::kTask);
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case Event::Kind::kTask:
        if (check_ != nullptr && dispatcher_->computes(event.id))
          check_->done(dispatcher_->task_node(event.id), dispatcher_->task_block(event.id), self_);
        if (replay_) replay_->task_done(event.id);
        return dispatcher_->task_done(event.id);
      case Event::Kind::kMove:
        if (replay_) replay_->move_done(event.id);
        return dispatcher_->move_done(event.id);
      case Event::Kind::kAnnounced:
        if (replay_) replay_->announced(event.key);
        return dispatcher_->announced(event.key);
      case Event::Kind::kPulled:
        if (replay_) replay_->pulled(event.key, comm::Rank{event.peer}, event.id);
        return dispatcher_->pulled(event.key, comm::Rank{event.peer}, event.id);
      case Event::Kind::kLeaves:
        if (options_.critical_path) path(fetched_[event.id]) = event.path;
        return work(incoming_, event.seconds, event.id, Event::Kind::kTask);
    }
  }

 private:
  struct Engines {
    double compute = 0.0, copy_in = 0.0, copy_out = 0.0;
  };
  const std::vector<ResidentBlock>& residents() const {
    static const std::vector<ResidentBlock> none;
    return options_.residents.empty() ? none : options_.residents[at(self_)];
  }
  // An engine of this rank does a piece of work after those it was given before.
  void work(double& engine, double seconds, std::uint32_t id, Event::Kind kind) {
    engine = std::max(engine, timeline_.now()) + seconds;
    Event event;
    event.time = engine;
    event.kind = kind;
    event.rank = self_;
    event.id = id;
    timeline_.add(event);
  }
  Event message(Event::Kind kind, comm::Rank to) const {
    Event event;
    event.time = timeline_.now() + options_.model.network_latency_s;
    event.kind = kind;
    event.rank = to.number;
    event.peer = self_;
    return event;
  }
  double& path(BufferId buffer) {
    if (buffer >= path_.size()) path_.resize(std::max<std::size_t>(buffer + 1, 2 * path_.size()));
    return path_[buffer];
  }

  const Plan* plan_;
  const ModelledOptions& options_;
  Timeline& timeline_;
  RunCheck* check_;  // null: unchecked
  std::int32_t self_;
  Share share_;
  DispatcherOptions machine_;
  std::optional<Dispatcher> dispatcher_;
  std::vector<Engines> engines_;
  double outgoing_ = 0.0, incoming_ = 0.0;  // the node's network adapter, each way
  std::vector<double> path_;                // by buffer: longest chain of tasks that led to it
  std::vector<BufferId> fetched_;           // by request: where a block that was asked for goes
  std::optional<DispatcherReplay> replay_;
  double busy_seconds_ = 0.0;
  double critical_path_seconds_ = 0.0;
};

void add(RunCounters& sum, const RunCounters& rank) {
  sum.tasks += rank.tasks;
  sum.recomputed += rank.recomputed;
  sum.moves += rank.moves;
  sum.device_to_device_bytes += rank.device_to_device_bytes;
  sum.to_host_bytes += rank.to_host_bytes;
  sum.from_host_bytes += rank.from_host_bytes;
  sum.to_disk_bytes += rank.to_disk_bytes;
  sum.from_disk_bytes += rank.from_disk_bytes;
  sum.dropped_bytes += rank.dropped_bytes;
  sum.fetched_bytes += rank.fetched_bytes;
  sum.sent_bytes += rank.sent_bytes;
  sum.peak_bytes.insert(sum.peak_bytes.end(), rank.peak_bytes.begin(), rank.peak_bytes.end());
  sum.peak_host_bytes = std::max(sum.peak_host_bytes, rank.peak_host_bytes);
  sum.peak_disk_bytes = std::max(sum.peak_disk_bytes, rank.peak_disk_bytes);
  sum.peak_state_bytes = std::max(sum.peak_state_bytes, rank.peak_state_bytes);
}

// Of ranks that cannot go on, those that find no room are the reason for the others.
void throw_if_stuck(std::deque<ModelledRank>& ranks) {
  ModelledRank* stuck = nullptr;
  for (ModelledRank& rank : ranks) {
    if (rank.dispatcher().finished()) continue;
    if (stuck == nullptr || (rank.dispatcher().starved() && !stuck->dispatcher().starved()))
      stuck = &rank;
  }
  if (stuck != nullptr) throw OutOfMemory(stuck->dispatcher().stuck_reason(), 0, 0, 0);
}

}  // namespace

ModelledReport run_modelled(const TaskOrder& order, const DispatcherOptions& devices,
                            const ModelledOptions& options) {
  Timeline timeline;
  std::optional<RunCheck> check;
  if (options.check) check.emplace(order.plan(), options.ranks);
  std::deque<ModelledRank> ranks;
  for (std::int32_t r = 0; r < options.ranks; ++r)
    ranks.emplace_back(order, devices, options, r, timeline, check ? &*check : nullptr);
  const std::size_t measured[] = {0, ranks.size() / 2, ranks.size() - 1};
  if (options.measure) {
    for (const std::size_t r : measured) ranks[r].record();
  }
  for (ModelledRank& rank : ranks) rank.dispatcher().start();
  while (const std::optional<Event> event = timeline.next()) ranks[at(event->rank)].handle(*event);
  throw_if_stuck(ranks);
  if (check) check->all_done();
  ModelledReport report;
  report.seconds = timeline.now();
  for (ModelledRank& rank : ranks) {
    report.busy_seconds += rank.busy_seconds();
    report.critical_path_seconds =
        std::max(report.critical_path_seconds, rank.critical_path_seconds());
    report.ranks.push_back(rank.dispatcher().counters());
    add(report.counters, report.ranks.back());
  }
  for (const std::size_t r : measured) {
    if (!options.measure) break;
    report.rank_planning_seconds =
        std::max(report.rank_planning_seconds, ranks[r].planning_seconds(order));
  }
  return report;
}

}  // namespace tessera::scheduler
