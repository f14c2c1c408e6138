#include <algorithm>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/piece_copy.hpp"
#include "kernels/host/tasks.hpp"

namespace tessera::kernels::host {

namespace {

class AssembleTask : public TaskKernel {
 public:
  explicit AssembleTask(const AssembleSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    const auto rank = static_cast<std::size_t>(box.rank);
    Extents strides{};
    dense_strides(box.shape(), strides.data());
    if (spec_.fill) {
      fill_region({args.outputs[0], spec_.dtype, box.shape(), {strides.data(), rank}}, *spec_.fill);
    }
    for (std::size_t k = 0; k < spec_.parts.size(); ++k) {
      const AssembleSpec::Part& part = spec_.parts[k];
      TaskBox part_box = box;
      for (std::size_t a = 0; a < rank; ++a) {
        part_box.begin[a] = std::max(box.begin[a], part.lo[a]);
        part_box.extent[a] = std::min(box.begin[a] + box.extent[a], part.hi[a]) - part_box.begin[a];
      }
      std::byte* out = element_at(args.outputs[0], spec_.dtype, box, part_box, strides);
      for (const Piece& piece : args.input(k)) copy_piece(part.from, part_box, piece, out, strides);
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
