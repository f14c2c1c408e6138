#include "scheduler/plan/order.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "random_plan.hpp"
#include "scheduler/plan/explain.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/tessera.hpp"

namespace tessera::scheduler {
namespace {

using Task = std::pair<NodeIndex, std::int64_t>;

TEST(TaskOrder, VisitsEveryWantedTaskOnceAndAfterItsInputs) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan);
    TaskOrder::Cursor cursor(order);
    TaskOrder::Cursor::Item item;
    std::int64_t coords[kMaxRank];
    std::set<Task> seen;
    Position last = 0;
    NodeIndex last_node = -1;
    while (cursor.next(item, coords)) {
      ASSERT_TRUE(plan.wanted(item.node, coords));
      ASSERT_EQ(item.position, order.position(item.node, coords));
      ASSERT_TRUE(item.position > last || (item.position == last && item.node >= last_node));
      last = item.position;
      last_node = item.node;
      plan.for_each_input(item.node, coords, [&](SlotIndex slot, std::int64_t block, std::int32_t) {
        ASSERT_TRUE(seen.count({plan.slots[slot].node, block})) << plan.nodes[item.node].label;
      });
      ASSERT_TRUE(seen.insert({item.node, item.block}).second);
    }
    ASSERT_EQ(static_cast<std::int64_t>(seen.size()), plan.total_tasks());
  }
}

TEST(TaskOrder, ReaderCountsAndReadersAgreeWithInputs) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 12));
    const TaskOrder order(plan);
    std::map<std::pair<SlotIndex, std::int64_t>, std::multiset<Task>> expected;
    TaskOrder::Cursor cursor(order);
    TaskOrder::Cursor::Item item;
    std::int64_t coords[kMaxRank];
    std::vector<Task> tasks;
    while (cursor.next(item, coords)) {
      tasks.push_back({item.node, item.block});
      plan.for_each_input(item.node, coords, [&](SlotIndex slot, std::int64_t block, std::int32_t) {
        expected[{slot, block}].insert({item.node, item.block});
      });
    }
    for (const auto& [node, block] : tasks) {
      plan.decode(node, block, coords);
      for (SlotIndex slot : plan.nodes[node].outputs) {
        std::multiset<Task> got;
        plan.for_each_reader(slot, coords, [&](NodeIndex reader, const std::int64_t* at) {
          got.insert({reader, plan.encode(reader, at)});
        });
        ASSERT_EQ(got, (expected[{slot, block}]));
        ASSERT_EQ(plan.reader_count(slot, coords), got.size());
      }
    }
  }
}

// From whole columns to whole rows: the pieces of one column come before the next column is made.
TEST(TaskOrder, PiecesAreCutWhileTheirBlockIsAtHand) {
  const Array columns = random::normal({80, 90}, {.chunks = {-1, 10}, .seed = 1});
  LowerOptions options;
  options.memory_bytes = 8 * 80 * 90;
  for (const Array& result : {rechunk(columns, {10, -1}), rechunk(columns.T(), {-1, 10}).T(),
                              sum(rechunk(columns, {10, -1}) * 2.0)}) {
    const Plan plan = lower({{result, Goal::Kind::kKeep, nullptr}}, options).plan;
    const TaskOrder order(plan);
    TaskOrder::Cursor cursor(order);
    TaskOrder::Cursor::Item item;
    std::int64_t coords[kMaxRank];
    std::int64_t made = 0;
    std::int64_t cut = 0;
    while (cursor.next(item, coords)) {
      const PlanNode& node = plan.nodes[static_cast<std::size_t>(item.node)];
      if (node.label == "normal") {
        EXPECT_EQ(cut, 8 * made);
        ++made;
      } else if (node.follows_input) {
        ++cut;
        EXPECT_EQ((cut + 7) / 8, made);
      }
    }
    EXPECT_EQ(made, 9) << explain(plan);
  }
}

}  // namespace
}  // namespace tessera::scheduler
