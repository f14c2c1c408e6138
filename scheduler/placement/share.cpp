#include "scheduler/placement/share.hpp"

#include <algorithm>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Where a block has more readers than this for each rank, ranks are asked for theirs one by one.
constexpr std::uint64_t kReadersPerRank = 8;

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
  for (std::size_t n = 0; n < plan_->nodes.size(); ++n) {
    boxes_.push_back(plan_->nodes[n].everywhere
                         ? std::vector<TaskOrder::Box>(1)
                         : placement_.boxes(static_cast<NodeIndex>(n), self));
  }
}

void Share::set_owners(SlotIndex slot, BlockOwners owners) {
  owners_[at(slot)] = std::move(owners);
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

std::uint32_t Share::readers(SlotIndex slot, const std::int64_t* coords) const {
  std::uint32_t here = 0;
  for_each_reader(slot, coords, [&](NodeIndex, const std::int64_t*) { ++here; });
  return here;
}

std::uint32_t Share::readers(SlotIndex slot, const std::int64_t* coords,
                             std::vector<std::int32_t>& others) const {
  others.clear();
  bool everywhere = false;
  for (const SlotReader& reader : plan_->readers(slot)) {
    if (!plan_->nodes[at(reader.node)].everywhere) {
      add_readers(reader, coords, others);
    } else if (!everywhere) {
      visit(reader, coords, boxes_[at(reader.node)], [&](const std::int64_t*) {
        everywhere = true;
        return false;
      });
    }
  }
  if (everywhere) {
    others.clear();
    for (std::int32_t rank = 0; rank < topology_.ranks; ++rank) {
      if (rank != self_.number) others.push_back(rank);
    }
  } else {
    std::sort(others.begin(), others.end());
    others.erase(std::unique(others.begin(), others.end()), others.end());
  }
  return readers(slot, coords);
}

void Share::add_readers(const SlotReader& reader, const std::int64_t* coords,
                        std::vector<std::int32_t>& others) const {
  const auto ranks = static_cast<std::uint64_t>(topology_.ranks);
  if (count_of(reader, coords) > kReadersPerRank * ranks) {
    for (std::int32_t rank = 0; rank < topology_.ranks; ++rank) {
      if (rank == self_.number) continue;
      visit(reader, coords, placement_.boxes(reader.node, comm::Rank{rank}),
            [&](const std::int64_t*) {
              others.push_back(rank);
              return false;
            });
    }
    return;
  }
  static const std::vector<TaskOrder::Box> all(1);
  visit(reader, coords, all, [&](const std::int64_t* place) {
    const std::int32_t rank = placement_.owner(reader.node, place).number;
    if (rank != self_.number && (others.empty() || others.back() != rank)) others.push_back(rank);
    return true;
  });
}

std::uint64_t Share::count_of(const SlotReader& reader, const std::int64_t* coords) const {
  std::uint64_t count = 1;
  for (const AxisLink& link : reader.links) {
    if (reader.input < 0 || reader.mirror) break;
    count *= static_cast<std::uint64_t>(
        link.map.of(link.task_axis < 0 ? 0 : coords[link.task_axis]).count);
  }
  return count;
}

}  // namespace tessera::scheduler
