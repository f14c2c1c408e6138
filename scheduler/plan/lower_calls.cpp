#include <algorithm>

#include "array/node.hpp"
#include "scheduler/plan/lowering.hpp"

namespace tessera::scheduler {

namespace {

// One block of an axis, whatever the task.
AxisLink one_block(std::int64_t block, std::int64_t count) {
  const auto b = static_cast<std::int32_t>(block);
  return {-1, AxisMap::ranges({b}, {b + 1}, count)};
}

}  // namespace

void Lowering::lower_calls() {
  if (!calls_.list().empty()) lower_call_list();
  for (std::size_t i = 0; i < calls_.own().size(); ++i) lower_call(i);
}

// All calls as one node whose tasks read each other's blocks, which hold nothing.
void Lowering::lower_call_list() {
  const auto& list = calls_.list();
  const auto count = static_cast<std::int64_t>(list.size());
  auto spec = std::make_shared<kernels::CallsSpec>();
  spec->calls = list;
  PlanNode node;
  node.label = "delayed";
  node.counts = {count};
  node.impure = true;
  node.sink = true;
  call_list_ =
      out_.plan.add_slot(static_cast<NodeIndex>(out_.plan.nodes.size()), 0,
                         kernels::BlockSize::nothing(ChunkGrid({AxisChunks::regular(count, 1)})));
  node.outputs = {call_list_};
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> blocks;
  for (const auto& call : list) {
    const auto first = static_cast<std::ptrdiff_t>(blocks.size());
    for (const auto& input : CallInputs(*call).calls) {
      const CallGraph::Place place = calls_.place(*input);
      if (place.in == CallGraph::Place::In::kList) blocks.push_back(place.number);
    }
    std::sort(blocks.begin() + first, blocks.end());
    blocks.erase(std::unique(blocks.begin() + first, blocks.end()), blocks.end());
    offsets.push_back(static_cast<std::int64_t>(blocks.size()));
  }
  if (!blocks.empty()) {
    PlanInput input;
    input.slot = call_list_;
    input.access.links.push_back({0, AxisMap::lists(std::move(offsets), std::move(blocks), count)});
    node.inputs.push_back(std::move(input));
  }
  node.spec = std::move(spec);
  append(std::move(node));
}

void Lowering::lower_call(std::size_t number) {
  const auto& call = calls_.own()[number];
  const CallInputs inputs(*call);
  auto spec = std::make_shared<kernels::CallsSpec>();
  spec->calls = {call};
  PlanNode node;
  node.label = "delayed";
  node.impure = true;
  node.sink = true;
  for (const Array& array : inputs.arrays) {
    lower_up_to(array.node().get());
    const StoredValue value = stored(array);
    node.inputs.push_back(
        make_input(value, array::AffineRead(static_cast<std::size_t>(array.ndim())), ChunkGrid()));
    spec->arrays.push_back({value.grid, value.dtype, std::nullopt});
  }
  for (const auto& input : inputs.calls) {
    if (calls_.place(*input).in != CallGraph::Place::In::kNeither)
      node.inputs.push_back(read_call(*input));
  }
  node.spec = std::move(spec);
  own_calls_.push_back(
      append_with_output(std::move(node), kernels::BlockSize::nothing(ChunkGrid())));
}

PlanInput Lowering::read_call(const tessera::detail::Call& call) const {
  const CallGraph::Place place = calls_.place(call);
  PlanInput input;
  if (place.in == CallGraph::Place::In::kOwn) {
    input.slot = own_calls_[static_cast<std::size_t>(place.number)];
  } else {
    input.slot = call_list_;
    input.access.links.push_back(
        one_block(place.number, static_cast<std::int64_t>(calls_.list().size())));
  }
  return input;
}

// The token as a value: one element, written after the call.
void Lowering::lower_awaited(const array::Node& node) {
  const tessera::detail::Call& call = *std::get<array::Awaited>(node.attributes).call;
  PlanNode task = new_node(node, "delayed", node.outputs[0].grid);
  if (calls_.place(call).in != CallGraph::Place::In::kNeither)
    task.inputs.push_back(read_call(call));
  task.spec = std::make_shared<kernels::AwaitedSpec>();
  const SlotIndex slot =
      append_with_output(std::move(task), kernels::BlockSize(node.outputs[0].grid, DType::kBool));
  stored_[{&node, 0}] = {slot, node.outputs[0].grid, DType::kBool, -1};
}

void Lowering::lower_up_to(const array::Node* node) {
  while (next_node_ < fusion_.order().size() && (node == nullptr || !stored_.contains({node, 0}))) {
    lower_node(*fusion_.order()[next_node_++]);
  }
}

}  // namespace tessera::scheduler
