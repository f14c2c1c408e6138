#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <typeinfo>

#include "array/node.hpp"
#include "core/text.hpp"
#include "scheduler/plan/lowering.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

// One block of an axis, whatever the task.
AxisLink one_block(std::int64_t block, std::int64_t count) {
  const auto b = static_cast<std::int32_t>(block);
  return {-1, AxisMap::ranges({b}, {b + 1}, count)};
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return name != nullptr ? name.get() : type.name();
}

void check_serializable(const tessera::detail::Call& call) {
  if (call.is_serializable()) return;
  throw InvalidArgument(core::text(
      "[delayed] what a call returns may go to other ranks, as tessera::Serializer writes it; got ",
      type_name(call.value_type()), ", which it does not, from the call at ",
      core::source_place(call.file(), call.line()), "; try a specialization for that type"));
}

}  // namespace

void Lowering::lower_calls() {
  if (several_ranks()) {
    for (const auto& call : calls_.list()) check_serializable(*call);
    for (const auto& call : calls_.own()) check_serializable(*call);
  }
  if (!calls_.held().empty()) lower_held_calls();
  if (!calls_.list().empty()) lower_call_list();
  for (std::size_t i = 0; i < calls_.own().size(); ++i) lower_call(i);
  if (several_ranks() && !options_.calls.empty()) lower_call_results();
}

// Calls whose values are on one rank each, which has nothing to do but to send them.
void Lowering::lower_held_calls() {
  const auto& held = calls_.held();
  const auto count = static_cast<std::int64_t>(held.size());
  auto spec = std::make_shared<kernels::CallsSpec>();
  spec->calls = held;
  spec->shared = true;
  PlanNode node;
  node.label = "delayed before";
  node.counts = {count};
  node.impure = true;
  for (const auto& call : held) {
    const auto place =
        std::lower_bound(options_.ranks.begin(), options_.ranks.end(), call->holder());
    node.owners.push_back(static_cast<std::int32_t>(place - options_.ranks.begin()));
  }
  node.spec = std::move(spec);
  held_calls_ = append_with_output(
      std::move(node), kernels::BlockSize::nothing(ChunkGrid({AxisChunks::regular(count, 1)})));
}

// What is asked for, on every rank: a task for each call, which waits for the value and reads it.
void Lowering::lower_call_results() {
  PlanNode node;
  node.label = "deliver delayed";
  node.sink = true;
  node.everywhere = true;
  std::vector<std::int32_t> listed, held;
  for (const auto& call : options_.calls) {
    const CallGraph::Place place = calls_.place(*call);
    if (place.in == CallGraph::Place::In::kList) listed.push_back(place.number);
    if (place.in == CallGraph::Place::In::kHeld) held.push_back(place.number);
    if (place.in != CallGraph::Place::In::kOwn) continue;
    PlanNode one = node;
    one.inputs.push_back(read_call(*call));
    auto spec = std::make_shared<kernels::CallValuesSpec>();
    spec->calls = {call};
    one.spec = std::move(spec);
    append(std::move(one));
  }
  const auto all_of = [&](std::vector<std::int32_t>& numbers, SlotIndex slot,
                          const std::vector<std::shared_ptr<tessera::detail::Call>>& all) {
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    if (numbers.empty()) return;
    PlanNode some = node;
    some.counts = {std::ssize(numbers)};
    auto spec = std::make_shared<kernels::CallValuesSpec>();
    for (const std::int32_t number : numbers)
      spec->calls.push_back(all[static_cast<std::size_t>(number)]);
    some.spec = std::move(spec);
    PlanInput input;
    input.slot = slot;
    std::vector<std::int32_t> ends = numbers;
    for (std::int32_t& end : ends) ++end;
    input.access.links.push_back(
        {0, AxisMap::ranges(std::move(numbers), std::move(ends), std::ssize(all))});
    some.inputs.push_back(std::move(input));
    append(std::move(some));
  };
  all_of(listed, call_list_, calls_.list());
  all_of(held, held_calls_, calls_.held());
}

// All calls as one node whose tasks read each other's blocks, which hold nothing.
void Lowering::lower_call_list() {
  const auto& list = calls_.list();
  const auto count = static_cast<std::int64_t>(list.size());
  auto spec = std::make_shared<kernels::CallsSpec>();
  spec->calls = list;
  spec->shared = several_ranks();
  PlanNode node;
  node.label = "delayed";
  node.counts = {count};
  node.impure = true;
  node.sink = true;
  call_list_ =
      out_.plan.add_slot(static_cast<NodeIndex>(out_.plan.nodes.size()), 0,
                         kernels::BlockSize::nothing(ChunkGrid({AxisChunks::regular(count, 1)})));
  node.outputs = {call_list_};
  std::vector<std::int64_t> offsets{0}, held_offsets{0};
  std::vector<std::int32_t> blocks, held;
  const auto close = [](std::vector<std::int32_t>& numbers, std::vector<std::int64_t>& ends) {
    const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(ends.back());
    std::sort(first, numbers.end());
    numbers.erase(std::unique(first, numbers.end()), numbers.end());
    ends.push_back(std::ssize(numbers));
  };
  for (const auto& call : list) {
    for (const auto& input : calls_.inputs(*call).calls) {
      const CallGraph::Place place = calls_.place(*input);
      if (place.in == CallGraph::Place::In::kList) blocks.push_back(place.number);
      if (place.in == CallGraph::Place::In::kHeld) held.push_back(place.number);
    }
    close(blocks, offsets);
    close(held, held_offsets);
  }
  const auto read = [&node](SlotIndex slot, std::vector<std::int64_t> begins,
                            std::vector<std::int32_t> numbers, std::size_t of) {
    if (numbers.empty()) return;
    PlanInput input;
    input.slot = slot;
    input.access.links.push_back(
        {0, AxisMap::lists(std::move(begins), std::move(numbers), static_cast<std::int64_t>(of))});
    node.inputs.push_back(std::move(input));
  };
  read(call_list_, std::move(offsets), std::move(blocks), list.size());
  read(held_calls_, std::move(held_offsets), std::move(held), calls_.held().size());
  node.spec = std::move(spec);
  append(std::move(node));
}

void Lowering::lower_call(std::size_t number) {
  const auto& call = calls_.own()[number];
  const CallInputs inputs = calls_.inputs(*call);
  auto spec = std::make_shared<kernels::CallsSpec>();
  spec->calls = {call};
  spec->shared = several_ranks();
  PlanNode node;
  node.label = "delayed";
  node.impure = true;
  node.sink = true;
  if (several_ranks()) {
    const std::size_t rank = number * options_.ranks.size() / calls_.own().size();
    node.owners = {static_cast<std::int32_t>(rank)};
  }
  for (const Array& array : inputs.arrays) {
    lower_up_to(array.node().get());
    const StoredValue value = stored(array);
    // What makes a whole array of blocks does so where it is read.
    PlanNode& maker = out_.plan.nodes[static_cast<std::size_t>(
        out_.plan.slots[static_cast<std::size_t>(value.slot)].node)];
    const bool alone = std::all_of(maker.counts.begin(), maker.counts.end(),
                                   [](std::int64_t count) { return count == 1; });
    if (alone && !maker.resident && maker.owners.empty()) maker.owners = node.owners;
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
    const bool held = place.in == CallGraph::Place::In::kHeld;
    input.slot = held ? held_calls_ : call_list_;
    input.access.links.push_back(
        one_block(place.number,
                  static_cast<std::int64_t>(held ? calls_.held().size() : calls_.list().size())));
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
