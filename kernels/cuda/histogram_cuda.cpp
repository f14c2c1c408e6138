#include <algorithm>
#include <string_view>

#include "array/block_attributes.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/staged.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {
namespace {

using device::cuda::CudaQueue;

constexpr std::int64_t kMostBlocks = 4096;
constexpr std::int64_t kPerThread = 16;

/// `Params` of histogram_source().
struct HistogramParams {
  std::byte* counts;
  const std::byte* from;
  const std::byte* edges;
  std::uint64_t elements;
  std::uint32_t bins, unused;
};

const array::HistogramAttributes& attributes_of(const BlockSpec& spec) {
  return static_cast<const array::HistogramAttributes&>(*spec.attributes);
}

class HistogramTask : public TaskKernel {
 public:
  HistogramTask(KernelCache& cache, const BlockSpec& spec)
      : spec_(spec),
        attributes_(attributes_of(spec)),
        source_(cache.prepare(histogram_source(spec.inputs[0].dtype), {"count_bins"})) {}

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const std::size_t bins = attributes_.edges.size() - 1;
    queue.fill(args.outputs[0], 0, bins * sizeof(std::int64_t));
    if (args.pieces.empty()) return;
    const Piece& piece = args.input(0)[0];
    const std::int64_t elements = spec_.inputs[0].grid.block_elements(piece.block);
    if (elements == 0) return;
    send_bytes(queue, args.scratch, std::as_bytes(std::span(attributes_.edges)));
    HistogramParams params{args.outputs[0],
                           piece.data,
                           args.scratch,
                           static_cast<std::uint64_t>(elements),
                           static_cast<std::uint32_t>(bins),
                           0};
    const std::int64_t wanted = (elements + 256 * kPerThread - 1) / (256 * kPerThread);
    void* arguments[] = {&params};
    queue.launch(source_.kernel(queue, "count_bins"), "count_bins",
                 {static_cast<unsigned>(std::min(wanted, kMostBlocks)), 1, 1}, {256, 1, 1}, 0,
                 arguments);
  }

 private:
  BlockSpec spec_;
  const array::HistogramAttributes& attributes_;
  CompiledSource source_;
};

bool is_counted(const BlockSpec& spec) {
  return std::string_view(spec.kernel()) == "histogram" && !attributes_of(spec).weighted;
}

}  // namespace

// Sums of weights would depend on the order in which threads add them.
std::unique_ptr<TaskKernel> make_histogram_cuda(KernelCache& cache, const BlockSpec& spec) {
  return is_counted(spec) ? std::make_unique<HistogramTask>(cache, spec) : nullptr;
}

std::size_t histogram_scratch_cuda(const BlockSpec& spec) {
  return is_counted(spec) ? attributes_of(spec).edges.size() * sizeof(double) : 0;
}

}  // namespace tessera::kernels::cuda
