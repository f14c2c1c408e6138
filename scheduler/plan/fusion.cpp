#include "scheduler/plan/fusion.hpp"

#include <algorithm>

namespace tessera::scheduler {

namespace {

using array::AffineRead;
using array::Node;

// Beyond this many operations a program gains nothing and costs compile time and registers on a GPU.
constexpr int kLargestGroup = 96;

}  // namespace

AffineRead broadcast_read(const Shape& input, const Shape& output) {
  AffineRead read(input.size());
  for (std::size_t d = 0; d < input.size(); ++d) {
    const std::size_t axis = d + output.size() - input.size();
    const bool repeated = input[d] == 1 && output[axis] != 1;
    read[d] = {repeated ? -1 : static_cast<int>(axis), 0, 1};
  }
  return read;
}

bool is_map(const Node& node) {
  return std::holds_alternative<array::Elementwise>(node.attributes) ||
         std::holds_alternative<array::Random>(node.attributes) || is_free(node);
}

bool is_free(const Node& node) {
  return std::holds_alternative<array::Constant>(node.attributes) ||
         std::holds_alternative<array::Arange>(node.attributes) || std::holds_alternative<array::Eye>(node.attributes) ||
         std::holds_alternative<array::HostMemory>(node.attributes);
}

Fusion::Fusion(const std::vector<Array>& roots, bool fuse) {
  collect(roots);
  for (const Array& root : roots) root_[root.node().get()] = true;
  for (std::size_t i = order_.size(); i-- > 0;) decide(order_[i], fuse);
}

// Post-order without recursion: expression graphs may be a million nodes deep.
void Fusion::collect(const std::vector<Array>& roots) {
  std::vector<std::pair<const Node*, std::size_t>> stack;
  std::unordered_map<const Node*, bool> seen;
  for (const Array& root : roots) {
    if (!seen.try_emplace(root.node().get(), true).second) continue;
    stack.emplace_back(root.node().get(), 0);
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      if (next == node->inputs.size()) {
        order_.push_back(node);
        stack.pop_back();
        continue;
      }
      const Node* input = node->inputs[next++].node().get();
      if (seen.try_emplace(input, true).second) stack.emplace_back(input, 0);
    }
  }
}

// Tells the inputs of a node what is wanted of them.
void Fusion::pass_on(const Node* node, GroupId group, const AffineRead& read) {
  const bool elementwise = std::holds_alternative<array::Elementwise>(node->attributes);
  for (const Array& input : node->inputs) {
    Request request;
    if (const auto* view = std::get_if<array::View>(&node->attributes)) {
      request = {group, group < 0 ? AffineRead{} : array::compose(view->read, read)};
    } else if (elementwise && group >= 0) {
      request = {group, array::compose(broadcast_read(input.shape(), node->outputs[0].shape), read)};
    }
    std::vector<Request>& list = requests_[input.node().get()];
    if (std::find(list.begin(), list.end(), request) == list.end()) list.push_back(std::move(request));
  }
}

void Fusion::decide(const Node* node, bool fuse) {
  const std::vector<Request> requests = requests_[node];
  const bool root = root_.count(node) > 0;
  Fate& fate = fates_[node];
  if (std::holds_alternative<array::Reduce>(node->attributes)) {
    decide_reduction(node, fuse);
    return;
  }
  if (std::holds_alternative<array::View>(node->attributes)) {
    // A view is never stored for its own sake: what is wanted of it is wanted of its base. A view that is
    // asked for as blocks is copied by a program of its own.
    bool stored = root;
    for (const Request& r : requests) {
      if (r.group >= 0) pass_on(node, r.group, r.read);
      stored = stored || r.group < 0;
    }
    if (stored) {
      fate.stored = true;
      fate.group = static_cast<GroupId>(groups_.size());
      groups_.push_back({node, {}, {}, 0});
      pass_on(node, fate.group, array::identity_read(static_cast<int>(node->outputs[0].shape.size())));
    }
    return;
  }
  if (!is_map(*node)) {
    fate.stored = true;
    for (const Array& input : node->inputs) {
      std::vector<Request>& list = requests_[input.node().get()];
      if (std::find(list.begin(), list.end(), Request{}) == list.end()) list.push_back({});
    }
    return;
  }
  const bool wanted_stored = root || std::find(requests.begin(), requests.end(), Request{}) != requests.end();
  if (is_free(*node)) {
    fate.stored = wanted_stored;
  } else {
    const bool single = requests.size() == 1 && requests[0].group >= 0;
    const bool fits = single && groups_[static_cast<std::size_t>(requests[0].group)].size < kLargestGroup;
    fate.stored = wanted_stored || !fuse || !fits;
  }
  if (fate.stored) {
    fate.group = static_cast<GroupId>(groups_.size());
    groups_.push_back({node, {}, {}, 1});
    fate.read = array::identity_read(static_cast<int>(node->outputs[0].shape.size()));
    // A reduction of exactly this value joins the program that makes it: one pass over memory for both.
    if (fuse && !is_free(*node)) {
      for (const Request& r : requests) {
        if (r.group < 0) continue;
        Group& other = groups_[static_cast<std::size_t>(r.group)];
        if (other.owner != nullptr || other.reductions.empty() || r.read != fate.read) continue;
        if (other.reductions[0]->inputs[0].node().get() != node) continue;
        Group& mine = groups_[static_cast<std::size_t>(fate.group)];
        if (!mine.reductions.empty() && mine.axes != other.axes) continue;
        mine.axes = other.axes;
        for (const Node* reduction : other.reductions) {
          mine.reductions.push_back(reduction);
          fates_[reduction].group = fate.group;
        }
        other.reductions.clear();
      }
    }
    pass_on(node, fate.group, fate.read);
    return;
  }
  if (!requests.empty() && !is_free(*node)) {
    fate.group = requests[0].group;
    fate.read = requests[0].read;
    ++groups_[static_cast<std::size_t>(fate.group)].size;
    pass_on(node, fate.group, fate.read);
  }
}

// Reductions over the same axes of the same array share their first step.
void Fusion::decide_reduction(const Node* node, bool fuse) {
  const auto& reduce = std::get<array::Reduce>(node->attributes);
  Fate& fate = fates_[node];
  fate.stored = true;
  const Array& input = node->inputs[0];
  for (std::size_t g = 0; fuse && g < groups_.size(); ++g) {
    Group& group = groups_[g];
    if (group.owner == nullptr && !group.reductions.empty() && group.axes == reduce.axes &&
        group.reductions[0]->inputs[0].node() == input.node() &&
        group.reductions[0]->inputs[0].output() == input.output() && group.reductions.size() < 8) {
      fate.group = static_cast<GroupId>(g);
      group.reductions.push_back(node);
      return;
    }
  }
  fate.group = static_cast<GroupId>(groups_.size());
  groups_.push_back({nullptr, {node}, reduce.axes, 1});
  std::vector<Request>& list = requests_[input.node().get()];
  Request request{fate.group, array::identity_read(static_cast<int>(input.shape().size()))};
  if (std::find(list.begin(), list.end(), request) == list.end()) list.push_back(std::move(request));
}

}  // namespace tessera::scheduler
