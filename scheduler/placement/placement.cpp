#include "scheduler/placement/placement.hpp"

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {
namespace {

// Which of `parts` equal parts of 0..count-1 holds `number`.
std::uint64_t part_of(std::uint64_t number, std::uint64_t count, std::uint64_t parts) noexcept {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(number) * parts / count);
}

}  // namespace

Placement::Placement(const TaskOrder& order, Topology topology)
    : order_(&order), ranks_(static_cast<std::uint64_t>(topology.ranks)) {
  if (topology.ranks < 1) {
    throw InvalidArgument(
        core::text("[placement] at least one rank is needed; got ", topology.ranks, "; try 1"));
  }
  if (ranks_ == 1) return;
  for (std::size_t n = 0; n < order.plan().nodes.size(); ++n) {
    inner_axes_.emplace_back();
    for (std::size_t s = 0; s < order.sweeps(); ++s)
      inner_axes_.back().push_back(order.inner_axes(static_cast<NodeIndex>(n), s));
  }
}

comm::Rank Placement::dealt(NodeIndex node, const std::int64_t* coords) const noexcept {
  const TaskOrder::Spot spot = order_->spot(order_->position(node, coords));
  std::uint64_t rank = part_of(spot.tile, spot.tiles, ranks_);
  if (spot.tiles < ranks_) {
    const std::uint64_t ranks = part_of(spot.tile + 1, spot.tiles, ranks_) - rank;
    const std::size_t n = static_cast<std::size_t>(node);
    const std::vector<std::int64_t>& counts = order_->plan().nodes[n].counts;
    std::uint64_t number = 0;
    std::uint64_t count = 1;
    for (std::size_t d = 0; d < counts.size(); ++d) {
      if ((inner_axes_[n][spot.sweep] >> d & 1) == 0) continue;
      const auto extent = static_cast<std::uint64_t>(counts[d]);
      number = number * extent + static_cast<std::uint64_t>(coords[d]);
      count *= extent;
    }
    rank += part_of(number, count, ranks);
  }
  return comm::Rank{static_cast<std::int32_t>(rank)};
}

}  // namespace tessera::scheduler
