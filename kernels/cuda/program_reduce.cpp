#include "kernels/cuda/program_reduce.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/text.hpp"
#include "kernels/cuda/reduce_failure.hpp"
#include "kernels/cuda/reduce_source.hpp"
#include "kernels/cuda/reduce_walk.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr std::int64_t kNarrow = std::int64_t{1} << 29;

constexpr std::int64_t kShortRun = 24;

/// `Target` in the text of the kernels.
struct Target {
  std::array<std::byte*, 3> planes{};
  double ddof = 0.0;
};

/// The iteration space as the kernels walk it: axes of extent 1 are gone, others lie role by role,
/// and neighbours that every operand steps through evenly are one.
struct Space {
  std::vector<std::int64_t> shape;
  std::vector<std::vector<std::int64_t>>
      strides;  // of loads, indices and stores, one for each axis
  ReduceVariant variant;
  ReducePlan plan;
};

std::vector<std::span<const std::int64_t>> operand_strides(const SourceArgs& args) {
  std::vector<std::span<const std::int64_t>> out;
  for (const SourceOperand& load : args.loads) out.push_back(load.strides);
  for (const SourceIndex& index : args.indices) out.push_back(index.strides);
  for (const SourceOperand& store : args.stores) out.push_back(store.strides);
  return out;
}

int add_axes(Space& space, const SourceArgs& args, ReduceRole role) {
  const std::vector<std::span<const std::int64_t>> operands = operand_strides(args);
  const auto product = [](std::int64_t a, std::int64_t b) {  // indices may go around
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  };
  int count = 0;
  for (std::size_t d = 0; d < args.shape.size(); ++d) {
    if (space.plan.roles[d] != role || args.shape[d] == 1) continue;
    bool even = count > 0;
    for (std::size_t k = 0; k < operands.size() && even; ++k) {
      even = space.strides[k].back() == product(operands[k][d], args.shape[d]);
    }
    if (even) {
      space.shape.back() *= args.shape[d];
      for (std::size_t k = 0; k < operands.size(); ++k) space.strides[k].back() = operands[k][d];
    } else {
      space.shape.push_back(args.shape[d]);
      for (std::size_t k = 0; k < operands.size(); ++k) space.strides[k].push_back(operands[k][d]);
      ++count;
    }
  }
  return count;
}

char known_stride(std::int64_t stride) { return stride == 0 ? '0' : stride == 1 ? '1' : '?'; }

// Whether a walk is one that tiles are made for, and which axes its rows and lanes follow.
struct Crossing {
  ReduceAcross across = ReduceAcross::kNone;
  int rows = -1;
  int lanes = -1;
};
Crossing crossing_of(const ReduceWalk& walk, const ReduceVariant& variant) {
  const int kept = variant.kept - 1;
  const int outer = variant.kept + variant.outer - 1;
  const int inner = outer + variant.inner;
  const auto threads = [&](int outputs, int down, int along) {
    return walk.outputs_log == outputs && walk.outer_log == down && walk.inner_log == along;
  };
  if (variant.inner == 0) return {};
  if (walk.output_shift > 0 || walk.outputs_log == 0) {  // lanes follow inner
    if (threads(0, 3, 5) && variant.outer > 0) return {ReduceAcross::kOuterRows, outer, inner};
    if (threads(3, 0, 5) && variant.kept > 0) return {ReduceAcross::kOutputRows, kept, inner};
    return {};
  }
  if (threads(5, 0, 3) && variant.kept > 0) return {ReduceAcross::kOutputLanes, inner, kept};
  return {};
}

void choose_crossed(const Program& program, Space& space) {
  constexpr std::int64_t kFar = 8;
  const Crossing crossing = crossing_of(space.plan.walk, space.variant);
  if (crossing.across == ReduceAcross::kNone) return;
  std::vector<bool> crossed(static_cast<std::size_t>(program.load_count), false);
  for (std::size_t k = 0; k < crossed.size(); ++k) {
    const std::int64_t lanes = space.strides[k][static_cast<std::size_t>(crossing.lanes)];
    const std::int64_t rows = space.strides[k][static_cast<std::size_t>(crossing.rows)];
    crossed[k] = (rows == 1 || rows == -1) && (lanes >= kFar || lanes <= -kFar);
    if (crossed[k]) space.variant.across = crossing.across;
  }
  if (space.variant.across != ReduceAcross::kNone) space.variant.crossed = std::move(crossed);
}

Space lay_out(const Program& program, const SourceArgs& args) {
  Space space;
  space.plan = plan_reduction(args.shape, program.reduced);
  space.strides.resize(args.loads.size() + args.indices.size() + args.stores.size());
  ReduceVariant& variant = space.variant;
  variant.kept = add_axes(space, args, ReduceRole::kKept);
  const ReduceWalk& walk = space.plan.walk;
  variant.inner_log = walk.inner_log;
  variant.together = space.plan.together;
  variant.short_runs = (walk.inner >> walk.inner_log) < kShortRun;
  variant.wide = std::max({walk.outputs, walk.outer, walk.inner}) >= kNarrow;
  if (walk.outer > 0) {
    variant.outer = add_axes(space, args, ReduceRole::kOuter);
    variant.inner = add_axes(space, args, ReduceRole::kInner);
  }
  for (const std::vector<std::int64_t>& strides : space.strides) {
    variant.strides.push_back(variant.inner > 0 ? known_stride(strides.back()) : '?');
  }
  choose_crossed(program, space);
  return space;
}

DType value_dtype(const Program& program, const ProgramReduction& reduction) {
  return program.instrs[static_cast<std::size_t>(reduction.value)].dtype;
}

/// Whether outputs are places, which there may be none of.
bool finds_places(const Program& program) {
  return std::any_of(program.reductions.begin(), program.reductions.end(),
                     [](const ProgramReduction& r) { return r.finish && may_find_none(r.op); });
}

std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

Target accumulator_target(const Program& program, const ProgramReduction& reduction,
                          std::int64_t count, std::byte* data) {
  Target target;
  const DType dtype = value_dtype(program, reduction);
  const std::size_t planes = core::accumulator_dtypes(reduction.op, dtype).size();
  for (std::size_t p = 0; p < planes; ++p) {
    target.planes[p] =
        data + core::accumulator_offset(reduction.op, dtype, count, static_cast<int>(p));
  }
  target.ddof = reduction.ddof;
  return target;
}

/// The bytes of a kernel's Targets.
std::vector<std::byte> pack(const std::vector<Target>& targets, const int* none) {
  std::vector<std::byte> out(targets.size() * sizeof(Target) + sizeof(none));
  if (!targets.empty()) std::memcpy(out.data(), targets.data(), targets.size() * sizeof(Target));
  std::memcpy(out.data() + targets.size() * sizeof(Target), &none, sizeof(none));
  return out;
}

}  // namespace

struct ProgramReducer::Impl {
  KernelCache* cache;
  Program program;
  bool waits = false;
  std::mutex mutex;
  std::map<ReduceVariant, CompiledSource> sources;

  Program as_laid_out(const Space& space) const {
    Program out = program;
    out.rank = static_cast<int>(space.shape.size());
    out.reduced.clear();
    return out;
  }

  CompiledSource source(const Space& space) {
    const std::lock_guard lock(mutex);
    CompiledSource& found = sources[space.variant];
    if (!found)
      found = cache->prepare(reduce_source(as_laid_out(space), space.variant),
                             {"reduce_blocks", "reduce_parts"});
    return found;
  }

  void launch(device::cuda::CudaQueue& queue, const SourceArgs& args,
              std::span<std::byte* const> outputs, std::byte* scratch, int* none);
};

ProgramReducer::ProgramReducer(KernelCache& cache, Program program)
    : impl_(std::make_unique<Impl>()) {
  impl_->cache = &cache;
  for (const ProgramReduction& reduction : program.reductions) {
    core::accumulator_dtypes(reduction.op, value_dtype(program, reduction));
  }
  impl_->waits = finds_places(program);
  impl_->program = std::move(program);
}

ProgramReducer::~ProgramReducer() = default;

bool ProgramReducer::waits() const noexcept { return impl_->waits; }

void ProgramReducer::expect(const SourceArgs& args) const {
  impl_->source(lay_out(impl_->program, args));
}

std::size_t ProgramReducer::scratch_bytes(const Program& program, std::int64_t block_elements) {
  const std::int64_t count = max_part_accumulators(block_elements);
  std::size_t bytes = finds_places(program) ? MissingPlaces::bytes(program.reductions.size()) : 0;
  for (const ProgramReduction& reduction : program.reductions) {
    if (count > 0)
      bytes +=
          rounded(core::accumulator_bytes(reduction.op, value_dtype(program, reduction), count));
  }
  return bytes;
}

void ProgramReducer::Impl::launch(device::cuda::CudaQueue& queue, const SourceArgs& args,
                                  std::span<std::byte* const> outputs, std::byte* scratch,
                                  int* none) {
  const Space space = lay_out(program, args);
  const ReducePlan& plan = space.plan;
  if (plan.walk.tiles == 0) return;
  std::vector<Target> targets, parts;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const ProgramReduction& reduction = program.reductions[k];
    if (reduction.finish) {
      targets.push_back({{outputs[k]}, reduction.ddof});
    } else {
      targets.push_back(accumulator_target(program, reduction, plan.walk.outputs, outputs[k]));
    }
    if (plan.parts == 1) continue;
    const std::int64_t count = plan.parts * plan.walk.outputs;
    parts.push_back(accumulator_target(program, reduction, count, scratch));
    scratch +=
        rounded(core::accumulator_bytes(reduction.op, value_dtype(program, reduction), count));
  }
  std::vector<SourceOperand> loads(args.loads.begin(), args.loads.end());
  std::vector<SourceIndex> indices(args.indices.begin(), args.indices.end());
  std::vector<SourceOperand> stores(args.stores.begin(), args.stores.end());
  std::size_t operand = 0;
  for (SourceOperand& load : loads) load.strides = space.strides[operand++];
  for (SourceIndex& index : indices) index.strides = space.strides[operand++];
  for (SourceOperand& store : stores) store.strides = space.strides[operand++];

  const CompiledSource compiled = source(space);
  std::vector<std::byte> params =
      pack_params(as_laid_out(space), {space.shape, loads, indices, stores});
  ReduceWalk walk = plan.walk;
  std::vector<std::byte> to = pack(targets, none);
  std::vector<std::byte> between = pack(parts, none);
  const unsigned block[3] = {static_cast<unsigned>(kReduceThreads), 1, 1};
  const unsigned grid[3] = {static_cast<unsigned>(plan.blocks), static_cast<unsigned>(plan.parts),
                            1};
  void* arguments[] = {params.data(), &walk, plan.parts > 1 ? between.data() : to.data()};
  queue.launch(compiled.kernel(queue, "reduce_blocks"), "reduce_blocks", grid, block, 0, arguments);
  if (plan.parts == 1) return;
  PartsWalk last = plan_parts(plan.walk.outputs, plan.parts);
  const std::int64_t each = std::int64_t{1} << last.outputs_log;
  const unsigned last_grid[3] = {static_cast<unsigned>((last.outputs + each - 1) / each),
                                 static_cast<unsigned>(program.reductions.size()), 1};
  void* last_arguments[] = {&last, between.data(), to.data()};
  queue.launch(compiled.kernel(queue, "reduce_parts"), "reduce_parts", last_grid, block, 0,
               last_arguments);
}

void ProgramReducer::run(device::cuda::CudaQueue& queue, const SourceArgs& args,
                         std::span<std::byte* const> outputs, std::byte* scratch) const {
  if (!impl_->waits) {
    impl_->launch(queue, args, outputs, scratch, nullptr);
    return;
  }
  std::vector<core::ReduceOp> ops;
  for (const ProgramReduction& reduction : impl_->program.reductions) ops.push_back(reduction.op);
  const std::size_t mark_bytes = MissingPlaces::bytes(ops.size());
  const MissingPlaces missing(queue, scratch, std::move(ops));
  impl_->launch(queue, args, outputs, scratch + mark_bytes, missing.marks());
  missing.check();
}

}  // namespace tessera::kernels::cuda
