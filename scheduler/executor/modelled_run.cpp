#include "scheduler/executor/modelled_run.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

class ModelledDriver : public Driver {
 public:
  ModelledDriver(const TaskOrder& order, std::size_t devices, const ModelledOptions& options)
      : plan_(&order.plan()), options_(options), engines_(devices) {
    if (options_.check) {
      for (const PlanNode& node : plan_->nodes) {
        std::int64_t count = 1;
        for (std::int64_t c : node.counts) count *= c;
        ran_.emplace_back(at(node.task_count > 0 ? count : 0), false);
      }
    }
  }

  void start_task(const TaskLaunch& launch) override {
    const PlanNode& node = plan_->nodes[at(launch.node)];
    double bytes = 0.0;
    for (SlotIndex output : node.outputs)
      bytes += static_cast<double>(plan_->slots[at(output)].size.bytes(launch.block));
    double earliest = 0.0;
    for (std::size_t i = 0; i < launch.input_count; ++i) {
      const auto& [slot, block] = launch.inputs[i].key;
      bytes += static_cast<double>(plan_->slots[at(slot)].size.bytes(block));
      if (options_.check) check_ran(slot, block, node);
      if (options_.critical_path) earliest = std::max(earliest, ready_[launch.inputs[i].buffer]);
    }
    const double seconds = options_.model.task_seconds(bytes, node.flops);
    report_.busy_seconds += seconds;
    if (options_.critical_path) {
      for (std::size_t o = 0; o < launch.output_count; ++o)
        path(launch.outputs[o]) = earliest + seconds;
      report_.critical_path_seconds = std::max(report_.critical_path_seconds, earliest + seconds);
    }
    push(engines_[launch.device].compute, seconds, launch.id, false);
  }

  void start_move(const MoveLaunch& move) override {
    const auto bytes = static_cast<double>(move.bytes);
    const bool disk = move.from.tier == Tier::kDisk || move.to.tier == Tier::kDisk;
    const bool between = move.from.tier == Tier::kDevice && move.to.tier == Tier::kDevice;
    const double rate = disk      ? options_.model.disk_bytes_per_s
                        : between ? options_.model.link_bytes_per_s
                                  : options_.model.host_bytes_per_s;
    if (options_.critical_path) path(move.to_buffer) = ready_[move.from_buffer];
    Engines& e = engines_[move.to.tier == Tier::kDevice ? move.to.device : move.from.device];
    push(move.to.tier == Tier::kDevice ? e.copy_in : e.copy_out, bytes / rate, move.id, true);
  }

  void release(BufferId, Place, std::size_t) override {}

  ModelledReport run(Dispatcher& dispatcher) {
    for (const ResidentBlock& block : options_.residents) {
      dispatcher.add_resident(block);
      if (options_.critical_path) path(block.buffer) = 0.0;
    }
    dispatcher.start();
    while (!events_.empty()) {
      std::pop_heap(events_.begin(), events_.end());
      const Event event = events_.back();
      events_.pop_back();
      now_ = event.time;
      if (event.move) {
        dispatcher.move_done(event.id);
        continue;
      }
      if (options_.check) {
        auto& ran = ran_[at(dispatcher.task_node(event.id))];
        const auto block = at(dispatcher.task_block(event.id));
        const PlanNode& node = plan_->nodes[at(dispatcher.task_node(event.id))];
        if (ran[block] && !node.recomputable)
          throw std::logic_error("[modelled run] a task ran twice; got " + node.label);
        ran[block] = true;
      }
      dispatcher.task_done(event.id);
    }
    report_.seconds = now_;
    report_.counters = dispatcher.counters();
    return report_;
  }

  void check_all_ran() const {
    for (std::size_t n = 0; n < ran_.size(); ++n) {
      const auto count = std::count(ran_[n].begin(), ran_[n].end(), true);
      if (count != plan_->nodes[n].task_count) {
        throw std::logic_error(core::text("[modelled run] every task runs once; got ", count,
                                          " of ", plan_->nodes[n].task_count, " of ",
                                          plan_->nodes[n].label));
      }
    }
  }

 private:
  struct Event {
    double time;
    std::uint64_t sequence;
    std::uint32_t id;
    bool move;
    bool operator<(const Event& o) const noexcept {
      return time != o.time ? time > o.time : sequence > o.sequence;
    }
  };
  struct Engines {
    double compute = 0.0, copy_in = 0.0, copy_out = 0.0;
  };
  void push(double& engine, double seconds, std::uint32_t id, bool move) {
    engine = std::max(engine, now_) + seconds;
    events_.push_back({engine, sequence_++, id, move});
    std::push_heap(events_.begin(), events_.end());
  }
  double& path(BufferId buffer) {
    if (buffer >= ready_.size())
      ready_.resize(std::max<std::size_t>(buffer + 1, 2 * ready_.size()));
    return ready_[buffer];
  }
  void check_ran(SlotIndex slot, std::int64_t block, const PlanNode& reader) const {
    const NodeIndex producer = plan_->slots[at(slot)].node;
    if (plan_->nodes[at(producer)].resident) return;
    if (!ran_[at(producer)][at(block)]) {
      throw std::logic_error(core::text("[modelled run] a task runs after its inputs; got ",
                                        reader.label, " before block ", block, " of ",
                                        plan_->nodes[at(producer)].label));
    }
  }

  const Plan* plan_;
  const ModelledOptions& options_;
  std::vector<Engines> engines_;
  std::vector<Event> events_;
  std::vector<double> ready_;
  std::vector<std::vector<bool>> ran_;
  double now_ = 0.0;
  std::uint64_t sequence_ = 0;
  ModelledReport report_;
};

}  // namespace

ModelledReport run_modelled(const TaskOrder& order, const DispatcherOptions& devices,
                            const ModelledOptions& options) {
  ModelledDriver driver(order, devices.devices.size(), options);
  Dispatcher dispatcher(order, devices, driver);
  ModelledReport report = driver.run(dispatcher);
  if (!dispatcher.finished()) {
    throw OutOfMemory(dispatcher.stuck_reason(), 0, 0, 0);
  }
  if (options.check) driver.check_all_ran();
  return report;
}

}  // namespace tessera::scheduler
