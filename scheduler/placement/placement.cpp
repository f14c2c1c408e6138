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
}

comm::Rank Placement::dealt(NodeIndex node, const std::int64_t* coords) const noexcept {
  const TaskOrder::Lane lane = order_->lane(node, coords);
  std::uint64_t rank = part_of(lane.number, lane.count, ranks_);
  if (lane.count < ranks_) {
    const std::uint64_t ranks = part_of(lane.number + 1, lane.count, ranks_) - rank;
    const std::uint64_t axes = order_->lane_axes(node);
    const std::vector<std::int64_t>& counts =
        order_->plan().nodes[static_cast<std::size_t>(node)].counts;
    std::uint64_t number = 0;
    std::uint64_t count = 1;
    for (std::size_t d = 0; d < counts.size(); ++d) {
      if ((axes >> d & 1) == 0) continue;
      const auto extent = static_cast<std::uint64_t>(counts[d]);
      number = number * extent + static_cast<std::uint64_t>(coords[d]);
      count *= extent;
    }
    rank += part_of(number, count, ranks);
  }
  return comm::Rank{static_cast<std::int32_t>(rank)};
}

}  // namespace tessera::scheduler
