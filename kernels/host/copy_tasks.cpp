#include <algorithm>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/task_geometry.hpp"
#include "kernels/host/tasks.hpp"

namespace tessera::kernels::host {

namespace {

// Copies what `piece` holds of the box's elements [lo, hi) into the dense block `out` of the task.
void copy_piece(const ArrayRead& from, const TaskBox& box, const Shape& lo, const Shape& hi, const Piece& piece,
                std::byte* out) {
  const auto rank = static_cast<std::size_t>(box.rank);
  TaskBox part = box;
  for (std::size_t a = 0; a < rank; ++a) {
    const std::int64_t end = std::min(box.begin[a] + box.extent[a], hi[a]);
    part.begin[a] = std::max(box.begin[a], lo[a]);
    part.extent[a] = end - part.begin[a];
  }
  // Clip to what this block of the stored array covers, axis by axis.
  std::int64_t rest = piece.block;
  for (int d = from.grid.rank(); d-- > 0;) {
    const AxisChunks& axis = from.grid.axis(d);
    const std::int64_t coord = rest % axis.count();
    rest /= axis.count();
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    if (read.axis < 0) continue;
    const auto a = static_cast<std::size_t>(read.axis);
    // begin <= offset + step * i < end, for either sign of step.
    const std::int64_t step = read.step > 0 ? read.step : -read.step;
    const std::int64_t low = read.step > 0 ? axis.begin(coord) - read.offset : read.offset - axis.end(coord) + 1;
    const std::int64_t high = read.step > 0 ? axis.end(coord) - 1 - read.offset : read.offset - axis.begin(coord);
    const auto ceil_div = [&](std::int64_t v) { return v >= 0 ? (v + step - 1) / step : -(-v / step); };
    const auto floor_div = [&](std::int64_t v) { return v >= 0 ? v / step : -((-v + step - 1) / step); };
    const std::int64_t first = std::max(part.begin[a], ceil_div(low));
    const std::int64_t last = std::min(part.begin[a] + part.extent[a], floor_div(high) + 1);
    part.begin[a] = first;
    part.extent[a] = last - first;
  }
  for (std::size_t a = 0; a < rank; ++a) {
    if (part.extent[a] <= 0) return;
  }
  const BoundRead bound = bind(from, part, piece);
  Extents strides{};
  dense_strides(box.shape(), strides.data());
  std::int64_t offset = 0;
  for (std::size_t a = 0; a < rank; ++a) offset += (part.begin[a] - box.begin[a]) * strides[a];
  copy_region({out + offset * static_cast<std::int64_t>(itemsize(from.dtype)), from.dtype, part.shape(), {strides.data(), rank}},
              {bound.data, from.dtype, part.shape(), {bound.strides.data(), rank}});
}

class AssembleTask : public TaskKernel {
 public:
  explicit AssembleTask(const AssembleSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    const auto rank = static_cast<std::size_t>(box.rank);
    if (spec_.fill) {
      Extents strides{};
      dense_strides(box.shape(), strides.data());
      fill_region({args.outputs[0], spec_.dtype, box.shape(), {strides.data(), rank}}, *spec_.fill);
    }
    for (std::size_t k = 0; k < spec_.parts.size(); ++k) {
      const AssembleSpec::Part& part = spec_.parts[k];
      for (const Piece& piece : args.input(k)) copy_piece(part.from, box, part.lo, part.hi, piece, args.outputs[0]);
    }
  }

 private:
  AssembleSpec spec_;
};

class DeliverTask : public TaskKernel {
 public:
  explicit DeliverTask(const DeliverSpec& spec) : spec_(spec), shape_(spec.grid.shape()) {}
  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (box.elements() == 0) return;
    const auto rank = static_cast<std::size_t>(box.rank);
    const BoundRead bound = bind(spec_.from, box, args.input(0)[0]);
    Extents strides{};
    dense_strides(shape_, strides.data());
    std::int64_t offset = 0;
    for (std::size_t a = 0; a < rank; ++a) offset += box.begin[a] * strides[a];
    std::byte* out = spec_.memory.get() + offset * static_cast<std::int64_t>(itemsize(spec_.from.dtype));
    copy_region({out, spec_.from.dtype, box.shape(), {strides.data(), rank}},
                {bound.data, spec_.from.dtype, box.shape(), {bound.strides.data(), rank}});
  }

 private:
  DeliverSpec spec_;
  Shape shape_;
};

class ReadTask : public TaskKernel {
 public:
  explicit ReadTask(const ReadSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    const auto rank = static_cast<std::size_t>(box.rank);
    spec_.reader->read({box.begin.begin(), box.begin.begin() + static_cast<std::ptrdiff_t>(rank)},
                       {box.extent.begin(), box.extent.begin() + static_cast<std::ptrdiff_t>(rank)}, args.outputs[0]);
  }

 private:
  ReadSpec spec_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_assemble(const AssembleSpec& spec) { return std::make_unique<AssembleTask>(spec); }
std::unique_ptr<TaskKernel> make_deliver(const DeliverSpec& spec) { return std::make_unique<DeliverTask>(spec); }
std::unique_ptr<TaskKernel> make_read(const ReadSpec& spec) { return std::make_unique<ReadTask>(spec); }

}  // namespace tessera::kernels::host
