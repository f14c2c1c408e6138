#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <set>
#include <vector>

#include "kernels/cuda/copy_cuda.hpp"
#include "kernels/cuda/host_region.hpp"
#include "kernels/cuda/program_map.hpp"
#include "kernels/cuda/program_reduce.hpp"
#include "kernels/cuda/staged.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;
using device::cuda::CudaSystem;

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

// Host memory crosses the bus by way of so much pinned memory.
constexpr std::size_t kStagingBytes = std::size_t{32} << 20;
// Stands for a block where only alignment counts.
const std::byte* const kNowhere = reinterpret_cast<const std::byte*>(256);
// Parts of blocks whose kernels are compiled ahead.
constexpr int kPartsExpected = 16;

bool reads_host(const ProgramSpec::Load& load) { return load.input < 0 && load.cuda == nullptr; }
bool reads_device(const ProgramSpec::Load& load) { return load.cuda != nullptr; }

/// Whether kernels of a device cannot read a device's existing memory in place: another one's, or
/// complex numbers that lie between multiples of their size, which whole vectors are read from.
bool lies_apart(const ProgramSpec::Load& load, int device) {
  const auto address = reinterpret_cast<std::uintptr_t>(load.memory.get());
  return device != load.cuda->device || address % itemsize(load.from.dtype) != 0;
}

/// Loads that a task's kernel finds gathered in scratch: existing memory of the host, or that lies
/// apart from the task's device, and for reductions, which take a block in one order, what lies in
/// several blocks.
std::vector<bool> gathered_loads(const CudaSystem& system, const ProgramSpec& spec) {
  std::vector<bool> out;
  for (const ProgramSpec::Load& load : spec.loads) {
    const bool reduces = !spec.program.reductions.empty();
    bool gathered = reads_host(load);
    if (reads_device(load)) {
      for (const device::Device& device : system.devices())
        gathered = gathered || lies_apart(load, device.id.number);
    } else if (reduces && !load.mirror && !gathered) {
      gathered = spans_blocks(load.from, spec.grid);
    }
    out.push_back(gathered);
  }
  return out;
}

/// How what a box reads of another device's memory lies in scratch: dense, its axes in the order in
/// which they lie in the memory, so that long runs can be copied.
struct MemoryLayout {
  std::vector<std::size_t> axes;  ///< of the box, the outermost first; without those of extent 1
  Extents strides{};              ///< in scratch, with the memory's signs
  std::int64_t first = 0;         ///< of the box's first element, from the lowest
  std::int64_t memory_first = 0;  ///< the same in the memory
};
MemoryLayout memory_layout(const TaskBox& region, const Extents& strides) {
  MemoryLayout out;
  for (std::size_t a = 0; a < at(region.rank); ++a) {
    if (region.extent[a] != 1 && strides[a] != 0) out.axes.push_back(a);
  }
  std::stable_sort(out.axes.begin(), out.axes.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(strides[a]) > std::abs(strides[b]);
  });
  std::int64_t step = 1;
  for (std::size_t i = out.axes.size(); i-- > 0;) {
    const std::size_t a = out.axes[i];
    out.strides[a] = strides[a] < 0 ? -step : step;
    step *= region.extent[a];
    if (strides[a] >= 0) continue;
    out.first -= (region.extent[a] - 1) * out.strides[a];
    out.memory_first -= (region.extent[a] - 1) * strides[a];
  }
  return out;
}

std::size_t reducer_scratch(const ProgramSpec& spec) {
  if (spec.program.reductions.empty()) return 0;
  return rounded(ProgramReducer::scratch_bytes(spec.program, largest_box(spec.grid).elements()));
}

/// The operands of one launch.
struct BoundArgs {
  std::vector<BoundRead> reads;
  std::vector<SourceOperand> loads, stores;
  std::vector<SourceIndex> indices;
  std::vector<std::int64_t> dense;  ///< strides of stores
};

class ProgramTaskCuda : public TaskKernel {
 public:
  ProgramTaskCuda(KernelCache& cache, const ProgramSpec& spec)
      : spec_(spec), gathered_(gathered_loads(cache.system(), spec)) {
    if (spec_.program.reductions.empty()) {
      mapper_.emplace(cache, spec_.program);
    } else {
      reducer_.emplace(cache, spec_.program);
    }
    for (std::size_t k = 0; k < spec_.loads.size(); ++k) {
      const ProgramSpec::Load& load = spec_.loads[k];
      reads_host_ = reads_host_ || reads_host(load);
      if (!gathered_[k] && load.input >= 0 && !load.mirror && spans_blocks(load.from, spec_.grid))
        several_.push_back(&load.from);
      copiers_.push_back(gathered_[k] && load.input >= 0
                             ? RegionCopier(cache, itemsize(load.from.dtype))
                             : RegionCopier());
    }
    expect_corners();
  }

  bool occupies_thread() const noexcept override {
    return reads_host_ || (reducer_ && reducer_->waits());
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const TaskBox box = task_box(spec_.grid, args.coords);
    std::optional<StagingMemory> staging;
    await_memory(queue);
    if (box.elements() > 0) gather(args, queue, box, staging);
    if (reducer_) {
      BoundArgs bound = bind_all(&args, args.coords, box, box);
      reducer_->run(queue, source_args(box, bound),
                    args.outputs.subspan(spec_.program.stores.size()), args.scratch);
      return;
    }
    if (box.elements() == 0) return;
    for_each_part(box, several_, [&](const TaskBox& part) {
      BoundArgs bound = bind_all(&args, args.coords, box, part);
      mapper_->run(queue, source_args(part, bound));
      return true;
    });
  }

 private:
  SourceArgs source_args(const TaskBox& part, const BoundArgs& bound) const {
    return {part.shape(), bound.loads, bound.indices, bound.stores};
  }

  /// Kernels for the blocks at both ends of every axis, or for a symmetric array's on both sides of
  /// its diagonal.
  void expect_corners() const {
    std::set<std::vector<std::int64_t>> corners;
    const int rank = spec_.grid.rank();
    for (unsigned corner = 0; corner < 1u << std::min(rank, 3); ++corner) {
      std::vector<std::int64_t> coords(at(rank));
      for (int d = 0; d < rank; ++d) {
        const bool last = (corner >> std::min(d, 2) & 1) != 0;
        coords[at(d)] = last ? spec_.grid.axis(d).count() - 1 : 0;
      }
      corners.insert(coords);
    }
    int left = kPartsExpected;
    for (const std::vector<std::int64_t>& coords : corners) {
      const TaskBox box = task_box(spec_.grid, coords);
      if (box.elements() == 0) continue;
      if (reducer_) {
        const BoundArgs bound = bind_all(nullptr, coords, box, box);
        reducer_->expect(source_args(box, bound));
        continue;
      }
      for_each_part(box, several_, [&](const TaskBox& part) {
        const BoundArgs bound = bind_all(nullptr, coords, box, part);
        mapper_->expect(source_args(part, bound));
        return --left > 0;
      });
      if (left <= 0) return;
    }
  }

  /// Operands of a part of a block; without a task, addresses are made up.
  BoundArgs bind_all(const TaskArgs* args, std::span<const std::int64_t> coords,
                     const TaskBox& block, const TaskBox& part) const {
    const auto rank = at(part.rank);
    const bool empty = part.elements() == 0;
    BoundArgs out;
    out.reads.resize(spec_.loads.size());
    std::size_t offset = reducer_scratch(spec_);
    for (std::size_t k = 0; k < out.reads.size(); ++k) {
      if (is_gathered(k, args)) {
        const std::byte* base = args != nullptr ? args->scratch + offset : kNowhere;
        out.reads[k] = bind_gathered(spec_.loads[k], base, block, part);
        offset += gathered_bytes(spec_.loads[k].from, block);
      } else if (!empty) {
        out.reads[k] = bind_load(spec_.loads[k], args, coords, part);
      }
    }
    for (const BoundRead& read : out.reads)
      out.loads.push_back({read.data, {read.strides.data(), rank}});
    for (const ProgramSpec::Index& index : spec_.indices) {
      auto base = static_cast<std::uint64_t>(index.base);  // wide ranges go around on their way
      for (std::size_t d = 0; d < rank; ++d) {
        base += static_cast<std::uint64_t>(index.strides[d]) *
                static_cast<std::uint64_t>(part.begin[d]);
      }
      out.indices.push_back({static_cast<std::int64_t>(base), index.strides});
    }
    out.dense.resize(rank);
    dense_strides(block.shape(), out.dense.data());
    Extents dense{};
    std::copy(out.dense.begin(), out.dense.end(), dense.begin());
    for (std::size_t s = 0; s < spec_.program.stores.size(); ++s) {
      const DType dtype = spec_.program.instrs[at(spec_.program.stores[s])].dtype;
      std::byte* const first =
          args != nullptr ? args->outputs[s] : const_cast<std::byte*>(kNowhere);
      out.stores.push_back({element_at(first, dtype, block, part, dense), out.dense});
    }
    return out;
  }

  /// Of several blocks a task may read just one, where it lies, and of a device's memory what its
  /// own device can read in place.
  bool is_gathered(std::size_t k, const TaskArgs* args) const {
    const ProgramSpec::Load& load = spec_.loads[k];
    if (!gathered_[k] || args == nullptr || reads_host(load)) return gathered_[k];
    if (reads_device(load)) {
      const auto& queue = static_cast<const CudaQueue&>(*args->queue);
      return lies_apart(load, queue.system().devices()[queue.device()].id.number);
    }
    return args->input(at(load.input)).size() != 1;
  }

  static BoundRead bind_gathered(const ProgramSpec::Load& load, const std::byte* base,
                                 const TaskBox& block, const TaskBox& part) {
    BoundRead out;
    if (reads_device(load)) {
      const BoundRead memory =
          bind_memory(load.from, block, load.memory.get(), load.memory_strides);
      const MemoryLayout layout = memory_layout(gathered_box(load.from, block), memory.strides);
      out.strides = layout.strides;
      base += layout.first * static_cast<std::int64_t>(itemsize(load.from.dtype));
    } else {
      out.strides = gathered_strides(load.from, block);
    }
    out.data = element_at(const_cast<std::byte*>(base), load.from.dtype, block, part, out.strides);
    return out;
  }

  /// What is queued from here on comes behind what fills the memory that is read.
  void await_memory(CudaQueue& queue) const {
    for (const ProgramSpec::Load& load : spec_.loads) {
      if (!reads_device(load) || load.cuda->ready == nullptr) continue;
      device::cuda::check(queue.api(), TESSERA_CUDA_RUNTIME,
                          queue.api().stream_wait(queue.stream(), load.cuda->ready.get()),
                          "stream_wait");
    }
  }

  static BoundRead bind_load(const ProgramSpec::Load& load, const TaskArgs* args,
                             std::span<const std::int64_t> coords, const TaskBox& part) {
    if (reads_device(load))
      return bind_memory(load.from, part, load.memory.get(), load.memory_strides);
    const std::span<const Piece> pieces =
        args != nullptr ? args->input(at(load.input)) : std::span<const Piece>();
    if (!load.mirror) {
      return bind(load.from, part,
                  args != nullptr ? piece_at(load.from, part, pieces)
                                  : Piece{block_at(load.from, part), kNowhere});
    }
    BoundRead out;
    out.data = args != nullptr ? pieces[0].data : kNowhere;
    const bool below = coords[0] > coords[1];
    out.strides[0] = below ? 1 : part.extent[1];
    out.strides[1] = below ? part.extent[0] : 1;
    return out;
  }

  /// Fills the scratch memory of gathered loads. `staging` lives until the queue is done with it.
  void gather(const TaskArgs& args, CudaQueue& queue, const TaskBox& box,
              std::optional<StagingMemory>& staging) const {
    std::byte* to = args.scratch + reducer_scratch(spec_);
    std::size_t host_bytes = 0;
    for (const ProgramSpec::Load& load : spec_.loads) {
      if (reads_host(load)) host_bytes += gathered_bytes(load.from, box);
    }
    host_bytes = std::min(host_bytes, kStagingBytes);
    if (host_bytes > 0) staging.emplace(queue, host_bytes);
    std::size_t staged = 0;
    for (std::size_t k = 0; k < spec_.loads.size(); ++k) {
      if (!is_gathered(k, &args)) continue;
      const ProgramSpec::Load& load = spec_.loads[k];
      if (reads_host(load)) {
        bring(queue, load, box, to, {staging->data(), host_bytes}, staged);
      } else if (reads_device(load)) {
        bring_from_device(queue, load, box, to);
      } else {
        collect(queue, k, args.input(at(load.input)), box, to);
      }
      to += gathered_bytes(load.from, box);
    }
  }

  /// Copies what a box reads of host memory to `to` on the device, by way of `staging`, of which
  /// `staged` bytes are on their way already.
  static void bring(CudaQueue& queue, const ProgramSpec::Load& load, const TaskBox& box,
                    std::byte* to, std::span<std::byte> staging, std::size_t& staged) {
    const TaskBox region = gathered_box(load.from, box);
    const std::size_t item = itemsize(load.from.dtype);
    const BoundRead first = bind_memory(load.from, box, load.memory.get(), load.memory_strides);
    const HostRegion memory(first.data, item, region.shape(),
                            {first.strides.data(), at(region.rank)});
    for (std::int64_t begin = 0; begin < memory.elements();) {
      if (staging.size() - staged < item) {
        queue.wait();
        staged = 0;
      }
      const std::int64_t count = std::min(
          static_cast<std::int64_t>((staging.size() - staged) / item), memory.elements() - begin);
      const std::size_t bytes = static_cast<std::size_t>(count) * item;
      memory.copy(begin, count, staging.data() + staged);
      queue.copy(to, staging.data() + staged, bytes);
      to += bytes;
      staged += bytes;
      begin += count;
    }
    staged = std::min((staged + 15) / 16 * 16, staging.size());
  }

  /// Copies what a box reads of another device's memory to `to`, run by run.
  static void bring_from_device(CudaQueue& queue, const ProgramSpec::Load& load, const TaskBox& box,
                                std::byte* to) {
    const auto item = static_cast<std::int64_t>(itemsize(load.from.dtype));
    const TaskBox region = gathered_box(load.from, box);
    const BoundRead memory = bind_memory(load.from, box, load.memory.get(), load.memory_strides);
    const MemoryLayout layout = memory_layout(region, memory.strides);
    const std::byte* lowest = memory.data - layout.memory_first * item;
    std::size_t outer = layout.axes.size();
    std::int64_t run = 1;
    while (outer > 0 && std::abs(memory.strides[layout.axes[outer - 1]]) == run)
      run *= region.extent[layout.axes[--outer]];
    std::int64_t runs = 1;
    for (std::size_t i = 0; i < outer; ++i) runs *= region.extent[layout.axes[i]];
    for (std::int64_t r = 0; r < runs; ++r) {
      std::int64_t offset = 0;
      std::int64_t rest = r;
      for (std::size_t i = outer; i-- > 0;) {
        const std::size_t a = layout.axes[i];
        offset += rest % region.extent[a] * std::abs(memory.strides[a]);
        rest /= region.extent[a];
      }
      queue.copy_peer(load.cuda->device, to + r * run * item, lowest + offset * item,
                      static_cast<std::size_t>(run * item));
    }
  }

  /// Copies what a box reads of several blocks to `to`.
  void collect(CudaQueue& queue, std::size_t k, std::span<const Piece> pieces, const TaskBox& box,
               std::byte* to) const {
    const ArrayRead& from = spec_.loads[k].from;
    const TaskBox region = gathered_box(from, box);
    const Extents strides = gathered_strides(from, box);
    const auto rank = at(box.rank);
    for (const Piece& piece : pieces) {
      const TaskBox part = part_in_block(from, region, piece.block);
      if (std::any_of(part.extent.begin(), part.extent.begin() + part.rank,
                      [](std::int64_t n) { return n <= 0; }))
        continue;
      const BoundRead source = bind(from, part, piece);
      copiers_[k].copy(queue,
                       {element_at(to, from.dtype, region, part, strides),
                        from.dtype,
                        part.shape(),
                        {strides.data(), rank}},
                       {source.data, from.dtype, part.shape(), {source.strides.data(), rank}});
    }
  }

  ProgramSpec spec_;
  std::vector<bool> gathered_;  // by load: a kernel finds it in scratch
  std::vector<const ArrayRead*> several_;  // of spec_.loads: parts of a block read their blocks one at a time
  std::vector<RegionCopier> copiers_;
  std::optional<ProgramMapper> mapper_;
  std::optional<ProgramReducer> reducer_;
  bool reads_host_ = false;
};

}  // namespace

std::unique_ptr<TaskKernel> make_program_cuda(KernelCache& cache, const ProgramSpec& spec) {
  return std::make_unique<ProgramTaskCuda>(cache, spec);
}

std::size_t program_scratch_cuda(const CudaSystem& system, const ProgramSpec& spec) {
  const std::vector<bool> gathered = gathered_loads(system, spec);
  const TaskBox box = largest_box(spec.grid);
  std::size_t bytes = reducer_scratch(spec);
  for (std::size_t k = 0; k < gathered.size(); ++k) {
    if (gathered[k]) bytes += gathered_bytes(spec.loads[k].from, box);
  }
  return bytes;
}

}  // namespace tessera::kernels::cuda
