#include "kernels/cuda/scan_walk.hpp"

#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "core/text.hpp"
#include "kernels/cuda/embedded_text.hpp"
#include "kernels/cuda/program_source.hpp"
#include "kernels/cuda/reduce_source.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using device::cuda::CudaQueue;

constexpr std::int64_t kFewLanes = 512;

bool is_product(ReduceOp op) { return op == ReduceOp::kProd || op == ReduceOp::kNanProd; }

// The product of a segment alone may overflow or vanish where the running one does not.
bool is_in_order(const ScanSpec& spec) { return is_product(spec.op) && !is_integer(spec.dtype); }

std::int64_t lanes_of(const TaskBox& box, int axis) {
  std::int64_t lanes = 1;
  for (int d = 0; d < box.rank; ++d)
    lanes *= d == axis ? 1 : box.extent[static_cast<std::size_t>(d)];
  return lanes;
}

/// A block as the kernels see it: axes of extent 1 are gone, neighbours that both operands step
/// through evenly are one, and the scanned axis comes last.
struct ScanSpace {
  std::vector<std::int64_t> shape, from, to;
  void add(std::int64_t extent, std::int64_t from_stride, std::int64_t to_stride, bool may_merge) {
    if (may_merge && !shape.empty() && from.back() == from_stride * extent &&
        to.back() == to_stride * extent) {
      shape.back() *= extent;
      from.back() = from_stride;
      to.back() = to_stride;
      return;
    }
    shape.push_back(extent);
    from.push_back(from_stride);
    to.push_back(to_stride);
  }
};

ScanSpace lay_out(const TaskBox& box, int axis, const Extents& from) {
  Extents to{};
  dense_strides(box.shape(), to.data());
  ScanSpace space;
  for (std::size_t d = 0; d < static_cast<std::size_t>(box.rank); ++d) {
    if (static_cast<int>(d) != axis && box.extent[d] != 1)
      space.add(box.extent[d], from[d], to[d], true);
  }
  const auto a = static_cast<std::size_t>(axis);
  space.add(box.extent[a], from[a], to[a], false);
  return space;
}

/// An element converted to the dtype that is written, which is stored and added up.
Program element_program(const ScanSpec& spec, int rank) {
  Program program;
  program.rank = rank;
  program.load_count = 1;
  Instr load;
  load.dtype = spec.from.dtype;
  load.slot = 0;
  program.instrs.push_back(load);
  if (spec.from.dtype != spec.dtype) {
    Instr cast;
    cast.kind = InstrKind::kOp;
    cast.compute_dtype = spec.from.dtype;
    cast.dtype = spec.dtype;
    cast.args[0] = 0;
    program.instrs.push_back(cast);
  }
  const int value = static_cast<int>(program.instrs.size()) - 1;
  program.stores.push_back(value);
  program.reductions.push_back({.op = ReduceOp::kSum, .value = value});
  return program;
}

// The lane axes' coordinates out of a lane's number.
std::string set_lane_function(int axes) {
  std::string out =
      "TESSERA_HD void set_lane(const Params& p, long long number, long long (&c)[kAxes]) {\n";
  for (int d = axes - 2; d > 0; --d) {
    out += core::text("  c[", d, "] = number % p.n[", d, "];\n  number /= p.n[", d, "];\n");
  }
  if (axes > 1) out += "  c[0] = number;\n";
  return out + "}\n";
}

std::string scan_source(const ScanSpec& spec, int axes) {
  const bool skips_nan = spec.op == ReduceOp::kNanSum || spec.op == ReduceOp::kNanProd;
  std::string out = program_source(element_program(spec, axes));
  out += reduce_prelude();
  out += core::text("using T = ", lane_type(spec.dtype),
                    ";\nconstexpr bool kProduct = ", is_product(spec.op) ? "true" : "false",
                    ", kSkipNan = ", skips_nan ? "true" : "false",
                    ";\nconstexpr int kAxes = ", axes, ";\n", set_lane_function(axes));
  return out += embedded_text("kernels/cuda/scan_kernels.hpp");
}

class ScanTaskCuda : public TaskKernel {
 public:
  ScanTaskCuda(KernelCache& cache, const ScanSpec& spec) : cache_(cache), spec_(spec) {
    const TaskBox box = largest_box(spec.grid);
    Extents dense{};
    dense_strides(box.shape(), dense.data());
    if (box.elements() > 0) source(lay_out(box, spec.axis, dense));
  }

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    const TaskBox box = task_box(spec_.grid, args.coords);
    const BoundRead from =
        box.elements() > 0 ? bind(spec_.from, box, args.input(0)[0]) : BoundRead{};
    Carry carry;
    std::byte* to = args.outputs[0];
    switch (spec_.mode) {
      case ScanSpec::Mode::kTotals:
        carry.after = to;
        to = nullptr;
        break;
      case ScanSpec::Mode::kApply:
        carry.before = args.input(1)[0].data;
        break;
      default:
        carry.before = args.chained ? args.outputs[1] : nullptr;
        carry.after = args.outputs[1];
    }
    scan(queue, box, from, to, carry, args.scratch);
  }

 private:
  struct Carry {
    const std::byte* before = nullptr;
    std::byte* after = nullptr;
  };

  CompiledSource source(const ScanSpace& space) const {
    const int axes = static_cast<int>(space.shape.size());
    const std::lock_guard lock(mutex_);
    CompiledSource& found = sources_[axes];
    if (!found) {
      found =
          cache_.prepare(scan_source(spec_, axes), {"scan_lanes", "scan_lane_totals", "scan_rows",
                                                    "scan_row_totals", "scan_few", "scan_many"});
    }
    return found;
  }

  void scan(CudaQueue& queue, const TaskBox& box, const BoundRead& from, std::byte* to,
            const Carry& carry, std::byte* totals) const {
    const std::int64_t lanes = lanes_of(box, spec_.axis);
    if (lanes == 0) return;
    const ScanSpace space = lay_out(box, spec_.axis, from.strides);
    const ScanPlan plan =
        plan_scan(lanes, space.shape.back(), space.to.back() == 1, is_in_order(spec_));
    const SourceOperand load{from.data, space.from};
    const SourceOperand store{to, space.to};
    const int axes = static_cast<int>(space.shape.size());
    std::vector<std::byte> params =
        pack_params(element_program(spec_, axes), {space.shape, {&load, 1}, {}, {&store, 1}});
    const CompiledSource compiled = source(space);
    ScanWalk walk = plan.walk;
    const auto pass = [&](bool writes, const std::byte* before, std::byte* after) {
      const char* name = plan.rows ? (writes ? "scan_rows" : "scan_row_totals")
                         : writes  ? "scan_lanes"
                                   : "scan_lane_totals";
      const unsigned grid[3] = {static_cast<unsigned>(plan.blocks),
                                plan.rows ? static_cast<unsigned>(walk.segments) : 1u, 1};
      void* arguments[] = {params.data(), &walk, &before, &after};
      queue.launch(compiled.kernel(queue, name), name, grid, {256, 1, 1}, 0, arguments);
    };
    if (walk.segments == 1) {
      pass(to != nullptr, carry.before, carry.after);
      return;
    }
    pass(false, nullptr, totals);
    const bool many = walk.segments > 32 && lanes < 4096;
    const char* name = many ? "scan_many" : "scan_few";
    const unsigned grid[3] = {static_cast<unsigned>(many ? lanes : (lanes + 255) / 256), 1, 1};
    const std::byte* before = carry.before;
    std::byte* after = carry.after;
    void* arguments[] = {&walk, &totals, &before, &after};
    queue.launch(compiled.kernel(queue, name), name, grid, {256, 1, 1}, 0, arguments);
    if (to != nullptr) pass(true, totals, nullptr);
  }

  KernelCache& cache_;
  ScanSpec spec_;
  mutable std::mutex mutex_;
  mutable std::map<int, CompiledSource> sources_;  // by the number of axes
};

constexpr const char* kStepText = R"(
extern "C" __global__ void __launch_bounds__(256)
    scan_step(long long lanes, const W* total, W* before, W* running, int chained) {
  const long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= lanes) return;
  const W so_far = chained != 0 ? running[i] : nothing();
  before[i] = so_far;
  running[i] = join(so_far, total[i]);
}
)";

/// One more row of totals. A total that is NaN says so for good: only elements may be missing.
class PrefixTaskCuda : public TaskKernel {
 public:
  PrefixTaskCuda(KernelCache& cache, const ScanSpec& spec)
      : spec_(spec), source_(cache.prepare(step_source(spec), {"scan_step"})) {}

  void run(const TaskArgs& args) const override {
    auto& queue = static_cast<CudaQueue&>(*args.queue);
    std::int64_t lanes = lanes_of(task_box(spec_.grid, args.coords), spec_.axis);
    if (lanes == 0) return;
    const std::byte* total = args.input(0)[0].data;
    std::byte* before = args.outputs[0];
    std::byte* running = args.outputs[1];
    int chained = args.chained ? 1 : 0;
    void* arguments[] = {&lanes, &total, &before, &running, &chained};
    const unsigned grid[3] = {static_cast<unsigned>((lanes + 255) / 256), 1, 1};
    queue.launch(source_.kernel(queue, "scan_step"), "scan_step", grid, {256, 1, 1}, 0, arguments);
  }

 private:
  static std::string step_source(const ScanSpec& spec) {
    std::string out = program_source(Program{});
    out += reduce_prelude();
    const std::string_view lane = lane_type(spec.carry);
    const char* family = is_product(spec.op) ? "Product" : "Sum";
    return out += core::text("using W = reduce::Wide<", lane, ">;\nusing M = reduce::", family, "<",
                             lane, ", false>;\n", "TESSERA_HD W nothing() { return M::empty(); }\n",
                             "TESSERA_HD W join(W a, W b) { return M::merge(a, b); }\n", kStepText);
  }
  ScanSpec spec_;
  CompiledSource source_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_scan_cuda(KernelCache& cache, const ScanSpec& spec) {
  if (spec.mode == ScanSpec::Mode::kPrefix) return std::make_unique<PrefixTaskCuda>(cache, spec);
  // One thread after another's result is no work for a GPU.
  if (is_in_order(spec) && lanes_of(largest_box(spec.grid), spec.axis) < kFewLanes) return nullptr;
  return std::make_unique<ScanTaskCuda>(cache, spec);
}

std::size_t scan_scratch_cuda(const ScanSpec& spec) {
  if (spec.mode == ScanSpec::Mode::kPrefix) return 0;
  return static_cast<std::size_t>(max_segment_totals(spec.grid.max_block_elements())) *
         itemsize(spec.carry);
}

}  // namespace tessera::kernels::cuda
