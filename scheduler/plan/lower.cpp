#include "scheduler/plan/lower.hpp"

#include <algorithm>

#include "array/node.hpp"
#include "core/text.hpp"
#include "scheduler/plan/lowering.hpp"
#include "scheduler/plan/task_need.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// What must become blocks: arguments of calls, in the order in which the calls are lowered, and goals.
std::vector<Array> roots_of(const CallGraph& calls, const std::vector<Goal>& goals) {
  std::vector<Array> out;
  for (const auto& call : calls.own()) {
    for (const Array& array : calls.inputs(*call).arrays) out.push_back(array);
  }
  for (const Goal& goal : goals) out.push_back(goal.array);
  return out;
}

}  // namespace

PlanInput make_input(const StoredValue& value, const array::AffineRead& read, const ChunkGrid& tasks) {
  PlanInput input;
  input.slot = value.slot;
  for (std::size_t d = 0; d < read.size(); ++d) {
    const AxisChunks& chunks = value.grid.axis(static_cast<int>(d));
    if (read[d].axis < 0) {
      const auto block = static_cast<std::int32_t>(chunks.extent() > 0 ? chunks.chunk_of(read[d].offset) : 0);
      input.access.links.push_back({-1, AxisMap::ranges({block}, {block + 1}, chunks.count())});
    } else {
      const AxisChunks& axis = tasks.axis(read[d].axis);
      input.access.links.push_back({read[d].axis, blocks_read(chunks, read[d], axis, 0, axis.extent())});
    }
  }
  if (value.chain_link >= 0) {
    const auto link = static_cast<std::int32_t>(value.chain_link);
    input.access.links.push_back({-1, AxisMap::ranges({link}, {link + 1}, link + 1)});
    input.links = value.chain_link + 1;
  }
  return input;
}

Lowering::Lowering(const std::vector<Goal>& goals, const LowerOptions& options)
    : goals_(goals),
      options_(options),
      calls_(goals, options.calls, options.ranks, options.instead),
      fusion_(roots_of(calls_, goals), options.fuse) {}

Lowered Lowering::run() {
  lower_calls();
  lower_up_to(nullptr);
  for (const Goal& goal : goals_) {
    if (goal.kind == Goal::Kind::kDeliver) {
      deliver(goal);
      continue;
    }
    StoredValue value = stored(goal.array);
    const PlanNode& producer = out_.plan.nodes[at(out_.plan.slots[at(value.slot)].node)];
    if (value.chain_link >= 0 || producer.resident) {
      // Links of chains and blocks of earlier runs are not results: a plain copy is.
      const array::Node& node = *goal.array.node();
      auto spec = std::make_shared<kernels::ProgramSpec>();
      spec->grid = value.grid;
      spec->program.rank = value.grid.rank();
      spec->program.load_count = 1;
      kernels::Instr load;
      load.kind = kernels::InstrKind::kLoad;
      load.dtype = value.dtype;
      load.slot = 0;
      spec->program.instrs = {load};
      spec->program.stores = {0};
      kernels::ProgramSpec::Load from;
      from.from = {array::identity_read(value.grid.rank()), value.grid, value.dtype};
      from.input = 0;
      spec->loads.push_back(std::move(from));
      PlanNode copy = new_node(node, node.name, value.grid);
      copy.inputs.push_back(make_input(value, array::identity_read(value.grid.rank()), value.grid));
      copy.spec = std::move(spec);
      value.slot = append_with_output(std::move(copy), kernels::BlockSize(value.grid, value.dtype));
    }
    out_.plan.slots[at(value.slot)].retained = true;
    out_.kept.push_back(value.slot);
  }
  for (const auto& [blocks, size, label, origin] : options_.bystanders) {
    if (!residents_.try_emplace(blocks.get(), -1).second) continue;
    PlanNode source;
    source.label = label;
    source.origin = origin;
    source.counts = size.grid().counts();
    source.resident = true;
    out_.residents.push_back({blocks, append_with_output(std::move(source), size)});
  }
  out_.plan.finalize();
  return std::move(out_);
}

PlanNode Lowering::new_node(const array::Node& node, std::string label, const ChunkGrid& grid) {
  PlanNode out;
  out.label = std::move(label);
  out.origin = array::origin(node);
  out.counts = grid.counts();
  return out;
}

NodeIndex Lowering::append(PlanNode node) {
  if (options_.registry != nullptr && node.spec) node.scratch_bytes = options_.registry->scratch_bytes(*node.spec);
  return out_.plan.add_node(std::move(node));
}

SlotIndex Lowering::append_with_output(PlanNode node, kernels::BlockSize size) {
  const auto index = static_cast<NodeIndex>(out_.plan.nodes.size());
  node.outputs.push_back(out_.plan.add_slot(index, static_cast<int>(node.outputs.size()), std::move(size)));
  const SlotIndex slot = node.outputs.back();
  append(std::move(node));
  return slot;
}

void Lowering::lower_node(const array::Node& node) {
  const Fate& fate = fusion_.fate(&node);
  if (is_map(node) || std::holds_alternative<array::View>(node.attributes)) {
    if (fate.stored) lower_group(fate.group, node);
  } else if (std::holds_alternative<array::Reduce>(node.attributes)) {
    lower_reduce(node);
  } else if (std::holds_alternative<array::Scan>(node.attributes)) {
    lower_scan(node);
  } else if (std::holds_alternative<array::Assemble>(node.attributes)) {
    lower_copy(node, fate);
  } else if (std::holds_alternative<array::Matmul>(node.attributes)) {
    lower_matmul(node);
  } else if (std::holds_alternative<array::BlockOp>(node.attributes)) {
    lower_block_op(node);
  } else if (std::holds_alternative<array::Stored>(node.attributes)) {
    lower_stored(node);
  } else if (std::holds_alternative<array::Awaited>(node.attributes)) {
    lower_awaited(node);
  } else {
    lower_resident(node);
  }
}

StoredValue Lowering::stored(const Array& a) {
  const auto it = stored_.find({a.node().get(), a.output()});
  if (it == stored_.end()) {
    throw std::logic_error(core::text("[lower] a value that tasks read as blocks must be stored; got ", a.node()->name));
  }
  return it->second;
}

void Lowering::lower_stored(const array::Node& node) {
  const array::Output& output = node.outputs[0];
  auto spec = std::make_shared<kernels::ReadSpec>();
  spec->reader = std::get<array::Stored>(node.attributes).reader;
  spec->grid = output.grid;
  PlanNode task = new_node(node, node.name, output.grid);
  task.spec = std::move(spec);
  task.recomputable = true;
  const SlotIndex slot = append_with_output(std::move(task), kernels::BlockSize(output.grid, output.dtype));
  stored_[{&node, 0}] = {slot, output.grid, output.dtype, -1};
}

void Lowering::lower_resident(const array::Node& node) {
  const auto& resident = std::get<array::Resident>(node.attributes);
  const array::Output& output = node.outputs[0];
  const auto [it, fresh] = residents_.try_emplace(resident.blocks.get(), -1);
  if (fresh) {
    PlanNode source = new_node(node, node.name, output.grid);
    source.resident = true;
    it->second = append_with_output(std::move(source), kernels::BlockSize(output.grid, output.dtype));
    out_.residents.push_back({resident.blocks, it->second});
  }
  stored_[{&node, 0}] = {it->second, output.grid, output.dtype, -1};
}

void Lowering::deliver(const Goal& goal) {
  const array::Node& node = *goal.array.node();
  const StoredValue value = stored(goal.array);
  const array::AffineRead read = array::identity_read(value.grid.rank());
  auto spec = std::make_shared<kernels::DeliverSpec>();
  spec->from = {read, value.grid, value.dtype};
  spec->grid = goal.array.chunks();
  spec->memory = goal.memory;
  PlanNode task = new_node(node, "deliver " + node.name, goal.array.chunks());
  task.inputs.push_back(make_input(value, read, goal.array.chunks()));
  task.spec = std::move(spec);
  task.sink = true;
  task.everywhere = true;
  append(std::move(task));
}

void Lowering::lower_copy(const array::Node& node, const Fate& fate) {
  if (!fate.stored) return;
  const bool from_blocks = node.inputs.empty() || stored_.contains({node.inputs[0].node().get(), node.inputs[0].output()});
  if (fate.group >= 0 && !from_blocks) {
    lower_group(fate.group, node);
  } else {
    lower_assemble(node);
  }
}

void Lowering::lower_assemble(const array::Node& node) {
  const std::vector<array::Assemble::Part>& parts = std::get<array::Assemble>(node.attributes).parts;
  std::vector<StoredValue> values;
  for (const Array& input : node.inputs) values.push_back(stored(input));
  if (const array::AffineRead* read = regrid_read(node)) {
    const ChunkGrid& grid = node.outputs[0].grid;
    const StoredValue pieces = in_pieces(node, values[0], *read, grid);
    if (pieces.slot != values[0].slot) {
      if (pieces.grid == grid) {
        stored_[{&node, 0}] = pieces;
      } else {
        const array::AffineRead whole = array::identity_read(grid.rank());
        assemble(node, {{whole, Shape(grid.shape().size(), 0), grid.shape()}}, {pieces});
      }
      return;
    }
  }
  assemble(node, parts, values);
}

void Lowering::assemble(const array::Node& node, const std::vector<array::Assemble::Part>& parts,
                        const std::vector<StoredValue>& inputs) {
  const array::Output& output = node.outputs[0];
  auto spec = std::make_shared<kernels::AssembleSpec>();
  spec->grid = output.grid;
  spec->dtype = output.dtype;
  spec->fill = std::get<array::Assemble>(node.attributes).fill;
  PlanNode task = new_node(node, node.name, output.grid);
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const array::Assemble::Part& part = parts[k];
    const StoredValue& value = inputs[k];
    PlanInput input;
    input.slot = value.slot;
    std::vector<bool> linked(at(output.grid.rank()), false);
    for (std::size_t d = 0; d < part.read.size(); ++d) {
      const AxisChunks& chunks = value.grid.axis(static_cast<int>(d));
      const array::AxisRead& read = part.read[d];
      if (read.axis < 0) {
        const auto block = static_cast<std::int32_t>(chunks.extent() > 0 ? chunks.chunk_of(read.offset) : 0);
        input.access.links.push_back({-1, AxisMap::ranges({block}, {block + 1}, chunks.count())});
        continue;
      }
      linked[at(read.axis)] = true;
      const AxisChunks& axis = output.grid.axis(read.axis);
      input.access.links.push_back(
          {read.axis, blocks_read(chunks, read, axis, part.lo[at(read.axis)], part.hi[at(read.axis)])});
    }
    for (int axis = 0; axis < output.grid.rank(); ++axis) {
      const AxisChunks& chunks = output.grid.axis(axis);
      if (linked[at(axis)] || (part.lo[at(axis)] <= 0 && part.hi[at(axis)] >= chunks.extent())) continue;
      std::vector<std::int32_t> lo(at(chunks.count()), 0);
      std::vector<std::int32_t> hi(at(chunks.count()), 0);
      for (std::int64_t c = 0; c < chunks.count(); ++c) {
        hi[at(c)] = std::max(chunks.begin(c), part.lo[at(axis)]) < std::min(chunks.end(c), part.hi[at(axis)]) ? 1 : 0;
      }
      input.access.presence.push_back({axis, AxisMap::ranges(std::move(lo), std::move(hi), 1)});
    }
    if (value.chain_link >= 0) {
      const auto link = static_cast<std::int32_t>(value.chain_link);
      input.access.links.push_back({-1, AxisMap::ranges({link}, {link + 1}, link + 1)});
      input.links = value.chain_link + 1;
    }
    task.inputs.push_back(std::move(input));
    spec->parts.push_back({{part.read, value.grid, value.dtype}, part.lo, part.hi});
  }
  task.spec = std::move(spec);
  const SlotIndex slot = append_with_output(std::move(task), kernels::BlockSize(output.grid, output.dtype));
  stored_[{&node, 0}] = {slot, output.grid, output.dtype, -1};
}

StoredValue Lowering::lower_diagonal(const array::Node& node, const StoredValue& value, const ChunkGrid& tasks,
                                     array::AffineRead& read) {
  std::vector<int> place(at(tasks.rank()), -1);
  std::vector<int> uses(at(tasks.rank()), 0);
  std::vector<AxisChunks> axes;
  array::AffineRead outer;
  array::AffineRead inner = read;
  for (array::AxisRead& r : inner) {
    if (r.axis < 0) continue;
    ++uses[at(r.axis)];
    if (place[at(r.axis)] < 0) {
      place[at(r.axis)] = static_cast<int>(axes.size());
      axes.push_back(tasks.axis(r.axis));
      outer.push_back({r.axis, 0, 1});
    }
    r.axis = place[at(r.axis)];
  }
  // One part for each chunk of the axes that are followed twice: there the blocks to read are fixed.
  for (std::size_t d = 0; d < inner.size(); ++d) {
    if (read[d].axis < 0 || uses[at(read[d].axis)] < 2) continue;
    AxisChunks& axis = axes[at(inner[d].axis)];
    axis = axis_within_blocks(value.grid.axis(static_cast<int>(d)), inner[d], axis);
  }
  std::vector<std::size_t> repeated;
  for (std::size_t a = 0; a < uses.size(); ++a) {
    if (uses[a] > 1) repeated.push_back(at(place[a]));
  }
  auto spec = std::make_shared<kernels::AssembleSpec>();
  spec->grid = ChunkGrid(axes);
  spec->dtype = value.dtype;
  PlanNode task = new_node(node, "diagonal", spec->grid);
  BlockIndex chunk(repeated.size(), 0);
  for (bool more = spec->grid.shape() != Shape{} && element_count(spec->grid.shape()) > 0; more;) {
    Shape lo(axes.size(), 0);
    Shape hi = spec->grid.shape();
    PlanInput input;
    input.slot = value.slot;
    for (std::size_t r = 0; r < repeated.size(); ++r) {
      const AxisChunks& axis = axes[repeated[r]];
      lo[repeated[r]] = axis.begin(chunk[r]);
      hi[repeated[r]] = axis.end(chunk[r]);
      std::vector<std::int32_t> first(at(axis.count()), 0);
      std::vector<std::int32_t> last(at(axis.count()), 0);
      last[at(chunk[r])] = 1;
      input.access.presence.push_back(
          {static_cast<int>(repeated[r]), AxisMap::ranges(std::move(first), std::move(last), 1)});
    }
    for (std::size_t d = 0; d < inner.size(); ++d) {
      const array::AxisRead& r = inner[d];
      const AxisChunks& chunks = value.grid.axis(static_cast<int>(d));
      const bool fixed = r.axis < 0 || uses[at(read[d].axis)] > 1;
      if (!fixed) {
        const AxisChunks& axis = axes[at(r.axis)];
        input.access.links.push_back({r.axis, blocks_read(chunks, r, axis, 0, axis.extent())});
        continue;
      }
      const std::int64_t element = r.axis < 0 ? r.offset : r.offset + r.step * lo[at(r.axis)];
      const auto block = static_cast<std::int32_t>(chunks.chunk_of(element));
      input.access.links.push_back({-1, AxisMap::ranges({block}, {block + 1}, chunks.count())});
    }
    if (value.chain_link >= 0) {
      const auto link = static_cast<std::int32_t>(value.chain_link);
      input.access.links.push_back({-1, AxisMap::ranges({link}, {link + 1}, link + 1)});
      input.links = value.chain_link + 1;
    }
    task.inputs.push_back(std::move(input));
    spec->parts.push_back({{inner, value.grid, value.dtype}, std::move(lo), std::move(hi)});
    std::size_t r = repeated.size();
    while (r > 0 && ++chunk[r - 1] == axes[repeated[r - 1]].count()) chunk[--r] = 0;
    more = r > 0;
  }
  const ChunkGrid grid = spec->grid;
  task.spec = std::move(spec);
  read = std::move(outer);
  return {append_with_output(std::move(task), kernels::BlockSize(grid, value.dtype)), grid, value.dtype, -1};
}

Lowered lower(const std::vector<Goal>& goals, const LowerOptions& options) {
  Lowered lowered = Lowering(goals, options).run();
  if (!options.fuse || largest_task_bytes(lowered.plan) <= options.budget_bytes) return lowered;
  LowerOptions single = options;
  single.fuse = false;
  Lowered unfused = Lowering(goals, single).run();
  return largest_task_bytes(unfused.plan) <= options.budget_bytes ? std::move(unfused) : std::move(lowered);
}

}  // namespace tessera::scheduler
