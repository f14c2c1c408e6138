#include "tessera/groupby.hpp"

#include <algorithm>
#include <array>

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

}  // namespace

Array groupby_reduce(const Array& x, std::span<const std::int64_t> labels,
                     std::string_view function, const GroupbyOptions& options,
                     std::source_location where) {
  const ReduceOp op = function_of(function);
  const int axis = array::normalize_axis(options.axis, x.ndim(), "groupby_reduce");
  const DType dtype = core::reduced_dtype(op, x.dtype());
  auto attributes = std::make_shared<array::GroupbyAttributes>();
  attributes->op = op;
  attributes->axis = axis;
  attributes->labels.assign(labels.begin(), labels.end());
  const std::int64_t groups = check_labels(attributes->labels, x, axis, options);
  attributes->group_count = groups;
  check_groups(op, x.dtype(), attributes->labels, groups);

  const auto i = static_cast<std::size_t>(axis);
  std::vector<AxisChunks> axes = x.chunks().axes();
  std::vector<AxisChunks> merged = axes;
  merged[i] = AxisChunks::regular(groups, std::max<std::int64_t>(1, groups));
  if (groups == 0) {
    return array::make_array("groupby_reduce", array::Constant{0}, {}, dtype,
                             ChunkGrid(std::move(merged)), where);
  }
  Shape partial_shape = x.shape();
  if (__builtin_mul_overflow(axes[i].count(), groups, &partial_shape[i])) {
    refuse("groupby_reduce", "the groups of all blocks must fit 63 bits; got ", groups,
           " groups in each of ", axes[i].count(), " blocks along axis ", axis);
  }
  core::array_bytes("groupby_reduce", partial_shape, dtype);
  axes[i] = AxisChunks::regular(partial_shape[i], groups);
  const ChunkGrid partial_grid(std::move(axes));
  array::BlockOp block;
  block.attributes = std::move(attributes);
  block.reads = {array::same_blocks(x.ndim())};
  std::vector<array::Output> outputs{{x.dtype(), partial_grid, partial_grid.shape(), op}};
  const Array partials(
      array::make_block_node("groupby", std::move(block), {x}, std::move(outputs), where), 0);
  array::MergeTree tree{op, x.dtype(), std::vector<bool>(x.shape().size(), false),
                        options.correction};
  tree.axes[i] = true;
  return array::make_array("groupby_reduce", std::move(tree), {partials}, dtype,
                           ChunkGrid(std::move(merged)), where);
}

}  // namespace tessera
