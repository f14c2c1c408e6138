#include "scheduler/placement/share.hpp"

#include <algorithm>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

Share::Share(const TaskOrder& order, Topology topology, comm::Rank self)
    : order_(&order),
      plan_(&order.plan()),
      topology_(topology),
      self_(self),
      placement_(order, topology),
      owners_(order.plan().slots.size()) {
  if (self.number < 0 || self.number >= topology.ranks) {
    throw InvalidArgument(core::text("[placement] a rank is one of the topology's ", topology.ranks,
                                     "; got ", self.number));
  }
}

void Share::set_owners(SlotIndex slot, BlockOwners owners) {
  owners_[at(slot)] = std::move(owners);
}

bool Share::runs(NodeIndex node, const std::int64_t* coords) const noexcept {
  return plan_->nodes[at(node)].everywhere || placement_.owner(node, coords) == self_;
}

// A rank's lanes of a node lie together; of a node with fewer lanes than ranks it has a part of
// one. Placement says the same from the other side.
Position Share::next_own(NodeIndex node, Position position) const noexcept {
  if (plan_->nodes[at(node)].everywhere || !order_->lanes_in_order(node)) return position;
  const auto ranks = static_cast<std::uint64_t>(topology_.ranks);
  const TaskOrder::Lane lane = order_->lane_at(node, position);
  const auto part = [&](std::uint64_t rank) {
    const auto product = static_cast<unsigned __int128>(rank) * lane.count;
    return static_cast<std::uint64_t>((product + ranks - 1) / ranks);
  };
  const auto self = static_cast<std::uint64_t>(self_.number);
  const std::uint64_t end = part(self + 1);
  const std::uint64_t begin = lane.count < ranks ? end - 1 : part(self);
  if (lane.number < begin) return order_->lane_begin(node, begin);
  return lane.number < end ? position : kNever;
}

comm::Rank Share::owner(SlotIndex slot, std::int64_t block) const noexcept {
  if (alone()) return self_;
  if (owners_[at(slot)] != nullptr) return comm::Rank{(*owners_[at(slot)])[at(block)]};
  const NodeIndex node = plan_->slots[at(slot)].node;
  if (plan_->nodes[at(node)].everywhere) return self_;
  std::int64_t coords[kMaxRank];
  plan_->decode(node, block, coords);
  return placement_.owner(node, coords);
}

std::uint32_t Share::readers(SlotIndex slot, const std::int64_t* coords,
                             std::vector<std::int32_t>& others) const {
  others.clear();
  std::uint32_t here = 0;
  bool everywhere = false;
  plan_->for_each_reader(slot, coords, [&](NodeIndex reader, const std::int64_t* place) {
    if (!plan_->wanted(reader, place)) return;
    if (plan_->nodes[at(reader)].everywhere) {
      everywhere = true;
      ++here;
      return;
    }
    const comm::Rank rank = placement_.owner(reader, place);
    if (rank == self_) {
      ++here;
    } else if (others.empty() || others.back() != rank.number) {
      others.push_back(rank.number);
    }
  });
  if (everywhere) {
    others.clear();
    for (std::int32_t rank = 0; rank < topology_.ranks; ++rank) {
      if (rank != self_.number) others.push_back(rank);
    }
    return here;
  }
  std::sort(others.begin(), others.end());
  others.erase(std::unique(others.begin(), others.end()), others.end());
  return here;
}

}  // namespace tessera::scheduler
