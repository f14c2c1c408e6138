#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <string_view>

#include "array/block_attributes.hpp"
#include "core/storage_dtype.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;
using device::cuda::CudaSystem;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
constexpr std::size_t kAlignment = 256;
std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// `Params` of sort_source().
struct SortParams {
  std::byte* to;
  const std::byte* from;
  std::int64_t* positions;
  const std::int64_t* names;
  void* keys;
  std::uint32_t* lanes;
  std::uint32_t* order;
  std::int64_t first, length, inner, count;
  std::uint32_t total, flip, nan_first, unused;
};

/// What a sort of `total` elements in lanes takes of scratch: keys and positions, two arrays of
/// each, and CUB's own.
struct SortLayout {
  SortLayout(DType dtype, std::int64_t total, std::int64_t length)
      : key_bytes(itemsize(dtype) == 8 ? 8 : 4),
        key_bits(static_cast<int>(8 * itemsize(dtype))),
        lane_bits(bits_of(length > 0 ? total / length : 0)),
        keys(aligned(at(total) * at(key_bytes))),
        order(aligned(at(total) * sizeof(std::uint32_t))) {}
  // Of the numbers of so many lanes.
  static int bits_of(std::int64_t lanes) {
    return static_cast<int>(std::bit_width(at(std::max<std::int64_t>(lanes, 1) - 1)));
  }
  int key_bytes;
  int key_bits;
  int lane_bits;  // 0: there is one lane
  std::size_t keys;
  std::size_t order;
  std::size_t before_work() const { return 2 * (keys + order); }
};

std::size_t work_bytes(CudaQueue& queue, const SortLayout& layout, std::int64_t total) {
  queue.enter();
  std::size_t most = 0;
  const auto ask = [&](int key_bytes, int bits) {
    std::size_t bytes = 0;
    device::cuda::check(queue.api(), TESSERA_CUDA_RUNTIME,
                        queue.api().sort_pairs_bytes(key_bytes, total, bits, &bytes),
                        "sort_pairs_bytes");
    most = std::max(most, bytes);
  };
  ask(layout.key_bytes, layout.key_bits);
  if (layout.lane_bits > 0) ask(sizeof(std::uint32_t), layout.lane_bits);
  return most;
}

/// The lanes of a block are sorted all at once: by their elements, then, stably, by lane.
class LaneSorter {
 public:
  LaneSorter(KernelCache& cache, DType dtype)
      : dtype_(dtype),
        source_(cache.prepare(sort_source(dtype), {"make_keys", "make_lanes", "write_sorted"})) {}

  /// Fills in what is about the order and scratch; the rest of `params` is the caller's.
  void run(CudaQueue& queue, SortParams params, std::byte* scratch) const {
    const SortLayout layout(dtype_, params.total, params.length);
    void* keys[] = {scratch, scratch + layout.keys};
    void* order[] = {scratch + 2 * layout.keys, scratch + 2 * layout.keys + layout.order};
    std::byte* work = scratch + layout.before_work();
    const std::size_t bytes = work_bytes(queue, layout, params.total);
    params.keys = keys[0];
    params.order = static_cast<std::uint32_t*>(order[0]);
    launch(queue, "make_keys", params, params.total);
    int which = 0;
    sort(queue, layout.key_bytes, keys, order, params.total, layout.key_bits, work, bytes, which);
    params.order = static_cast<std::uint32_t*>(order[which]);
    if (layout.lane_bits > 0) {
      params.lanes = static_cast<std::uint32_t*>(keys[0]);
      launch(queue, "make_lanes", params, params.total);
      void* from[] = {order[which], order[1 - which]};
      sort(queue, sizeof(std::uint32_t), keys, from, params.total, layout.lane_bits, work, bytes,
           which);
      params.order = static_cast<std::uint32_t*>(from[which]);
    }
    launch(queue, "write_sorted", params, params.total / params.length * params.count);
  }

 private:
  static void sort(CudaQueue& queue, int key_bytes, void* const (&keys)[2],
                   void* const (&values)[2], std::int64_t total, int bits, std::byte* work,
                   std::size_t bytes, int& which) {
    queue.enter();
    device::cuda::check(queue.api(), TESSERA_CUDA_RUNTIME,
                        queue.api().sort_pairs(key_bytes, keys, values, total, bits, work, bytes,
                                               &which, queue.stream()),
                        "sort_pairs");
  }
  void launch(CudaQueue& queue, const char* name, SortParams& params, std::int64_t threads) const {
    constexpr std::int64_t kThreads = 256;
    constexpr std::int64_t kMostBlocks = 1 << 16;
    const auto blocks = static_cast<unsigned>(
        std::clamp<std::int64_t>((threads + kThreads - 1) / kThreads, 1, kMostBlocks));
    void* arguments[] = {&params};
    queue.launch(source_.kernel(queue, name), name, {blocks, 1, 1}, {kThreads, 1, 1}, 0, arguments);
  }

  DType dtype_;
  CompiledSource source_;
};

/// Parameters for the one block of an input, all of whose lanes along `axis` it holds.
SortParams lanes_of(const TaskBox& in, std::size_t axis, std::int64_t count) {
  SortParams params{};
  params.length = in.extent[axis];
  params.inner = 1;
  for (std::size_t d = axis + 1; d < at(in.rank); ++d) params.inner *= in.extent[d];
  params.count = count;
  params.total = static_cast<std::uint32_t>(in.elements());
  return params;
}

class SortTask : public TaskKernel {
 public:
  SortTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::SortAttributes&>(*spec.attributes)),
        sorter_(cache, spec.inputs[0].dtype) {}

  void run(const TaskArgs& args) const override {
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox box = task_box(grid, grid.unlinear(args.block));
    if (box.elements() == 0) return;
    const std::size_t axis = at(attributes_.axis);
    SortParams params = lanes_of(box, axis, box.extent[axis]);
    params.from = args.input(0)[0].data;
    params.flip = attributes_.descending ? 1 : 0;
    if (attributes_.indices) {
      params.positions = reinterpret_cast<std::int64_t*>(args.outputs[0]);
    } else {
      params.to = args.outputs[0];
    }
    sorter_.run(static_cast<CudaQueue&>(*args.queue), params, args.scratch);
  }

 private:
  BlockSpec spec_;
  const array::SortAttributes& attributes_;
  LaneSorter sorter_;
};

class TopkTask : public TaskKernel {
 public:
  TopkTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::TopkAttributes&>(*spec.attributes)),
        sorter_(cache, spec.inputs[0].dtype) {}

  void run(const TaskArgs& args) const override {
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox out = task_box(grid, grid.unlinear(args.block));
    if (out.elements() == 0) return;
    const std::size_t axis = at(attributes_.axis);
    const Piece& piece = args.input(0)[0];
    const ChunkGrid& from = spec_.inputs[0].grid;
    const TaskBox in = task_box(from, from.unlinear(piece.block));
    SortParams params = lanes_of(in, axis, out.extent[axis]);
    params.from = piece.data;
    params.to = args.outputs[0];
    params.positions = reinterpret_cast<std::int64_t*>(args.outputs[1]);
    params.flip = params.nan_first = attributes_.k > 0 ? 1 : 0;
    if (attributes_.merge) {
      params.names = reinterpret_cast<const std::int64_t*>(args.input(1)[0].data);
    } else {
      params.first = in.begin[axis];
    }
    sorter_.run(static_cast<CudaQueue&>(*args.queue), params, args.scratch);
  }

 private:
  BlockSpec spec_;
  const array::TopkAttributes& attributes_;
  LaneSorter sorter_;
};

// Whether CUB has kernels for all devices: those it was compiled for, and newer ones of their kind.
bool has_cub(CudaSystem& system) {
  for (std::size_t d = 0; d < system.devices().size(); ++d) {
    const device::cuda::BorrowedQueue queue(system, d);
    queue->enter();
    std::size_t bytes = 0;
    if (queue->api().sort_pairs_bytes(4, 256, 32, &bytes) != TESSERA_CUDA_OK) return false;
  }
  return true;
}

// Elements have 32-bit numbers in a block.
bool may_sort_on_device(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family != "sort" && family != "topk") return false;
  const DType dtype = spec.inputs[0].dtype;
  return core::has_arithmetic(dtype) && !is_complex(dtype) &&
         spec.inputs[0].grid.max_block_elements() <= std::numeric_limits<std::uint32_t>::max();
}

// Scratch of the largest block; nothing where the host sorts, which gives the same bits: where CUB
// has no kernels, and where block, result and scratch do not fit a device together.
std::optional<std::size_t> sort_scratch(CudaSystem& system, const BlockSpec& spec) {
  if (!may_sort_on_device(spec) || !has_cub(system)) return std::nullopt;
  const DType dtype = spec.inputs[0].dtype;
  const std::int64_t total = spec.inputs[0].grid.max_block_elements();
  if (total == 0) return 0;
  // Lanes of one element are the most that there can be.
  const SortLayout layout(dtype, total, 1);
  std::size_t most = 0;
  for (std::size_t d = 0; d < system.devices().size(); ++d) {
    const device::cuda::BorrowedQueue queue(system, d);
    most = std::max(most, layout.before_work() + work_bytes(*queue, layout, total));
  }
  constexpr std::size_t kResultBytes = 8 + 8;  // at most: an element and its position
  const std::size_t all = most + at(total) * (itemsize(dtype) + kResultBytes);
  for (const device::Device& device : system.devices()) {
    if (all > device.pool->limit_bytes()) return std::nullopt;
  }
  return most;
}

}  // namespace

std::unique_ptr<TaskKernel> make_sort_cuda(KernelCache& cache, const BlockSpec& spec) {
  if (!sort_scratch(cache.system(), spec)) return nullptr;
  if (std::string_view(spec.kernel()) == "sort") return std::make_unique<SortTask>(cache, spec);
  return std::make_unique<TopkTask>(cache, spec);
}

std::size_t sort_scratch_cuda(CudaSystem& system, const BlockSpec& spec) {
  return sort_scratch(system, spec).value_or(0);
}

}  // namespace tessera::kernels::cuda
