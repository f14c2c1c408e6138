#include "scheduler/executor/dispatcher.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "random_plan.hpp"
#include "sanitizers.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {
namespace {

// Carries out launches in random order on tokens instead of memory: a buffer holds the name of the
// block it contains, so that a wrong, missing or stale block is seen by the task that reads it.
class TokenDriver : public Driver {
 public:
  explicit TokenDriver(std::uint64_t seed) : rng_(seed) {}

  void start_task(const TaskLaunch& launch) override {
    Pending p;
    p.task = launch.id;
    p.launch = launch;
    p.inputs.assign(launch.inputs, launch.inputs + launch.input_count);
    p.outputs.assign(launch.outputs, launch.outputs + launch.output_count);
    pending_.push_back(std::move(p));
  }
  void start_move(const MoveLaunch& move) override {
    Pending p;
    p.is_move = true;
    p.move = move;
    pending_.push_back(std::move(p));
  }
  void release(BufferId buffer, Place place, std::size_t) override {
    ASSERT_EQ(tokens_.erase(where(buffer, place)), 1u) << "released twice";
  }

  void run(Dispatcher& dispatcher) {
    dispatcher_ = &dispatcher;
    dispatcher.start();
    while (!pending_.empty() && !testing::Test::HasFatalFailure()) {
      const auto i = std::uniform_int_distribution<std::size_t>(0, pending_.size() - 1)(rng_);
      Pending p = std::move(pending_[i]);
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
      p.is_move ? finish_move(p.move) : finish_task(p);
    }
  }

  using Where = std::tuple<BufferId, Tier, DeviceIndex>;
  static Where where(BufferId buffer, Place place) {
    return {buffer, place.tier, place.tier == Tier::kDevice ? place.device : DeviceIndex{0}};
  }
  std::map<Where, BlockKey> tokens_;
  std::multiset<std::pair<NodeIndex, std::int64_t>> ran_;

 private:
  struct Pending {
    bool is_move = false;
    TaskId task = 0;
    TaskLaunch launch{};
    std::vector<LaunchInput> inputs;
    std::vector<BufferId> outputs;
    MoveLaunch move{};
  };
  void finish_task(const Pending& p) {
    const Plan& plan = dispatcher_->plan();
    std::int64_t coords[kMaxRank];
    plan.decode(p.launch.node, p.launch.block, coords);
    if (!plan.nodes[p.launch.node].recomputable || !ran_.count({p.launch.node, p.launch.block})) {
      ran_.insert({p.launch.node, p.launch.block});
    }
    std::size_t read = 0;
    plan.for_each_input(
        p.launch.node, coords, [&](SlotIndex slot, std::int64_t block, std::int32_t input) {
          ASSERT_LT(read, p.inputs.size());
          const LaunchInput& given = p.inputs[read++];
          ASSERT_EQ(given.key, (BlockKey{slot, block}));
          ASSERT_EQ(given.input, input);
          const auto it = tokens_.find(where(given.buffer, {Tier::kDevice, p.launch.device}));
          ASSERT_NE(it, tokens_.end());
          ASSERT_EQ(it->second, given.key);
        });
    ASSERT_EQ(read, p.inputs.size());
    for (std::size_t o = 0; o < p.outputs.size(); ++o) {
      tokens_[where(p.outputs[o], {Tier::kDevice, p.launch.device})] = {
          plan.nodes[p.launch.node].outputs[o], p.launch.block};
    }
    dispatcher_->task_done(p.task);
  }
  void finish_move(const MoveLaunch& m) {
    const auto it = tokens_.find(where(m.from_buffer, m.from));
    ASSERT_NE(it, tokens_.end());
    ASSERT_EQ(it->second, m.key);
    tokens_[where(m.to_buffer, m.to)] = m.key;
    dispatcher_->move_done(m.id);
  }
  std::mt19937_64 rng_;
  std::vector<Pending> pending_;
  Dispatcher* dispatcher_ = nullptr;
};

std::size_t smallest_budget(const TaskOrder& order, std::uint32_t devices) {
  TokenDriver none(0);
  DispatcherOptions options;
  for (std::uint32_t d = 0; d < devices; ++d) options.devices.push_back({1, 1, "null:0"});
  try {
    Dispatcher probe(order, options, none);
    return 1;
  } catch (const OutOfMemory& e) {
    std::size_t need = e.requested_bytes;
    for (;;) {
      for (auto& d : options.devices) d.budget_bytes = need;
      try {
        Dispatcher probe(order, options, none);
        return need;
      } catch (const OutOfMemory& more) {
        need = more.requested_bytes;
      }
    }
  }
}

TEST(Dispatcher, RunsEveryTaskOnceWithItsInputsUnderTightBudgets) {
  int without_room = 0;
  constexpr std::uint64_t kSeeds = fewer_under_tsan(3000);
  for (std::uint64_t i = 0; i <= kSeeds; ++i) {
    // The last: a block is dropped while copies of it stand elsewhere.
    const std::uint64_t seed = i < kSeeds ? i : 16227;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan, random.room());
    const auto devices = static_cast<std::uint32_t>(random.pick(1, 4));
    const std::size_t need = smallest_budget(order, devices);
    DispatcherOptions options;
    for (std::uint32_t d = 0; d < devices; ++d) {
      options.devices.push_back({need * static_cast<std::size_t>(random.pick(10, 25)) / 10,
                                 static_cast<std::uint32_t>(random.pick(1, 4)),
                                 "null:" + std::to_string(d)});
    }
    options.host_budget_bytes = static_cast<std::size_t>(random.pick(0, 2000));
    options.disk_budget_bytes = std::size_t{1} << 40;
    options.window = static_cast<std::uint32_t>(random.pick(1, 64));
    // Every fourth has little room on disk, too, and may end for want of it.
    const bool little_disk = seed % 4 == 3;
    if (little_disk) options.disk_budget_bytes = static_cast<std::size_t>(random.pick(0, 2000));
    TokenDriver driver(seed * 7 + 1);
    Dispatcher dispatcher(order, options, driver);
    driver.run(dispatcher);
    ASSERT_FALSE(testing::Test::HasFatalFailure());
    ASSERT_LE(dispatcher.counters().peak_disk_bytes, options.disk_budget_bytes);
    if (little_disk && !dispatcher.finished()) {
      ASSERT_TRUE(dispatcher.idle());
      ASSERT_NE(dispatcher.stuck_reason().find("no room can be made on"), std::string::npos);
      dispatcher.release_all(false);
      ASSERT_TRUE(driver.tokens_.empty());
      ++without_room;
      continue;
    }
    ASSERT_TRUE(dispatcher.finished()) << dispatcher.stuck_reason();
    ASSERT_EQ(static_cast<std::int64_t>(driver.ran_.size()), plan.total_tasks());
    ASSERT_EQ(std::set(driver.ran_.begin(), driver.ran_.end()).size(), driver.ran_.size());
    for (std::uint32_t d = 0; d < devices; ++d) {
      ASSERT_LE(dispatcher.counters().peak_bytes[d], options.devices[d].budget_bytes);
    }
    ASSERT_LE(dispatcher.counters().peak_host_bytes, options.host_budget_bytes);
    std::size_t kept = 0;
    for (const ResidentBlock& r : dispatcher.residents()) {
      ASSERT_EQ((driver.tokens_.at(TokenDriver::where(r.buffer, r.place))), r.key);
      kept += 1;
    }
    std::size_t expected = 0;
    for (const Slot& slot : plan.slots)
      expected += slot.retained ? static_cast<std::size_t>(slot.size.grid().block_count()) : 0;
    ASSERT_EQ(kept, expected);
    dispatcher.release_all(false);
    for (const auto& [where, key] : driver.tokens_) {
      ADD_FAILURE() << "left: buffer " << std::get<0>(where) << " tier "
                    << static_cast<int>(std::get<1>(where)) << " slot " << key.slot << " block "
                    << key.block << " of " << plan.nodes[plan.slots[key.slot].node].label;
    }
    ASSERT_TRUE(driver.tokens_.empty());
    for (std::uint32_t d = 0; d < devices; ++d)
      ASSERT_EQ(dispatcher.used_bytes(static_cast<DeviceIndex>(d)), 0u);
    ASSERT_EQ(dispatcher.host_used_bytes() + dispatcher.disk_used_bytes(), 0u);
  }
  EXPECT_GT(without_room, 0);
  EXPECT_LT(without_room, 300);
}

// One task with one block of that many elements.
SlotIndex add_task(Plan& plan, const char* label, std::int64_t elements,
                   const std::vector<SlotIndex>& reads) {
  PlanNode node;
  node.label = label;
  node.counts = {1};
  for (const SlotIndex slot : reads) {
    PlanInput input;
    input.slot = slot;
    input.access.links.push_back({0, AxisMap::identity(1)});
    node.inputs.push_back(std::move(input));
  }
  const SlotIndex out = plan.add_slot(
      static_cast<NodeIndex>(plan.nodes.size()), 0,
      kernels::BlockSize(ChunkGrid({AxisChunks::regular(elements, elements)}), DType::kFloat64));
  node.outputs.push_back(out);
  plan.add_node(std::move(node));
  return out;
}

// Without room below, what is needed last cannot leave, and neither can results; what can be made
// again still can.
TEST(Dispatcher, DropsWhatCanBeMadeAgainWhereNothingElseCanLeave) {
  for (const std::size_t host_budget : {0u, 64u}) {
    Plan plan;
    const SlotIndex read = add_task(plan, "read", 1024, {});
    const SlotIndex zeros = add_task(plan, "zeros", 1024, {});
    plan.nodes[1].recomputable = true;
    std::vector<SlotIndex> results;
    results.push_back(add_task(plan, "first", 16, {read, zeros}));
    results.push_back(add_task(plan, "second", 16, {add_task(plan, "large", 1024, {})}));
    results.push_back(add_task(plan, "third", 16, {zeros}));
    results.push_back(add_task(plan, "last", 16, {read}));
    for (const SlotIndex slot : results) plan.slots[slot].retained = true;
    plan.finalize();
    const TaskOrder order(plan);
    DispatcherOptions options;
    options.devices = {{2 * 8192 + 4 * 128, 1, "host:0"}};
    options.host_budget_bytes = host_budget;
    options.window = 2;
    TokenDriver driver(1);
    Dispatcher dispatcher(order, options, driver);
    driver.run(dispatcher);
    ASSERT_FALSE(testing::Test::HasFatalFailure());
    EXPECT_TRUE(dispatcher.finished()) << dispatcher.stuck_reason();
    EXPECT_EQ(dispatcher.counters().recomputed, 1);
    EXPECT_EQ(dispatcher.counters().dropped_bytes, 8192u);
    dispatcher.release_all(false);
    EXPECT_TRUE(driver.tokens_.empty());
  }
}

TEST(Dispatcher, RefusesATaskThatCanNeverFit) {
  Plan plan;
  PlanNode node;
  node.label = "zeros";
  node.counts = {4};
  node.outputs.push_back(plan.add_slot(
      0, 0, kernels::BlockSize(ChunkGrid({AxisChunks::regular(4096, 1024)}), DType::kFloat64)));
  plan.add_node(std::move(node));
  plan.slots[0].retained = true;
  plan.finalize();
  const TaskOrder order(plan);
  TokenDriver driver(1);
  DispatcherOptions options;
  options.devices = {{4096, 1, "host:0"}};
  try {
    Dispatcher dispatcher(order, options, driver);
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_EQ(std::string(e.what()),
              "[zeros] a task must fit its device's budget; got a need of 8.00 KiB for inputs, "
              "outputs (1024,) and scratch on "
              "host:0 with 4.00 KiB; try smaller chunks or a larger TESSERA_DEVICE_MEMORY");
    EXPECT_EQ(e.requested_bytes, 8192u);
    EXPECT_EQ(e.budget_bytes, 4096u);
  }
}

}  // namespace
}  // namespace tessera::scheduler
