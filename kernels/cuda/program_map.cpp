#include "kernels/cuda/program_map.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/program_axes.hpp"
#include "kernels/cuda/program_map_source.hpp"

namespace tessera::kernels::cuda {

namespace {

using core::ScalarOp;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

constexpr std::size_t kGroupBytes = 16;  // the widest vector
// What a thread asks for before it waits: with all threads of a multiprocessor that hides the
// latency of memory.
constexpr std::size_t kBytesUnderWay = 32;
// Of axes that are read through squares: shorter ones fill them badly.
constexpr std::int64_t kLeastTurned = 16;
constexpr std::size_t kSharedBytes = 48 << 10;
// Blocks for each that a multiprocessor can hold, so that the last ones end at about the same time.
constexpr std::int64_t kBlocksEach = 4;
constexpr std::int64_t kMaxRows = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxGrid = 65535;  // along y and z

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Log of the threads that stand side by side along a row of n elements, each with `each` of them.
/// A warp is enough to read in one go, and longer stretches leave more threads idle at a row's end.
std::uint32_t lanes_log_for(std::int64_t n, std::int64_t rows, int each) {
  constexpr std::uint32_t kWarpLog = 5;
  std::uint32_t log = 0;
  while ((1u << log) < kMapThreads && (std::int64_t{each} << log) < n) ++log;
  const auto idle = [&] {
    return ceil_div(n, std::int64_t{each} << log) * (std::int64_t{each} << log) - n;
  };
  while (rows > 1 && log > kWarpLog && 8 * idle() > n) --log;
  return log;
}

bool is_heavy(const Instr& instr) {
  if (instr.kind == InstrKind::kRandom) return true;
  if (instr.kind != InstrKind::kOp) return false;
  switch (instr.op) {
    case ScalarOp::kDivide:
    case ScalarOp::kReciprocal:
    case ScalarOp::kSqrt:
      return is_complex(instr.compute_dtype);
    case ScalarOp::kPow:
    case ScalarOp::kRemainder:
    case ScalarOp::kFloorDivide:
    case ScalarOp::kHypot:
      return true;
    default: {
      const core::DTypeRule rule = core::info(instr.op).rule;
      return rule == core::DTypeRule::kFloating || rule == core::DTypeRule::kAngle ||
             (rule == core::DTypeRule::kRealFloating && core::info(instr.op).ulp > 0);
    }
  }
}

/// What is done to find the kernel for one call.
struct MapChoice {
  MapVariant variant;
  int turned = -1;              ///< axis of the space that squares take beside the innermost one
  std::vector<int> outer_axes;  ///< of the space, innermost first
};

/// One call's operands in the order of MapSpace.
struct Bases {
  std::vector<const std::byte*> loads;
  std::vector<std::uint64_t> indices;
  std::vector<const std::byte*> stores;
};

}  // namespace

struct ProgramMapper::Impl {
  Impl(KernelCache& kernel_cache, Program p)
      : cache(kernel_cache), program(std::move(p)), fields(fields_of(program)) {
    for (std::size_t v = 0; v < program.instrs.size(); ++v) {
      const Instr& instr = program.instrs[v];
      if (!fields.used[v] || !is_heavy(instr)) continue;
      heavy = true;
      complex_math =
          complex_math || (instr.kind == InstrKind::kOp && is_complex(instr.compute_dtype));
    }
  }

  std::size_t load_bytes(std::size_t k) const { return itemsize(fields.load_dtypes[k]); }
  std::size_t store_bytes(std::size_t s) const {
    return itemsize(program.instrs[at(program.stores[s])].dtype);
  }

  Bases bases_of(const SourceArgs& args) const;
  MapChoice choose(const MapSpace& space, const Bases& bases) const;
  int turned_axis(const MapSpace& space) const;
  void choose_tiles(const MapSpace& space, MapChoice& choice) const;
  void choose_rows(const MapSpace& space, const Bases& bases, MapChoice& choice) const;
  bool fits_group(const MapSpace& space, const Bases& bases, int group) const;
  bool has_even_pairs(const MapSpace& space, const Bases& bases, int group) const;
  CompiledSource source(const MapVariant& variant);
  void launch(device::cuda::CudaQueue& queue, const MapSpace& space, const Bases& bases);
  std::vector<std::byte> pack(const MapSpace& space, const Bases& bases, const MapChoice& choice,
                              std::int64_t rows, std::uint32_t lanes_log) const;

  KernelCache& cache;
  Program program;
  ProgramFields fields;
  bool heavy = false;  ///< computing takes longer than reading: one element at a time will do
  bool complex_math = false;  ///< and compiling takes long
  std::mutex mutex;
  std::map<MapVariant, CompiledSource> sources;
};

Bases ProgramMapper::Impl::bases_of(const SourceArgs& args) const {
  Bases out;
  for (const int slot : fields.loads) out.loads.push_back(args.loads[at(slot)].data);
  for (const int slot : fields.indices)
    out.indices.push_back(static_cast<std::uint64_t>(args.indices[at(slot)].base));
  for (const SourceOperand& store : args.stores) out.stores.push_back(store.data);
  return out;
}

/// The axis in which most bytes are tight that are not so along the innermost one, or -1.
int ProgramMapper::Impl::turned_axis(const MapSpace& space) const {
  const int inner = space.rank() - 1;
  if (inner == 0 || space.extent(inner) < kLeastTurned) return -1;
  std::vector<std::size_t> bytes(at(inner));
  for (std::size_t k = 0; k < space.loads(); ++k) {
    if (std::abs(space.stride(inner, k)) <= 1) continue;
    for (int a = 0; a < inner; ++a) {
      if (std::abs(space.stride(a, k)) == 1 && space.extent(a) >= kLeastTurned)
        bytes[at(a)] += load_bytes(k);
    }
  }
  const auto most = std::max_element(bytes.begin(), bytes.end());
  return *most > 0 ? static_cast<int>(most - bytes.begin()) : -1;
}

void ProgramMapper::Impl::choose_tiles(const MapSpace& space, MapChoice& choice) const {
  MapVariant& variant = choice.variant;
  const int inner = space.rank() - 1;
  variant.tiled = true;
  std::size_t narrowest = 16;
  const auto turns = [&](std::size_t k) {
    return std::abs(space.stride(inner, k)) > 1 && std::abs(space.stride(choice.turned, k)) == 1;
  };
  for (std::size_t k = 0; k < space.loads(); ++k) {
    if (turns(k)) narrowest = std::min(narrowest, load_bytes(k));
  }
  variant.tile = narrowest < 4 ? 64 : 32;
  variant.unroll = heavy ? 1 : 4;
  std::size_t room = kSharedBytes;
  for (std::size_t k = 0; k < space.loads(); ++k) {
    const std::size_t square =
        at(variant.tile) * at(variant.tile + tile_padding(load_bytes(k))) * load_bytes(k);
    const bool turned = turns(k) && square <= room;
    if (turned) room -= square;
    variant.loads.push_back(turned ? LoadMode::kTurned : LoadMode::kSingle);
  }
}

/// Whether groups of so many elements lie in memory as vectors.
bool ProgramMapper::Impl::fits_group(const MapSpace& space, const Bases& bases, int group) const {
  const int inner = space.rank() - 1;
  const auto fits = [&](std::size_t operand, const std::byte* data, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(data) % (at(group) * bytes) != 0) return false;
    for (int a = 0; a < inner; ++a) {
      if (space.stride(a, operand) % group != 0) return false;
    }
    return true;
  };
  for (std::size_t k = 0; k < space.loads(); ++k) {
    if (space.stride(inner, k) == 1 && !fits(k, bases.loads[k], load_bytes(k))) return false;
  }
  for (std::size_t s = 0; s < space.stores(); ++s) {
    if (!fits(space.store(s), bases.stores[s], store_bytes(s))) return false;
  }
  return true;
}

/// Whether every draw's element number counts up by one along a row and is even where a group
/// begins.
bool ProgramMapper::Impl::has_even_pairs(const MapSpace& space, const Bases& bases,
                                         int group) const {
  const int inner = space.rank() - 1;
  for (std::size_t i = 0; i < space.indices(); ++i) {
    const std::size_t operand = space.index(i);
    bool even = bases.indices[i] % 2 == 0 && space.stride(inner, operand) == 1;
    for (int a = 0; a < inner; ++a) even = even && space.stride(a, operand) % 2 == 0;
    if (!even) return false;
  }
  return fields.draws && group % 2 == 0;
}

void ProgramMapper::Impl::choose_rows(const MapSpace& space, const Bases& bases,
                                      MapChoice& choice) const {
  MapVariant& variant = choice.variant;
  const int inner = space.rank() - 1;
  std::size_t widest = 1;
  // Loads that come element by element are coalesced where groups are single elements.
  bool scattered = false;
  for (std::size_t k = 0; k < space.loads(); ++k) {
    const std::int64_t stride = space.stride(inner, k);
    variant.loads.push_back(stride == 0 ? LoadMode::kUniform
                                        : (stride == 1 ? LoadMode::kVector : LoadMode::kSingle));
    if (stride == 1) widest = std::max(widest, load_bytes(k));
    scattered = scattered || (stride != 0 && stride != 1 && load_bytes(k) >= 4);
  }
  for (std::size_t s = 0; s < space.stores(); ++s) {
    widest = std::max(widest, store_bytes(s));
    variant.single_stores = variant.single_stores || space.stride(inner, space.store(s)) != 1;
  }
  if (!scattered && !variant.single_stores && !complex_math) {
    variant.group = static_cast<int>(std::max<std::size_t>(kGroupBytes / widest, 1));
    while (variant.group > 1 && !fits_group(space, bases, variant.group)) variant.group /= 2;
  }
  std::size_t bytes = 0;  // that a group reads
  for (std::size_t k = 0; k < space.loads(); ++k) {
    if (variant.loads[k] != LoadMode::kUniform) bytes += at(variant.group) * load_bytes(k);
  }
  variant.unroll = heavy ? 1
                         : static_cast<int>(std::clamp<std::size_t>(
                               kBytesUnderWay / std::max<std::size_t>(bytes, 8), 1, 4));
  variant.even_pairs = has_even_pairs(space, bases, variant.group);
}

MapChoice ProgramMapper::Impl::choose(const MapSpace& space, const Bases& bases) const {
  MapChoice choice;
  choice.turned = turned_axis(space);
  if (choice.turned >= 0) {
    choose_tiles(space, choice);
  } else {
    choose_rows(space, bases, choice);
  }
  for (int a = space.rank() - 2; a >= 0; --a) {
    if (a != choice.turned) choice.outer_axes.push_back(a);
  }
  choice.variant.outer_axes = static_cast<int>(choice.outer_axes.size());
  return choice;
}

CompiledSource ProgramMapper::Impl::source(const MapVariant& variant) {
  const std::lock_guard lock(mutex);
  CompiledSource& source = sources[variant];
  if (!source) source = cache.prepare(map_source(program, fields, variant), {kMapKernel});
  return source;
}

std::vector<std::byte> ProgramMapper::Impl::pack(const MapSpace& space, const Bases& bases,
                                                 const MapChoice& choice, std::int64_t rows,
                                                 std::uint32_t lanes_log) const {
  const int inner = space.rank() - 1;
  ParamsWriter out;
  out.add(space.extent(inner));
  if (choice.variant.tiled) out.add(space.extent(choice.turned));
  out.add(std::array{static_cast<std::uint32_t>(rows), lanes_log});
  for (std::size_t a = 0; a + 1 < choice.outer_axes.size(); ++a) {
    out.add(map_divisor(static_cast<std::uint32_t>(space.extent(choice.outer_axes[a]))));
  }
  const auto add_strides = [&](std::size_t operand) {
    out.add(space.stride(inner, operand));
    if (choice.variant.tiled) out.add(space.stride(choice.turned, operand));
    for (const int a : choice.outer_axes) out.add(space.stride(a, operand));
  };
  for (std::size_t k = 0; k < space.loads(); ++k) {
    out.add(bases.loads[k]);
    add_strides(k);
  }
  for (std::size_t i = 0; i < space.indices(); ++i) {
    out.add(bases.indices[i]);
    add_strides(space.index(i));
  }
  for (std::size_t s = 0; s < space.stores(); ++s) {
    out.add(bases.stores[s]);
    add_strides(space.store(s));
  }
  add_constants(program, fields, out);
  return out.take();
}

void ProgramMapper::Impl::launch(device::cuda::CudaQueue& queue, const MapSpace& space,
                                 const Bases& bases) {
  const MapChoice choice = choose(space, bases);
  const MapVariant& variant = choice.variant;
  std::int64_t rows = 1;
  for (const int a : choice.outer_axes) rows *= space.extent(a);
  const std::int64_t n = space.extent(space.rank() - 1);

  const std::uint32_t lanes_log = lanes_log_for(n, rows, variant.group * variant.unroll);
  const std::int64_t resident =
      queue.info().threads_per_multiprocessor / static_cast<int>(kMapThreads);
  const std::int64_t most =
      std::max<std::int64_t>(queue.info().multiprocessors * resident * kBlocksEach, 1);
  std::int64_t grid[3] = {1, 1, 1};
  const auto take = [&](int d, std::int64_t wanted, std::int64_t limit) {
    grid[d] = std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(limit, 1));
  };
  if (variant.tiled) {
    take(0, ceil_div(n, variant.tile), most);
    take(1, ceil_div(space.extent(choice.turned), variant.tile),
         std::min(kMaxGrid, most / grid[0]));
    take(2, rows, std::min(kMaxGrid, most / (grid[0] * grid[1])));
  } else {
    take(0, ceil_div(n, (std::int64_t{variant.group} << lanes_log) * variant.unroll), most);
    take(1, ceil_div(rows, kMapThreads >> lanes_log), std::min(kMaxGrid, most / grid[0]));
  }
  std::vector<std::byte> params = pack(space, bases, choice, rows, lanes_log);
  void* arguments[] = {params.data()};
  const unsigned shape[3] = {static_cast<unsigned>(grid[0]), static_cast<unsigned>(grid[1]),
                             static_cast<unsigned>(grid[2])};
  queue.launch(source(variant).kernel(queue, kMapKernel), "program", shape, {kMapThreads, 1, 1}, 0,
               arguments);
}

ProgramMapper::ProgramMapper(KernelCache& cache, Program program)
    : impl_(std::make_unique<Impl>(cache, std::move(program))) {}

ProgramMapper::~ProgramMapper() = default;

void ProgramMapper::expect(const SourceArgs& args) const {
  const MapSpace space(impl_->fields, args);
  if (space.empty()) return;
  impl_->source(impl_->choose(space, impl_->bases_of(args)).variant);
}

void ProgramMapper::run(device::cuda::CudaQueue& queue, const SourceArgs& args) const {
  MapSpace space(impl_->fields, args);
  if (space.empty()) return;
  Bases bases = impl_->bases_of(args);
  // Rows are numbered in 32 bits: longer spaces go in parts along their longest outer axis.
  std::int64_t rows = 1;
  int longest = 0;
  for (int a = 0; a + 1 < space.rank(); ++a) {
    if (space.extent(a) > space.extent(longest)) longest = a;
    rows *= space.extent(a);
  }
  if (rows <= kMaxRows) {
    impl_->launch(queue, space, bases);
    return;
  }
  const std::int64_t extent = space.extent(longest);
  const std::int64_t part = std::max<std::int64_t>(kMaxRows / (rows / extent), 1);
  space.move_out(longest);
  for (std::int64_t begin = 0; begin < extent; begin += part) {
    space.set_outer_extent(std::min(part, extent - begin));
    Bases moved = bases;
    const auto step = [&](std::size_t operand) { return space.stride(0, operand) * begin; };
    for (std::size_t k = 0; k < space.loads(); ++k) {
      moved.loads[k] += step(k) * static_cast<std::int64_t>(impl_->load_bytes(k));
    }
    for (std::size_t i = 0; i < space.indices(); ++i) {
      moved.indices[i] += static_cast<std::uint64_t>(space.stride(0, space.index(i))) *
                          static_cast<std::uint64_t>(begin);
    }
    for (std::size_t s = 0; s < space.stores(); ++s) {
      moved.stores[s] += step(space.store(s)) * static_cast<std::int64_t>(impl_->store_bytes(s));
    }
    impl_->launch(queue, space, moved);
  }
}

}  // namespace tessera::kernels::cuda
