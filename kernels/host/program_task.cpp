#include <algorithm>
#include <array>
#include <vector>

#include "core/text.hpp"
#include "kernels/host/piece_copy.hpp"
#include "kernels/host/program_host.hpp"
#include "kernels/host/tasks.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {

namespace {

std::size_t at(int d) { return static_cast<std::size_t>(d); }

// What is gathered at once stays in the L2 cache, and is copied in runs that are worth a call.
constexpr std::size_t kStripBytes = std::size_t{128} << 10;
constexpr std::int64_t kStripRun = 128;
// With fewer elements along a block's innermost axes, which are kept or reduced, the order in which these are taken
// may depend on other axes (tile_plan.cpp).
constexpr std::int64_t kManyColumns = 8;
constexpr std::int64_t kLongRun = 512;

std::int64_t smallest_size(const AxisChunks& axis) {
  std::int64_t out = axis.max_size();
  if (axis.is_regular()) return axis.count() == 0 ? 0 : axis.size(axis.count() - 1);
  for (std::int64_t c = 0; c < axis.count(); ++c) out = std::min(out, axis.size(c));
  return out;
}

class ProgramTask : public TaskKernel {
 public:
  explicit ProgramTask(const ProgramSpec& spec) : spec_(spec), program_(spec.program) {
    for (const ProgramSpec::Load& load : spec_.loads) {
      if (load.input >= 0 && !load.mirror && spans_blocks(load.from, spec_.grid)) several_.push_back(&load.from);
    }
    if (gathers() && !several_.empty()) choose_strips();
  }

  /// Reductions take a block in one order, so what they read of several blocks is gathered first.
  std::size_t scratch_bytes() const {
    std::size_t bytes = program_scratch();
    if (!gathers()) return bytes;
    TaskBox box = largest_box(spec_.grid);
    if (strip_axis_ >= 0) {
      for (int d = 0; d < strip_axis_; ++d) {
        if (is_kept(d)) box.extent[at(d)] = 1;
      }
      std::int64_t& extent = box.extent[at(strip_axis_)];
      extent = std::min(strip_extent_ + slack(), extent);
    }
    return bytes + all_gathered_bytes(box);
  }

  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (strip_axis_ >= 0 && box.elements() > 0) return run_strips(args, box);
    if (gathers() || several_.empty() || box.elements() == 0) {
      run_box(args, box, box, 0);
      return;
    }
    for_each_part(box, several_, [&](const TaskBox& part) {
      run_box(args, box, part, 0);
      return true;
    });
  }

 private:
  bool gathers() const { return !spec_.program.reductions.empty(); }
  bool is_kept(int d) const { return !spec_.program.reduced[at(d)]; }
  std::size_t all_gathered_bytes(const TaskBox& box) const {
    std::size_t bytes = 0;
    for (const ArrayRead* from : several_) bytes += gathered_bytes(*from, box);
    return bytes;
  }

  // A block whose outputs are in one piece each can be reduced strip by strip: single places along the outer axes
  // that are kept, a few along the next one, and all that the reductions take in for these.
  void choose_strips() {
    TaskBox box = largest_box(spec_.grid);
    if (all_gathered_bytes(box) <= 2 * kStripBytes) return;
    for (const ProgramSpec::Load& load : spec_.loads) {
      if (load.mirror) return;
    }
    for (const ProgramReduction& reduction : spec_.program.reductions) {
      const DType dtype = spec_.program.instrs[at(reduction.value)].dtype;
      if (!reduction.finish && core::accumulator_dtypes(reduction.op, dtype).size() > 1) return;
    }
    int axis = 0;
    std::size_t bytes = 0;
    for (; axis < box.rank; ++axis) {
      if (!is_kept(axis)) continue;
      box.extent[at(axis)] = 1;
      bytes = all_gathered_bytes(box);
      if (bytes <= kStripBytes) break;
    }
    if (axis == box.rank) return;
    const auto extent = static_cast<std::int64_t>(kStripBytes / std::max<std::size_t>(bytes, 1));
    // A strip and the whole block must be taken in the same order.
    const bool columns = is_kept(box.rank - 1);
    const std::int64_t along = std::min(extent, smallest_size(spec_.grid.axis(axis)));
    std::int64_t inner = 1;
    int d = box.rank - 1;
    for (; d > axis && is_kept(d) == columns; --d) inner *= smallest_size(spec_.grid.axis(d));
    const std::int64_t run = d == axis ? inner * along : inner;
    if (axis == box.rank - 1) inner = along;
    if (inner < (columns ? kManyColumns : kLongRun) || run < kStripRun) return;
    strip_axis_ = axis;
    strip_extent_ = extent;
  }

  // The last strip along the innermost axis is not short either.
  std::int64_t slack() const { return strip_axis_ == spec_.grid.rank() - 1 ? kManyColumns - 1 : 0; }

  // In the order of the outputs.
  void run_strips(const TaskArgs& args, const TaskBox& block) const {
    TaskBox strip = block;
    std::int64_t outputs = 1;  // for each place along the strips' axis
    for (int d = 0; d < block.rank; ++d) {
      if (!is_kept(d)) continue;
      if (d < strip_axis_) strip.extent[at(d)] = 1;
      if (d > strip_axis_) outputs *= block.extent[at(d)];
    }
    const auto end = [&block](int d) { return block.begin[at(d)] + block.extent[at(d)]; };
    std::int64_t done = 0;
    for (;;) {
      std::int64_t& begin = strip.begin[at(strip_axis_)];
      std::int64_t& extent = strip.extent[at(strip_axis_)];
      for (begin = block.begin[at(strip_axis_)]; begin < end(strip_axis_); begin += extent) {
        const std::int64_t left = end(strip_axis_) - begin;
        extent = left <= strip_extent_ + slack() ? left : strip_extent_;
        run_box(args, block, strip, done);
        done += extent * outputs;
      }
      int d = strip_axis_ - 1;
      for (; d >= 0; --d) {
        if (!is_kept(d)) continue;
        if (++strip.begin[at(d)] < end(d)) break;
        strip.begin[at(d)] = block.begin[at(d)];
      }
      if (d < 0) return;
    }
  }

  std::size_t program_scratch() const { return (program_.scratch_bytes() + 255) / 256 * 256; }

  // Runs the program over a part of the task's block, before which `done` elements of each reduction's output lie.
  void run_box(const TaskArgs& args, const TaskBox& block, const TaskBox& box, std::int64_t done) const {
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
    std::vector<std::byte*> reductions(args.outputs.begin() + static_cast<std::ptrdiff_t>(stores), args.outputs.end());
    for (std::size_t r = 0; r < reductions.size() && done > 0; ++r) reductions[r] += done * output_bytes(r);
    program_.run({box.shape(), loads, indices, outputs, reductions}, args.scratch);
  }

  // Of one element of a reduction's output, which is one array here.
  std::int64_t output_bytes(std::size_t r) const {
    const ProgramReduction& reduction = spec_.program.reductions[r];
    const DType dtype = spec_.program.instrs[at(reduction.value)].dtype;
    return static_cast<std::int64_t>(itemsize(reduction.finish ? core::reduced_dtype(reduction.op, dtype)
                                                               : core::accumulator_dtypes(reduction.op, dtype)[0]));
  }

  BoundRead bind_load(const ProgramSpec::Load& load, const TaskBox& box, const TaskArgs& args,
                      std::byte*& gathered) const {
    if (load.input < 0) return bind_memory(load.from, box, load.memory.get(), load.memory_strides);
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
  int strip_axis_ = -1;                    // blocks are not cut into strips
  std::int64_t strip_extent_ = 0;
};

}  // namespace

std::unique_ptr<TaskKernel> make_program(const ProgramSpec& spec) {
  for (const ProgramSpec::Load& load : spec.loads) {
    if (load.cuda == nullptr) continue;
    throw InvalidArgument(core::text(
        "[from_cuda] memory of a GPU is read in sessions on GPUs; got some of device ",
        load.cuda->device, " in a session on the host; try SessionOptions::devices = \"cuda:",
        load.cuda->device, "\""));
  }
  return std::make_unique<ProgramTask>(spec);
}

std::size_t program_scratch(const ProgramSpec& spec) { return ProgramTask(spec).scratch_bytes(); }

}  // namespace tessera::kernels::host
