#include "kernels/cuda/reduce_walk.hpp"

#include <algorithm>
#include <bit>

namespace tessera::kernels::cuda {
namespace {

constexpr std::int64_t kRunLength = 1024;     // shorter inner axes take in their neighbours
constexpr std::int64_t kTargetBlocks = 1024;  // fills the largest devices
constexpr std::int64_t kEnoughBlocks = 256;   // with as many there are no parts
constexpr std::int64_t kMostBlocks = 4096;    // more tiles are taken in turn
constexpr std::int64_t kMemberElements = 16;  // least that a member of a part folds
constexpr std::int64_t kRunElements = 32;     // that a member folds along inner, some more or less
constexpr std::int64_t kLeastRun = 8;
constexpr int kLeastMembersLog = 3;  // of an output that is cut into parts
constexpr int kColumnsLog = 5;       // outputs side by side that one warp reads in one go
constexpr int kRowsLog = 3;
constexpr int kLanesLog = 5;

int floor_log2(std::int64_t n) { return 63 - std::countl_zero(static_cast<std::uint64_t>(n)); }
int ceil_log2(std::int64_t n) { return n <= 1 ? 0 : floor_log2(n - 1) + 1; }
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// Numbers the elements of an output; returns whether outputs are neighbours in C order.
bool assign_roles(std::span<const std::int64_t> shape, const std::vector<bool>& reduced,
                  ReducePlan& plan) {
  plan.roles.assign(shape.size(), ReduceRole::kKept);
  bool columns = false;
  bool inner_open = true;  // whether the next reduced axis still counts as inner
  bool found = false;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (!reduced[d]) {
      plan.walk.outputs *= shape[d];
      if (shape[d] == 1) continue;
      if (found) inner_open = false;
      columns = columns || !found;
      continue;
    }
    if (shape[d] != 1 && inner_open) {
      plan.roles[d] = ReduceRole::kInner;
      plan.walk.inner *= shape[d];
      found = true;
      inner_open = plan.walk.inner < kRunLength;
    } else {
      plan.roles[d] = ReduceRole::kOuter;
      plan.walk.outer *= shape[d];
    }
  }
  return columns;
}

/// Members along outer, of at most 2^limit: few are idle in the last turn.
int outer_members_log(std::int64_t outer, int limit) {
  int log = std::min(limit, floor_log2(outer));
  while (log > 0 && 8 * round_up(outer, std::int64_t{1} << log) > 9 * outer) --log;
  return log;
}

void assign_threads(ReduceWalk& walk, bool columns) {
  const int most =
      kReduceThreadsLog - std::min(columns ? kColumnsLog : kRowsLog, ceil_log2(walk.outputs));
  const int inner =
      floor_log2(std::max<std::int64_t>(1, (walk.inner + kRunElements - kLeastRun) / kRunElements));
  const int lanes = std::min({kLanesLog, inner, most});
  // A warp reads along inner; others take the rows beside it, which a transposed operand finds in
  // its cache.
  walk.outer_log = outer_members_log(
      walk.outer, lanes == kLanesLog ? std::min(most - lanes, kRowsLog) : most - lanes);
  walk.inner_log = std::min(inner, most - walk.outer_log);
  const int members = walk.inner_log + walk.outer_log;
  walk.outputs_log = kReduceThreadsLog - members;
  walk.output_shift = columns ? 0 : members;
  walk.member_shift = columns ? walk.outputs_log : 0;
}

/// Cuts an output's elements into parts where there are too few blocks.
void assign_parts(ReducePlan& plan) {
  ReduceWalk& walk = plan.walk;
  walk.outer_part = walk.outer;
  walk.inner_part = walk.inner;
  const int members = walk.inner_log + walk.outer_log;
  const std::int64_t elements = walk.outer * walk.inner;
  const std::int64_t most = (elements >> members) / kMemberElements;
  if (plan.walk.tiles >= kEnoughBlocks || most < 2 || members < kLeastMembersLog) return;
  const std::int64_t wanted = std::min(most, ceil_div(kTargetBlocks, plan.walk.tiles));
  const std::int64_t rows = std::int64_t{1} << walk.outer_log;
  const std::int64_t outer_parts = std::min(wanted, ceil_div(walk.outer, rows));
  walk.outer_part = round_up(ceil_div(walk.outer, outer_parts), rows);
  const std::int64_t down = ceil_div(walk.outer, walk.outer_part);
  // Rounded up from 0.4 on: some blocks more are better than some processors idle.
  const std::int64_t across =
      std::max<std::int64_t>(1, std::min((5 * wanted + 3 * down) / (5 * down), most / down));
  walk.inner_part = round_up(ceil_div(walk.inner, across), std::int64_t{8} << walk.inner_log);
  const std::int64_t inner_parts = ceil_div(walk.inner, walk.inner_part);
  walk.inner_parts = static_cast<std::uint32_t>(inner_parts);
  plan.parts = down * inner_parts;
}

}  // namespace

ReducePlan plan_reduction(std::span<const std::int64_t> shape, const std::vector<bool>& reduced) {
  ReducePlan plan;
  const bool columns = assign_roles(shape, reduced, plan);
  if (plan.walk.outer * plan.walk.inner == 0) {  // nothing to fold
    plan.walk.outer = 0;
    plan.walk.inner = 0;
    plan.walk.outputs_log = kReduceThreadsLog;
  } else {
    assign_threads(plan.walk, columns);
    plan.together = columns ? 1 : 2;
  }
  plan.walk.tiles = ceil_div(plan.walk.outputs, std::int64_t{1} << plan.walk.outputs_log);
  plan.blocks = std::min(plan.walk.tiles, kMostBlocks);
  if (plan.walk.tiles > 0) assign_parts(plan);
  return plan;
}

PartsWalk plan_parts(std::int64_t outputs, std::int64_t parts) {
  PartsWalk walk;
  walk.outputs = outputs;
  walk.parts = static_cast<std::int32_t>(parts);
  walk.members_log =
      std::min(ceil_log2(parts), kReduceThreadsLog - std::min(kColumnsLog, ceil_log2(outputs)));
  walk.outputs_log = kReduceThreadsLog - walk.members_log;
  return walk;
}

std::int64_t max_part_accumulators(std::int64_t elements) {
  // assign_parts(): members fold kMemberElements or more, and parts are less than twice as many as
  // wanted.
  const std::int64_t by_elements = elements / (kMemberElements << kLeastMembersLog);
  const std::int64_t by_blocks = 2 * (kTargetBlocks + kEnoughBlocks)
                                 << (kReduceThreadsLog - kLeastMembersLog);
  return std::min(by_elements, by_blocks);
}

}  // namespace tessera::kernels::cuda
