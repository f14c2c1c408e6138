#include <array>

#include "core/text.hpp"
#include "kernels/cuda/program_source.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr std::size_t kFanIn = 16;  // blocks that one launch adds; plans have no more

/// `AddParams` in the text.
struct AddParams {
  std::array<const std::byte*, kFanIn> pieces{};
  std::byte* to = nullptr;
  std::int64_t elements = 0;
  std::int64_t count = 0;  // pieces
};

// Neighbours are added first, then pairs of sums, and so on, as on the host. Few pieces leave a
// thread room for several elements, so that enough loads are on their way.
constexpr const char* kAddText = R"(
struct AddParams {
  const T* piece[16];
  T* to;
  long long elements, count;
};
template <int kPieces, int kEach>
TESSERA_HD void add_pieces(const AddParams& p) {
  const long long first = static_cast<long long>(blockIdx.x) * (256 * kEach) + threadIdx.x;
  const int count = static_cast<int>(p.count);
  T sums[kEach][kPieces];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const long long i = first + e * 256;
#pragma unroll
    for (int k = 0; k < kPieces; ++k) {
      if (k < count && i < p.elements) sums[e][k] = p.piece[k][i];
    }
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const long long i = first + e * 256;
#pragma unroll
    for (int half = 1; half < kPieces; half *= 2) {
#pragma unroll
      for (int k = 0; k + half < kPieces; k += 2 * half) {
        if (k + half < count) sums[e][k] = body::add(sums[e][k], sums[e][k + half]);
      }
    }
    if (i < p.elements) p.to[i] = sums[e][0];
  }
}
extern "C" __global__ void __launch_bounds__(256) add_few(const AddParams p) {
  add_pieces<4, 4>(p);
}
extern "C" __global__ void __launch_bounds__(256) add_many(const AddParams p) {
  add_pieces<16, 1>(p);
}
)";

class AddBlocksTask : public TaskKernel {
 public:
  AddBlocksTask(KernelCache& cache, const AddBlocksSpec& spec)
      : spec_(spec),
        source_(cache.prepare(core::text(program_source(Program{}),
                                         "using T = ", lane_type(spec.dtype), ";\n", kAddText),
                              {"add_few", "add_many"})) {}

  // More blocks than a launch takes are added as they come: the sum so far is one of the next
  // launch's.
  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<device::cuda::CudaQueue&>(*args.queue);
    AddParams params;
    params.to = args.outputs[0];
    params.elements = task_box(spec_.grid, args.coords).elements();
    const std::span<const Piece> pieces = args.input(0);
    for (std::size_t done = 0; done < pieces.size() && params.elements > 0;) {
      std::size_t count = 0;
      if (done > 0) params.pieces[count++] = args.outputs[0];
      while (count < kFanIn && done < pieces.size()) params.pieces[count++] = pieces[done++].data;
      params.count = static_cast<std::int64_t>(count);
      const bool few = count <= 4;
      const char* name = few ? "add_few" : "add_many";
      const std::int64_t each = few ? 1024 : 256;
      const unsigned grid[3] = {static_cast<unsigned>((params.elements + each - 1) / each), 1, 1};
      void* arguments[] = {&params};
      queue.launch(source_.kernel(queue, name), name, grid, {256, 1, 1}, 0, arguments);
    }
  }

 private:
  AddBlocksSpec spec_;
  CompiledSource source_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_add_blocks_cuda(KernelCache& cache, const AddBlocksSpec& spec) {
  return std::make_unique<AddBlocksTask>(cache, spec);
}

}  // namespace tessera::kernels::cuda
