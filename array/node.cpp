#include "array/node.hpp"

#include "array/refuse.hpp"
#include "core/array_limits.hpp"
#include "core/text.hpp"

namespace tessera::array {
namespace {

using Pending = std::vector<std::shared_ptr<const Node>>;

// The list that the outermost destructor on this thread works off; null while none runs.
thread_local Pending* draining = nullptr;

void hand_over(Node& node, Pending& pending) {
  for (const Array& input : node.inputs) pending.push_back(input.node());
  node.inputs.clear();
  const auto* kept = std::get_if<Resident>(&node.attributes);
  if (kept != nullptr && kept->lineage != nullptr) pending.push_back(kept->lineage->node());
}

}  // namespace

Node::Node(std::string name, Attributes attributes, std::vector<Array> inputs,
           std::vector<Output> outputs, const std::source_location& where)
    : name(std::move(name)),
      attributes(std::move(attributes)),
      inputs(std::move(inputs)),
      outputs(std::move(outputs)),
      file(where.file_name()),
      line(where.line()) {
  for (const Output& output : this->outputs)
    core::array_bytes(this->name, output.shape, output.dtype);
}

Node::~Node() {
  // A node that dies inside another's destructor leaves its inputs to the outermost one, so that a
  // chain of any length is freed without recursion.
  if (draining != nullptr) {
    hand_over(*this, *draining);
    return;
  }
  Pending pending;
  draining = &pending;
  hand_over(*this, pending);
  while (!pending.empty()) {
    const std::shared_ptr<const Node> next = std::move(pending.back());
    pending.pop_back();
  }
  draining = nullptr;
}

std::string origin(const Node& node) { return core::source_place(node.file, node.line); }

Array make_array(std::string name, Attributes attributes, std::vector<Array> inputs, DType dtype,
                 ChunkGrid grid, const std::source_location& where) {
  Shape shape = grid.shape();
  std::vector<Output> outputs;
  outputs.push_back({dtype, std::move(grid), std::move(shape), std::nullopt});
  return Array(std::make_shared<const Node>(std::move(name), std::move(attributes),
                                            std::move(inputs), std::move(outputs), where),
               0);
}

int normalize_axis(int axis, int rank, std::string_view where) {
  if (axis < -rank || axis >= rank) {
    refuse(where, "an axis must lie in [-ndim, ndim); got axis ", axis, " for an array of ", rank,
           rank == 1 ? " axis" : " axes");
  }
  return axis < 0 ? axis + rank : axis;
}

std::vector<bool> normalize_axes(const Axes& axes, int rank, std::string_view where) {
  std::vector<bool> flags(static_cast<std::size_t>(rank), !axes.given());
  for (const int axis : axes.values()) {
    const auto i = static_cast<std::size_t>(normalize_axis(axis, rank, where));
    if (flags[i]) {
      refuse(where, "axes must differ; got ", list_text(axes.values()), " for an array of ", rank,
             " axes");
    }
    flags[i] = true;
  }
  return flags;
}

Array cast(const Array& x, DType dtype, const std::source_location& where) {
  if (x.dtype() == dtype) return x;
  return make_array("astype", Elementwise{core::ScalarOp::kCast}, {x}, dtype, x.chunks(), where);
}

}  // namespace tessera::array
