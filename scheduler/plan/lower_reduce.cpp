#include <algorithm>

#include "array/node.hpp"
#include "scheduler/plan/lowering.hpp"

namespace tessera::scheduler {

namespace {

// Blocks that one merge task reads. Fixed: the shape of the tree decides bits.
constexpr std::int64_t kFanIn = 16;
// With fewer independent chains than this, a scan is cut in two passes for the sake of parallelism.
constexpr std::int64_t kScanChains = 8;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Groups of `fan` neighbours along an axis of `count` blocks.
AxisMap groups_of(std::int64_t fan, std::int64_t count) {
  std::vector<std::int32_t> lo, hi;
  for (std::int64_t g = 0; g * fan < count; ++g) {
    lo.push_back(static_cast<std::int32_t>(g * fan));
    hi.push_back(static_cast<std::int32_t>(std::min(count, (g + 1) * fan)));
  }
  return AxisMap::ranges(std::move(lo), std::move(hi), count);
}

}  // namespace

SlotIndex Lowering::merge_tree(const array::Node& node, SlotIndex slot, const ChunkGrid& grid,
                               core::ReduceOp op, DType element, const std::vector<bool>& axes,
                               double ddof) {
  const array::Output& output = node.outputs[0];
  ChunkGrid current = grid;
  for (bool last = false; !last;) {
    // Whole axes are merged as long as a task's inputs stay few, the innermost first.
    std::int64_t room = kFanIn;
    std::vector<std::int64_t> fan(axes.size(), 1);
    for (std::size_t d = axes.size(); d-- > 0;) {
      if (!axes[d]) continue;
      fan[d] = std::min(room, current.axis(static_cast<int>(d)).count());
      room = std::max<std::int64_t>(1, room / fan[d]);
    }
    last = true;
    std::vector<AxisChunks> next;
    PlanInput input;
    input.slot = slot;
    input.streamed = true;
    for (std::size_t d = 0; d < axes.size(); ++d) {
      const AxisChunks& axis = current.axis(static_cast<int>(d));
      if (!axes[d]) {
        next.push_back(axis);
        input.access.links.push_back({static_cast<int>(d), AxisMap::identity(axis.count())});
        continue;
      }
      AxisMap map = groups_of(fan[d], axis.count());
      next.push_back(AxisChunks::regular(map.from_count(), 1));
      last = last && map.from_count() == 1;
      input.access.links.push_back({static_cast<int>(d), std::move(map)});
    }
    auto spec = std::make_shared<kernels::MergeSpec>();
    spec->op = op;
    spec->element = element;
    spec->result = output.dtype;
    spec->ddof = ddof;
    spec->finish = last;
    current = last ? output.grid : ChunkGrid(std::move(next));
    spec->grid = current;
    PlanNode task = new_node(node, last ? node.name : node.name + " merge", current);
    task.inputs.push_back(std::move(input));
    task.spec = std::move(spec);
    slot = append_with_output(std::move(task), last ? kernels::BlockSize(current, output.dtype)
                                                    : kernels::BlockSize(current, element, op));
  }
  return slot;
}

void Lowering::lower_scan(const array::Node& node) {
  const auto& scan = std::get<array::Scan>(node.attributes);
  const array::Output& output = node.outputs[0];
  const StoredValue value = stored(node.inputs[0]);
  const array::AffineRead whole = array::identity_read(output.grid.rank());
  const std::int64_t length = output.grid.axis(scan.axis).count();
  const std::int64_t chains = output.grid.block_count() / length;
  std::vector<AxisChunks> carry_axes = output.grid.axes();
  carry_axes[at(scan.axis)] = AxisChunks::regular(length, 1);
  const ChunkGrid carry_grid(std::move(carry_axes));
  auto describe = [&](kernels::ScanSpec::Mode mode) {
    auto spec = std::make_shared<kernels::ScanSpec>();
    spec->op = scan.op;
    spec->axis = scan.axis;
    spec->from = {whole, value.grid, value.dtype};
    spec->grid = output.grid;
    spec->dtype = output.dtype;
    spec->carry = core::accumulator_dtypes(scan.op, output.dtype)[0];
    spec->mode = mode;
    return spec;
  };
  using Mode = kernels::ScanSpec::Mode;
  const DType carry_dtype = core::accumulator_dtypes(scan.op, output.dtype)[0];
  std::vector<bool> starts(at(length), false);
  starts[0] = true;
  const auto size = [&] { return kernels::BlockSize(output.grid, output.dtype); };
  const auto carry_size = [&] { return kernels::BlockSize(carry_grid, carry_dtype); };

  // The product of a block alone may overflow or vanish where the running one does not.
  const bool product = scan.op == core::ReduceOp::kProd || scan.op == core::ReduceOp::kNanProd;
  const bool in_order = product && !is_integer(output.dtype);
  if (length == 1 || chains >= kScanChains || in_order) {
    PlanNode task = new_node(node, node.name, output.grid);
    task.inputs.push_back(make_input(value, whole, output.grid));
    task.spec = describe(Mode::kChain);
    task.chain_axis = scan.axis;
    task.chain_start = starts;
    task.chain_output = 1;
    const auto index = static_cast<NodeIndex>(out_.plan.nodes.size());
    task.outputs.push_back(out_.plan.add_slot(index, 0, size()));
    task.outputs.push_back(out_.plan.add_slot(index, 1, carry_size()));
    stored_[{&node, 0}] = {task.outputs[0], output.grid, output.dtype, -1};
    append(std::move(task));
    return;
  }
  PlanNode totals = new_node(node, node.name + " totals", output.grid);
  totals.inputs.push_back(make_input(value, whole, output.grid));
  totals.spec = describe(Mode::kTotals);
  const StoredValue total{append_with_output(std::move(totals), carry_size()), carry_grid,
                          carry_dtype, -1};

  PlanNode prefix = new_node(node, node.name + " prefix", carry_grid);
  prefix.inputs.push_back(make_input(total, whole, carry_grid));
  prefix.spec = describe(Mode::kPrefix);
  prefix.chain_axis = scan.axis;
  prefix.chain_start = starts;
  prefix.chain_output = 1;
  const auto index = static_cast<NodeIndex>(out_.plan.nodes.size());
  prefix.outputs.push_back(out_.plan.add_slot(index, 0, carry_size()));
  prefix.outputs.push_back(out_.plan.add_slot(index, 1, carry_size()));
  StoredValue before{prefix.outputs[0], carry_grid, carry_dtype, -1};
  append(std::move(prefix));

  PlanNode apply = new_node(node, node.name, output.grid);
  apply.inputs.push_back(make_input(value, whole, output.grid));
  PlanInput carry;
  carry.slot = before.slot;
  for (int d = 0; d < output.grid.rank(); ++d) {
    carry.access.links.push_back({d, AxisMap::identity(output.grid.axis(d).count())});
  }
  apply.inputs.push_back(std::move(carry));
  apply.spec = describe(Mode::kApply);
  stored_[{&node, 0}] = {append_with_output(std::move(apply), size()), output.grid, output.dtype,
                         -1};
}

}  // namespace tessera::scheduler
