#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "comm/address.hpp"
#include "scheduler/plan/order.hpp"

// Which rank owns a task, and with it the blocks that the task makes: a pure function of plan and
// topology, so that every rank knows every owner without asking. Which device inside the rank holds
// the block is that rank's private matter (the dispatcher's), and so is when it runs.
//
// The result blocks of a sweep are cut into one run for each rank, and what is needed for one of
// them has its owner: neighbours share what they read, and results with the same task grid meet on
// one rank. Runs go row by row where a rank has whole rows, and otherwise down the columns of bands
// of rows, so that a rank's blocks make up about a square: what a product needs of both its
// matrices is least then. What is needed for a whole row of result blocks, or for all of them, is
// cut the same way by itself, so that every rank has its part: the columns' sums that all rows of a
// result wait for are not the first rank's alone. Where a node's tasks lie in fewer lanes than
// there are ranks, each lane has several ranks, which share its tasks along the axes that are
// summed up on the way. Those of a product's matrices take the panels that its links read in turn:
// each link's are sent by all ranks then, and not by a few. Some nodes say whose their tasks are.
// Tasks that follow their input are where that is made, so that pieces of a block travel and not
// the block.

namespace tessera::scheduler {

/// The processes that compute together.
struct Topology {
  std::int32_t ranks = 1;
};

class Placement {
 public:
  /// `order` must outlive it. \throws InvalidArgument without a rank.
  Placement(const TaskOrder& order, Topology topology);
  Placement(const Placement&) = delete;
  Placement(Placement&&) = default;
  /// The owner of a wanted task. Of a node with at least as many lanes as ranks, two ranks own
  /// numbers of them that differ by one at most. Of one with fewer, the ranks of a lane own shares
  /// of its tasks that differ by one at most, where all of the node is wanted; or, of tasks along
  /// more than two axes, of the places along the first two, where there are enough.
  comm::Rank owner(NodeIndex node, const std::int64_t* coords) const noexcept {
    return ranks_ == 1 ? comm::Rank{0} : dealt(node, coords);
  }
  /// The same from the other side: what a rank owns of a node, in few boxes that share no task.
  std::vector<TaskOrder::Box> boxes(NodeIndex node, comm::Rank rank) const;

 private:
  /// Numbers a node's tasks, or its lanes, by digits, outermost first. With several bands the last
  /// two number the places of a plane, down the columns of bands of its rows.
  struct Numbering {
    std::vector<TaskOrder::LaneDigit> digits;
    std::uint64_t count = 1;
    std::uint64_t bands = 1;
    std::uint64_t of(const std::int64_t* coords) const noexcept;
    void add(const TaskOrder::LaneDigit& digit);
    /// Bands about as high as what each of `ranks` has of one is long.
    void band(std::uint64_t ranks) noexcept;
  };
  struct Dealt {
    Numbering lanes;
    Numbering along;  ///< within a lane that has several ranks
    /// Of ranks that take turns along their one axis: whose turn it is, for the fewest ranks that a
    /// lane has and for one more. Null: each has one run.
    const std::vector<std::int32_t>* turns[2] = {nullptr, nullptr};
  };
  class RunCutter;
  std::vector<TaskOrder::Box> owned_boxes(NodeIndex node, comm::Rank self) const;
  comm::Rank dealt(NodeIndex node, const std::int64_t* coords) const noexcept;
  void find_panels();
  Dealt deal(NodeIndex node);
  Numbering followed(NodeIndex node, const Numbering& input);

  const TaskOrder* order_;
  std::uint64_t ranks_;
  std::vector<Dealt> nodes_;
  std::vector<int> panels_;  // by node: the axis along which links of products read it; -1: none
  std::deque<std::vector<std::int32_t>> tables_;  // of digits
};

}  // namespace tessera::scheduler
