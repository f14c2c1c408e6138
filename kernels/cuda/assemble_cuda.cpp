#include <algorithm>

#include "kernels/cuda/copy_cuda.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {

namespace {

class AssembleTask : public TaskKernel {
 public:
  AssembleTask(KernelCache& cache, const AssembleSpec& spec)
      : spec_(spec), copier_(cache, itemsize(spec.dtype)) {}

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<device::cuda::CudaQueue&>(*args.queue);
    const TaskBox box = task_box(spec_.grid, args.coords);
    const auto rank = static_cast<std::size_t>(box.rank);
    Extents strides{};
    dense_strides(box.shape(), strides.data());
    if (spec_.fill && !is_covered(box)) {
      copier_.fill(queue, {args.outputs[0], spec_.dtype, box.shape(), {strides.data(), rank}},
                   *spec_.fill);
    }
    for (std::size_t k = 0; k < spec_.parts.size(); ++k) {
      const TaskBox part = clipped(box, spec_.parts[k]);
      if (is_empty(part)) continue;
      std::byte* out = element_at(args.outputs[0], spec_.dtype, box, part, strides);
      for (const Piece& piece : args.input(k))
        copier_.copy_piece(queue, spec_.parts[k].from, part, piece, out, strides);
    }
  }

 private:
  static bool is_empty(const TaskBox& box) {
    const auto shape = box.shape();
    return std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent <= 0; });
  }

  static TaskBox clipped(const TaskBox& box, const AssembleSpec::Part& part) {
    TaskBox out = box;
    for (std::size_t a = 0; a < static_cast<std::size_t>(box.rank); ++a) {
      out.begin[a] = std::max(box.begin[a], part.lo[a]);
      out.extent[a] = std::min(box.begin[a] + box.extent[a], part.hi[a]) - out.begin[a];
    }
    return out;
  }

  // Parts do not overlap, so that counting tells.
  bool is_covered(const TaskBox& box) const {
    std::int64_t elements = 0;
    for (const AssembleSpec::Part& part : spec_.parts) {
      const TaskBox inside = clipped(box, part);
      if (!is_empty(inside)) elements += inside.elements();
    }
    return elements == box.elements();
  }

  AssembleSpec spec_;
  RegionCopier copier_;
};

class AwaitedTask : public TaskKernel {
 public:
  void run(const TaskArgs& args) const override {
    static_cast<device::cuda::CudaQueue&>(*args.queue).fill(args.outputs[0], 1, 1);
  }
};

}  // namespace

std::unique_ptr<TaskKernel> make_assemble_cuda(KernelCache& cache, const AssembleSpec& spec) {
  return std::make_unique<AssembleTask>(cache, spec);
}

std::unique_ptr<TaskKernel> make_awaited_cuda() { return std::make_unique<AwaitedTask>(); }

}  // namespace tessera::kernels::cuda
