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
      spans_.push_back(load.input >= 0 && !load.mirror && spans_blocks(load.from, spec_.grid));
    }
  }

  /// Reductions take a block in one order, so what they read of several blocks is gathered first.
  std::size_t scratch_bytes() const {
    std::size_t bytes = program_scratch();
    const TaskBox box = largest_box(spec_.grid);
    for (std::size_t k = 0; k < spans_.size() && gathers(); ++k) {
      if (spans_[k]) bytes += gathered_bytes(spec_.loads[k].from, box);
    }
    return bytes;
  }

  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (gathers() || std::find(spans_.begin(), spans_.end(), true) == spans_.end() || box.elements() == 0) {
      run_box(args, box, box);
      return;
    }
    // Each part of the block reads one block of every array.
    std::array<std::vector<std::int64_t>, kMaxRank> cuts;
    const auto rank = static_cast<std::size_t>(box.rank);
    for (std::size_t a = 0; a < rank; ++a) cuts[a] = cuts_along(box, a);
    Extents index{};
    for (bool more = true; more;) {
      TaskBox part = box;
      for (std::size_t a = 0; a < rank; ++a) {
        part.begin[a] = cuts[a][static_cast<std::size_t>(index[a])];
        part.extent[a] = cuts[a][static_cast<std::size_t>(index[a]) + 1] - part.begin[a];
      }
      run_box(args, box, part);
      more = false;
      for (std::size_t a = rank; a-- > 0 && !more;) {
        more = ++index[a] + 1 < std::ssize(cuts[a]);
        if (!more) index[a] = 0;
      }
    }
  }

 private:
  bool gathers() const { return !spec_.program.reductions.empty(); }
  std::size_t program_scratch() const { return (program_.scratch_bytes() + 255) / 256 * 256; }

  // Where the part of a block along an axis begins, and where the last one ends.
  std::vector<std::int64_t> cuts_along(const TaskBox& box, std::size_t axis) const {
    std::vector<std::int64_t> cuts{box.begin[axis], box.begin[axis] + box.extent[axis]};
    for (std::size_t k = 0; k < spans_.size(); ++k) {
      if (spans_[k]) append_task_cuts(spec_.loads[k].from, box, axis, cuts);
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    return cuts;
  }

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
  std::vector<bool> spans_;  // by load: some block of a task reads several of its blocks
};

}  // namespace

std::unique_ptr<TaskKernel> make_program(const ProgramSpec& spec) { return std::make_unique<ProgramTask>(spec); }

std::size_t program_scratch(const ProgramSpec& spec) { return ProgramTask(spec).scratch_bytes(); }

}  // namespace tessera::kernels::host
