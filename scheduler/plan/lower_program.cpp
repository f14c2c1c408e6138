#include <algorithm>

#include "array/node.hpp"
#include "core/storage_dtype.hpp"
#include "scheduler/plan/lowering.hpp"

namespace tessera::scheduler {

namespace {

using array::AffineRead;
using array::AxisRead;
using core::ScalarOp;
using kernels::Instr;
using kernels::InstrKind;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

// Emits the straight-line code of one group.
class ProgramBuilder {
 public:
  ProgramBuilder(Lowering& lowering, GroupId group, const ChunkGrid& grid, PlanNode& task)
      : lowering_(lowering), group_(group), task_(task), spec_(std::make_shared<kernels::ProgramSpec>()) {
    spec_->grid = grid;
    spec_->program.rank = grid.rank();
  }

  /// Number of the value that holds array `a` read through `read`.
  int value(const Array& a, const AffineRead& read) {
    const array::Node& node = *a.node();
    const Key key{&node, a.output()};
    for (const auto& [k, r, v] : memo_) {
      if (k == key && r == read) return v;
    }
    const int v = emit(a, node, read);
    memo_.push_back({key, read, v});
    return v;
  }

  /// The operation of a node of this group itself.
  int compute(const array::Node& node, const AffineRead& read) {
    if (const auto* view = std::get_if<array::View>(&node.attributes)) {
      return value(node.inputs[0], array::compose(view->read, read));
    }
    if (const AffineRead* copied = regrid_read(node)) {
      add_label(node.name);
      return value(node.inputs[0], array::compose(*copied, read));
    }
    const array::Output& output = node.outputs[0];
    add_label(node.name);
    if (const auto* constant = std::get_if<array::Constant>(&node.attributes)) {
      const bool stored_only = !core::has_arithmetic(output.dtype);
      return cast(this->constant(constant->value, stored_only ? DType::kFloat64 : output.dtype), output.dtype);
    }
    if (const auto* arange = std::get_if<array::Arange>(&node.attributes)) return emit_arange(*arange, output, read);
    if (const auto* eye = std::get_if<array::Eye>(&node.attributes)) {
      // One where row + k - column is 0.
      const int difference = index(eye->k, {1, -1}, read);
      return cast(binary(ScalarOp::kEqual, difference, constant_int(0), DType::kInt64, DType::kBool), output.dtype);
    }
    if (const auto* random = std::get_if<array::Random>(&node.attributes)) {
      std::vector<std::int64_t> strides(output.shape.size(), 1);
      for (std::size_t d = output.shape.size(); d-- > 1;) strides[d - 1] = strides[d] * output.shape[d];
      Instr instr;
      instr.kind = InstrKind::kRandom;
      instr.dtype = output.dtype;
      instr.random = random->spec;
      instr.args[0] = index(0, strides, read);
      return push(instr);
    }
    if (const auto* memory = std::get_if<array::ExistingMemory>(&node.attributes)) {
      kernels::ProgramSpec::Load load;
      load.from = {read, ChunkGrid::whole(output.shape), output.dtype};
      load.memory = memory->data;
      load.memory_strides = memory->strides;
      load.cuda = memory->cuda;
      return push_load(std::move(load));
    }
    return emit_operation(node, read);
  }

  void store(int v) { spec_->program.stores.push_back(v); }
  void reduce(const kernels::ProgramReduction& reduction) { spec_->program.reductions.push_back(reduction); }
  void set_reduced(const std::vector<bool>& axes) { spec_->program.reduced = axes; }
  int linear_index(const Shape& shape, const std::vector<bool>& axes) {
    std::vector<std::int64_t> strides(shape.size(), 0);
    std::int64_t stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (!axes[d]) continue;
      strides[d] = stride;
      stride *= shape[d];
    }
    return index(0, strides, array::identity_read(static_cast<int>(shape.size())));
  }
  std::shared_ptr<const kernels::ProgramSpec> finish() {
    task_.recomputable = task_.inputs.empty();
    return spec_;
  }
  void add_label(const std::string& name) {
    if (label_parts_ < 6) task_.label += (task_.label.empty() ? "" : "+") + name;
    if (label_parts_++ == 6) task_.label += "+..";
  }

 private:
  using Key = std::pair<const array::Node*, int>;
  struct Memo {
    Key key;
    AffineRead read;
    int value;
  };

  int emit(const Array& a, const array::Node& node, const AffineRead& read) {
    const Fate& fate = lowering_.fusion_.fate(&node);
    if (is_free(node)) return compute(node, read);
    if (std::holds_alternative<array::View>(node.attributes)) return compute(node, read);
    if (!fate.stored && (fate.group == group_ || regrid_read(node) != nullptr)) return compute(node, read);
    if (own_ == &node) return compute(node, read);
    StoredValue value = lowering_.stored(a);
    AffineRead from = read;
    if (array::repeats_axis(read)) value = lowering_.lower_diagonal(node, value, spec_->grid, from);
    kernels::ProgramSpec::Load load;
    load.from = {from, value.grid, value.dtype};
    load.input = static_cast<int>(task_.inputs.size());
    task_.inputs.push_back(make_input(value, from, spec_->grid));
    return push_load(std::move(load));
  }

  int emit_operation(const array::Node& node, const AffineRead& read) {
    const auto& op = std::get<array::Elementwise>(node.attributes);
    if (op.op == ScalarOp::kCast) {
      return cast(value(node.inputs[0], array::compose(broadcast_read(node.inputs[0].shape(), node.outputs[0].shape), read)),
                  node.outputs[0].dtype);
    }
    Instr instr;
    instr.kind = InstrKind::kOp;
    instr.op = op.op;
    instr.dtype = node.outputs[0].dtype;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      instr.args[k] = value(node.inputs[k],
                            array::compose(broadcast_read(node.inputs[k].shape(), node.outputs[0].shape), read));
    }
    instr.compute_dtype = node.inputs[op.op == ScalarOp::kWhere ? 1 : 0].dtype();
    return push(instr);
  }

  int emit_arange(const array::Arange& arange, const array::Output& output, const AffineRead& read) {
    if (is_integer(output.dtype)) {
      const auto step = arange.step.to<std::int64_t>();
      return cast(index(arange.start.to<std::int64_t>(), {step}, read), output.dtype);
    }
    const int i = index(0, {1}, read);
    const int x = cast(i, DType::kFloat64);
    const int scaled = binary(ScalarOp::kMultiply, x, constant(arange.step, DType::kFloat64), DType::kFloat64, DType::kFloat64);
    int v = binary(ScalarOp::kAdd, scaled, constant(arange.start, DType::kFloat64), DType::kFloat64, DType::kFloat64);
    if (arange.last) {
      Instr select;
      select.kind = InstrKind::kOp;
      select.op = ScalarOp::kWhere;
      select.dtype = select.compute_dtype = DType::kFloat64;
      select.args = {binary(ScalarOp::kEqual, i, constant_int(output.shape[0] - 1), DType::kInt64, DType::kBool),
                     constant(*arange.last, DType::kFloat64), v};
      v = push(select);
    }
    return cast(v, output.dtype);
  }

  // base + sum(strides[d] * index[d]) of the array read, as a function of the group's elements.
  int index(std::int64_t base, const std::vector<std::int64_t>& strides, const AffineRead& read) {
    kernels::ProgramSpec::Index out;
    out.base = base;
    out.strides.assign(at(spec_->grid.rank()), 0);
    for (std::size_t d = 0; d < read.size(); ++d) {
      out.base += strides[d] * read[d].offset;
      if (read[d].axis >= 0) out.strides[at(read[d].axis)] += strides[d] * read[d].step;
    }
    Instr instr;
    instr.kind = InstrKind::kIndex;
    instr.dtype = DType::kInt64;
    instr.slot = static_cast<int>(spec_->indices.size());
    spec_->indices.push_back(std::move(out));
    spec_->program.index_count = static_cast<int>(spec_->indices.size());
    return push(instr);
  }

  int push(const Instr& instr) {
    spec_->program.instrs.push_back(instr);
    return static_cast<int>(spec_->program.instrs.size()) - 1;
  }
  int push_load(kernels::ProgramSpec::Load load) {
    Instr instr;
    instr.kind = InstrKind::kLoad;
    instr.dtype = load.from.dtype;
    instr.slot = static_cast<int>(spec_->loads.size());
    spec_->loads.push_back(std::move(load));
    spec_->program.load_count = static_cast<int>(spec_->loads.size());
    return push(instr);
  }
  int constant(const Scalar& value, DType dtype) {
    Instr instr;
    instr.kind = InstrKind::kConstant;
    instr.dtype = dtype;
    instr.constant = value;
    return push(instr);
  }
  int constant_int(std::int64_t value) { return constant(Scalar(value), DType::kInt64); }
  int binary(ScalarOp op, int a, int b, DType compute, DType result) {
    Instr instr;
    instr.kind = InstrKind::kOp;
    instr.op = op;
    instr.compute_dtype = compute;
    instr.dtype = result;
    instr.args = {a, b, -1};
    return push(instr);
  }
  int cast(int v, DType dtype) {
    const DType from = spec_->program.instrs[at(v)].dtype;
    if (from == dtype) return v;
    // Types that are only stored convert from and to real ones.
    const auto is_real = [](DType d) { return core::has_arithmetic(d) && is_floating(d); };
    if ((!core::has_arithmetic(dtype) && !is_real(from)) || (!core::has_arithmetic(from) && !is_real(dtype))) {
      return cast(cast(v, DType::kFloat64), dtype);
    }
    Instr instr;
    instr.kind = InstrKind::kOp;
    instr.op = ScalarOp::kCast;
    instr.compute_dtype = from;
    instr.dtype = dtype;
    instr.args[0] = v;
    return push(instr);
  }

 public:
  const array::Node* own_ = nullptr;  ///< the stored map this program makes

 private:
  Lowering& lowering_;
  GroupId group_;
  PlanNode& task_;
  std::shared_ptr<kernels::ProgramSpec> spec_;
  std::vector<Memo> memo_;
  int label_parts_ = 0;
};

namespace {

bool one_block(const ChunkGrid& grid, const std::vector<bool>& axes) {
  for (std::size_t d = 0; d < axes.size(); ++d) {
    if (axes[d] && grid.axis(static_cast<int>(d)).count() > 1) return false;
  }
  return true;
}

// The grid of per-block results: reduced axes have extent 1 in every block.
ChunkGrid partial_grid(const ChunkGrid& grid, const std::vector<bool>& axes) {
  std::vector<AxisChunks> out;
  for (std::size_t d = 0; d < axes.size(); ++d) {
    const AxisChunks& axis = grid.axis(static_cast<int>(d));
    out.push_back(axes[d] ? AxisChunks::regular(axis.count(), 1) : axis);
  }
  return ChunkGrid(std::move(out));
}

bool is_arg(core::ReduceOp op) {
  return op == core::ReduceOp::kArgMin || op == core::ReduceOp::kArgMax || op == core::ReduceOp::kNanArgMin ||
         op == core::ReduceOp::kNanArgMax;
}

}  // namespace

void Lowering::lower_group(GroupId group, const array::Node& node) {
  if (group_done_.size() <= at(group)) group_done_.resize(at(group) + 1, false);
  if (group_done_[at(group)]) return;
  group_done_[at(group)] = true;
  const array::Node* owner = fusion_.owner(group);
  const std::vector<const array::Node*>& reductions = fusion_.reductions(group);
  const array::Output& space = owner != nullptr ? owner->outputs[0]
                                                : reductions[0]->inputs[0].node()->outputs[at(reductions[0]->inputs[0].output())];
  PlanNode task = new_node(node, "", space.grid);
  ProgramBuilder builder(*this, group, space.grid, task);
  const AffineRead whole = array::identity_read(space.grid.rank());
  std::vector<kernels::BlockSize> sizes;
  int v = -1;
  if (owner != nullptr) {
    builder.own_ = owner;
    v = builder.compute(*owner, whole);
    if (task.label.empty()) builder.add_label(owner->name);
    builder.store(v);
    sizes.push_back(kernels::BlockSize(space.grid, space.dtype));
  }
  for (const array::Node* reduction : reductions) {
    const auto& reduce = std::get<array::Reduce>(reduction->attributes);
    if (v < 0) v = builder.value(reduction->inputs[0], whole);
    const array::Output& input = reduction->inputs[0].node()->outputs[at(reduction->inputs[0].output())];
    kernels::ProgramReduction r;
    r.op = reduce.op;
    r.value = v;
    r.ddof = reduce.ddof;
    r.finish = one_block(space.grid, reduce.axes) && reduction->outputs[0].dtype == core::reduced_dtype(reduce.op, input.dtype);
    if (is_arg(reduce.op)) r.index = builder.linear_index(input.shape, reduce.axes);
    builder.set_reduced(reduce.axes);
    builder.reduce(r);
    builder.add_label(reduction->name);
    Partial partial;
    partial.finished = r.finish;
    if (r.finish) {
      sizes.push_back(kernels::BlockSize(reduction->outputs[0].grid, reduction->outputs[0].dtype));
    } else {
      sizes.push_back(kernels::BlockSize(partial_grid(space.grid, reduce.axes), input.dtype, reduce.op));
    }
    partial.slot = static_cast<SlotIndex>(out_.plan.slots.size() + sizes.size()) - 1;
    partials_[reduction] = partial;
  }
  task.spec = builder.finish();
  const auto index = static_cast<NodeIndex>(out_.plan.nodes.size());  // building may append nodes
  for (std::size_t o = 0; o < sizes.size(); ++o) {
    task.outputs.push_back(out_.plan.add_slot(index, static_cast<int>(o), std::move(sizes[o])));
  }
  if (owner != nullptr) {
    stored_[{owner, 0}] = {task.outputs[0], space.grid, space.dtype, -1};
  }
  append(std::move(task));
}

void Lowering::lower_reduce(const array::Node& node) {
  const auto& reduce = std::get<array::Reduce>(node.attributes);
  lower_group(fusion_.group_of_reduction(&node), node);
  const Partial partial = partials_.at(&node);
  const array::Output& output = node.outputs[0];
  SlotIndex slot = partial.slot;
  if (!partial.finished) {
    const array::Output& input = node.inputs[0].node()->outputs[at(node.inputs[0].output())];
    slot = merge_tree(node, slot, partial_grid(input.grid, reduce.axes), reduce.op, input.dtype, reduce.axes, reduce.ddof);
  }
  stored_[{&node, 0}] = {slot, output.grid, output.dtype, -1};
}

}  // namespace tessera::scheduler
