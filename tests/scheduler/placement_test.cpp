#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "hash_kernels.hpp"
#include "sanitizers.hpp"
#include "scheduler/placement/share.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/tessera.hpp"

// The owner of every task as a pure function of plan and topology.

namespace tessera::scheduler {
namespace {

constexpr std::int32_t kTopologies[] = {1, 2, 3, 7, 16, 64, 100000};

// Calls f(node, coords) for every task in the total order.
template <typename F>
void for_each_task(const TaskOrder& order, F&& f) {
  TaskOrder::Cursor cursor(order);
  TaskOrder::Cursor::Item item;
  std::int64_t coords[kMaxRank];
  while (cursor.next(item, coords)) f(item, coords);
}

Plan plan_of(const std::vector<Array>& results) {
  std::vector<Goal> goals;
  for (const Array& array : results) goals.push_back({array, Goal::Kind::kKeep, nullptr});
  return lower(goals, {}).plan;
}

// Tasks of each rank, of one node.
std::map<std::int32_t, int> shares(const TaskOrder& order, std::int32_t ranks, NodeIndex node) {
  const Placement placement(order, {ranks});
  std::map<std::int32_t, int> out;
  for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
    if (item.node == node) ++out[placement.owner(item.node, coords).number];
  });
  return out;
}

// Between the ranks that have any, and how many those are.
void expect_even(const std::map<std::int32_t, int>& shares, std::size_t ranks, int at_most) {
  EXPECT_EQ(shares.size(), ranks);
  int low = shares.begin()->second;
  int high = low;
  for (const auto& [rank, count] : shares) {
    low = std::min(low, count);
    high = std::max(high, count);
  }
  EXPECT_LE(high - low, at_most);
}

NodeIndex node_named(const Plan& plan, const std::string& part) {
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    if (plan.nodes[n].label.find(part) != std::string::npos) return static_cast<NodeIndex>(n);
  }
  ADD_FAILURE() << "no node " << part;
  return 0;
}

TEST(Placement, EveryTaskHasOneOwnerThatAllRanksAgreeOn) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 12));
    // What another rank would build for itself.
    const Plan other_plan = plan;
    const TaskOrder order(plan, random.room());
    const TaskOrder other_order(other_plan);
    for (const std::int32_t ranks : kTopologies) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << ranks << " ranks");
      const Placement placement(order, {ranks});
      const Placement other(other_order, {ranks});
      std::map<NodeIndex, std::map<std::uint64_t, std::int32_t>> by_lane;
      const std::int64_t origin[kMaxRank] = {};
      for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
        const comm::Rank owner = placement.owner(item.node, coords);
        ASSERT_GE(owner.number, 0);
        ASSERT_LT(owner.number, ranks);
        ASSERT_EQ(owner, other.owner(item.node, coords));
        if (plan.nodes[static_cast<std::size_t>(item.node)].follows_input) {
          plan.for_each_input(item.node, coords, [&](SlotIndex slot, std::int64_t block, int) {
            const NodeIndex source = plan.slots[static_cast<std::size_t>(slot)].node;
            std::int64_t from[kMaxRank];
            plan.decode(source, block, from);
            ASSERT_EQ(owner, placement.owner(source, from));
          });
          return;
        }
        const TaskOrder::Lane lane = order.lane(item.node, coords);
        ASSERT_LT(lane.number, lane.count);
        // A lane has one rank, unless there are fewer of them than ranks.
        if (lane.count < static_cast<std::uint64_t>(ranks)) return;
        const auto known = by_lane[item.node].try_emplace(lane.number, owner.number).first;
        ASSERT_EQ(known->second, owner.number);
      });
      // Two ranks' numbers of lanes differ by one at most.
      for (const auto& [node, lanes] : by_lane) {
        if (static_cast<std::uint64_t>(order.lane(node, origin).count) != lanes.size()) continue;
        std::map<std::int32_t, int> owned;
        for (const auto& [lane, rank] : lanes) ++owned[rank];
        expect_even(owned, static_cast<std::size_t>(ranks), 1);
      }
    }
  }
}

TEST(Placement, OneRankOwnsEverything) {
  test::RandomPlan random(5);
  const Plan plan = random.make(8);
  const TaskOrder order(plan);
  const Placement placement(order, {});
  for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
    EXPECT_EQ(placement.owner(item.node, coords), comm::Rank{0});
  });
}

TEST(Placement, ResultBlocksAreCutEvenly) {
  const Array x = random::normal({60, 50}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({x + 1.0, x * 2.0});
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {1, 2, 4, 7, 29, 30}) {
    SCOPED_TRACE(ranks);
    const Placement placement(order, {ranks});
    std::map<std::vector<std::int64_t>, std::int32_t> owners;
    for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
      // Both results' blocks at one place have one owner.
      const comm::Rank owner = placement.owner(item.node, coords);
      const auto [known, fresh] =
          owners.try_emplace(std::vector<std::int64_t>(coords, coords + 2), owner.number);
      EXPECT_EQ(known->second, owner.number);
    });
    for (std::size_t n = 0; n < plan.nodes.size(); ++n)
      expect_even(shares(order, ranks, static_cast<NodeIndex>(n)), static_cast<std::size_t>(ranks),
                  1);
  }
}

// With fewer result blocks than ranks, ranks share what one of them needs.
TEST(Placement, ASumOfEverythingIsShared) {
  const Array x = random::normal({1000, 70}, {.chunks = {10, 70}, .seed = 1});
  const Plan plan = plan_of({sum(x)});
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {2, 3, 7, 64, 100}) {
    SCOPED_TRACE(ranks);
    expect_even(shares(order, ranks, node_named(plan, "normal")), static_cast<std::size_t>(ranks),
                1);
  }
  EXPECT_EQ(shares(order, 1000, node_named(plan, "normal")).size(), 100U);
}

TEST(Placement, TheColumnsOfAMeanAreShared) {
  const Array x = random::normal({400, 30}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({mean(x, {.axis = 0})});
  const TaskOrder order(plan);
  // Three result blocks: a rank takes a whole one, or the ranks of one share its column.
  for (const auto& [ranks, at_most] : {std::pair{3, 0}, {6, 1}, {12, 1}, {120, 1}}) {
    SCOPED_TRACE(ranks);
    expect_even(shares(order, ranks, node_named(plan, "normal")), static_cast<std::size_t>(ranks),
                at_most);
  }
}

// All rows of the result wait for the columns' sums: every rank has its part of them.
TEST(Placement, WhatAllResultsWaitForIsShared) {
  const Array x = random::normal({400, 400}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({x - mean(x, {.axis = 0})});
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {2, 4, 8, 40}) {
    SCOPED_TRACE(ranks);
    for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
      if (plan.nodes[n].task_count < 400) continue;
      expect_even(shares(order, ranks, static_cast<NodeIndex>(n)), static_cast<std::size_t>(ranks),
                  0);
    }
  }
}

// What the singular values wait for is cut like the vectors that come of it.
TEST(Placement, TheLeavesOfATallDecompositionAreShared) {
  const Array x = random::normal({1600, 10}, {.chunks = {100, 10}, .seed = 1}).persist();
  const auto [u, s, vt] = svd(x);
  const Plan plan = plan_of({u, s, vt});
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {2, 4, 16}) {
    SCOPED_TRACE(ranks);
    const Placement placement(order, {ranks});
    for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
      if (plan.nodes[n].task_count != 16) continue;
      for (std::int64_t block = 0; block < 16; ++block) {
        std::int64_t coords[kMaxRank];
        plan.decode(static_cast<NodeIndex>(n), block, coords);
        EXPECT_EQ(placement.owner(static_cast<NodeIndex>(n), coords).number, block * ranks / 16)
            << plan.nodes[n].label;
      }
    }
  }
}

// A product's chains stay where their output block is.
TEST(Placement, AProductIsComputedByTheOwnerOfItsBlock) {
  const Array a = random::normal({160, 160}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({matmul(a, a)});
  const TaskOrder order(plan);
  const NodeIndex product = node_named(plan, "matmul");
  for (const std::int32_t ranks : {2, 5, 256}) {
    SCOPED_TRACE(ranks);
    const Placement placement(order, {ranks});
    std::map<std::pair<std::int64_t, std::int64_t>, std::int32_t> owners;
    for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
      if (item.node != product) return;
      const std::int32_t owner = placement.owner(item.node, coords).number;
      EXPECT_EQ(owners.try_emplace({coords[0], coords[1]}, owner).first->second, owner);
    });
    EXPECT_EQ(owners.size(), 256U);
    expect_even(shares(order, ranks, product), static_cast<std::size_t>(ranks), 16);
  }
}

TEST(Placement, NoRanksAreRefused) {
  test::RandomPlan random(5);
  const Plan plan = random.make(8);
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {0, -1}) {
    try {
      const Placement placement(order, {ranks});
      FAIL();
    } catch (const InvalidArgument& e) {
      EXPECT_EQ(std::string(e.what()), "[placement] at least one rank is needed; got " +
                                           std::to_string(ranks) + "; try 1");
    }
  }
}

// What ranks pass over without looking is what is not theirs.
TEST(Share, TheWalkOverAShareFindsAllOfItInOrder) {
  for (std::uint64_t seed = 0; seed < fewer_under_tsan(400); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan, random.room());
    const auto ranks = static_cast<std::int32_t>(random.pick(2, 9));
    const Placement placement(order, {ranks});
    std::int64_t coords[kMaxRank];
    std::size_t total = 0;
    for (std::int32_t rank = 0; rank < ranks; ++rank) {
      const Share share(order, {ranks}, comm::Rank{rank});
      std::vector<std::pair<NodeIndex, std::int64_t>> wanted;
      TaskOrder::Cursor all(order);
      TaskOrder::Cursor::Item item;
      while (all.next(item, coords)) {
        if (placement.owner(item.node, coords).number == rank)
          wanted.emplace_back(item.node, item.block);
      }
      std::vector<std::pair<NodeIndex, std::int64_t>> got;
      TaskOrder::Cursor own(order, share.boxes());
      while (own.next(item, coords)) {
        ASSERT_EQ(item.position, order.position(item.node, coords));
        got.emplace_back(item.node, item.block);
      }
      ASSERT_EQ(got, wanted) << "rank " << rank << " of " << ranks;
      total += got.size();
    }
    ASSERT_EQ(total, static_cast<std::size_t>(plan.total_tasks()));
  }
}

// However many ranks there are, each finds what is its own in few boxes.
TEST(Share, AShareIsFewBoxes) {
  const Array x = random::normal({3000, 3000}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan =
      plan_of({x + transpose(x) - mean(x, {.axis = 0}), matmul(x, x), std(x), sum(x, {.axis = 1})});
  const TaskOrder order(plan);
  for (const std::int32_t ranks : {2, 60, 512, 5000}) {
    for (const std::int32_t rank : {0, ranks / 3, ranks - 1}) {
      const Share share(order, {ranks}, comm::Rank{rank});
      for (const auto& boxes : share.boxes()) EXPECT_LE(boxes.size(), 7U);
    }
  }
}

// Who reads a block, of this rank's tasks and of the other ranks', is what the plan says.
TEST(Share, TheReadersOfABlockAreThoseOfThePlan) {
  for (std::uint64_t seed = 0; seed < fewer_under_tsan(200); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    test::RandomPlan random(seed);
    const Plan plan = random.make(random.pick(2, 14));
    const TaskOrder order(plan, random.room());
    const auto ranks = static_cast<std::int32_t>(random.pick(2, 9));
    const Placement placement(order, {ranks});
    const Share share(order, {ranks}, comm::Rank{static_cast<std::int32_t>(seed) % ranks});
    for (std::size_t s = 0; s < plan.slots.size(); ++s) {
      const auto slot = static_cast<SlotIndex>(s);
      const NodeIndex node = plan.slots[s].node;
      std::int64_t coords[kMaxRank];
      for (std::int64_t block = 0; block < plan.slots[s].size.grid().block_count(); ++block) {
        plan.decode(node, block, coords);
        if (!plan.wanted(node, coords)) continue;
        std::set<std::pair<NodeIndex, std::int64_t>> mine;
        std::set<std::int32_t> theirs;
        plan.for_each_reader(slot, coords, [&](NodeIndex reader, const std::int64_t* place) {
          if (!plan.wanted(reader, place)) return;
          const std::int32_t rank = placement.owner(reader, place).number;
          if (rank != share.self().number) {
            theirs.insert(rank);
          } else {
            mine.insert({reader, plan.encode(reader, place)});
          }
        });
        std::set<std::pair<NodeIndex, std::int64_t>> got;
        std::uint32_t count = 0;
        share.for_each_reader(slot, coords, [&](NodeIndex reader, const std::int64_t* place) {
          got.insert({reader, plan.encode(reader, place)});
          ++count;
        });
        std::vector<std::int32_t> others;
        ASSERT_EQ(got, mine);
        ASSERT_EQ(share.readers(slot, coords, others), count);
        ASSERT_EQ(share.readers(slot, coords), count);
        ASSERT_EQ(std::set<std::int32_t>(others.begin(), others.end()), theirs);
        ASSERT_EQ(others.size(), theirs.size());
      }
    }
  }
}

// Where very many tasks read a block, ranks are found without looking at each of them.
TEST(Share, TheReadersOfABlockForAllAreAllRanks) {
  const Array x = random::normal({400, 400}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({x - mean(x)});
  const TaskOrder order(plan);
  constexpr std::int32_t kRanks = 7;
  const Placement placement(order, {kRanks});
  std::size_t found = 0;
  for (std::size_t s = 0; s < plan.slots.size(); ++s) {
    const std::int64_t origin[kMaxRank] = {};
    const auto slot = static_cast<SlotIndex>(s);
    if (plan.slots[s].size.grid().block_count() != 1 || plan.reader_count(slot, origin) < 1600)
      continue;
    ++found;
    std::uint32_t total = 0;
    for (std::int32_t rank = 0; rank < kRanks; ++rank) {
      const Share share(order, {kRanks}, comm::Rank{rank});
      std::vector<std::int32_t> others;
      total += share.readers(slot, origin, others);
      EXPECT_EQ(others.size(), static_cast<std::size_t>(kRanks) - 1);
    }
    EXPECT_EQ(total, 1600U);
  }
  EXPECT_EQ(found, 1U);
}

// A rank's result blocks make up about a square, so that it needs few rows and columns of a
// product's matrices.
TEST(Placement, ARankOfManyOwnsASquareOfAProduct) {
  const Array a = random::normal({320, 320}, {.chunks = {10, 10}, .seed = 1});
  const Plan plan = plan_of({matmul(a, a)});
  const TaskOrder order(plan);
  const NodeIndex product = node_named(plan, "matmul");
  for (const auto& [ranks, most] : {std::pair{4, 32}, {16, 16}, {64, 8}, {50, 14}}) {
    SCOPED_TRACE(ranks);
    const Placement placement(order, {ranks});
    std::map<std::int32_t, std::pair<std::set<std::int64_t>, std::set<std::int64_t>>> needs;
    for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
      if (item.node != product) return;
      auto& [rows, columns] = needs[placement.owner(product, coords).number];
      rows.insert(coords[0]);
      columns.insert(coords[1]);
    });
    for (const auto& [rank, need] : needs) {
      EXPECT_LE(static_cast<int>(need.first.size() + need.second.size()), most) << "rank " << rank;
    }
  }
}

// The links of a product read one panel after the other: each is on many ranks, so that all send.
TEST(Placement, RanksThatShareARowOfAMatrixTakeItsPanelsInTurn) {
  const Array a = random::normal({30, 320}, {.chunks = {10, 10}, .seed = 1});
  const Array b = random::normal({320, 40}, {.chunks = {10, 10}, .seed = 2});
  const Plan plan = plan_of({matmul(a, b + 1.0)});
  const TaskOrder order(plan);
  constexpr std::int32_t kRanks = 10;
  const Placement placement(order, {kRanks});
  int found = 0;
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    const std::vector<std::int64_t>& counts = plan.nodes[n].counts;
    if (counts.size() != 2 || std::max(counts[0], counts[1]) != 32) continue;
    ++found;
    const int panel = counts[0] == 32 ? 0 : 1;
    std::map<std::int64_t, std::vector<std::int32_t>> owners;  // by panel
    for_each_task(order, [&](const TaskOrder::Cursor::Item& item, const std::int64_t* coords) {
      if (item.node != static_cast<NodeIndex>(n)) return;
      owners[coords[panel]].push_back(placement.owner(item.node, coords).number);
    });
    std::set<std::int32_t> of_three;
    for (std::int64_t k = 0; k < 4; ++k) of_three.insert(owners[k].begin(), owners[k].end());
    EXPECT_EQ(of_three.size(), static_cast<std::size_t>(kRanks));
  }
  EXPECT_EQ(found, 2);
}

TEST(Share, ARankIsOneOfTheTopologys) {
  test::RandomPlan random(5);
  const Plan plan = random.make(8);
  const TaskOrder order(plan);
  for (const std::int32_t rank : {-1, 3}) {
    try {
      const Share share(order, {3}, comm::Rank{rank});
      FAIL();
    } catch (const InvalidArgument& e) {
      EXPECT_EQ(std::string(e.what()),
                "[placement] a rank is one of the topology's 3; got " + std::to_string(rank));
    }
  }
}

}  // namespace
}  // namespace tessera::scheduler
