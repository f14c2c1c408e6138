#pragma once

#include <cstdint>
#include <vector>

#include "comm/address.hpp"
#include "scheduler/plan/order.hpp"

// Which rank owns a task, and with it the blocks that the task makes: a pure function of plan and
// topology, so that every rank knows every owner without asking. Which device inside the rank holds
// the block is that rank's private matter (the dispatcher's), and so is when it runs.
//
// The result blocks of a sweep, in the total order, are cut into one run for each rank, and all
// that a result block needs and no earlier one made has its owner: neighbours share what they read,
// and results with the same task grid meet on one rank. Where there are fewer result blocks than
// ranks, each has several ranks, which share each node's tasks along the axes that are summed up on
// the way.

namespace tessera::scheduler {

/// The processes that compute together.
struct Topology {
  std::int32_t ranks = 1;
};

class Placement {
 public:
  /// `order` must outlive it. \throws InvalidArgument without a rank.
  Placement(const TaskOrder& order, Topology topology);
  /// The owner of a wanted task. Of a sweep with at least as many result blocks as ranks, two ranks
  /// own numbers of them that differ by one at most. Of a smaller one, the ranks of a result block
  /// own shares of a node's tasks for it that differ by one at most, where all of the node is
  /// wanted.
  comm::Rank owner(NodeIndex node, const std::int64_t* coords) const noexcept {
    return ranks_ == 1 ? comm::Rank{0} : dealt(node, coords);
  }

 private:
  comm::Rank dealt(NodeIndex node, const std::int64_t* coords) const noexcept;

  const TaskOrder* order_;
  std::uint64_t ranks_;
  std::vector<std::vector<std::uint64_t>> inner_axes_;  // by node and sweep, as bits
};

}  // namespace tessera::scheduler
