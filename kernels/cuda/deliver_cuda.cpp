#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "kernels/cuda/copy_cuda.hpp"
#include "kernels/cuda/staged.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::BorrowedQueue;
using device::cuda::CudaQueue;

/// Where the bytes of a dense block lie in the dense array that it is a block of: runs of equal
/// length.
class BlockRuns {
 public:
  BlockRuns(const TaskBox& box, const Shape& array, std::size_t item_bytes, std::byte* memory)
      : box_(box), outer_(array.size()), run_(item_bytes), memory_(memory) {
    dense_strides(array, strides_.data());
    for (std::size_t a = 0; a < array.size(); ++a) {
      strides_[a] *= static_cast<std::int64_t>(item_bytes);
      memory_ += box.begin[a] * strides_[a];
    }
    // The last axis, and those before it while all behind them are held whole.
    while (outer_ > 0) {
      --outer_;
      run_ *= static_cast<std::size_t>(box.extent[outer_]);
      if (box.extent[outer_] != array[outer_]) break;
    }
  }

  /// Puts bytes [begin, begin + count) of the block to their places.
  void spread(std::size_t begin, std::size_t count, const std::byte* from) const {
    std::size_t row = begin / run_;
    std::size_t skip = begin % run_;
    while (count > 0) {
      const std::size_t bytes = std::min(run_ - skip, count);
      std::memcpy(row_at(static_cast<std::int64_t>(row++)) + skip, from, bytes);
      from += bytes;
      count -= bytes;
      skip = 0;
    }
  }

 private:
  std::byte* row_at(std::int64_t row) const {
    std::int64_t offset = 0;
    for (std::size_t a = outer_; a-- > 0;) {
      offset += row % box_.extent[a] * strides_[a];
      row /= box_.extent[a];
    }
    return memory_ + offset;
  }

  TaskBox box_;
  Extents strides_{};
  std::size_t outer_;
  std::size_t run_;
  std::byte* memory_;
};

bool is_dense(const TaskBox& box, const Extents& strides) {
  Extents dense{};
  dense_strides(box.shape(), dense.data());
  for (std::size_t a = 0; a < static_cast<std::size_t>(box.rank); ++a) {
    if (box.extent[a] != 1 && strides[a] != dense[a]) return false;
  }
  return true;
}

// Where the read turns or thins a block out, the block is put together in scratch first. Its rows
// go to their places in host memory part by part: while one part is spread, the next one crosses
// the bus.
class DeliverTask : public TaskKernel {
 public:
  DeliverTask(KernelCache& cache, const DeliverSpec& spec)
      : spec_(spec), shape_(spec.grid.shape()), copier_(cache, itemsize(spec.from.dtype)) {}

  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (box.elements() == 0) return;
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const DType dtype = spec_.from.dtype;
    const BoundRead bound = bind(spec_.from, box, args.input(0)[0]);
    const std::byte* source = bound.data;
    if (!is_dense(box, bound.strides)) {
      const auto rank = static_cast<std::size_t>(box.rank);
      Extents dense{};
      dense_strides(box.shape(), dense.data());
      copier_.copy(queue, {args.scratch, dtype, box.shape(), {dense.data(), rank}},
                   {bound.data, dtype, box.shape(), {bound.strides.data(), rank}});
      queue.wait();
      source = args.scratch;
    }
    const std::size_t total = static_cast<std::size_t>(box.elements()) * itemsize(dtype);
    deliver(queue, source, total, BlockRuns(box, shape_, itemsize(dtype), spec_.memory.get()));
  }

 private:
  // Enough for the bus to run at full speed, little enough for what several workers hold at once.
  static constexpr std::size_t kPart = std::size_t{8} << 20;

  static void deliver(CudaQueue& queue, const std::byte* source, std::size_t total,
                      const BlockRuns& runs) {
    if (total <= kPart) {
      const StagingMemory memory(queue, total);
      queue.copy(memory.data(), source, total);
      queue.wait();
      return runs.spread(0, total, memory.data());
    }
    BorrowedQueue second(queue.system(), queue.device());
    const StagingMemory first_memory(queue, kPart), second_memory(*second, kPart);
    CudaQueue* const queues[] = {&queue, &*second};
    std::byte* const memory[] = {first_memory.data(), second_memory.data()};
    const auto part_bytes = [&](std::size_t begin) { return std::min(kPart, total - begin); };
    std::size_t turn = 0;
    queues[0]->copy(memory[0], source, part_bytes(0));
    for (std::size_t begin = 0; begin < total; begin += kPart, turn = 1 - turn) {
      const std::size_t next = begin + kPart;
      if (next < total) queues[1 - turn]->copy(memory[1 - turn], source + next, part_bytes(next));
      queues[turn]->wait();
      runs.spread(begin, part_bytes(begin), memory[turn]);
    }
  }

  DeliverSpec spec_;
  Shape shape_;
  RegionCopier copier_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_deliver_cuda(KernelCache& cache, const DeliverSpec& spec) {
  return std::make_unique<DeliverTask>(cache, spec);
}

std::size_t deliver_scratch_cuda(const DeliverSpec& spec) {
  const bool as_stored =
      spec.from.read == array::identity_read(spec.grid.rank()) && spec.from.grid == spec.grid;
  return as_stored
             ? 0
             : static_cast<std::size_t>(spec.grid.max_block_elements()) * itemsize(spec.from.dtype);
}

}  // namespace tessera::kernels::cuda
