#include "scheduler/lineage.hpp"

#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

#include "array/node.hpp"
#include "core/text.hpp"
#include "scheduler/plan/call_graph.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

using NodePointer = std::shared_ptr<const array::Node>;

NodePointer copy_of(const array::Node& node, array::Attributes attributes,
                    std::vector<Array> inputs) {
  auto copy = std::make_shared<array::Node>(node.name, std::move(attributes), std::move(inputs),
                                            node.outputs, std::source_location());
  copy->file = node.file;
  copy->line = node.line;
  return copy;
}

// Expressions with other arrays in the place of some kept ones. What holds none of these stays what
// it is, and what is shared stays shared.
class Rewrite {
 public:
  /// What stands for a kept array, which is rewritten in turn; nothing: it stays.
  using Instead = std::function<std::optional<Array>(const NodePointer&, const array::Resident&)>;
  explicit Rewrite(Instead instead) : instead_(std::move(instead)) {}

  Array operator()(const Array& root) {
    std::vector<NodePointer> open{root.node()};
    while (!open.empty()) {
      const NodePointer node = open.back();
      const std::size_t before = open.size();
      if (!done_.contains(node.get())) visit(node, open);
      if (open.size() == before) open.pop_back();
    }
    return now(root);
  }

 private:
  // What stands for a node; for one output of it, where that is another array's.
  struct Target {
    NodePointer node;
    std::optional<int> output;
  };

  // Done, or more to do first.
  void visit(const NodePointer& node, std::vector<NodePointer>& open) {
    const auto* kept = std::get_if<array::Resident>(&node->attributes);
    if (kept == nullptr) {
      for (const Array& input : node->inputs) {
        if (!done_.contains(input.node().get())) open.push_back(input.node());
      }
      if (open.back() == node) finish(node, {with_inputs(node), {}});
      return;
    }
    const auto [it, fresh] = instead_of_.try_emplace(node.get());
    if (fresh) it->second = instead_(node, *kept);
    const std::optional<Array>& other = it->second;
    if (!other || other->node() == node) {
      finish(node, {node, {}});
    } else if (done_.contains(other->node().get())) {
      const Array result = now(*other);
      finish(node, {result.node(), result.output()});
    } else {
      open.push_back(other->node());
    }
  }

  void finish(const NodePointer& node, Target target) {
    held_.push_back(node);
    done_.emplace(node.get(), std::move(target));
  }

  Array now(const Array& array) const {
    const Target& target = done_.at(array.node().get());
    return Array(target.node, target.output.value_or(array.output()));
  }

  NodePointer with_inputs(const NodePointer& node) const {
    bool same = true;
    std::vector<Array> inputs;
    for (const Array& input : node->inputs) {
      inputs.push_back(now(input));
      same = same && inputs.back().node() == input.node();
    }
    return same ? node : copy_of(*node, node->attributes, std::move(inputs));
  }

  const Instead instead_;
  std::unordered_map<const array::Node*, Target> done_;
  std::unordered_map<const array::Node*, std::optional<Array>> instead_of_;
  std::vector<NodePointer> held_;  // their addresses are keys
};

// Memory that the caller has promised to keep for as long as an array reads it: one that is kept
// does not.
bool is_borrowed(const array::Node& node) {
  const auto* memory = std::get_if<array::ExistingMemory>(&node.attributes);
  return memory != nullptr && memory->data.use_count() == 0;
}

// What a function need not give again, or may be gone, cannot take the place of what was lost.
// Arrays that were kept on the way answer for themselves.
void refuse_what_may_differ(const Array& lineage) {
  if (const array::Node* node = find_node(lineage, is_impure)) {
    throw CommError(
        core::text("[compute] an array that is kept has lost blocks with a rank, and ", node->name,
                   ", which made them, need not give the same again; got the one built at ",
                   array::origin(*node), "; try MapBlocksOptions::pure"));
  }
  if (const array::Node* node = find_node(lineage, is_borrowed)) {
    throw CommError(core::text(
        "[compute] an array that is kept has lost blocks with a rank, and the memory that they "
        "came from may be gone; got the array built at ",
        array::origin(*node), "; try MemoryOptions::owner, which keeps it"));
  }
}

// Of a call whose value is lost, and that would read memory that may be gone by now.
void refuse_borrowed(const tessera::detail::Call& call) {
  for (const Array& array : CallGraph::own_inputs(call).arrays) {
    const array::Node* node = find_node(array, is_borrowed);
    if (node == nullptr) continue;
    throw CommError(core::text(
        "[delayed] the value of the call at ", core::source_place(call.file(), call.line()),
        " is lost with a rank, and the memory that it read may be gone; got the array built at ",
        array::origin(*node), "; try MemoryOptions::owner, which keeps it"));
  }
}

// The arrays, of which nothing reads blocks that are lost.
Restored rewritten(const std::vector<Array>& arrays,
                   const std::function<bool(const Blocks&)>& lost) {
  Restored out;
  std::unordered_map<const void*, std::optional<Array>> there;  // one for each kept array
  std::unordered_set<const void*> gone;
  std::vector<std::pair<Blocks, Array>> again;
  Rewrite rewrite(
      [&](const NodePointer& node, const array::Resident& kept) -> std::optional<Array> {
        const Blocks blocks = kept.blocks != nullptr ? kept.blocks : kept.kept.lock();
        if (blocks != nullptr && !lost(blocks)) {
          if (kept.blocks != nullptr) return std::nullopt;
          std::optional<Array>& one = there[blocks.get()];
          if (!one) one = Array(copy_of(*node, array::Resident{blocks, kept.lineage, {}}, {}), 0);
          return one;
        }
        if (kept.lineage == nullptr)
          throw std::logic_error("[session] an array that may be lost has a lineage");
        refuse_what_may_differ(*kept.lineage);
        if (blocks != nullptr && gone.insert(blocks.get()).second)
          again.emplace_back(blocks, *kept.lineage);
        return *kept.lineage;
      });
  for (const Array& array : arrays) out.arrays.push_back(rewrite(array));
  for (auto& [blocks, lineage] : again) out.again.emplace_back(blocks, rewrite(lineage));
  return out;
}

}  // namespace

bool is_impure(const array::Node& node) {
  const auto* op = std::get_if<array::BlockOp>(&node.attributes);
  return op != nullptr && !op->pure;
}

const array::Node* find_node(const Array& array,
                             const std::function<bool(const array::Node&)>& is) {
  std::unordered_set<const array::Node*> seen;
  std::vector<const array::Node*> open{array.node().get()};
  while (!open.empty()) {
    const array::Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    if (is(*node)) return node;
    for (const Array& input : node->inputs) open.push_back(input.node().get());
  }
  return nullptr;
}

std::shared_ptr<const Array> lineage_of(const Array& array) {
  Rewrite rewrite([](const NodePointer& node, const array::Resident& kept) -> std::optional<Array> {
    if (kept.blocks == nullptr) return std::nullopt;
    return Array(copy_of(*node, array::Resident{nullptr, kept.lineage, kept.blocks}, {}), 0);
  });
  return std::make_shared<const Array>(rewrite(array));
}

Restored restore(const std::vector<Goal>& goals,
                 const std::vector<std::shared_ptr<tessera::detail::Call>>& calls,
                 const std::vector<std::int32_t>& ranks,
                 const std::function<bool(const Blocks&)>& lost) {
  Restored out;
  std::vector<Array> arrays;  // the goals', and arguments
  for (const Goal& goal : goals) arrays.push_back(goal.array);
  // What computes an array anew may wait for calls, whose arguments may be lost as well.
  for (bool more = true; more;) {
    more = false;
    out = rewritten(arrays, lost);
    std::vector<Goal> planned;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      if (i < goals.size()) {
        planned.push_back({out.arrays[i], Goal::Kind::kKeep, nullptr});
      } else {
        out.instead.emplace(std::pair(arrays[i].node().get(), arrays[i].output()), out.arrays[i]);
      }
    }
    for (const auto& [blocks, array] : out.again)
      planned.push_back({array, Goal::Kind::kKeep, nullptr});
    const CallGraph graph(planned, calls, ranks, out.instead);
    for (const auto& call : graph.lost()) refuse_borrowed(*call);
    for (const auto& call : graph.own()) {
      for (const Array& array : CallGraph::own_inputs(*call).arrays) {
        if (!out.instead.try_emplace({array.node().get(), array.output()}, array).second) continue;
        arrays.push_back(array);
        more = true;
      }
    }
  }
  return out;
}

}  // namespace tessera::scheduler
