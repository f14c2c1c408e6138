#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "scheduler/placement/placement.hpp"

// One rank's share of a plan: which tasks are its own, whose blocks it reads, and who reads its
// blocks. All of it follows from plan and topology, so that ranks tell each other what is done, and
// never what is to do. What is asked of a share takes time for this rank's tasks; only for blocks
// of its own does it look at other ranks' tasks, which it must tell.

namespace tessera::scheduler {

/// Which rank holds each block of an array that an earlier run kept.
using BlockOwners = std::shared_ptr<const std::vector<std::int32_t>>;

class Share {
 public:
  /// `order` must outlive it. \throws InvalidArgument without a rank, or for a rank that is none of
  /// the topology's.
  Share(const TaskOrder& order, Topology topology, comm::Rank self);
  /// Whose the blocks of a resident slot are.
  void set_owners(SlotIndex slot, BlockOwners owners);

  /// Whether this rank is all there are: everything is its own.
  bool alone() const noexcept { return topology_.ranks == 1; }
  comm::Rank self() const noexcept { return self_; }
  std::int32_t ranks() const noexcept { return topology_.ranks; }
  /// The tasks that this rank runs, by node, but for those that nothing wants.
  const std::vector<std::vector<TaskOrder::Box>>& boxes() const noexcept { return boxes_; }
  /// Who makes a block, or kept it. Of what every rank makes, this rank.
  comm::Rank owner(SlotIndex slot, std::int64_t block) const noexcept;
  /// How many of this rank's tasks read a block.
  std::uint32_t readers(SlotIndex slot, const std::int64_t* coords) const;
  /// The same; `others` gets the other ranks that have such tasks, in order.
  std::uint32_t readers(SlotIndex slot, const std::int64_t* coords,
                        std::vector<std::int32_t>& others) const;
  /// Calls f(node, coords) for every task of this rank that reads the block.
  template <typename F>
  void for_each_reader(SlotIndex slot, const std::int64_t* coords, F&& f) const {
    for (const SlotReader& reader : plan_->readers(slot)) {
      visit(reader, coords, boxes_[static_cast<std::size_t>(reader.node)],
            [&](const std::int64_t* place) {
              f(reader.node, place);
              return true;
            });
    }
  }

 private:
  /// Calls go_on(coords) for every task of a reader that reads the block and lies in one of the
  /// boxes, until it returns false.
  template <typename F>
  void visit(const SlotReader& reader, const std::int64_t* coords,
             const std::vector<TaskOrder::Box>& boxes, F&& go_on) const;
  void add_readers(const SlotReader& reader, const std::int64_t* coords,
                   std::vector<std::int32_t>& others) const;
  std::uint64_t count_of(const SlotReader& reader, const std::int64_t* coords) const;

  const TaskOrder* order_;
  const Plan* plan_;
  Topology topology_;
  comm::Rank self_;
  Placement placement_;
  std::vector<std::vector<TaskOrder::Box>> boxes_;  // by node
  std::vector<BlockOwners> owners_;                 // by slot
};

template <typename F>
void Share::visit(const SlotReader& reader, const std::int64_t* coords,
                  const std::vector<TaskOrder::Box>& boxes, F&& go_on) const {
  const PlanNode& node = plan_->nodes[static_cast<std::size_t>(reader.node)];
  std::int64_t place[kMaxRank];
  const auto in_box = [&place](const TaskOrder::Box& box) {
    return std::all_of(box.sides.begin(), box.sides.end(), [&](const TaskOrder::Box::Side& side) {
      const std::int64_t value = side.digit.at(place[side.digit.axis]);
      return value >= side.lo && value < side.hi;
    });
  };
  const auto one = [&] { return std::none_of(boxes.begin(), boxes.end(), in_box) || go_on(place); };
  if (reader.input < 0) {  // the chain successor
    const auto axis = static_cast<std::size_t>(node.chain_axis);
    if (!node.continues_chain(coords[axis] + 1)) return;
    for (std::size_t d = 0; d < node.counts.size(); ++d) place[d] = coords[d] + (d == axis ? 1 : 0);
    one();
    return;
  }
  for (const AxisLink& link : reader.fixed) {
    if (link.map.of(coords[link.task_axis]).count == 0) return;
  }
  if (reader.mirror) {
    const auto [i, j] = triangle_pair(coords[0]);
    place[0] = i, place[1] = j;
    if (!one() || i == j) return;
    place[0] = j, place[1] = i;
    one();
    return;
  }
  const std::size_t rank = node.counts.size();
  CoordSet sets[kMaxRank];
  for (std::size_t d = 0; d < rank; ++d) {
    const AxisLink& link = reader.links[d];
    sets[d] = link.map.of(link.task_axis < 0 ? 0 : coords[link.task_axis]);
    if (sets[d].count == 0) return;
  }
  CoordSet own[kMaxRank];
  std::int64_t index[kMaxRank];
  for (const TaskOrder::Box& box : boxes) {
    std::copy(sets, sets + rank, own);
    bool looked_up = false;
    bool none = false;
    for (const TaskOrder::Box::Side& side : box.sides) {
      looked_up = looked_up || side.digit.table != nullptr;
      if (side.digit.table == nullptr) none = none || !own[side.digit.axis].clip(side.lo, side.hi);
    }
    if (none) continue;
    std::fill(index, index + rank, 0);
    for (bool more = true; more;) {
      for (std::size_t d = 0; d < rank; ++d) place[d] = own[d][index[d]];
      if ((!looked_up || in_box(box)) && !go_on(place)) return;
      std::size_t d = rank;
      while (d > 0 && ++index[d - 1] == own[d - 1].count) index[--d] = 0;
      more = d > 0;
    }
  }
}

}  // namespace tessera::scheduler
