#include <algorithm>
#include <array>
#include <vector>

#include "kernels/host/piece_copy.hpp"
#include "kernels/host/program_host.hpp"
#include "kernels/host/tasks.hpp"

namespace tessera::kernels::host {

namespace {

class ProgramTask : public TaskKernel {
 public:
  explicit ProgramTask(const ProgramSpec& spec) : spec_(spec), program_(spec.program) {
    for (const ProgramSpec::Load& load : spec_.loads) {
      if (load.input >= 0 && !load.mirror && spans_blocks(load.from, spec_.grid)) several_.push_back(&load.from);
    }
  }

  /// Reductions take a block in one order, so what they read of several blocks is gathered first.
  std::size_t scratch_bytes() const {
    std::size_t bytes = program_scratch();
    const TaskBox box = largest_box(spec_.grid);
    if (!gathers()) return bytes;
    for (const ArrayRead* from : several_) bytes += gathered_bytes(*from, box);
    return bytes;
  }

  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (gathers() || several_.empty() || box.elements() == 0) {
      run_box(args, box, box);
      return;
    }
    for_each_part(box, several_, [&](const TaskBox& part) {
      run_box(args, box, part);
      return true;
    });
  }

 private:
  bool gathers() const { return !spec_.program.reductions.empty(); }
  std::size_t program_scratch() const { return (program_.scratch_bytes() + 255) / 256 * 256; }

  // Runs the program over a part of the task's block.
  void run_box(const TaskArgs& args, const TaskBox& block, const TaskBox& box) const {
    const auto rank = static_cast<std::size_t>(box.rank);
    const bool empty = box.elements() == 0;
    std::vector<BoundRead> bound(spec_.loads.size());
    std::vector<Operand> loads(spec_.loads.size());
    std::byte* gathered = args.scratch + program_scratch();
    for (std::size_t k = 0; k < loads.size(); ++k) {
      if (!empty) bound[k] = bind_load(spec_.loads[k], box, args, gathered);
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
    dense_strides(block.shape(), dense.data());
    const std::size_t stores = spec_.program.stores.size();
    std::vector<Operand> outputs(stores);
    for (std::size_t k = 0; k < stores; ++k) {
      const DType dtype = spec_.program.instrs[static_cast<std::size_t>(spec_.program.stores[k])].dtype;
      outputs[k] = {element_at(args.outputs[k], dtype, block, box, dense), {dense.data(), rank}};
    }
    program_.run({box.shape(), loads, indices, outputs, args.outputs.subspan(stores)}, args.scratch);
  }

  BoundRead bind_load(const ProgramSpec::Load& load, const TaskBox& box, const TaskArgs& args,
                      std::byte*& gathered) const {
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
    const std::span<const Piece> pieces = args.input(static_cast<std::size_t>(load.input));
    if (!load.mirror) {
      if (pieces.size() > 1 && gathers()) return gather(load.from, box, pieces, gathered);
      return bind(load.from, box, piece_at(load.from, box, pieces));
    }
    BoundRead out;
    out.data = pieces[0].data;
    const bool below = args.coords[0] > args.coords[1];
    out.strides[0] = below ? 1 : box.extent[1];
    out.strides[1] = below ? box.extent[0] : 1;
    return out;
  }

  static BoundRead gather(const ArrayRead& from, const TaskBox& box, std::span<const Piece> pieces,
                          std::byte*& gathered) {
    const TaskBox region = gathered_box(from, box);
    BoundRead out;
    out.strides = gathered_strides(from, box);
    for (const Piece& piece : pieces) copy_piece(from, region, piece, gathered, out.strides);
    out.data = gathered;
    gathered += gathered_bytes(from, box);
    return out;
  }

  ProgramSpec spec_;
  PreparedProgram program_;
  std::vector<const ArrayRead*> several_;  // of spec_.loads: some block of a task reads several of their blocks
};

}  // namespace

std::unique_ptr<TaskKernel> make_program(const ProgramSpec& spec) { return std::make_unique<ProgramTask>(spec); }

std::size_t program_scratch(const ProgramSpec& spec) { return ProgramTask(spec).scratch_bytes(); }

}  // namespace tessera::kernels::host
