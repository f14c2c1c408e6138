#include <algorithm>
#include <array>
#include <bit>
#include <string_view>
#include <vector>

#include "array/block_attributes.hpp"
#include "kernels/cuda/groupby_source.hpp"
#include "kernels/cuda/staged.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using device::cuda::CudaQueue;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

constexpr int kThreadsLog = 8;
constexpr std::int64_t kMostElements = 1 << 30;  // along the axis, which kernels count in int
constexpr std::int64_t kMostBlocks = 1 << 16;
// Threads that keep a device busy.
constexpr std::int64_t kManyThreads = 1 << 18;

/// Tables of a task in host memory, each at a 16-byte boundary, and their twins on the device.
class Tables {
 public:
  explicit Tables(std::byte* device) : device_(device) {}
  template <typename T>
  const T* add(const std::vector<T>& values) {
    const std::size_t offset = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(offset + values.size() * sizeof(T));
    std::copy_n(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(T),
                bytes_.data() + offset);
    return reinterpret_cast<const T*>(device_ + offset);
  }
  void send(CudaQueue& queue) const { send_bytes(queue, device_, bytes_); }

  /// What a table takes of scratch, at most.
  static std::size_t bytes(std::int64_t count, std::size_t item) { return at(count) * item + 16; }

 private:
  std::byte* device_;
  std::vector<std::byte> bytes_;
};

std::array<std::int64_t, 3> plane_offsets(ReduceOp op, DType dtype, std::int64_t count) {
  std::array<std::int64_t, 3> out{};
  const std::size_t planes = core::accumulator_dtypes(op, dtype).size();
  for (std::size_t k = 0; k < planes; ++k) {
    out[k] =
        static_cast<std::int64_t>(core::accumulator_offset(op, dtype, count, static_cast<int>(k)));
  }
  return out;
}

/// `FoldParams` of groupby_source().
struct FoldParams {
  const std::byte* from = nullptr;
  const std::int32_t* positions = nullptr;
  const std::int32_t* begins = nullptr;
  std::array<std::byte*, 3> planes{};
  std::int64_t outer = 0, rows = 0, inner = 0, groups = 0;
  std::int32_t lanes_log = 0, unused = 0;
};

class GroupbyTask : public TaskKernel {
 public:
  GroupbyTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec), attributes_(static_cast<const array::GroupbyAttributes&>(*spec.attributes)) {
    source_ = cache.prepare(groupby_source(attributes_.op, spec.inputs[0].dtype), {"fold_groups"});
  }

  static std::size_t scratch_bytes(const BlockSpec& spec) {
    const int axis = static_cast<const array::GroupbyAttributes&>(*spec.attributes).axis;
    return Tables::bytes(spec.inputs[0].grid.axis(axis).max_size(), sizeof(std::int32_t)) +
           Tables::bytes(spec.outputs[0].grid.axis(axis).max_size() + 1, sizeof(std::int32_t));
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const int axis = attributes_.axis;
    const ChunkGrid& grid = spec_.inputs[0].grid;
    const Piece& piece = args.input(0)[0];
    const TaskBox in = task_box(grid, grid.unlinear(piece.block));
    const ChunkGrid& partials = spec_.outputs[0].grid;
    const AroundAxis block(in.shape(), axis);
    const std::int64_t groups = task_box(partials, partials.unlinear(args.block)).extent[at(axis)];
    const std::int64_t outputs = block.outer * groups * block.inner;
    if (outputs == 0) return;

    const std::int64_t* labels = attributes_.labels.data() + in.begin[at(axis)];
    std::vector<std::int32_t> begins(at(groups) + 1, 0);
    for (std::int64_t i = 0; i < block.along; ++i) {
      if (labels[i] >= 0) ++begins[at(labels[i]) + 1];
    }
    for (std::size_t g = 0; g < at(groups); ++g) begins[g + 1] += begins[g];
    std::vector<std::int32_t> positions(at(begins.back()));
    std::vector<std::int32_t> next = begins;
    for (std::int64_t i = 0; i < block.along; ++i) {
      if (labels[i] >= 0) positions[at(next[at(labels[i])]++)] = static_cast<std::int32_t>(i);
    }

    Tables tables(args.scratch);
    FoldParams params;
    params.from = piece.data;
    params.positions = tables.add(positions);
    params.begins = tables.add(begins);
    tables.send(queue);
    const auto offsets = plane_offsets(attributes_.op, spec_.inputs[0].dtype, outputs);
    for (std::size_t k = 0; k < 3; ++k) params.planes[k] = args.outputs[0] + offsets[k];
    params.outer = block.outer;
    params.rows = block.along;
    params.inner = block.inner;
    params.groups = groups;
    params.lanes_log = lanes_log(outputs, block.inner);
    const std::int64_t strips = ((block.inner - 1) >> params.lanes_log) + 1;
    const unsigned blocks =
        static_cast<unsigned>(std::min(block.outer * groups * strips, kMostBlocks));
    void* arguments[] = {&params};
    queue.launch(source_.kernel(queue, "fold_groups"), "fold_groups", {blocks, 1, 1},
                 {1 << kThreadsLog, 1, 1}, 0, arguments);
  }

 private:
  // Lanes read side by side; members make up for few of them.
  static int lanes_log(std::int64_t outputs, std::int64_t inner) {
    int log = std::min(kThreadsLog, static_cast<int>(std::bit_width(at(inner - 1))));
    while (log > 5 && (outputs << (kThreadsLog - log)) < kManyThreads) --log;
    return log;
  }

  BlockSpec spec_;
  const array::GroupbyAttributes& attributes_;
  CompiledSource source_;
};

/// `MergeParams` of groupby_merge_source().
struct MergeParams {
  const std::byte* const* pieces = nullptr;
  const std::int64_t* offsets = nullptr;
  const std::int64_t* sizes = nullptr;
  const std::int32_t* places = nullptr;
  const std::int64_t* counts = nullptr;
  std::array<std::byte*, 3> planes{};
  double ddof = 0.0;
  std::int64_t outputs = 0, inner = 0, groups = 0, piece_count = 0;
};

class GroupbyMergeTask : public TaskKernel {
 public:
  GroupbyMergeTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::GroupbyMergeAttributes&>(*spec.attributes)) {
    const GroupbyEnd end = !attributes_.finish          ? GroupbyEnd::kStored
                           : attributes_.counts.empty() ? GroupbyEnd::kFinished
                                                        : GroupbyEnd::kDivided;
    source_ = cache.prepare(
        groupby_merge_source(attributes_.op, attributes_.element, spec.outputs[0].dtype, end),
        {"merge_groups_of_blocks"});
  }

  static std::size_t scratch_bytes(const BlockSpec& spec) {
    const int axis = static_cast<const array::GroupbyMergeAttributes&>(*spec.attributes).axis;
    const std::int64_t pieces =
        std::min<std::int64_t>(spec.inputs[0].grid.axis(axis).count(), array::kGroupbyFanIn);
    const std::int64_t groups = spec.outputs[0].grid.axis(axis).max_size();
    return Tables::bytes(5 * pieces, sizeof(std::int64_t)) + 3 * Tables::bytes(0, 1) +
           Tables::bytes(pieces * groups, sizeof(std::int32_t)) +
           Tables::bytes(groups, sizeof(std::int64_t));
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const std::size_t axis = at(attributes_.axis);
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const BlockIndex coords = grid.unlinear(args.block);
    const TaskBox out = task_box(grid, coords);
    const AroundAxis block(out.shape(), attributes_.axis);
    if (out.elements() == 0) return;

    std::vector<const std::byte*> pieces;
    std::vector<std::int64_t> offsets, sizes;
    std::vector<std::int32_t> places;
    for (const Piece& piece : args.input(0)) {
      const BlockIndex from = spec_.inputs[0].grid.unlinear(piece.block);
      const array::GroupList& own = (*attributes_.from)[at(from[axis])];
      pieces.push_back(piece.data);
      sizes.push_back(std::ssize(own));
      for (const std::int64_t offset : plane_offsets(attributes_.op, attributes_.element,
                                                     block.outer * std::ssize(own) * block.inner))
        offsets.push_back(offset);
      for (std::int64_t g = 0; g < block.along; ++g) {
        const std::int64_t group =
            attributes_.finish ? out.begin[axis] + g : (*attributes_.to)[at(coords[axis])][at(g)];
        const auto found = std::lower_bound(own.begin(), own.end(), group);
        const bool has = found != own.end() && *found == group;
        places.push_back(has ? static_cast<std::int32_t>(found - own.begin()) : -1);
      }
    }

    Tables tables(args.scratch);
    MergeParams params;
    params.pieces = tables.add(pieces);
    params.offsets = tables.add(offsets);
    params.sizes = tables.add(sizes);
    params.places = tables.add(places);
    if (!attributes_.counts.empty()) {
      const auto first = attributes_.counts.begin() + out.begin[axis];
      params.counts = tables.add(std::vector<std::int64_t>(first, first + block.along));
    }
    tables.send(queue);
    params.planes[0] = args.outputs[0];
    if (!attributes_.finish) {
      const auto planes = plane_offsets(attributes_.op, attributes_.element, out.elements());
      for (std::size_t k = 0; k < 3; ++k) params.planes[k] = args.outputs[0] + planes[k];
    }
    params.ddof = attributes_.ddof;
    params.outputs = out.elements();
    params.inner = block.inner;
    params.groups = block.along;
    params.piece_count = std::ssize(pieces);
    const unsigned blocks =
        static_cast<unsigned>(std::min((params.outputs + 255) / 256, kMostBlocks));
    void* arguments[] = {&params};
    queue.launch(source_.kernel(queue, "merge_groups_of_blocks"), "merge_groups_of_blocks",
                 {blocks, 1, 1}, {1 << kThreadsLog, 1, 1}, 0, arguments);
  }

 private:
  BlockSpec spec_;
  const array::GroupbyMergeAttributes& attributes_;
  CompiledSource source_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_groupby_cuda(KernelCache& cache, const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "groupby_merge") return std::make_unique<GroupbyMergeTask>(cache, spec);
  if (family != "groupby") return nullptr;
  const int axis = static_cast<const array::GroupbyAttributes&>(*spec.attributes).axis;
  const bool counts = spec.inputs[0].grid.axis(axis).max_size() <= kMostElements;
  return counts ? std::make_unique<GroupbyTask>(cache, spec) : nullptr;
}

std::size_t groupby_scratch_cuda(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "groupby") return GroupbyTask::scratch_bytes(spec);
  return family == "groupby_merge" ? GroupbyMergeTask::scratch_bytes(spec) : 0;
}

}  // namespace tessera::kernels::cuda
