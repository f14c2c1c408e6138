#include "kernels/host/block_tasks.hpp"

#include <algorithm>
#include <cstring>

#include "array/block_attributes.hpp"
#include "core/text.hpp"
#include "kernels/host/block_task.hpp"
#include "kernels/host/copy_host.hpp"
#include "kernels/host/factor_tasks.hpp"
#include "kernels/host/groupby_host.hpp"
#include "kernels/host/histogram_host.hpp"
#include "kernels/host/program_host.hpp"
#include "kernels/host/selection_tasks.hpp"
#include "kernels/host/sort_host.hpp"
#include "kernels/host/take_host.hpp"
#include "kernels/task_geometry.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

class ReshapeTask : public BlockTask<array::ReshapeAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    std::memcpy(args.outputs[0], args.input(0)[0].data, at(out.box.elements()) * itemsize(spec_.outputs[0].dtype));
  }
};

class TakeTask : public BlockTask<array::TakeAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    const auto axis = at(attributes_.axis);
    std::vector<Dense> blocks;
    for (const Piece& piece : args.input(0)) blocks.push_back(input_block(0, piece));
    std::vector<TakePiece> pieces;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      pieces.push_back({blocks[i].view(args.input(0)[i].data, spec_.inputs[0].dtype), blocks[i].box.begin[axis]});
    }
    const std::span<const std::int64_t> positions(attributes_.positions.data() + out.box.begin[axis], at(out.box.extent[axis]));
    take_along(out.view(args.outputs[0], spec_.outputs[0].dtype), attributes_.axis, pieces, positions);
  }
};

class SortTask : public BlockTask<array::SortAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    const ConstBlockView in = out.view(args.input(0)[0].data, spec_.inputs[0].dtype);
    const std::span<std::byte> scratch(args.scratch, sort_scratch_bytes(in.dtype, in.shape, attributes_.axis));
    const auto kernel = attributes_.indices ? argsort : sort;
    kernel(in, attributes_.axis, attributes_.descending, out.view(args.outputs[0], spec_.outputs[0].dtype), scratch);
  }
};

class TopkTask : public BlockTask<array::TopkAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    const Dense in = input_block(0, args.input(0)[0]);
    const ConstBlockView view = in.view(args.input(0)[0].data, spec_.inputs[0].dtype);
    TopkPositions named;
    ConstBlockView positions;
    if (attributes_.merge) {
      positions = in.view(args.input(1)[0].data, DType::kInt64);
      named.of = &positions;
    } else {
      named.first = in.box.begin[at(attributes_.axis)];
    }
    const std::span<std::byte> scratch(args.scratch, topk_scratch_bytes(view.dtype, view.shape, attributes_.axis, attributes_.k));
    const BlockView values = out.view(args.outputs[0], spec_.outputs[0].dtype);
    const BlockView where = out.view(args.outputs[1], DType::kInt64);
    topk(view, attributes_.axis, attributes_.k, &values, &where, named, scratch);
  }
};

class HistogramTask : public BlockTask<array::HistogramAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const std::int64_t bins[] = {static_cast<std::int64_t>(attributes_.edges.size()) - 1};
    const std::int64_t stride[] = {1};
    const BlockView counts{args.outputs[0], spec_.outputs[0].dtype, bins, stride};
    if (args.pieces.empty()) return fill_region(counts, Scalar(0));
    const Dense in = input_block(0, args.input(0)[0]);
    ConstBlockView weights;
    if (attributes_.weighted) weights = in.view(args.input(1)[0].data, DType::kFloat64);
    histogram(in.view(args.input(0)[0].data, spec_.inputs[0].dtype), attributes_.edges, attributes_.weighted ? &weights : nullptr, counts);
  }
};

class GroupbyTask : public BlockTask<array::GroupbyAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense in = input_block(0, args.input(0)[0]);
    const auto axis = at(attributes_.axis);
    groupby_bins(attributes_.op, in.view(args.input(0)[0].data, spec_.inputs[0].dtype), attributes_.axis,
                 attributes_.labels.data() + in.box.begin[axis], output_block(0, args).box.extent[axis], args.outputs[0]);
  }
};

class GroupbyMergeTask : public BlockTask<array::GroupbyMergeAttributes> {
 public:
  using BlockTask::BlockTask;

  static std::size_t scratch_bytes(const BlockSpec& spec) {
    const auto& a = static_cast<const array::GroupbyMergeAttributes&>(*spec.attributes);
    if (!a.finish) return 0;
    std::int64_t elements = 1;
    for (const AxisChunks& axis : spec.outputs[0].grid.axes()) elements *= axis.max_size();
    return core::accumulator_bytes(a.op, a.element, elements);
  }

  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    const auto axis = at(attributes_.axis);
    const std::int64_t outer = extent_product(out.box.shape().first(axis));
    const std::int64_t inner = extent_product(out.box.shape().subspan(axis + 1));
    std::byte* merged = attributes_.finish ? args.scratch : args.outputs[0];
    clear_accumulators(attributes_.op, attributes_.element, out.box.elements(), merged);
    const std::int64_t* all = attributes_.finish ? nullptr : (*attributes_.to)[at(out.coords[axis])].data();
    for (const Piece& piece : args.input(0)) {
      const array::GroupList& groups = (*attributes_.from)[at(input_block(0, piece).coords[axis])];
      merge_groups(attributes_.op, attributes_.element, outer, inner, {out.box.extent[axis], all, merged, out.box.begin[axis]},
                   {static_cast<std::int64_t>(groups.size()), groups.data(), piece.data, 0});
    }
    if (!attributes_.finish) return;
    if (!attributes_.counts.empty()) {
      const auto counts = std::span(attributes_.counts).subspan(at(out.box.begin[axis]), at(out.box.extent[axis]));
      divide_sums(attributes_.element, outer, inner, counts, merged, args.outputs[0]);
    } else {
      finish_accumulator(attributes_.op, attributes_.element, spec_.outputs[0].dtype, attributes_.ddof, out.box.elements(), merged,
                         args.outputs[0]);
    }
  }
};

class MapBlocksTask : public BlockTask<array::MapBlocksAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    std::vector<Dense> blocks;
    for (std::size_t k = 0; k < spec_.inputs.size(); ++k) blocks.push_back(input_block(k, args.input(k)[0]));
    std::vector<InputBlock> inputs;
    for (std::size_t k = 0; k < blocks.size(); ++k) {
      inputs.push_back(blocks[k].public_block(args.input(k)[0].data, spec_.inputs[k].dtype));
    }
    const Dense out = output_block(0, args);
    attributes_.function(inputs, out.public_block(args.outputs[0], spec_.outputs[0].dtype));
  }
};

// Calls a local function on pieces small enough that the assembled halo stays in the cache; pieces that lie
// inside one block read it where it is.
class OverlapTask : public BlockTask<array::OverlapAttributes> {
 public:
  using BlockTask::BlockTask;

  static std::size_t scratch_bytes(const BlockSpec& spec) {
    const auto& a = static_cast<const array::OverlapAttributes&>(*spec.attributes);
    std::size_t bytes = itemsize(spec.inputs[0].dtype);
    const std::vector<std::int64_t> piece = piece_shape(spec, a);
    for (std::size_t d = 0; d < piece.size(); ++d) bytes *= at(piece[d] + 2 * a.depth[d]);
    return bytes + 64;
  }

  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    std::vector<Dense> blocks;
    for (const Piece& piece : args.input(0)) blocks.push_back(input_block(0, piece));
    run_core(args, out, blocks, out.box, 0);
  }

 private:
  static constexpr std::int64_t kPieceElements = 32 * 1024;
  // Of pieces at the ends of rows: one column would not vectorise, and would shift all other pieces
  // off the cache's lines.
  static constexpr std::int64_t kEndColumns = 64;

  // Elements at one end of an axis for which the function needs more than this block.
  std::int64_t edge(const TaskBox& box, std::size_t d, bool front) const {
    const std::int64_t depth = attributes_.depth[d];
    const std::int64_t end = front ? box.begin[d] : box.begin[d] + box.extent[d];
    const std::int64_t last = front ? 0 : spec_.inputs[0].grid.axis(static_cast<int>(d)).extent();
    if (depth == 0 || (attributes_.boundary[d] == Boundary::kNone && end == last)) return 0;
    return d + 1 == at(box.rank) ? std::max(depth, kEndColumns) : depth;
  }

  // Cuts a box that needs other blocks at the ends of axis d and after into those ends, whose halo has
  // to be put together, and a core that is read where it lies.
  void run_core(const TaskArgs& args, const Dense& out, const std::vector<Dense>& blocks, TaskBox box, std::size_t d) const {
    if (d == at(box.rank)) return run_pieces(args, out, blocks, box);
    const std::int64_t front = edge(out.box, d, true);
    const std::int64_t back = edge(out.box, d, false);
    const std::int64_t begin = box.begin[d];
    const std::int64_t core = box.extent[d] - front - back;
    if (core <= 0) return run_pieces(args, out, blocks, box);
    box.extent[d] = front;
    if (front > 0) run_pieces(args, out, blocks, box);
    box.begin[d] = begin + front;
    box.extent[d] = core;
    run_core(args, out, blocks, box, d + 1);
    box.begin[d] = begin + front + core;
    box.extent[d] = back;
    if (back > 0) run_pieces(args, out, blocks, box);
  }

  void run_pieces(const TaskArgs& args, const Dense& out, const std::vector<Dense>& blocks, const TaskBox& box) const {
    const std::vector<std::int64_t> step = piece_shape(spec_, attributes_);
    const auto rank = at(box.rank);
    TaskBox piece = box;
    std::vector<std::int64_t> offset(rank, 0);
    for (;;) {
      for (std::size_t d = 0; d < rank; ++d) {
        piece.begin[d] = box.begin[d] + offset[d];
        piece.extent[d] = std::min(step[d], box.extent[d] - offset[d]);
      }
      run_piece(args, out, blocks, piece);
      std::size_t d = rank;
      while (d > 0 && (offset[d - 1] += step[d - 1]) >= box.extent[d - 1]) offset[--d] = 0;
      if (d == 0) return;
    }
  }

  // Long rows, few of them: what vectorises well and still fits the second-level cache with its halo.
  static std::vector<std::int64_t> piece_shape(const BlockSpec& spec, const array::OverlapAttributes& attributes) {
    const ChunkGrid& grid = spec.outputs[0].grid;
    std::vector<std::int64_t> shape(attributes.depth.size(), 1);
    std::int64_t room = kPieceElements;
    for (std::size_t d = shape.size(); d-- > 0;) {
      const std::int64_t most = std::max<std::int64_t>(1, grid.axis(static_cast<int>(d)).max_size());
      shape[d] = std::clamp<std::int64_t>(room, std::min<std::int64_t>(most, std::max<std::int64_t>(1, 4 * attributes.depth[d])), most);
      room = std::max<std::int64_t>(1, room / shape[d]);
    }
    return shape;
  }

  void run_piece(const TaskArgs& args, const Dense& out, const std::vector<Dense>& blocks, const TaskBox& piece) const {
    const auto rank = at(piece.rank);
    const ChunkGrid& grid = spec_.inputs[0].grid;
    const auto item = static_cast<std::int64_t>(itemsize(spec_.inputs[0].dtype));
    TaskBox halo = piece;
    bool inside = true;
    for (std::size_t d = 0; d < rank; ++d) {
      const std::int64_t depth = attributes_.depth[d];
      const std::int64_t extent = grid.axis(static_cast<int>(d)).extent();
      std::int64_t lo = piece.begin[d] - depth;
      std::int64_t hi = piece.begin[d] + piece.extent[d] + depth;
      if (attributes_.boundary[d] == Boundary::kNone) {
        lo = std::max<std::int64_t>(lo, 0);
        hi = std::min(hi, extent);
      }
      inside = inside && lo >= out.box.begin[d] && hi <= out.box.begin[d] + out.box.extent[d];
      halo.begin[d] = lo;
      halo.extent[d] = hi - lo;
    }
    InputBlock in;
    in.dtype = spec_.inputs[0].dtype;
    in.shape = halo.shape();
    in.index = out.coords;
    in.start = {halo.begin.data(), rank};
    Extents strides{};
    if (inside) {
      // The task's own block holds it all.
      const auto own = std::find_if(blocks.begin(), blocks.end(), [&](const Dense& b) { return b.coords == out.coords; });
      std::int64_t shift = 0;
      for (std::size_t d = 0; d < rank; ++d) shift += (halo.begin[d] - own->box.begin[d]) * own->strides[d];
      in.data = args.input(0)[at(own - blocks.begin())].data + shift * item;
      strides = own->strides;
    } else {
      dense_strides(halo.shape(), strides.data());
      assemble(args, blocks, halo, strides);
      in.data = args.scratch;
    }
    in.strides = {strides.data(), rank};
    OutputBlock result;
    result.dtype = spec_.outputs[0].dtype;
    result.shape = piece.shape();
    result.strides = {out.strides.data(), rank};
    result.index = out.coords;
    result.start = {piece.begin.data(), rank};
    std::int64_t shift = 0;
    for (std::size_t d = 0; d < rank; ++d) shift += (piece.begin[d] - out.box.begin[d]) * out.strides[d];
    result.data = args.outputs[0] + shift * static_cast<std::int64_t>(itemsize(result.dtype));
    attributes_.function(in, result);
  }

  // One run of neighbouring positions along an axis that come from neighbouring positions of one block.
  struct Run {
    std::int64_t at;      // first place in the halo
    std::int64_t count;
    std::int64_t source;  // position in the array, -1: the fill value
    std::int64_t chunk;
    std::int64_t step;
  };

  std::vector<Run> runs(std::size_t d, const TaskBox& halo) const {
    const AxisChunks& axis = spec_.inputs[0].grid.axis(static_cast<int>(d));
    std::vector<Run> out;
    for (std::int64_t i = 0; i < halo.extent[d]; ++i) {
      const std::int64_t p = array::boundary_position(attributes_.boundary[d], halo.begin[d] + i, axis.extent());
      const std::int64_t chunk = p < 0 ? -1 : axis.chunk_of(p);
      if (!out.empty() && out.back().chunk == chunk) {
        Run& last = out.back();
        if (p < 0) {
          ++last.count;
          continue;
        }
        const std::int64_t step = p - (last.source + (last.count - 1) * last.step);
        if (last.count == 1 && (step == 1 || step == -1 || step == 0)) last.step = step;
        if (p == last.source + last.count * last.step) {
          ++last.count;
          continue;
        }
      }
      out.push_back({i, 1, p, chunk, 1});
    }
    return out;
  }

  void assemble(const TaskArgs& args, const std::vector<Dense>& blocks, const TaskBox& halo, const Extents& strides) const {
    const auto rank = at(halo.rank);
    const DType dtype = spec_.inputs[0].dtype;
    const auto item = static_cast<std::int64_t>(itemsize(dtype));
    std::vector<std::vector<Run>> axes;
    for (std::size_t d = 0; d < rank; ++d) axes.push_back(runs(d, halo));
    std::vector<std::size_t> pick(rank, 0);
    for (;;) {
      Extents extent{};
      Extents source{};
      std::int64_t to = 0;
      bool fill = false;
      BlockIndex chunk(rank);
      for (std::size_t d = 0; d < rank; ++d) {
        const Run& run = axes[d][pick[d]];
        extent[d] = run.count;
        to += run.at * strides[d];
        fill = fill || run.source < 0;
        chunk[d] = run.chunk;
      }
      const BlockView target{args.scratch + to * item, dtype, {extent.data(), rank}, {strides.data(), rank}};
      if (fill) {
        fill_region(target, attributes_.value);
      } else {
        const auto block = std::find_if(blocks.begin(), blocks.end(), [&](const Dense& b) { return b.coords == chunk; });
        std::int64_t from = 0;
        for (std::size_t d = 0; d < rank; ++d) {
          const Run& run = axes[d][pick[d]];
          from += (run.source - block->box.begin[d]) * block->strides[d];
          source[d] = run.step * block->strides[d];
        }
        copy_region(target, {args.input(0)[at(block - blocks.begin())].data + from * item, dtype, {extent.data(), rank}, {source.data(), rank}});
      }
      std::size_t d = rank;
      while (d > 0 && ++pick[d - 1] == axes[d - 1].size()) pick[--d] = 0;
      if (d == 0) return;
    }
  }
};

}  // namespace

std::unique_ptr<TaskKernel> make_block_task(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "reshape") return std::make_unique<ReshapeTask>(spec);
  if (family == "take") return std::make_unique<TakeTask>(spec);
  if (family == "sort") return std::make_unique<SortTask>(spec);
  if (family == "topk") return std::make_unique<TopkTask>(spec);
  if (family == "histogram") return std::make_unique<HistogramTask>(spec);
  if (family == "groupby") return std::make_unique<GroupbyTask>(spec);
  if (family == "groupby_merge") return std::make_unique<GroupbyMergeTask>(spec);
  if (family == "map_blocks") return std::make_unique<MapBlocksTask>(spec);
  if (family == "map_overlap") return std::make_unique<OverlapTask>(spec);
  if (auto task = make_selection_task(spec)) return task;
  if (auto task = make_factor_task(spec)) return task;
  throw InvalidArgument(core::text("[registry] host devices have no such block kernel; got \"", family, "\""));
}

std::size_t block_task_scratch(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "map_overlap") return OverlapTask::scratch_bytes(spec);
  if (family == "groupby_merge") return GroupbyMergeTask::scratch_bytes(spec);
  if (const std::size_t bytes = selection_task_scratch(spec)) return bytes;
  if (family != "sort" && family != "topk") return factor_task_scratch(spec);
  const ChunkGrid& grid = spec.inputs[0].grid;
  Shape shape;
  for (const AxisChunks& axis : grid.axes()) shape.push_back(axis.max_size());
  if (family == "sort") {
    const auto& a = static_cast<const array::SortAttributes&>(*spec.attributes);
    return sort_scratch_bytes(spec.inputs[0].dtype, shape, a.axis);
  }
  const auto& a = static_cast<const array::TopkAttributes&>(*spec.attributes);
  return topk_scratch_bytes(spec.inputs[0].dtype, shape, a.axis, a.k);
}

}  // namespace tessera::kernels::host
