#include <algorithm>
#include <array>
#include <vector>

#include "core/text.hpp"
#include "kernels/cuda/program_source.hpp"
#include "kernels/cuda/reduce_failure.hpp"
#include "kernels/cuda/reduce_source.hpp"
#include "kernels/cuda/reduce_walk.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/host/reduce_host.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr std::size_t kFanIn = 16;  // pieces that one launch merges; plans have no more

/// `MergeParams` of merge_source().
struct MergeParams {
  std::array<const std::byte*, kFanIn> pieces{};
  std::array<std::int64_t, 3> offsets{};  // of the planes of a piece
  std::int64_t outputs = 0;
  std::int64_t count = 0;  // pieces
  std::array<std::byte*, 3> planes{};
  double ddof = 0.0;
  int* none = nullptr;
};

// A thread merges the pieces of one element as a binary tree, neighbours first.
constexpr const char* kMergeText = R"(
struct MergeParams {
  unsigned char* piece[16];
  long long offset[3], outputs, count;
  reduce::Target to;
  int* none;
};
TESSERA_HD M::Acc merge_all(const MergeParams& p, long long i) {
  const auto load = [&](int piece) {
    unsigned char* const data = p.piece[piece];
    return M::load({{data + p.offset[0], data + p.offset[1], data + p.offset[2]}}, i);
  };
  const int count = static_cast<int>(p.count);
  M::Acc a = reduce::merge_few<M, 8>(load, 0, 1, count);
  if (count > 8) a = M::merge(a, reduce::merge_few<M, 8>(load, 8, 1, count));
  return a;
}
extern "C" __global__ void __launch_bounds__(256) merge_pieces(const MergeParams p) {
  const long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (i < p.outputs) M::store(p.to.planes, i, merge_all(p, i));
}
)";

constexpr const char* kFinishText = R"(
extern "C" __global__ void __launch_bounds__(256) merge_and_finish(const MergeParams p) {
  const long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (i < p.outputs) reduce::finish_one<M, Result>(p.to, i, merge_all(p, i), p.none);
}
)";

std::string merge_source(const MergeSpec& spec) {
  std::string out = program_source(Program{});
  out += reduce_prelude();
  out += core::text("using M = ", monoid_type(spec.op, spec.element), ";\n", kMergeText);
  if (spec.finish) out += core::text("using Result = ", lane_type(spec.result), ";\n", kFinishText);
  return out;
}

class MergeTask : public TaskKernel {
 public:
  MergeTask(KernelCache& cache, const MergeSpec& spec) : spec_(spec) {
    if (spec.finish)
      host::Finisher(spec.op, spec.element, spec.result, spec.ddof);  // refuses what has no value
    std::vector<std::string> names{"merge_pieces"};
    if (spec.finish) names.push_back("merge_and_finish");
    source_ = cache.prepare(merge_source(spec), std::move(names));
  }

  bool occupies_thread() const noexcept override { return spec_.finish && may_find_none(spec_.op); }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<device::cuda::CudaQueue&>(*args.queue);
    if (!occupies_thread()) {
      merge(queue, args, args.scratch, nullptr);
      return;
    }
    const MissingPlaces missing(queue, args.scratch, {spec_.op});
    merge(queue, args, args.scratch + MissingPlaces::bytes(1), missing.marks());
    missing.check();
  }

 private:
  // More pieces than a launch takes are merged as they come: what there is so far is one of the
  // next launch's.
  void merge(device::cuda::CudaQueue& queue, const TaskArgs& args, std::byte* scratch,
             int* none) const {
    MergeParams params;
    params.outputs = task_box(spec_.grid, args.coords).elements();
    params.ddof = spec_.ddof;
    params.none = none;
    if (params.outputs == 0) return;
    std::byte* const so_far = spec_.finish ? scratch : args.outputs[0];
    const std::size_t planes = core::accumulator_dtypes(spec_.op, spec_.element).size();
    for (std::size_t k = 0; k < planes; ++k) {
      params.offsets[k] = static_cast<std::int64_t>(
          core::accumulator_offset(spec_.op, spec_.element, params.outputs, static_cast<int>(k)));
    }
    const std::span<const Piece> pieces = args.input(0);
    for (std::size_t done = 0; done < pieces.size();) {
      std::size_t count = 0;
      if (done > 0) params.pieces[count++] = so_far;
      while (count < kFanIn && done < pieces.size()) params.pieces[count++] = pieces[done++].data;
      params.count = static_cast<std::int64_t>(count);
      const bool finish = spec_.finish && done == pieces.size();
      for (std::size_t k = 0; k < planes; ++k) params.planes[k] = so_far + params.offsets[k];
      if (finish) params.planes[0] = args.outputs[0];
      launch(queue, params, finish ? "merge_and_finish" : "merge_pieces");
    }
  }

  void launch(device::cuda::CudaQueue& queue, MergeParams& params, const char* name) const {
    const unsigned grid[3] = {static_cast<unsigned>((params.outputs + 255) / 256), 1, 1};
    void* arguments[] = {&params};
    queue.launch(source_.kernel(queue, name), name, grid, {256, 1, 1}, 0, arguments);
  }

  MergeSpec spec_;
  CompiledSource source_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_merge_cuda(KernelCache& cache, const MergeSpec& spec) {
  return std::make_unique<MergeTask>(cache, spec);
}

std::size_t merge_scratch_cuda(const MergeSpec& spec) {
  if (!spec.finish) return 0;
  const std::size_t marks = may_find_none(spec.op) ? MissingPlaces::bytes(1) : 0;
  return marks + core::accumulator_bytes(spec.op, spec.element, spec.grid.max_block_elements());
}

}  // namespace tessera::kernels::cuda
