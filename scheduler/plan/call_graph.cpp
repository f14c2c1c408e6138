#include "scheduler/plan/call_graph.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "array/node.hpp"

namespace tessera::scheduler {

namespace {

class Collect final : public tessera::detail::Call::Visitor {
 public:
  explicit Collect(CallInputs& inputs) : inputs_(inputs) {}
  void call(const std::shared_ptr<tessera::detail::Call>& call) override {
    inputs_.calls.push_back(call);
  }
  void array(const Array& whole) override { inputs_.arrays.push_back(whole); }

 private:
  CallInputs& inputs_;
};

}  // namespace

CallInputs CallGraph::own_inputs(const tessera::detail::Call& call) {
  CallInputs out;
  Collect collect(out);
  call.visit_arguments(collect);
  return out;
}

CallInputs CallGraph::inputs(const tessera::detail::Call& call) const {
  CallInputs out = own_inputs(call);
  for (Array& array : out.arrays) {
    const auto other = instead_.find({array.node().get(), array.output()});
    if (other != instead_.end()) array = Array(other->second);
  }
  return out;
}

// Depth first over calls and nodes alike, without recursion.
class CallGraph::Walk {
 public:
  Walk(CallGraph& graph, const std::vector<std::int32_t>& ranks) : graph_(graph), ranks_(ranks) {}

  template <typename Root>
  void visit(const Root& root) {
    enter(root);
    while (!stack_.empty()) step();
  }

 private:
  struct Frame {
    std::shared_ptr<tessera::detail::Call> call;  // or else:
    const array::Node* node = nullptr;
    CallInputs inputs;  // of the call
    std::size_t next = 0;
  };

  void enter(const std::shared_ptr<tessera::detail::Call>& call) {
    const bool is_there = call->done() || (call->holder() >= 0 && ranks_.empty());
    if (is_there || !graph_.places_.try_emplace(call.get()).second) return;
    if (call->holder() >= 0 && !std::binary_search(ranks_.begin(), ranks_.end(), call->holder())) {
      call->lose();
      graph_.lost_.push_back(call);
    }
    if (call->holder() >= 0) {
      graph_.places_.at(call.get()) = {Place::In::kHeld,
                                       static_cast<std::int32_t>(graph_.held_.size())};
      graph_.held_.push_back(call);
      return;
    }
    stack_.push_back({call, nullptr, graph_.inputs(*call), 0});
  }
  void enter(const array::Node* node) {
    if (seen_.insert(node).second) stack_.push_back({nullptr, node, CallInputs(), 0});
  }

  void step() {
    Frame& top = stack_.back();
    const std::size_t next = top.next++;
    if (top.node != nullptr) {
      const array::Node& node = *top.node;
      const auto* awaited = std::get_if<array::Awaited>(&node.attributes);
      if (next < node.inputs.size()) {
        enter(node.inputs[next].node().get());
      } else if (awaited != nullptr && next == node.inputs.size()) {
        enter(awaited->call);
      } else {
        stack_.pop_back();
      }
      return;
    }
    const std::size_t calls = top.inputs.calls.size();
    if (next < calls) {
      enter(std::shared_ptr(top.inputs.calls[next]));
    } else if (next < calls + top.inputs.arrays.size()) {
      enter(top.inputs.arrays[next - calls].node().get());
    } else {
      place(top);
      stack_.pop_back();
    }
  }

  void place(const Frame& frame) {
    bool own = !frame.inputs.arrays.empty();
    for (const auto& call : frame.inputs.calls)
      own = own || graph_.place(*call).in == Place::In::kOwn;
    auto& list = own ? graph_.own_ : graph_.list_;
    graph_.places_.at(frame.call.get()) = {own ? Place::In::kOwn : Place::In::kList,
                                           static_cast<std::int32_t>(list.size())};
    list.push_back(frame.call);
  }

  CallGraph& graph_;
  const std::vector<std::int32_t>& ranks_;
  std::vector<Frame> stack_;
  std::unordered_set<const array::Node*> seen_;
};

CallGraph::CallGraph(const std::vector<Goal>& goals,
                     const std::vector<std::shared_ptr<tessera::detail::Call>>& calls,
                     const std::vector<std::int32_t>& ranks, Instead instead)
    : instead_(std::move(instead)) {
  Walk walk(*this, ranks);
  for (const auto& call : calls) walk.visit(call);
  for (const Goal& goal : goals) walk.visit(goal.array.node().get());
}

CallGraph::Place CallGraph::place(const tessera::detail::Call& call) const {
  const auto it = places_.find(&call);
  return it == places_.end() ? Place{} : it->second;
}

}  // namespace tessera::scheduler
