#include "kernels/host/program_host.hpp"
#include "kernels/host/task_geometry.hpp"
#include "kernels/host/tasks.hpp"

namespace tessera::kernels::host {

namespace {

class ProgramTask : public TaskKernel {
 public:
  explicit ProgramTask(const ProgramSpec& spec) : spec_(spec), program_(spec.program) {}

  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    const auto rank = static_cast<std::size_t>(box.rank);
    const bool empty = box.elements() == 0;
    std::vector<BoundRead> bound(spec_.loads.size());
    std::vector<Operand> loads(spec_.loads.size());
    for (std::size_t k = 0; k < loads.size(); ++k) {
      if (!empty) bound[k] = bind_load(spec_.loads[k], box, args);
      loads[k] = {const_cast<std::byte*>(bound[k].data), {bound[k].strides.data(), rank}};
    }
    std::vector<AffineIndex> indices(spec_.indices.size());
    for (std::size_t k = 0; k < indices.size(); ++k) {
      const ProgramSpec::Index& index = spec_.indices[k];
      indices[k] = {index.base, index.strides};
      auto base = static_cast<std::uint64_t>(index.base);  // wide ranges go around on their way
      for (std::size_t d = 0; d < rank; ++d) {
        base += static_cast<std::uint64_t>(index.strides[d]) * static_cast<std::uint64_t>(box.begin[d]);
      }
      indices[k].base = static_cast<std::int64_t>(base);
    }
    Extents dense{};
    dense_strides(box.shape(), dense.data());
    const std::size_t stores = spec_.program.stores.size();
    std::vector<Operand> outputs(stores);
    for (std::size_t k = 0; k < stores; ++k) outputs[k] = {args.outputs[k], {dense.data(), rank}};
    program_.run({box.shape(), loads, indices, outputs, args.outputs.subspan(stores)}, args.scratch);
  }

 private:
  static BoundRead bind_load(const ProgramSpec::Load& load, const TaskBox& box, const TaskArgs& args) {
    if (load.input < 0) {
      // Existing memory: the whole array is one block with strides of its own.
      BoundRead out;
      std::int64_t offset = 0;
      for (std::size_t d = 0; d < load.from.read.size(); ++d) {
        const array::AxisRead& read = load.from.read[d];
        offset += read.offset * load.memory_strides[d];
        if (read.axis < 0) continue;
        const auto a = static_cast<std::size_t>(read.axis);
        offset += read.step * box.begin[a] * load.memory_strides[d];
        out.strides[a] += read.step * load.memory_strides[d];
      }
      out.data = load.memory.get() + offset * static_cast<std::int64_t>(itemsize(load.from.dtype));
      return out;
    }
    const Piece& piece = args.input(static_cast<std::size_t>(load.input))[0];
    if (!load.mirror) return bind(load.from, box, piece);
    BoundRead out;
    out.data = piece.data;
    const bool below = args.coords[0] > args.coords[1];
    out.strides[0] = below ? 1 : box.extent[1];
    out.strides[1] = below ? box.extent[0] : 1;
    return out;
  }

  ProgramSpec spec_;
  PreparedProgram program_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_program(const ProgramSpec& spec) { return std::make_unique<ProgramTask>(spec); }

std::size_t program_scratch(const ProgramSpec& spec) { return PreparedProgram(spec.program).scratch_bytes(); }

}  // namespace tessera::kernels::host
