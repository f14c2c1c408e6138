#include "scheduler/plan/order.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "random_plan.hpp"
#include "sanitizers.hpp"
#include "scheduler/plan/explain.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/tessera.hpp"

namespace tessera::scheduler {
namespace {

using Task = std::pair<NodeIndex, std::int64_t>;

TEST(TaskOrder, VisitsEveryWantedTaskOnceAndAfterItsInputs) {
  for (std::uint64_t seed = 0; seed < fewer_under_tsan(2000); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan, random.room());
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
  for (std::uint64_t seed = 0; seed < fewer_under_tsan(2000); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 12));
    const TaskOrder order(plan, random.room());
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

struct ProductWalk {
  std::int64_t panels = 0;    // times that another panel is begun
  std::size_t under_way = 0;  // most result blocks at once
};
ProductWalk walk_product(const Array& result, std::size_t room, std::int32_t ranks = 1) {
  const Plan plan = lower({{result, Goal::Kind::kKeep, nullptr}}, {}).plan;
  const TaskOrder order(plan, {room, ranks});
  TaskOrder::Cursor cursor(order);
  TaskOrder::Cursor::Item item;
  std::int64_t coords[kMaxRank];
  ProductWalk out;
  std::int64_t panel = -1;
  std::set<std::pair<std::int64_t, std::int64_t>> open;
  while (cursor.next(item, coords)) {
    const PlanNode& node = plan.nodes[static_cast<std::size_t>(item.node)];
    if (node.product.empty()) continue;
    if (std::exchange(panel, coords[2]) != coords[2]) ++out.panels;
    open.insert({coords[0], coords[1]});
    out.under_way = std::max(out.under_way, open.size());
    if (coords[2] + 1 == node.counts[2]) open.erase({coords[0], coords[1]});
  }
  return out;
}

// As many result blocks of a product as there is room for are under way at once, and a panel of
// each matrix serves all of them.
TEST(TaskOrder, ProductsGoByPanelsOfTiles) {
  constexpr std::size_t kBlock = 10 * 10 * 8;
  const Array a = random::normal({160, 70}, {.chunks = {10, 10}, .seed = 1});
  const Array b = random::normal({70, 160}, {.chunks = {10, 10}, .seed = 2});
  const Array product = matmul(a, b);  // 16 x 16 blocks, chains of 7
  const auto expect = [](const ProductWalk& walk, std::int64_t panels, std::size_t under_way) {
    EXPECT_EQ(walk.panels, panels);
    EXPECT_EQ(walk.under_way, under_way);
  };
  expect(walk_product(product, 0), 256 * 7, 1);
  expect(walk_product(product, kBlock), 256 * 7, 1);
  expect(walk_product(product, 64 * kBlock), 4 * 7, 64);
  expect(walk_product(product, 40 * kBlock), 8 * 7, 32);
  expect(walk_product(product, 256 * kBlock), 7, 256);
  // Four ranks have their parts of one tile.
  expect(walk_product(product, 64 * kBlock, 4), 7, 256);
  // What is computed of it goes along.
  expect(walk_product(product * 2.0 + random::normal({160, 160}, {.chunks = {10, 10}, .seed = 3}),
                      64 * kBlock),
         4 * 7, 64);
}

// Where a sum takes the blocks in, they need no room but for the panels' sake.
TEST(TaskOrder, SummedProductsGoByPanelsWhereTheyAreSmall) {
  constexpr std::size_t kBlock = 10 * 10 * 8;
  const Array a = random::normal({160, 70}, {.chunks = {10, 10}, .seed = 1});
  const Array b = random::normal({70, 160}, {.chunks = {10, 10}, .seed = 2});
  const Array sums = sum(matmul(a, b));
  EXPECT_EQ(walk_product(sums, 60 * kBlock).panels, 256 * 7);
  EXPECT_EQ(walk_product(sums, 64 * kBlock).panels, 16 * 7);  // for 16 blocks that are added first
  EXPECT_EQ(walk_product(sums, 4 * 256 * kBlock).panels, 7);
  EXPECT_EQ(walk_product(sums, 4 * 256 * kBlock).under_way, 256U);
}

}  // namespace
}  // namespace tessera::scheduler
