#include "kernels/cuda/scan_walk.hpp"

#include <algorithm>
#include <bit>

namespace tessera::kernels::cuda {
namespace {

constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kEach = 8;              // elements of a member of a tile
constexpr std::int64_t kBusyThreads = 131072;  // fill the largest devices
constexpr std::int64_t kBusyBlocks = 1024;
constexpr std::int64_t kLeastSegment = 64;
constexpr std::int64_t kMostSegments = 4096;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void cut(ScanWalk& walk, std::int64_t wanted, std::int64_t unit) {
  const std::int64_t most = std::min(kMostSegments, walk.length / (2 * unit));
  const std::int64_t segments = std::max<std::int64_t>(1, std::min(wanted, most));
  walk.segment = std::max(unit, ceil_div(ceil_div(walk.length, segments), unit) * unit);
  walk.segments =
      static_cast<std::int32_t>(std::max<std::int64_t>(1, ceil_div(walk.length, walk.segment)));
}

}  // namespace

ScanPlan plan_scan(std::int64_t lanes, std::int64_t length, bool innermost, bool in_order) {
  ScanPlan plan;
  ScanWalk& walk = plan.walk;
  walk.lanes = lanes;
  walk.length = length;
  plan.rows = innermost && !in_order;
  if (plan.rows) {
    const std::int64_t members = std::clamp<std::int64_t>(ceil_div(length, kEach), 1, kThreads);
    walk.members_log = 64 - std::countl_zero(static_cast<std::uint64_t>(members - 1));
    plan.blocks = ceil_div(lanes, kThreads >> walk.members_log);
    cut(walk, plan.blocks == 0 ? 1 : kBusyBlocks / plan.blocks, kEach << walk.members_log);
  } else {
    cut(walk, in_order || lanes == 0 ? 1 : kBusyThreads / lanes, kLeastSegment);
    plan.blocks = ceil_div(lanes * walk.segments, kThreads);
  }
  return plan;
}

std::int64_t max_segment_totals(std::int64_t elements) {
  // cut(): segments are kLeastSegment elements or more, and there are no more than makes everybody
  // busy.
  return std::min(elements / kLeastSegment, kBusyThreads);
}

}  // namespace tessera::kernels::cuda
