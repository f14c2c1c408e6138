#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "array/block_attributes.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

class TakeTask : public TaskKernel {
 public:
  TakeTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec), attributes_(static_cast<const array::TakeAttributes&>(*spec.attributes)) {
    const std::size_t item = itemsize(spec.outputs[0].dtype);
    for (std::size_t unit = item; unit <= 16; unit *= 2)
      sources_[at(std::countr_zero(unit))] = cache.prepare(take_source(unit), {"take"});
  }

  // Positions come from memory that is not pinned, for which the calling thread waits.
  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const ChunkGrid& grid = spec_.outputs[0].grid;
    const TaskBox out = task_box(grid, grid.unlinear(args.block));
    if (out.elements() == 0) return;
    const std::size_t axis = at(attributes_.axis);
    TakeParams params{args.outputs[0], nullptr, args.scratch, 1, out.extent[axis], 1, 0, 0};
    for (std::size_t d = 0; d < axis; ++d) params.outer *= out.extent[d];
    for (std::size_t d = axis + 1; d < at(out.rank); ++d) params.run *= out.extent[d];
    // Blocks begin on wide boundaries, so that only the length of a run limits the unit.
    std::size_t unit = itemsize(spec_.outputs[0].dtype);
    for (; unit < 16 && params.run % 2 == 0; unit *= 2) params.run /= 2;
    queue.copy(args.scratch,
               reinterpret_cast<const std::byte*>(attributes_.positions.data() + out.begin[axis]),
               at(out.extent[axis]) * sizeof(std::int64_t));
    void* kernel = sources_[at(std::countr_zero(unit))].kernel(queue, "take");
    const std::int64_t units = params.outer * params.count * params.run;
    const unsigned blocks =
        static_cast<unsigned>(std::min<std::int64_t>((units + 255) / 256, kMostBlocks));
    for (const Piece& piece : args.input(0)) {
      const ChunkGrid& from = spec_.inputs[0].grid;
      const TaskBox held = task_box(from, from.unlinear(piece.block));
      params.from = piece.data;
      params.start = held.begin[axis];
      params.extent = held.extent[axis];
      void* arguments[] = {&params};
      queue.launch(kernel, "take", {blocks, 1, 1}, {256, 1, 1}, 0, arguments);
    }
  }

 private:
  static constexpr std::int64_t kMostBlocks = 1 << 16;
  BlockSpec spec_;
  const array::TakeAttributes& attributes_;
  std::array<CompiledSource, 5> sources_;
};

class ReshapeTask : public TaskKernel {
 public:
  void run(const TaskArgs& args) const override {
    args.queue->copy(args.outputs[0], args.input(0)[0].data,
                     args.output_sizes[0]->bytes(args.block));
  }
};

}  // namespace

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
