#include "array/node.hpp"
#include "scheduler/plan/lowering.hpp"

namespace tessera::scheduler {

namespace {

AxisLink link_of(const array::BlockAxis& axis, std::int64_t count, const std::vector<std::int64_t>& tasks) {
  const std::int64_t from = axis.task_axis < 0 ? 1 : tasks[static_cast<std::size_t>(axis.task_axis)];
  switch (axis.kind) {
    case array::BlockAxis::Kind::kSame:
      return {axis.task_axis, AxisMap::identity(count)};
    case array::BlockAxis::Kind::kAll:
      return {-1, AxisMap::all(1, count)};
    case array::BlockAxis::Kind::kTable:
      break;
  }
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> blocks;
  for (std::int64_t i = 0; i < from; ++i) {
    for (std::int32_t block : axis.lists[static_cast<std::size_t>(i)]) blocks.push_back(block);
    offsets.push_back(static_cast<std::int64_t>(blocks.size()));
  }
  return {axis.task_axis, AxisMap::lists(std::move(offsets), std::move(blocks), count)};
}

}  // namespace

void Lowering::lower_block_op(const array::Node& node) {
  const auto& op = std::get<array::BlockOp>(node.attributes);
  auto spec = std::make_shared<kernels::BlockSpec>();
  spec->attributes = op.attributes;
  PlanNode task = new_node(node, node.name, ChunkGrid());
  task.counts = op.tasks;
  task.wide = op.wide;
  task.impure = !op.pure;
  task.flops = op.flops;
  for (std::size_t k = 0; k < node.inputs.size(); ++k) {
    const array::Output& input = node.inputs[k].node()->outputs[static_cast<std::size_t>(node.inputs[k].output())];
    const StoredValue value = stored(node.inputs[k]);
    PlanInput read;
    read.slot = value.slot;
    read.streamed = op.streamed;
    for (std::size_t d = 0; d < op.reads[k].size(); ++d) {
      read.access.links.push_back(link_of(op.reads[k][d], value.grid.axis(static_cast<int>(d)).count(), op.tasks));
    }
    if (value.chain_link >= 0) {
      const auto link = static_cast<std::int32_t>(value.chain_link);
      read.access.links.push_back({-1, AxisMap::ranges({link}, {link + 1}, link + 1)});
      read.links = value.chain_link + 1;
    }
    task.inputs.push_back(std::move(read));
    spec->inputs.push_back({value.grid, value.dtype, input.accumulator});
  }
  const auto index = static_cast<NodeIndex>(out_.plan.nodes.size());
  for (std::size_t o = 0; o < node.outputs.size(); ++o) {
    const array::Output& output = node.outputs[o];
    spec->outputs.push_back({output.grid, output.dtype, output.accumulator});
    task.outputs.push_back(out_.plan.add_slot(
        index, static_cast<int>(o),
        output.accumulator ? kernels::BlockSize(output.grid, output.dtype, *output.accumulator)
                           : kernels::BlockSize(output.grid, output.dtype)));
    stored_[{&node, static_cast<int>(o)}] = {task.outputs.back(), output.grid, output.dtype, -1};
  }
  task.spec = std::move(spec);
  task.recomputable = op.pure && node.inputs.empty();
  append(std::move(task));
}

}  // namespace tessera::scheduler
