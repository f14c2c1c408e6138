#pragma once

#include <random>

#include "scheduler/plan/order.hpp"

// Plans drawn at random for property tests: sources, maps with permuted, ranged and broadcast reads,
// streamed reductions, chains, mirrored reads and pieces over ragged grids of rank 0 to 3.

namespace tessera::scheduler::test {

class RandomPlan {
 public:
  explicit RandomPlan(std::uint64_t seed) : rng_(seed), products_(~seed) {}

  Plan make(int node_count) {
    Plan plan;
    for (int i = 0; i < node_count; ++i) {
      const int kind = plan.slots.empty() ? 0 : pick(0, 8);
      if (kind <= 1) {
        source(plan);
      } else if (kind <= 4) {
        map(plan);
      } else if (kind == 5) {
        reduce(plan);
      } else if (kind == 6) {
        chain(plan);
      } else if (kind == 7) {
        mirror(plan);
      } else {
        pieces(plan);
      }
    }
    const int results = pick(1, 3);
    for (int r = 0; r < results; ++r) {
      Slot& slot = plan.slots[static_cast<std::size_t>(pick(0, static_cast<int>(plan.slots.size()) - 1))];
      slot.retained = plan.nodes[static_cast<std::size_t>(slot.node)].chain_axis < 0;
    }
    plan.slots.back().retained = true;
    plan.finalize();
    return plan;
  }

  /// From none to enough for all blocks of all products.
  ProductRoom room() {
    const auto pick = [this](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(products_);
    };
    if (pick(0, 4) == 0) return {};
    const int bytes = pick(0, 2) == 0 ? pick(1, 1'000'000) : pick(1, 20'000);
    return {static_cast<std::size_t>(bytes), pick(1, 3)};
  }

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng_); }

 private:
  AxisChunks axis(std::int64_t count) {
    std::vector<std::int64_t> extents;
    for (std::int64_t i = 0; i < count; ++i) extents.push_back(pick(1, 9));
    return AxisChunks::of(extents);
  }
  ChunkGrid grid(const std::vector<std::int64_t>& counts) {
    std::vector<AxisChunks> axes;
    for (std::int64_t c : counts) axes.push_back(axis(c));
    return ChunkGrid(std::move(axes));
  }
  void append(Plan& plan, PlanNode node) {
    const auto index = static_cast<NodeIndex>(plan.nodes.size());
    node.outputs.push_back(plan.add_slot(index, 0, kernels::BlockSize(grid(node.counts), DType::kFloat64)));
    if (pick(0, 5) == 0) node.outputs.push_back(plan.add_slot(index, 1, kernels::BlockSize(grid(node.counts), DType::kInt64)));
    plan.add_node(std::move(node));
  }
  void source(Plan& plan) {
    PlanNode node;
    node.label = "source";
    const int rank = pick(0, 3);
    for (int d = 0; d < rank; ++d) node.counts.push_back(pick(1, 5));
    node.recomputable = pick(0, 1) == 1;
    append(plan, std::move(node));
  }
  AxisMap random_map(std::int64_t from, std::int64_t to) {
    if (from == to && pick(0, 2) > 0) return AxisMap::identity(from);
    if (pick(0, 3) == 0) return AxisMap::all(from, to);
    std::vector<std::int32_t> lo, hi;
    const bool flip = pick(0, 3) == 0;
    for (std::int64_t i = 0; i < from; ++i) {
      const auto base = static_cast<std::int32_t>((flip ? from - 1 - i : i) * to / from);
      lo.push_back(std::max(0, base - pick(0, 1)));
      hi.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(to, base + 1 + pick(0, 1))));
    }
    return AxisMap::ranges(std::move(lo), std::move(hi), to);
  }
  PlanInput read(Plan& plan, const std::vector<std::int64_t>& counts) {
    PlanInput input;
    do {
      input.slot = pick(std::max(0, static_cast<int>(plan.slots.size()) - 6), static_cast<int>(plan.slots.size()) - 1);
    } while (plan.nodes[static_cast<std::size_t>(plan.slots[static_cast<std::size_t>(input.slot)].node)].chain_axis >= 0);
    const auto& from = plan.nodes[static_cast<std::size_t>(plan.slots[static_cast<std::size_t>(input.slot)].node)].counts;
    std::vector<int> free;
    for (std::size_t d = 0; d < counts.size(); ++d) free.push_back(static_cast<int>(d));
    std::shuffle(free.begin(), free.end(), rng_);
    for (std::int64_t count : from) {
      if (!free.empty() && pick(0, 4) > 0) {
        const int axis = free.back();
        free.pop_back();
        input.access.links.push_back({axis, random_map(counts[static_cast<std::size_t>(axis)], count)});
      } else {
        const auto lo = static_cast<std::int32_t>(pick(0, static_cast<int>(count) - 1));
        const auto hi = static_cast<std::int32_t>(pick(lo + 1, static_cast<int>(count)));
        input.access.links.push_back({-1, pick(0, 1) ? AxisMap::all(1, count) : AxisMap::ranges({lo}, {hi}, count)});
      }
    }
    if (!free.empty() && pick(0, 3) == 0) {
      const auto count = static_cast<std::size_t>(counts[static_cast<std::size_t>(free.back())]);
      std::vector<std::int32_t> lo(count, 0), hi;
      for (std::size_t i = 0; i < count; ++i) hi.push_back(pick(0, 1));
      input.access.presence.push_back({free.back(), AxisMap::ranges(std::move(lo), std::move(hi), 1)});
    }
    return input;
  }
  void map(Plan& plan) {
    PlanNode node;
    node.label = "map";
    const int rank = pick(0, 3);
    for (int d = 0; d < rank; ++d) node.counts.push_back(pick(1, 5));
    const int inputs = pick(1, 3);
    for (int i = 0; i < inputs; ++i) node.inputs.push_back(read(plan, node.counts));
    append(plan, std::move(node));
  }
  void reduce(Plan& plan) {
    PlanNode node;
    node.label = "reduce";
    PlanInput input;
    input.slot = static_cast<SlotIndex>(plan.slots.size()) - 1;
    input.streamed = true;
    const std::vector<std::int64_t> from = plan.nodes[static_cast<std::size_t>(plan.slots.back().node)].counts;
    for (std::int64_t count : from) {
      if (pick(0, 1)) {
        const std::int64_t groups = (count + 1) / 2;
        std::vector<std::int32_t> lo, hi;
        for (std::int64_t g = 0; g < groups; ++g) {
          lo.push_back(static_cast<std::int32_t>(2 * g));
          hi.push_back(static_cast<std::int32_t>(std::min(count, 2 * g + 2)));
        }
        input.access.links.push_back({static_cast<int>(node.counts.size()), AxisMap::ranges(lo, hi, count)});
        node.counts.push_back(groups);
      } else {
        input.access.links.push_back({-1, AxisMap::all(1, count)});
      }
    }
    node.inputs.push_back(std::move(input));
    append(plan, std::move(node));
  }
  void chain(Plan& plan) {
    PlanNode node;
    node.label = "chain";
    const int rank = pick(1, 3);
    for (int d = 0; d < rank; ++d) node.counts.push_back(pick(1, 5));
    node.chain_axis = pick(0, rank - 1);
    if (node.chain_axis == 2 && products_() % 4 > 0)
      node.product = {node.counts.begin(), node.counts.end() - 1};
    const std::int64_t length = node.counts[static_cast<std::size_t>(node.chain_axis)];
    for (std::int64_t k = 0; k < length; ++k) node.chain_start.push_back(k == 0 || pick(0, 3) == 0);
    node.inputs.push_back(read(plan, node.counts));
    std::vector<AxisChunks> axes;
    for (std::size_t d = 0; d < node.counts.size(); ++d) {
      axes.push_back(static_cast<int>(d) == node.chain_axis ? AxisChunks::regular(length, 1) : axis(node.counts[d]));
    }
    const auto index = static_cast<NodeIndex>(plan.nodes.size());
    node.outputs.push_back(plan.add_slot(index, 0, kernels::BlockSize(ChunkGrid(axes), DType::kFloat64)));
    const std::vector<std::int64_t> counts = node.counts;
    const int chain_axis = node.chain_axis;
    const std::vector<bool> start = node.chain_start;
    plan.add_node(std::move(node));
    // The ends of the chains, gathered.
    PlanNode ends;
    ends.label = "ends";
    PlanInput input;
    input.slot = static_cast<SlotIndex>(plan.slots.size()) - 1;
    for (std::size_t d = 0; d < counts.size(); ++d) {
      if (static_cast<int>(d) != chain_axis) {
        input.access.links.push_back({static_cast<int>(ends.counts.size()), AxisMap::identity(counts[d])});
        ends.counts.push_back(counts[d]);
        continue;
      }
      std::vector<std::int32_t> list;
      for (std::int64_t k = 0; k < length; ++k) {
        if (k + 1 == length || start[static_cast<std::size_t>(k + 1)]) list.push_back(static_cast<std::int32_t>(k));
      }
      const auto count = static_cast<std::int64_t>(list.size());
      input.access.links.push_back({-1, AxisMap::lists({0, count}, std::move(list), length)});
    }
    input.streamed = pick(0, 1) == 1;
    ends.inputs.push_back(std::move(input));
    append(plan, std::move(ends));
  }
  void mirror(Plan& plan) {
    const std::int64_t n = pick(1, 4);
    PlanNode pairs;
    pairs.label = "pairs";
    pairs.counts = {n * (n + 1) / 2};
    pairs.inputs.push_back(read(plan, pairs.counts));
    append(plan, std::move(pairs));
    PlanNode node;
    node.label = "mirror";
    node.counts = {n, n};
    PlanInput input;
    input.slot = static_cast<SlotIndex>(plan.slots.size()) - 1;
    input.access.mirror = true;
    input.access.links.resize(1);
    node.inputs.push_back(std::move(input));
    append(plan, std::move(node));
  }

  // Blocks cut into up to three pieces along each axis, whose axes may be permuted.
  void pieces(Plan& plan) {
    PlanNode node;
    node.label = "pieces";
    node.follows_input = true;
    PlanInput input;
    do {
      input.slot = pick(0, static_cast<int>(plan.slots.size()) - 1);
    } while (plan.nodes[static_cast<std::size_t>(plan.slots[static_cast<std::size_t>(input.slot)].node)].chain_axis >= 0);
    const auto& from = plan.nodes[static_cast<std::size_t>(plan.slots[static_cast<std::size_t>(input.slot)].node)].counts;
    std::vector<int> axes;
    for (std::size_t d = 0; d < from.size(); ++d) axes.push_back(static_cast<int>(d));
    std::shuffle(axes.begin(), axes.end(), rng_);
    node.counts.resize(from.size());
    for (std::size_t d = 0; d < from.size(); ++d) {
      std::vector<std::int32_t> lo, hi;
      for (std::int64_t block = 0; block < from[d]; ++block) {
        for (int piece = pick(1, 3); piece > 0; --piece) {
          lo.push_back(static_cast<std::int32_t>(block));
          hi.push_back(static_cast<std::int32_t>(block) + 1);
        }
      }
      node.counts[static_cast<std::size_t>(axes[d])] = static_cast<std::int64_t>(lo.size());
      input.access.links.push_back({axes[d], AxisMap::ranges(std::move(lo), std::move(hi), from[d])});
    }
    node.inputs.push_back(std::move(input));
    append(plan, std::move(node));
  }

  std::mt19937_64 rng_;
  std::mt19937_64
      products_;  // what chains are those of, so that plans of a seed stay what they are
};

}  // namespace tessera::scheduler::test
