#include <algorithm>
#include <string_view>
#include <vector>

#include "array/block_attributes.hpp"
#include "core/text.hpp"
#include "kernels/cuda/selection_source.hpp"
#include "kernels/cuda/take_kernels.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {
namespace {

using device::cuda::CudaQueue;

constexpr std::int64_t kMostBlocks = 1 << 16;
constexpr std::size_t kAlignment = 256;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

unsigned blocks_for(std::int64_t threads) {
  return static_cast<unsigned>(std::min<std::int64_t>((threads + 255) / 256, kMostBlocks));
}

template <typename Params>
void launch(CudaQueue& queue, const CompiledSource& source, const char* kernel, unsigned blocks,
            Params& params) {
  void* arguments[] = {&params};
  queue.launch(source.kernel(queue, kernel), kernel, {blocks, 1, 1}, {256, 1, 1}, 0, arguments);
}

/// A word of the device's, once what is queued is done.
std::int64_t word_at(CudaQueue& queue, const std::byte* word) {
  std::int64_t out = 0;
  queue.copy(reinterpret_cast<std::byte*>(&out), word, sizeof out);
  queue.wait();
  return out;
}

/// `Params` of search_source().
struct SearchParams {
  std::byte* to;
  const std::byte* from;
  const std::byte* table;
  std::uint64_t elements, size;
  std::uint32_t right, unused;
};

class SearchsortedTask : public TaskKernel {
 public:
  SearchsortedTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::SearchsortedAttributes&>(*spec.attributes)),
        source_(cache.prepare(search_source(spec.inputs[0].dtype), {"search", "find"})) {}

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const std::int64_t count = spec_.outputs[0].grid.block_elements(args.block);
    if (count == 0) return;
    const std::int64_t size = spec_.inputs[1].grid.block_elements(0);
    SearchParams params{args.outputs[0],
                        args.input(0)[0].data,
                        size == 0 ? nullptr : args.input(1)[0].data,
                        static_cast<std::uint64_t>(count),
                        static_cast<std::uint64_t>(size),
                        attributes_.right ? 1u : 0u,
                        0};
    launch(queue, source_, attributes_.member ? "find" : "search", blocks_for(count), params);
  }

 private:
  BlockSpec spec_;
  const array::SearchsortedAttributes& attributes_;
  CompiledSource source_;
};

/// `Params` of gather_along_source().
struct GatherParams {
  std::byte* to;
  const std::byte* from;
  const std::byte* positions;
  std::byte* wrong;
  std::int64_t elements, length, inner, extent;
};

class TakeAlongAxisTask : public TaskKernel {
 public:
  TakeAlongAxisTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::TakeAlongAxisAttributes&>(*spec.attributes)),
        source_(
            cache.prepare(gather_along_source(itemsize(spec.inputs[0].dtype)), {"gather_along"})) {}

  // The thread waits for the news that all positions are some.
  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox out = task_box(grid, grid.unlinear(args.block));
    if (out.elements() == 0) return;
    const ChunkGrid& from = spec_.inputs[0].grid;
    const Piece& piece = args.input(0)[0];
    const AroundAxis block(out.shape(), attributes_.axis);
    GatherParams params{args.outputs[0],
                        piece.data,
                        args.input(1)[0].data,
                        args.scratch,
                        out.elements(),
                        block.along,
                        block.inner,
                        task_box(from, from.unlinear(piece.block)).extent[at(attributes_.axis)]};
    queue.fill(args.scratch, 0, sizeof(std::int64_t));
    launch(queue, source_, "gather_along", blocks_for(params.elements), params);
    if (word_at(queue, args.scratch) != 0) refuse(queue, params);
  }

 private:
  [[noreturn]] void refuse(CudaQueue& queue, const GatherParams& params) const {
    std::vector<std::int64_t> positions(at(params.elements));
    queue.copy(reinterpret_cast<std::byte*>(positions.data()), params.positions,
               positions.size() * sizeof(std::int64_t));
    queue.wait();
    const auto wrong = std::find_if(positions.begin(), positions.end(), [&](std::int64_t i) {
      return i < -params.extent || i >= params.extent;
    });
    throw InvalidArgument(core::text("[take_along_axis] a position must lie on its axis; got ",
                                     wrong != positions.end() ? *wrong : 0, " for axis ",
                                     attributes_.axis, " of extent ", params.extent));
  }
  BlockSpec spec_;
  const array::TakeAlongAxisAttributes& attributes_;
  CompiledSource source_;
};

/// `Params` of mask_source().
struct MaskParams {
  const std::byte* mask;
  std::byte* tiles;
  std::byte* total;
  std::byte* positions;
  std::int64_t elements, tile_count;
};

std::int64_t tiles_of(std::int64_t elements) { return (elements + kMaskTile - 1) / kMaskTile; }
std::size_t tile_bytes(std::int64_t elements) {
  return aligned(at(tiles_of(elements)) * sizeof(std::int64_t));
}

void count_true(CudaQueue& queue, const CompiledSource& source, MaskParams& params) {
  params.tile_count = tiles_of(params.elements);
  const auto blocks = static_cast<unsigned>(std::min(params.tile_count, kMostBlocks));
  launch(queue, source, "count_true_of_tiles", blocks, params);
  launch(queue, source, "sum_tiles", 1, params);
}

CompiledSource prepare_masks(KernelCache& cache) {
  return cache.prepare(mask_source(), {"count_true_of_tiles", "sum_tiles", "list_true"});
}

class CountTrueTask : public TaskKernel {
 public:
  CountTrueTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec), source_(prepare_masks(cache)) {}

  static std::size_t scratch_bytes(const BlockSpec& spec) {
    return tile_bytes(spec.inputs[0].grid.max_block_elements());
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const Piece& piece = args.input(0)[0];
    const std::int64_t elements = spec_.inputs[0].grid.block_elements(piece.block);
    if (elements == 0) return queue.fill(args.outputs[0], 0, sizeof(std::int64_t));
    MaskParams params{piece.data, args.scratch, args.outputs[0], nullptr, elements, 0};
    count_true(queue, source_, params);
  }

 private:
  BlockSpec spec_;
  CompiledSource source_;
};

class CompressTask : public TaskKernel {
 public:
  CompressTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::CompressAttributes&>(*spec.attributes)),
        masks_(prepare_masks(cache)),
        takes_(cache, itemsize(spec.outputs[0].dtype)) {}

  // A word for the total, the tiles, the positions.
  static std::size_t scratch_bytes(const BlockSpec& spec) {
    const int axis = static_cast<const array::CompressAttributes&>(*spec.attributes).axis;
    const std::int64_t length = spec.inputs[0].grid.axis(axis).max_size();
    return kAlignment + tile_bytes(length) + at(length) * sizeof(std::int64_t);
  }

  // The thread waits for the news that the mask is the one that was counted.
  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox out = task_box(grid, grid.unlinear(args.block));
    if (out.elements() == 0) return;
    const ChunkGrid& from = spec_.inputs[0].grid;
    const Piece& piece = args.input(0)[0];
    const std::size_t axis = at(attributes_.axis);
    const std::int64_t length = task_box(from, from.unlinear(piece.block)).extent[axis];
    MaskParams mask{args.input(1)[0].data,
                    args.scratch + kAlignment,
                    args.scratch,
                    args.scratch + kAlignment + tile_bytes(length),
                    length,
                    0};
    count_true(queue, masks_, mask);
    const std::int64_t kept = word_at(queue, mask.total);
    if (kept != out.extent[axis]) {
      throw InvalidArgument(core::text("[compress] the mask must be the one that was counted; got ",
                                       kept, " true elements for ", out.extent[axis],
                                       " places; try persist() of what it is made from"));
    }
    launch(queue, masks_, "list_true",
           static_cast<unsigned>(std::min(mask.tile_count, kMostBlocks)), mask);
    takes_.queue(queue, AroundAxis(out.shape(), attributes_.axis), args.outputs[0], mask.positions,
                 {piece.data, 0, length});
  }

 private:
  BlockSpec spec_;
  const array::CompressAttributes& attributes_;
  CompiledSource masks_;
  TakeKernels takes_;
};

}  // namespace

// Complex numbers have an order of their own.
std::unique_ptr<TaskKernel> make_selection_cuda(KernelCache& cache, const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "searchsorted" && !is_complex(spec.inputs[0].dtype))
    return std::make_unique<SearchsortedTask>(cache, spec);
  if (family == "take_along_axis") return std::make_unique<TakeAlongAxisTask>(cache, spec);
  if (family == "count_true") return std::make_unique<CountTrueTask>(cache, spec);
  if (family == "compress") return std::make_unique<CompressTask>(cache, spec);
  return nullptr;
}

std::size_t selection_scratch_cuda(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "take_along_axis") return kAlignment;
  if (family == "count_true") return CountTrueTask::scratch_bytes(spec);
  if (family == "compress") return CompressTask::scratch_bytes(spec);
  return 0;
}

}  // namespace tessera::kernels::cuda
