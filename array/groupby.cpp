#include "tessera/groupby.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "array/block_node.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"

namespace tessera {
namespace {

using array::refuse;
using core::ReduceOp;

constexpr std::array kFunctions{
    ReduceOp::kSum,    ReduceOp::kProd,    ReduceOp::kMin,    ReduceOp::kMax,     ReduceOp::kMean,
    ReduceOp::kVar,    ReduceOp::kStd,     ReduceOp::kNanSum, ReduceOp::kNanProd, ReduceOp::kNanMin,
    ReduceOp::kNanMax, ReduceOp::kNanMean, ReduceOp::kNanVar, ReduceOp::kNanStd};

ReduceOp function_of(std::string_view function) {
  if (function == "count") return ReduceOp::kCountNonzero;  // which groupby takes as "not NaN"
  for (const ReduceOp op : kFunctions) {
    if (name(op) == function) return op;
  }
  refuse(
      "groupby_reduce",
      "the function must be sum, prod, min, max, mean, var, std, one of these behind \"nan\", or "
      "count; got \"",
      function, "\"");
}

// Labels below 0 made -1, and the number of groups.
std::int64_t check_labels(std::vector<std::int64_t>& labels, const Array& x, int axis,
                          const GroupbyOptions& options) {
  const std::int64_t extent = x.shape()[static_cast<std::size_t>(axis)];
  if (static_cast<std::int64_t>(labels.size()) != extent) {
    refuse("groupby_reduce", "there must be one label for each element of the axis; got ",
           labels.size(), " for axis ", axis, " of ", to_string(x.shape()));
  }
  std::int64_t largest = -1;
  for (std::int64_t& label : labels) {
    label = std::max<std::int64_t>(label, -1);
    largest = std::max(largest, label);
  }
  if (!options.group_count) return core::checked_extent("groupby_reduce", largest, 1);
  if (*options.group_count < 0 || *options.group_count <= largest) {
    refuse("groupby_reduce", "labels must lie below the number of groups; got label ", largest,
           " for ", *options.group_count, " groups");
  }
  return *options.group_count;
}

// Integers have no value that could stand for the smallest of nothing.
void check_groups(ReduceOp op, DType dtype, const std::vector<std::int64_t>& labels,
                  std::int64_t count) {
  if (core::has_identity(op) || is_floating(dtype)) return;
  // Among one group more than there are labels at least one is missing.
  const auto most = static_cast<std::int64_t>(labels.size()) + 1;
  std::vector<bool> seen(static_cast<std::size_t>(std::min(count, most)), false);
  for (const std::int64_t label : labels) {
    if (label >= 0 && label < most) seen[static_cast<std::size_t>(label)] = true;
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing == seen.end()) return;
  refuse("groupby_reduce", "the ", name(op), " of ", dtype,
         " needs an element in every group; got "
         "none for group ",
         missing - seen.begin(), "; try astype(float64) or other labels");
}

// The groups that elements of each block along the axis belong to, at least one for each block.
// Labels become places among their block's.
std::vector<array::GroupList> groups_of_blocks(const AxisChunks& axis,
                                               std::vector<std::int64_t>& labels) {
  std::vector<array::GroupList> out;
  for (std::int64_t b = 0; b < axis.count(); ++b) {
    const std::span<std::int64_t> own(labels.data() + axis.begin(b),
                                      static_cast<std::size_t>(axis.size(b)));
    array::GroupList groups;
    std::copy_if(own.begin(), own.end(), std::back_inserter(groups),
                 [](std::int64_t label) { return label >= 0; });
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (std::int64_t& label : own) {
      if (label >= 0)
        label = std::lower_bound(groups.begin(), groups.end(), label) - groups.begin();
    }
    if (groups.empty()) groups.push_back(0);
    out.push_back(std::move(groups));
  }
  return out;
}

AxisChunks extents_of(const std::vector<array::GroupList>& lists) {
  std::vector<std::int64_t> extents;
  for (const array::GroupList& list : lists)
    extents.push_back(static_cast<std::int64_t>(list.size()));
  return AxisChunks::of(std::move(extents));
}

// Results are not cut into smaller chunks.
constexpr double kSmallestChunk = 4 << 20;

/// A run of neighbouring groups, and the blocks that have elements of them.
struct Cohort {
  std::int64_t groups = 0;
  std::vector<std::int32_t> blocks;
};

/// Groups that share no block with others: all in one where blocks have elements of many.
/// `row_bytes`: of what is kept of one group in a block.
std::vector<Cohort> cohorts_of(const std::vector<array::GroupList>& lists, std::int64_t groups,
                               double row_bytes) {
  std::vector<std::pair<std::int64_t, std::int32_t>> first;  // of each block's groups
  for (std::size_t b = 0; b < lists.size(); ++b)
    first.emplace_back(lists[b].front(), static_cast<std::int32_t>(b));
  std::sort(first.begin(), first.end());
  std::vector<Cohort> out(1);
  std::int64_t begin = 0;
  std::int64_t end = 0;  // of what the blocks so far reach
  for (const auto& [group, block] : first) {
    const bool apart = group >= end && !out.back().blocks.empty();
    if (apart && static_cast<double>(group - begin) * row_bytes >= kSmallestChunk &&
        static_cast<double>(groups - group) * row_bytes >= kSmallestChunk) {
      out.back().groups = group - begin;
      begin = group;
      out.emplace_back();
    }
    out.back().blocks.push_back(block);
    end = std::max(end, lists[static_cast<std::size_t>(block)].back() + 1);
  }
  out.back().groups = groups - begin;
  for (Cohort& cohort : out) std::sort(cohort.blocks.begin(), cohort.blocks.end());
  return out;
}

/// What is merged, and how it ends.
struct Merge {
  ReduceOp op;
  DType element;
  int axis;
  double correction;
  std::vector<std::int64_t> counts;
  std::vector<Cohort> cohorts;
};

std::shared_ptr<array::GroupbyMergeAttributes> merge_attributes(const Merge& merge,
                                                                const array::GroupLists& from) {
  auto out = std::make_shared<array::GroupbyMergeAttributes>();
  out->op = merge.op;
  out->element = merge.element;
  out->axis = merge.axis;
  out->from = from;
  return out;
}

/// `lists`: the blocks that each block of the result is merged from.
array::BlockOp merge_op(std::shared_ptr<const array::GroupbyMergeAttributes> attributes, int rank,
                        std::vector<std::vector<std::int32_t>> lists) {
  array::BlockOp op;
  array::BlockAxis& axis =
      op.reads.emplace_back(array::same_blocks(rank))[static_cast<std::size_t>(attributes->axis)];
  axis.kind = array::BlockAxis::Kind::kTable;
  axis.lists = std::move(lists);
  op.attributes = std::move(attributes);
  op.streamed = true;
  return op;
}

/// Blocks that follow one another in a cohort, merged into accumulators; `lists` and the cohorts'
/// blocks become those of the result.
Array merge_some(const Array& partials, array::GroupLists& lists, Merge& merge,
                 const std::source_location& where) {
  auto attributes = merge_attributes(merge, lists);
  std::vector<array::GroupList> unions;
  std::vector<std::vector<std::int32_t>> from;
  for (Cohort& cohort : merge.cohorts) {
    std::vector<std::int32_t> merged;
    for (std::size_t b = 0; b < cohort.blocks.size(); ++b) {
      if (b % array::kGroupbyFanIn == 0) {
        merged.push_back(static_cast<std::int32_t>(unions.size()));
        unions.emplace_back();
        from.emplace_back();
      }
      const array::GroupList& own = (*lists)[static_cast<std::size_t>(cohort.blocks[b])];
      array::GroupList both;
      std::set_union(unions.back().begin(), unions.back().end(), own.begin(), own.end(),
                     std::back_inserter(both));
      unions.back() = std::move(both);
      from.back().push_back(cohort.blocks[b]);
    }
    cohort.blocks = std::move(merged);
  }
  lists = std::make_shared<const std::vector<array::GroupList>>(std::move(unions));
  attributes->to = lists;
  std::vector<AxisChunks> axes = partials.chunks().axes();
  axes[static_cast<std::size_t>(merge.axis)] = extents_of(*lists);
  const ChunkGrid grid(std::move(axes));
  std::vector<array::Output> outputs{{merge.element, grid, grid.shape(), merge.op}};
  return Array(
      array::make_block_node("groupby merge",
                             merge_op(std::move(attributes), partials.ndim(), std::move(from)),
                             {partials}, std::move(outputs), where),
      0);
}

/// The few blocks that are left, merged and finished.
Array merge_all(const Array& partials, const array::GroupLists& lists, const Merge& merge,
                const ChunkGrid& grid, DType dtype, const std::source_location& where) {
  auto attributes = merge_attributes(merge, lists);
  attributes->finish = true;
  attributes->ddof = merge.correction;
  attributes->counts = merge.counts;
  std::vector<std::vector<std::int32_t>> from;
  for (const Cohort& cohort : merge.cohorts) from.push_back(cohort.blocks);
  std::vector<array::Output> outputs{{dtype, grid, grid.shape(), std::nullopt}};
  return Array(
      array::make_block_node("groupby_reduce",
                             merge_op(std::move(attributes), partials.ndim(), std::move(from)),
                             {partials}, std::move(outputs), where),
      0);
}

}  // namespace

Array groupby_reduce(const Array& x, std::span<const std::int64_t> labels,
                     std::string_view function, const GroupbyOptions& options,
                     std::source_location where) {
  const ReduceOp op = function_of(function);
  const int axis = array::normalize_axis(options.axis, x.ndim(), "groupby_reduce");
  const DType dtype = core::reduced_dtype(op, x.dtype());
  std::vector<std::int64_t> places(labels.begin(), labels.end());
  const std::int64_t groups = check_labels(places, x, axis, options);
  check_groups(op, x.dtype(), places, groups);

  const auto i = static_cast<std::size_t>(axis);
  std::vector<AxisChunks> axes = x.chunks().axes();
  std::vector<AxisChunks> merged = axes;
  merged[i] = AxisChunks::regular(groups, std::max<std::int64_t>(1, groups));
  if (groups == 0) {
    return array::make_array("groupby_reduce", array::Constant{0}, {}, dtype,
                             ChunkGrid(std::move(merged)), where);
  }
  core::array_bytes("groupby_reduce", ChunkGrid(merged).shape(), dtype);
  Merge merge{op, x.dtype(), axis, options.correction, {}, {}};
  if (op == ReduceOp::kMean && (is_floating(x.dtype()) || is_complex(x.dtype())) &&
      groups <= static_cast<std::int64_t>(places.size())) {
    // Sums are half as large as means with their counts, which follow from the labels.
    merge.op = ReduceOp::kSum;
    merge.counts.assign(static_cast<std::size_t>(groups), 0);
    for (const std::int64_t label : places) {
      if (label >= 0) ++merge.counts[static_cast<std::size_t>(label)];
    }
  }
  auto lists =
      std::make_shared<const std::vector<array::GroupList>>(groups_of_blocks(axes[i], places));
  auto row_bytes = static_cast<double>(itemsize(dtype));
  for (std::size_t d = 0; d < axes.size(); ++d)
    row_bytes *= d == i ? 1.0 : static_cast<double>(axes[d].max_size());
  merge.cohorts = cohorts_of(*lists, groups, row_bytes);
  std::vector<std::int64_t> extents;
  for (const Cohort& cohort : merge.cohorts) extents.push_back(cohort.groups);
  if (extents.size() > 1) merged[i] = AxisChunks::of(std::move(extents));
  const ChunkGrid grid(std::move(merged));
  axes[i] = extents_of(*lists);
  const ChunkGrid partial_grid(axes);
  auto attributes = std::make_shared<array::GroupbyAttributes>();
  attributes->op = merge.op;
  attributes->axis = axis;
  attributes->labels = std::move(places);
  array::BlockOp block;
  block.attributes = std::move(attributes);
  block.reads = {array::same_blocks(x.ndim())};
  std::vector<array::Output> outputs{{x.dtype(), partial_grid, partial_grid.shape(), merge.op}};
  Array partials(
      array::make_block_node("groupby", std::move(block), {x}, std::move(outputs), where), 0);
  const auto is_large = [](const Cohort& cohort) {
    return std::ssize(cohort.blocks) > array::kGroupbyFanIn;
  };
  while (std::any_of(merge.cohorts.begin(), merge.cohorts.end(), is_large))
    partials = merge_some(partials, lists, merge, where);
  return merge_all(partials, lists, merge, grid, dtype, where);
}

}  // namespace tessera
