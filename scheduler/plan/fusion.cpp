#include "scheduler/plan/fusion.hpp"

#include <algorithm>

#include "array/assemble.hpp"
#include "scheduler/plan/access.hpp"

namespace tessera::scheduler {

namespace {

using array::AffineRead;
using array::Node;

// Beyond this many operations a program gains nothing and costs compile time and registers on a GPU.
constexpr int kLargestGroup = 96;
// What computing a value again may cost, in additions: less than writing and reading it.
constexpr int kRepeatCost = 12;
constexpr int kNeverRepeated = kRepeatCost + 1;

int cost_of(const Node& node) {
  const auto* op = std::get_if<array::Elementwise>(&node.attributes);
  if (op == nullptr) return std::holds_alternative<array::Random>(node.attributes) ? kNeverRepeated : 0;
  switch (op->op) {
    case core::ScalarOp::kDivide:
    case core::ScalarOp::kReciprocal:
    case core::ScalarOp::kSqrt:
      return 4;
    default:
      break;
  }
  const bool exact = core::info(op->op).ulp <= 0.5 && !is_complex(node.outputs[0].dtype);
  return op->op == core::ScalarOp::kCast || exact ? 1 : kNeverRepeated;
}

// Whether a program may compute the node's values instead of reading them.
bool may_be_part(const Node& node) {
  return is_map(node) || std::holds_alternative<array::View>(node.attributes) || regrid_read(node) != nullptr;
}

double bytes_of(const array::Output& output) {
  return static_cast<double>(element_count(output.shape)) * static_cast<double>(itemsize(output.dtype));
}

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

const AffineRead* regrid_read(const Node& node) {
  const auto* assemble = std::get_if<array::Assemble>(&node.attributes);
  if (assemble == nullptr || assemble->parts.size() != 1) return nullptr;
  const array::Assemble::Part& part = assemble->parts[0];
  const Shape& shape = node.outputs[0].shape;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (part.lo[d] > 0 || part.hi[d] < shape[d]) return nullptr;
  }
  return &part.read;
}

std::int64_t blocks_per_task(const ChunkGrid& grid, const AffineRead& read, const ChunkGrid& tasks) {
  std::int64_t blocks = 1;
  for (std::size_t d = 0; d < read.size(); ++d) {
    if (read[d].axis < 0) continue;
    const AxisChunks& axis = tasks.axis(read[d].axis);
    const AxisMap map = blocks_read(grid.axis(static_cast<int>(d)), read[d], axis, 0, axis.extent());
    std::int64_t most = 0;
    for (std::int64_t c = 0; c < axis.count() && most <= array::kMostGathered; ++c)
      most = std::max(most, map.of(c).count);
    blocks *= std::max<std::int64_t>(most, 1);
    if (blocks > array::kMostGathered) break;
  }
  return blocks;
}

bool is_map(const Node& node) {
  return std::holds_alternative<array::Elementwise>(node.attributes) ||
         std::holds_alternative<array::Random>(node.attributes) || is_free(node);
}

bool is_free(const Node& node) {
  return std::holds_alternative<array::Constant>(node.attributes) ||
         std::holds_alternative<array::Arange>(node.attributes) ||
         std::holds_alternative<array::Eye>(node.attributes) ||
         std::holds_alternative<array::ExistingMemory>(node.attributes);
}

Fusion::Fusion(const std::vector<Array>& roots, bool fuse) {
  collect(roots);
  for (const Array& root : roots) root_[root.node().get()] = true;
  find_surely_stored();
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

// Whether computing a value `times` times from what its elements are computed of moves fewer bytes than
// storing it, and costs little.
bool Fusion::cheap_to_repeat(const Node* node, std::size_t times) const {
  const auto repeats = static_cast<double>(times - 1);
  double read_bytes = 0.0;
  double cost = 0.0;
  std::vector<const Node*> seen{node};
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const Node& at = *seen[i];
    if (!may_be_part(at) || std::holds_alternative<array::ExistingMemory>(at.attributes) ||
        (&at != node && surely_stored_.contains(&at))) {
      read_bytes += bytes_of(at.outputs[0]);
      continue;
    }
    cost += repeats * cost_of(at);
    if (cost > kRepeatCost || seen.size() > 4 * kRepeatCost) return false;
    for (const Array& input : at.inputs) {
      if (std::find(seen.begin(), seen.end(), input.node().get()) == seen.end()) seen.push_back(input.node().get());
    }
  }
  return repeats * read_bytes <= static_cast<double>(times + 1) * bytes_of(node->outputs[0]);
}

// Values that become blocks whatever else is decided: kernels read their blocks, or a reduction and something
// else reads them.
void Fusion::find_surely_stored() {
  std::unordered_map<const Node*, int> readers;  // 1: a reduction, 2: something else
  for (const Node* node : order_) {
    const bool computes = may_be_part(*node);
    const bool reduces = std::holds_alternative<array::Reduce>(node->attributes);
    for (const Array& input : node->inputs) {
      const Node* read = input.node().get();
      if (is_free(*read)) continue;
      if ((readers[read] |= reduces ? 1 : 2) == 3 || (!computes && !reduces)) surely_stored_.insert(read);
    }
  }
}

void Fusion::request(const Array& input, Request what) {
  std::vector<Request>& list = requests_[input.node().get()];
  if (std::find(list.begin(), list.end(), what) == list.end()) list.push_back(std::move(what));
}

// Tells the inputs of a node what is wanted of them.
void Fusion::pass_on(const Node* node, GroupId group, const AffineRead& read) {
  const bool elementwise = std::holds_alternative<array::Elementwise>(node->attributes);
  for (const Array& input : node->inputs) {
    if (const auto* view = std::get_if<array::View>(&node->attributes)) {
      request(input, {group, group < 0 ? AffineRead{} : array::compose(view->read, read)});
    } else if (const AffineRead* copied = regrid_read(*node); copied != nullptr && group >= 0) {
      request(input, {group, array::compose(*copied, read)});
    } else if (elementwise && group >= 0) {
      request(input, {group, array::compose(broadcast_read(input.shape(), node->outputs[0].shape), read)});
    } else {
      request(input, {});
    }
  }
}

const ChunkGrid& Fusion::grid_of(GroupId id) const {
  const Group& group = groups_[static_cast<std::size_t>(id)];
  if (group.owner != nullptr) return group.owner->outputs[0].grid;
  const Array& input = group.reductions[0]->inputs[0];
  return input.node()->outputs[static_cast<std::size_t>(input.output())].grid;
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
  if (regrid_read(*node) != nullptr) {
    decide_regrid(node, fuse);
    return;
  }
  if (!is_map(*node)) {
    fate.stored = true;
    pass_on(node, -1, {});
    return;
  }
  const bool wanted_stored = root || std::find(requests.begin(), requests.end(), Request{}) != requests.end();
  if (is_free(*node)) {
    fate.stored = wanted_stored;
  } else {
    const bool together = std::all_of(requests.begin(), requests.end(), [&](const Request& r) {
      return r.group >= 0 && r.group == requests[0].group;
    });
    const auto times = static_cast<int>(requests.size());
    const bool fits = together && times > 0 &&
                      groups_[static_cast<std::size_t>(requests[0].group)].size + times <= kLargestGroup &&
                      (times == 1 || cheap_to_repeat(node, requests.size()));
    fate.stored = wanted_stored || !fuse || !fits;
  }
  if (fate.stored) {
    fate.group = static_cast<GroupId>(groups_.size());
    groups_.push_back({node, {}, {}, 1});
    const AffineRead whole = array::identity_read(static_cast<int>(node->outputs[0].shape.size()));
    // A reduction of exactly this value joins the program that makes it: one pass over memory for both.
    if (fuse && !is_free(*node)) {
      for (const Request& r : requests) {
        if (r.group < 0) continue;
        Group& other = groups_[static_cast<std::size_t>(r.group)];
        if (other.owner != nullptr || other.reductions.empty() || r.read != whole) continue;
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
    pass_on(node, fate.group, whole);
    return;
  }
  if (!requests.empty() && !is_free(*node)) {
    fate.group = requests[0].group;
    groups_[static_cast<std::size_t>(fate.group)].size += static_cast<int>(requests.size());
    for (const Request& r : requests) pass_on(node, r.group, r.read);
  }
}

// Programs read the array below in their own grid while few blocks of it make up one of theirs. As blocks
// it is a copy, or a program that computes what it copies.
void Fusion::decide_regrid(const Node* node, bool fuse) {
  const std::vector<Request> requests = requests_[node];
  const ChunkGrid& below = node->inputs[0].node()->outputs[static_cast<std::size_t>(node->inputs[0].output())].grid;
  const auto few = [&](const AffineRead& read, const ChunkGrid& tasks) {
    return fuse && blocks_per_task(below, array::compose(*regrid_read(*node), read), tasks) <=
                       array::kMostGathered;
  };
  Fate& fate = fates_[node];
  fate.stored = root_.count(node) > 0 || std::any_of(requests.begin(), requests.end(), [&](const Request& r) {
                  return r.group < 0 || !few(r.read, grid_of(r.group));
                });
  if (!fate.stored) {
    for (const Request& r : requests) pass_on(node, r.group, r.read);
    return;
  }
  const array::Output& output = node->outputs[0];
  const AffineRead whole = array::identity_read(static_cast<int>(output.shape.size()));
  if (few(whole, output.grid)) {
    fate.group = static_cast<GroupId>(groups_.size());
    groups_.push_back({node, {}, {}, 1});
  }
  pass_on(node, fate.group, whole);
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
  request(input, {fate.group, array::identity_read(static_cast<int>(input.shape().size()))});
}

}  // namespace tessera::scheduler
