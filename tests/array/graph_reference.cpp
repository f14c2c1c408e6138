#include "graph_reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "array/block_attributes.hpp"

namespace tessera::testing {
namespace {

using Position = std::vector<std::int64_t>;

std::int64_t flat(const Shape& shape, const Position& index) {
  std::int64_t out = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (index[i] < 0 || index[i] >= shape[i]) throw std::out_of_range("index outside the array");
    out = out * shape[i] + index[i];
  }
  return out;
}

Position read_at(const array::AffineRead& read, const Position& index) {
  Position out;
  for (const array::AxisRead& axis : read) {
    out.push_back(axis.offset +
                  (axis.axis < 0 ? 0 : axis.step * index[static_cast<std::size_t>(axis.axis)]));
  }
  return out;
}

double load(const std::byte* data, DType dtype) {
  const auto as = [&]<typename T>(T value) {
    std::memcpy(&value, data, sizeof(T));
    return static_cast<double>(value);
  };
  switch (dtype) {
    case DType::kBool:
      return as(std::uint8_t{});
    case DType::kInt32:
      return as(std::int32_t{});
    case DType::kInt64:
      return as(std::int64_t{});
    case DType::kFloat32:
      return as(float{});
    case DType::kFloat64:
      return as(double{});
    default:
      throw std::logic_error("dtype that the reference does not load");
  }
}

double apply(core::ScalarOp op, DType dtype, const std::vector<double>& a) {
  using core::ScalarOp;
  switch (op) {
    case ScalarOp::kCast:
      return dtype == DType::kBool ? a[0] != 0 : is_integer(dtype) ? std::trunc(a[0]) : a[0];
    case ScalarOp::kAdd:
      return a[0] + a[1];
    case ScalarOp::kSubtract:
      return a[0] - a[1];
    case ScalarOp::kMultiply:
      return a[0] * a[1];
    case ScalarOp::kDivide:
      return a[0] / a[1];
    case ScalarOp::kAbs:
      return std::abs(a[0]);
    case ScalarOp::kMaximum:
      return std::max(a[0], a[1]);
    case ScalarOp::kMinimum:
      return std::min(a[0], a[1]);
    case ScalarOp::kConj:
      return a[0];
    case ScalarOp::kEqual:
      return a[0] == a[1];
    case ScalarOp::kNotEqual:
      return a[0] != a[1];
    case ScalarOp::kLessEqual:
      return a[0] <= a[1];
    case ScalarOp::kGreaterEqual:
      return a[0] >= a[1];
    case ScalarOp::kLogicalAnd:
      return a[0] != 0 && a[1] != 0;
    case ScalarOp::kLogicalOr:
      return a[0] != 0 || a[1] != 0;
    case ScalarOp::kIsfinite:
      return std::isfinite(a[0]);
    case ScalarOp::kIsnan:
      return std::isnan(a[0]);
    case ScalarOp::kWhere:
      return a[0] != 0 ? a[1] : a[2];
    default:
      throw std::logic_error("operation that the reference does not know");
  }
}

Position aligned(const Shape& shape, const Position& index) {
  Position out(index.end() - static_cast<std::ptrdiff_t>(shape.size()), index.end());
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) out[i] = 0;
  }
  return out;
}

Dense assembled(const array::Assemble& assemble, const std::vector<Dense>& in, const Shape& shape) {
  Dense out = make_dense(shape, [](const Position&) { return std::nan(""); });
  std::vector<int> covered(out.data.size(), 0);
  for (std::size_t k = 0; k < assemble.parts.size(); ++k) {
    const array::Assemble::Part& part = assemble.parts[k];
    Shape box(shape.size());
    for (std::size_t i = 0; i < box.size(); ++i) box[i] = part.hi[i] - part.lo[i];
    for_each_index(box, [&](const Position& inside) {
      Position index = inside;
      for (std::size_t i = 0; i < index.size(); ++i) index[i] += part.lo[i];
      out.at(index) = in[k].at(read_at(part.read, index));
      if (covered[static_cast<std::size_t>(flat(shape, index))]++ != 0) {
        throw std::logic_error("parts overlap");
      }
    });
  }
  for (std::size_t i = 0; i < covered.size(); ++i) {
    if (covered[i] != 0) continue;
    if (!assemble.fill) throw std::logic_error("an element that no part covers");
    out.data[i] = assemble.fill->to<double>();
  }
  return out;
}

Position block_position(const ChunkGrid& grid, const BlockIndex& block, const Position& inside) {
  Position out = inside;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += grid.axis(static_cast<int>(i)).begin(block[i]);
  }
  return out;
}

// The one block of input 0 that a task reads.
BlockIndex block_read(const array::BlockOp& op, const BlockIndex& task) {
  BlockIndex out;
  for (const array::BlockAxis& axis : op.reads[0]) {
    const bool same = axis.kind == array::BlockAxis::Kind::kSame;
    out.push_back(same ? task[static_cast<std::size_t>(axis.task_axis)] : 0);
  }
  return out;
}

Dense reshaped(const array::BlockOp& op, const ChunkGrid& from, const Dense& in,
               const ChunkGrid& to) {
  Dense out = make_dense(to.shape(), [](const Position&) { return std::nan(""); });
  for (std::int64_t b = 0; b < to.block_count(); ++b) {
    const BlockIndex task = to.unlinear(b);
    const BlockIndex source = block_read(op, task);
    std::vector<double> elements;
    for_each_index(from.block_shape(source), [&](const Position& inside) {
      elements.push_back(in.at(block_position(from, source, inside)));
    });
    std::size_t next = 0;
    for_each_index(to.block_shape(task), [&](const Position& inside) {
      out.at(block_position(to, task, inside)) = elements.at(next++);
    });
    if (next != elements.size()) throw std::logic_error("blocks of different sizes");
  }
  return out;
}

Dense taken(const array::BlockOp& op, const array::TakeAttributes& take, const Array& x,
            const Dense& in, const ChunkGrid& to) {
  const auto axis = static_cast<std::size_t>(take.axis);
  return make_dense(to.shape(), [&](Position index) {
    const auto task = to.axis(take.axis).chunk_of(index[axis]);
    index[axis] = take.positions.at(static_cast<std::size_t>(index[axis]));
    const auto chunk = static_cast<std::int32_t>(x.chunks().axis(take.axis).chunk_of(index[axis]));
    const auto& list = op.reads[0][axis].lists.at(static_cast<std::size_t>(task));
    if (!std::binary_search(list.begin(), list.end(), chunk)) {
      throw std::logic_error("a block that the task does not read");
    }
    return in.at(index);
  });
}

Dense reduced(const array::Reduce& reduce, const Dense& in, const Shape& shape) {
  const bool product = reduce.op == core::ReduceOp::kProd;
  if (!product && reduce.op != core::ReduceOp::kSum && reduce.op != core::ReduceOp::kAny) {
    throw std::logic_error("reduction without a reference");
  }
  Dense out = make_dense(shape, [&](const Position&) { return product ? 1.0 : 0.0; });
  for_each_index(in.shape, [&](Position index) {
    const double value = in.at(index);
    for (std::size_t i = 0; i < index.size(); ++i) {
      if (reduce.axes[i]) index[i] = 0;
    }
    double& total = out.at(index);
    total = product ? total * value : total + value;
    if (reduce.op == core::ReduceOp::kAny) total = total != 0;
  });
  return out;
}

Dense multiplied(const Dense& a, const Dense& b, const Shape& shape) {
  const std::size_t m = shape.size() - 2;
  return make_dense(shape, [&](const Position& index) {
    double sum = 0;
    for (std::int64_t k = 0; k < a.shape.back(); ++k) {
      Position left = index;
      Position right = index;
      left[m + 1] = k;
      right[m] = k;
      for (std::size_t i = 0; i < m; ++i) {
        if (a.shape[i] == 1) left[i] = 0;
        if (b.shape[i] == 1) right[i] = 0;
      }
      sum += a.at(left) * b.at(right);
    }
    return sum;
  });
}

Dense evaluate_block_op(const array::BlockOp& op, const array::Node& node, const Dense& in,
                        const ChunkGrid& grid) {
  if (op.tasks != grid.counts()) throw std::logic_error("task grid and output grid differ");
  if (const auto* take = dynamic_cast<const array::TakeAttributes*>(op.attributes.get())) {
    return taken(op, *take, node.inputs[0], in, grid);
  }
  if (dynamic_cast<const array::ReshapeAttributes*>(op.attributes.get()) != nullptr) {
    return reshaped(op, node.inputs[0].chunks(), in, grid);
  }
  throw std::logic_error("block operation without a reference");
}

}  // namespace

double& Dense::at(const Position& index) {
  return data[static_cast<std::size_t>(flat(shape, index))];
}

double Dense::at(const Position& index) const {
  return data[static_cast<std::size_t>(flat(shape, index))];
}

void for_each_index(const Shape& shape, const std::function<void(const Position&)>& visit) {
  for (const std::int64_t extent : shape) {
    if (extent == 0) return;
  }
  Position index(shape.size(), 0);
  for (;;) {
    visit(index);
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

Dense make_dense(const Shape& shape, const std::function<double(const Position&)>& value) {
  Dense out{shape, {}};
  for_each_index(shape, [&](const Position& index) { out.data.push_back(value(index)); });
  return out;
}

Dense evaluate(const Array& x) {
  const array::Node& node = *x.node();
  const Shape& shape = x.shape();
  std::vector<Dense> in;
  for (const Array& input : node.inputs) in.push_back(evaluate(input));
  if (const auto* constant = std::get_if<array::Constant>(&node.attributes)) {
    return make_dense(shape, [&](const Position&) { return constant->value.to<double>(); });
  }
  if (const auto* range = std::get_if<array::Arange>(&node.attributes)) {
    return make_dense(shape, [&](const Position& i) {
      if (range->last && i[0] == shape[0] - 1) return range->last->to<double>();
      return range->start.to<double>() + static_cast<double>(i[0]) * range->step.to<double>();
    });
  }
  if (const auto* eye = std::get_if<array::Eye>(&node.attributes)) {
    return make_dense(shape, [&](const Position& i) { return i[1] - i[0] == eye->k ? 1.0 : 0.0; });
  }
  if (const auto* memory = std::get_if<array::ExistingMemory>(&node.attributes)) {
    return make_dense(shape, [&](const Position& index) {
      std::int64_t offset = 0;
      for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * memory->strides[i];
      return load(memory->data.get() + offset * static_cast<std::int64_t>(itemsize(x.dtype())),
                  x.dtype());
    });
  }
  if (const auto* op = std::get_if<array::Elementwise>(&node.attributes)) {
    return make_dense(shape, [&](const Position& index) {
      std::vector<double> values;
      for (const Dense& input : in) values.push_back(input.at(aligned(input.shape, index)));
      return apply(op->op, x.dtype(), values);
    });
  }
  if (const auto* view = std::get_if<array::View>(&node.attributes)) {
    return make_dense(shape, [&](const Position& i) { return in[0].at(read_at(view->read, i)); });
  }
  if (const auto* assemble = std::get_if<array::Assemble>(&node.attributes)) {
    return assembled(*assemble, in, shape);
  }
  if (const auto* reduce = std::get_if<array::Reduce>(&node.attributes)) {
    return reduced(*reduce, in[0], shape);
  }
  if (std::holds_alternative<array::Matmul>(node.attributes)) {
    return multiplied(in[0], in[1], shape);
  }
  if (const auto* op = std::get_if<array::BlockOp>(&node.attributes)) {
    return evaluate_block_op(*op, node, in[0], x.chunks());
  }
  throw std::logic_error("node kind without a reference");
}

double element(const Array& x, const Position& index) {
  const array::Node& node = *x.node();
  flat(x.shape(), index);
  if (const auto* range = std::get_if<array::Arange>(&node.attributes)) {
    return static_cast<double>(range->start.to<std::int64_t>() +
                               index[0] * range->step.to<std::int64_t>());
  }
  if (const auto* view = std::get_if<array::View>(&node.attributes)) {
    return element(node.inputs[0], read_at(view->read, index));
  }
  if (const auto* assemble = std::get_if<array::Assemble>(&node.attributes)) {
    for (std::size_t k = 0; k < assemble->parts.size(); ++k) {
      const array::Assemble::Part& part = assemble->parts[k];
      bool inside = true;
      for (std::size_t i = 0; i < index.size(); ++i) {
        inside = inside && part.lo[i] <= index[i] && index[i] < part.hi[i];
      }
      if (inside) return element(node.inputs[k], read_at(part.read, index));
    }
    throw std::logic_error("an element that no part covers");
  }
  const ChunkGrid& from = node.inputs.at(0).chunks();
  const ChunkGrid& to = x.chunks();
  BlockIndex task;
  std::int64_t offset = 0;  // of the element in its block
  for (int i = 0; i < to.rank(); ++i) {
    const std::int64_t position = index[static_cast<std::size_t>(i)];
    task.push_back(to.axis(i).chunk_of(position));
    offset = offset * to.axis(i).size(task.back()) + position - to.axis(i).begin(task.back());
  }
  const BlockIndex source = block_read(std::get<array::BlockOp>(node.attributes), task);
  const Shape shape = from.block_shape(source);
  if (element_count(shape) != element_count(to.block_shape(task))) {
    throw std::logic_error("blocks of different sizes");
  }
  Position inside(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; offset /= shape[i]) inside[i] = offset % shape[i];
  return element(node.inputs[0], block_position(from, source, inside));
}

std::int64_t draw(std::mt19937& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

ChunkGrid random_grid(const Shape& shape, std::mt19937& random) {
  std::vector<AxisChunks> axes;
  for (const std::int64_t extent : shape) {
    if (draw(random, 0, 1) == 0 || extent == 0) {
      axes.push_back(AxisChunks::regular(extent, draw(random, 1, extent + 1)));
      continue;
    }
    std::vector<std::int64_t> sizes;
    for (std::int64_t left = extent; left > 0; left -= sizes.back()) {
      sizes.push_back(draw(random, 1, left));
    }
    axes.push_back(AxisChunks::of(std::move(sizes)));
  }
  return ChunkGrid(std::move(axes));
}

Sample counting(const Shape& shape, std::mt19937& random) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(element_count(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i);
  const Array x = copy_memory(values.data(), int64, shape, {.chunks = random_grid(shape, random)});
  return {x, {shape, {values.begin(), values.end()}}};
}

}  // namespace tessera::testing
