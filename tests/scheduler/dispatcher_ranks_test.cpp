#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>

#include "hash_kernels.hpp"
#include "random_plan.hpp"
#include "sanitizers.hpp"
#include "scheduler/executor/dispatcher.hpp"

// Several ranks' dispatchers over one plan, carried out in random order on tokens instead of
// memory. Messages between ranks wait, and overtake each other, as long as chance wants.

namespace tessera::scheduler {
namespace {

class RankDriver;

struct Cluster {
  explicit Cluster(std::uint64_t seed) : rng(seed) {}
  // Runs all ranks until nothing is pending.
  void run();
  void add(std::function<void()> event) { pending.push_back(std::move(event)); }
  std::mt19937_64 rng;
  std::vector<std::function<void()>> pending;
  std::vector<std::unique_ptr<RankDriver>> ranks;
  std::set<std::pair<NodeIndex, std::int64_t>> ran;  // of the plan's tasks, on whichever rank
};

class RankDriver final : public Driver {
 public:
  RankDriver(Cluster& cluster, const TaskOrder& order, Topology topology, std::int32_t self)
      : cluster_(cluster), placement_(order, topology), share_(order, topology, comm::Rank{self}) {}
  const Share& share() const { return share_; }
  void make(const TaskOrder& order, DispatcherOptions options) {
    options.share = &share_;
    dispatcher_.emplace(order, std::move(options), *this);
  }
  Dispatcher& dispatcher() { return *dispatcher_; }

  void start_task(const TaskLaunch& launch) override {
    std::vector<LaunchInput> inputs(launch.inputs, launch.inputs + launch.input_count);
    std::vector<BufferId> outputs(launch.outputs, launch.outputs + launch.output_count);
    cluster_.add([this, launch, inputs, outputs] { finish_task(launch, inputs, outputs); });
  }
  void start_move(const MoveLaunch& m) override {
    cluster_.add([this, m] {
      ASSERT_EQ(tokens_.at(where(m.from_buffer, m.from)), m.key);
      tokens_[where(m.to_buffer, m.to)] = m.key;
      dispatcher_->move_done(m.id);
    });
  }
  void release(BufferId buffer, Place place, std::size_t) override {
    ASSERT_EQ(tokens_.erase(where(buffer, place)), 1u) << "released twice";
  }
  void announce(BlockKey key, comm::Rank reader) override {
    ASSERT_TRUE(announced_.insert({{key.slot, key.block}, reader.number}).second);
    cluster_.add(
        [this, key, reader] { cluster_.ranks[reader.number]->dispatcher().announced(key); });
  }
  void start_fetch(const FetchLaunch& f) override {
    ASSERT_NE(f.from, share_.self());
    const comm::Rank self = share_.self();
    tokens_[where(f.buffer, {Tier::kDevice, f.device})] = f.key;
    cluster_.add([this, f, self] {
      RankDriver& owner = *cluster_.ranks[f.from.number];
      owner.waiting_[{{f.key.slot, f.key.block}, self.number}] = f.id;
      owner.dispatcher().pulled(f.key, self, f.id);
    });
  }
  void start_send(const SendLaunch& s) override {
    ASSERT_EQ(waiting_.at({{s.key.slot, s.key.block}, s.to.number}), s.request);
    cluster_.add([this, s] {
      ASSERT_EQ(tokens_.at(where(s.buffer, s.place)), s.key);
      RankDriver& reader = *cluster_.ranks[s.to.number];
      cluster_.add([&reader, s] { reader.dispatcher().task_done(s.request); });
      dispatcher_->task_done(s.id);
    });
  }

  using Where = std::tuple<BufferId, Tier, DeviceIndex>;
  static Where where(BufferId buffer, Place place) {
    return {buffer, place.tier, place.tier == Tier::kDevice ? place.device : DeviceIndex{0}};
  }
  std::map<Where, BlockKey> tokens_;

 private:
  void finish_task(const TaskLaunch& launch, const std::vector<LaunchInput>& inputs,
                   const std::vector<BufferId>& outputs) {
    const Plan& plan = dispatcher_->plan();
    std::int64_t coords[kMaxRank];
    plan.decode(launch.node, launch.block, coords);
    ASSERT_EQ(placement_.owner(launch.node, coords), share_.self());
    const bool first = cluster_.ran.insert({launch.node, launch.block}).second;
    ASSERT_TRUE(first || plan.nodes[launch.node].recomputable);
    std::size_t read = 0;
    plan.for_each_input(
        launch.node, coords, [&](SlotIndex slot, std::int64_t block, std::int32_t input) {
          ASSERT_LT(read, inputs.size());
          const LaunchInput& given = inputs[read++];
          ASSERT_EQ(given.key, (BlockKey{slot, block}));
          ASSERT_EQ(given.input, input);
          const auto it = tokens_.find(where(given.buffer, {Tier::kDevice, launch.device}));
          ASSERT_NE(it, tokens_.end());
          ASSERT_EQ(it->second, given.key);
        });
    ASSERT_EQ(read, inputs.size());
    for (std::size_t o = 0; o < outputs.size(); ++o)
      tokens_[where(outputs[o], {Tier::kDevice, launch.device})] = {
          plan.nodes[launch.node].outputs[o], launch.block};
    dispatcher_->task_done(launch.id);
  }

  Cluster& cluster_;
  Placement placement_;
  Share share_;
  std::optional<Dispatcher> dispatcher_;
  std::map<std::pair<std::pair<SlotIndex, std::int64_t>, std::int32_t>, TaskId> waiting_;
  std::set<std::pair<std::pair<SlotIndex, std::int64_t>, std::int32_t>> announced_;
};

void Cluster::run() {
  for (const auto& rank : ranks) add([&rank] { rank->dispatcher().start(); });
  // Messages do not come before a rank has begun.
  std::vector<std::function<void()>> starts;
  starts.swap(pending);
  for (const auto& start : starts) start();
  while (!pending.empty() && !testing::Test::HasFatalFailure()) {
    const auto i = std::uniform_int_distribution<std::size_t>(0, pending.size() - 1)(rng);
    const std::function<void()> event = std::move(pending[i]);
    pending[i] = std::move(pending.back());
    pending.pop_back();
    event();
  }
}

TEST(DispatcherRanks, EveryTaskRunsOnceOnItsRankWithItsInputs) {
  std::size_t fetched = 0;
  std::size_t spilled = 0;
  for (std::uint64_t seed = 0; seed < fewer_under_tsan(1000); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan, random.room());
    const auto ranks = static_cast<std::int32_t>(random.pick(2, 7));
    const auto devices = static_cast<std::uint32_t>(random.pick(1, 3));
    const std::size_t need = test::smallest_budget(order);
    Cluster cluster(seed);
    for (std::int32_t r = 0; r < ranks; ++r)
      cluster.ranks.push_back(std::make_unique<RankDriver>(cluster, order, Topology{ranks}, r));
    for (const auto& rank : cluster.ranks) {
      DispatcherOptions options;
      for (std::uint32_t d = 0; d < devices; ++d) {
        options.devices.push_back({need * static_cast<std::size_t>(random.pick(10, 25)) / 10,
                                   static_cast<std::uint32_t>(random.pick(1, 4)), "null"});
      }
      options.host_budget_bytes = need * static_cast<std::size_t>(random.pick(0, 4));
      options.disk_budget_bytes = std::size_t{1} << 40;
      options.window = static_cast<std::uint32_t>(random.pick(2, 40));
      rank->make(order, options);
    }
    cluster.run();
    std::size_t wanted = 0;
    for (const PlanNode& node : plan.nodes) wanted += static_cast<std::size_t>(node.task_count);
    ASSERT_EQ(cluster.ran.size(), wanted);
    for (const auto& rank : cluster.ranks) {
      ASSERT_TRUE(rank->dispatcher().finished());
      fetched += rank->dispatcher().counters().fetched_bytes;
      spilled +=
          rank->dispatcher().counters().to_disk_bytes + rank->dispatcher().counters().to_host_bytes;
      for (const ResidentBlock& kept : rank->dispatcher().residents())
        ASSERT_EQ(rank->tokens_.at(RankDriver::where(kept.buffer, kept.place)), kept.key);
      rank->dispatcher().release_all(false);
      ASSERT_TRUE(rank->tokens_.empty());
    }
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(fetched, 0u);
  EXPECT_GT(spilled, 0u);
}

}  // namespace
}  // namespace tessera::scheduler
