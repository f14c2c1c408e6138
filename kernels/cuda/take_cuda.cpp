#include <algorithm>
#include <bit>
#include <string_view>

#include "array/block_attributes.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/take_kernels.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

constexpr std::int64_t kMostBlocks = 1 << 16;

/// `Params` of take_source().
struct TakeParams {
  std::byte* to;
  const std::byte* from;
  const std::byte* positions;
  std::int64_t outer, count,
      run;  // of the output: extents before, along and behind the axis, the last in units
  std::int64_t start, extent;  // of the piece, along the axis
};

class TakeTask : public TaskKernel {
 public:
  TakeTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(static_cast<const array::TakeAttributes&>(*spec.attributes)),
        kernels_(cache, itemsize(spec.outputs[0].dtype)) {}

  // Positions come from memory that is not pinned, for which the calling thread waits.
  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox out = task_box(grid, grid.unlinear(args.block));
    if (out.elements() == 0) return;
    const std::size_t axis = at(attributes_.axis);
    queue.copy(args.scratch,
               reinterpret_cast<const std::byte*>(attributes_.positions.data() + out.begin[axis]),
               at(out.extent[axis]) * sizeof(std::int64_t));
    for (const Piece& piece : args.input(0)) {
      const ChunkGrid& from = spec_.inputs[0].grid;
      const TaskBox held = task_box(from, from.unlinear(piece.block));
      kernels_.queue(queue, AroundAxis(out.shape(), attributes_.axis), args.outputs[0],
                     args.scratch, {piece.data, held.begin[axis], held.extent[axis]});
    }
  }

 private:
  BlockSpec spec_;
  const array::TakeAttributes& attributes_;
  TakeKernels kernels_;
};

class ReshapeTask : public TaskKernel {
 public:
  void run(const TaskArgs& args) const override {
    args.queue->copy(args.outputs[0], args.input(0)[0].data,
                     args.output_sizes[0]->bytes(args.block));
  }
};

}  // namespace

TakeKernels::TakeKernels(KernelCache& cache, std::size_t item_bytes) : item_bytes_(item_bytes) {
  for (std::size_t unit = item_bytes; unit <= 16; unit *= 2)
    sources_[at(std::countr_zero(unit))] = cache.prepare(take_source(unit), {"take"});
}

void TakeKernels::queue(CudaQueue& queue, const AroundAxis& out, std::byte* to,
                        const std::byte* positions, const Source& from) const {
  TakeParams params{to,        from.data, positions,  out.outer,
                    out.along, out.inner, from.start, from.extent};
  // Blocks begin on wide boundaries, so that only the length of a run limits the unit.
  std::size_t unit = item_bytes_;
  for (; unit < 16 && params.run % 2 == 0; unit *= 2) params.run /= 2;
  const std::int64_t units = params.outer * params.count * params.run;
  const auto blocks = static_cast<unsigned>(std::min((units + 255) / 256, kMostBlocks));
  void* arguments[] = {&params};
  queue.launch(sources_[at(std::countr_zero(unit))].kernel(queue, "take"), "take", {blocks, 1, 1},
               {256, 1, 1}, 0, arguments);
}

std::unique_ptr<TaskKernel> make_take_cuda(KernelCache& cache, const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "take") return std::make_unique<TakeTask>(cache, spec);
  if (family == "reshape") return std::make_unique<ReshapeTask>();
  return nullptr;
}

std::size_t take_scratch_cuda(const BlockSpec& spec) {
  if (std::string_view(spec.kernel()) != "take") return 0;
  const int axis = static_cast<const array::TakeAttributes&>(*spec.attributes).axis;
  return static_cast<std::size_t>(spec.outputs[0].grid.axis(axis).max_size()) *
         sizeof(std::int64_t);
}

}  // namespace tessera::kernels::cuda
