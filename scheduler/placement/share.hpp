#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "scheduler/placement/placement.hpp"

// One rank's share of a plan: which tasks are its own, whose blocks it reads, and who reads its
// blocks. All of it follows from plan and topology, so that ranks tell each other what is done, and
// never what is to do.

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
  /// Whether this rank runs a wanted task.
  bool runs(NodeIndex node, const std::int64_t* coords) const noexcept;
  /// The first position from there on at which this rank may run a task of the node; kNever for
  /// none.
  Position next_own(NodeIndex node, Position position) const noexcept;
  /// Who makes a block, or kept it. Of what every rank makes, this rank.
  comm::Rank owner(SlotIndex slot, std::int64_t block) const noexcept;
  /// How many of this rank's tasks read a block; `others` gets the other ranks that have such
  /// tasks, in order.
  std::uint32_t readers(SlotIndex slot, const std::int64_t* coords,
                        std::vector<std::int32_t>& others) const;

 private:
  const TaskOrder* order_;
  const Plan* plan_;
  Topology topology_;
  comm::Rank self_;
  Placement placement_;
  std::vector<BlockOwners> owners_;  // by slot
};

}  // namespace tessera::scheduler
