#include "kernels/cuda/reduce_source.hpp"

#include <algorithm>

#include "core/scalar_op.hpp"
#include "core/text.hpp"
#include "kernels/cuda/embedded_text.hpp"
#include "kernels/cuda/program_fields.hpp"
#include "kernels/cuda/program_source.hpp"

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using core::text;

bool skips_nan(ReduceOp op) { return core::name(op).starts_with("nan"); }

bool names_places(ReduceOp op) {
  switch (op) {
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax:
      return true;
    default:
      return false;
  }
}

DType value_dtype(const Program& program, const ProgramReduction& reduction) {
  return program.instrs[static_cast<std::size_t>(reduction.value)].dtype;
}

// What a point's operands take in registers.
std::size_t operand_bytes(const Program& program) {
  std::size_t bytes = 0;
  for (const Instr& instr : program.instrs) {
    if (instr.kind == InstrKind::kLoad || instr.kind == InstrKind::kIndex)
      bytes += itemsize(instr.dtype);
  }
  return bytes;
}

std::ptrdiff_t operations(const Program& program) {
  return std::count_if(program.instrs.begin(), program.instrs.end(),
                       [](const Instr& instr) { return instr.kind == InstrKind::kOp; });
}

// Whether points take much computing: draws and functions that are not exact.
bool is_heavy(const Program& program) {
  return std::any_of(program.instrs.begin(), program.instrs.end(), [](const Instr& instr) {
    return instr.kind == InstrKind::kRandom ||
           (instr.kind == InstrKind::kOp && core::info(instr.op).ulp > 0.5);
  });
}

std::size_t widest_load(const Program& program) {
  std::size_t bytes = 0;
  for (const Instr& instr : program.instrs) {
    if (instr.kind == InstrKind::kLoad) bytes = std::max(bytes, itemsize(instr.dtype));
  }
  return bytes;
}
std::size_t narrowest_load(const Program& program) {
  std::size_t bytes = 16;
  for (const Instr& instr : program.instrs) {
    if (instr.kind == InstrKind::kLoad) bytes = std::min(bytes, itemsize(instr.dtype));
  }
  return bytes;
}

// Whether addresses along inner are known but for their beginning.
bool is_dense(const ReduceVariant& variant) {
  return variant.strides.find('?') == std::string::npos;
}

// Points that a thread fetches at once: as many as keep some 64 bytes on their way, fewer where a
// point takes so much computing that others hide the wait. Points of tiles are fetched twice over.
int unroll(const Program& program, const ReduceVariant& variant) {
  const bool tiles = variant.across != ReduceAcross::kNone;
  const bool many = !variant.short_runs && program.rank <= 2 &&
                    (is_dense(variant) || narrowest_load(program) >= 4);
  std::size_t points = is_heavy(program) || operations(program) > 16 ? 2
                       : tiles ? (widest_load(program) > 8 ? 2 : 4)
                       : many  ? 16
                               : 8;
  const std::size_t bytes = operand_bytes(program);
  while (points > 2 && points * bytes > (tiles ? 96 : 64)) points /= 2;
  return static_cast<int>(points);
}

// What a reduction's state and accumulator take in registers, from 1.
int weight(const Program& program, const ProgramReduction& reduction) {
  const bool complex = is_complex(value_dtype(program, reduction));
  switch (reduction.op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
    case ReduceOp::kProd:
    case ReduceOp::kNanProd:
    case ReduceOp::kNorm2:
      return complex ? 3 : 1;
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      return complex ? 4 : 3;
    case ReduceOp::kVar:
    case ReduceOp::kStd:
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd:
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax:
      return 5;
    default:
      return 1;
  }
}

// Blocks that a multiprocessor is to hold at once, which hide one another's waits: as many as there
// are registers for.
int blocks_each(const Program& program, const ReduceVariant& variant) {
  int total = 0;
  for (const ProgramReduction& reduction : program.reductions) total += weight(program, reduction);
  const std::size_t bytes = operand_bytes(program);
  if (total > 3 || bytes > 24 || operations(program) > 8 || is_heavy(program) || program.rank > 2)
    return 2;
  const std::size_t widest = widest_load(program);
  switch (variant.across) {
    case ReduceAcross::kNone:
      return total <= 2 && bytes <= 8 && is_dense(variant) ? 4 : 3;
    case ReduceAcross::kOuterRows:
      return total <= 2 && bytes <= 12 && widest <= 4 ? 4 : widest <= 8 ? 3 : 2;
    case ReduceAcross::kOutputRows:
      return 2;
    case ReduceAcross::kOutputLanes:
      return bytes <= 8 && operations(program) == 0 ? 3 : 2;
  }
  return 2;
}

// A coordinate for each of `count` axes from `first` on, out of a number in C order.
std::string split_number(std::string_view number, int first, int count) {
  if (count == 0) return {};
  if (count == 1) return text("  c[", first, "] = ", number, ";\n");
  std::string out =
      text("  Unsigned<Number> rest = static_cast<Unsigned<Number>>(", number, ");\n");
  for (int d = first + count - 1; d > first; --d) {
    out += text("  {\n    const Unsigned<Number> extent = static_cast<Unsigned<Number>>(p.n[", d,
                "]);\n    const Unsigned<Number> above = rest / extent;\n", "    c[", d,
                "] = static_cast<long long>(rest - above * extent);\n    rest = above;\n  }\n");
  }
  return out + text("  c[", first, "] = static_cast<long long>(rest);\n");
}

std::string locate_function(std::string_view name, int first, int count) {
  return text("TESSERA_HD void ", name,
              "(const Params& p, long long number, long long (&c)[kAxes]) {\n",
              split_number("number", first, count), "}\n");
}

// States and totals of all reductions, and what is done to all of them.
std::string state_definitions(const Program& program) {
  std::string states, totals, start, clear, prepare, add, close;
  for (std::size_t k = 0; k < program.reductions.size(); ++k) {
    const ProgramReduction& reduction = program.reductions[k];
    states += text("  M", k, "::State s", k, ";\n");
    totals += text("  M", k, "::Acc a", k, ";\n");
    start += text("  s.s", k, " = M", k, "::start();\n");
    clear += text("  t.a", k, " = M", k, "::empty();\n");
    prepare += text("  reduce::prepare<M", k, ">(s.s", k, ", v.r", k, ");\n");
    add += text("  M", k, "::add(s.s", k, ", v.r", k,
                names_places(reduction.op) ? text(", v.n", k) : "", ");\n");
    close += text("  t.a", k, " = M", k, "::merge(t.a", k, ", M", k, "::close(s.s", k, "));\n");
  }
  return text("struct States {\n", states, "};\nstruct Totals {\n", totals, "};\n",
              "TESSERA_HD void start(States& s) {\n", start, "}\n",
              "TESSERA_HD void clear(Totals& t) {\n", clear, "}\n",
              "TESSERA_HD void prepare(States& s, const Values& v) {\n", prepare, "}\n",
              "TESSERA_HD void add(States& s, const Values& v) {\n", add, "}\n",
              "TESSERA_HD void close(const States& s, Totals& t) {\n", close, "}\n");
}

// Strides that a variant knows, written into a copy of the parameters, for the compiler to see.
std::string specialise_function(const Program& program, const ReduceVariant& variant) {
  const ProgramFields fields = fields_of(program);
  const int axis = variant.kept + variant.outer + variant.inner - 1;
  std::string out = "TESSERA_HD void specialise(Params& p) {\n";
  const auto add = [&](std::string_view field, int slot, int operand) {
    const char stride = variant.strides[static_cast<std::size_t>(operand)];
    if (stride != '?') out += text("  p.", field, slot, "_strides[", axis, "] = ", stride, ";\n");
  };
  if (variant.inner > 0) {
    const int indices = program.load_count;
    const int stores = indices + program.index_count;
    for (const int slot : fields.loads) add("l", slot, slot);
    for (const int slot : fields.indices) add("i", slot, indices + slot);
    for (int k = 0; k < static_cast<int>(program.stores.size()); ++k) add("s", k, stores + k);
  }
  return out + "}\n";
}

// Shared memory for a tile of each operand that lies across, and what moves between it and a
// point's operands.
std::string tile_definitions(const Program& program, const ReduceVariant& variant) {
  if (variant.across == ReduceAcross::kNone) return {};
  const bool lanes = variant.across == ReduceAcross::kOutputLanes;
  // Rows begin so far apart that the lanes of a warp meet in no bank, whether they go along rows or
  // columns.
  std::string out = text(
      "enum Across { kNone, kOuterRows, kOutputRows, kOutputLanes };\n",
      "constexpr Across kAcross = static_cast<Across>(", static_cast<int>(variant.across), ");\n",
      "constexpr int kRows = ", lanes ? 32 : 8, ", kColumns = 256 * kUnroll / kRows;\n",
      "template <class T>\nconstexpr int kPitch = kColumns + ", lanes ? "1" : "16 / sizeof(T)",
      ";\n");
  std::string members, put, take;
  const ProgramFields fields = fields_of(program);
  for (std::size_t k = 0; k < fields.loads.size(); ++k) {
    const int slot = fields.loads[k];
    if (!variant.crossed[static_cast<std::size_t>(slot)]) continue;
    const std::string_view type = lane_type(fields.load_dtypes[k]);
    members += text("  ", type, " l", slot, "[kRows][kPitch<", type, ">];\n");
    put += text("  t.l", slot, "[row][column] = y.l", slot, ";\n");
    take += text("  x.l", slot, " = t.l", slot, "[row][column];\n");
  }
  return text(out, "struct Tiles {\n", members, "};\n",
              "TESSERA_HD void put_tile(Tiles& t, int row, int column, const Operands& y) {\n", put,
              "}\n",
              "TESSERA_HD void take_tile(const Tiles& t, int row, int column, Operands& x) {\n",
              take, "}\n");
}

std::string definitions(const Program& program, const ReduceVariant& variant) {
  const std::size_t count = program.reductions.size();
  std::string out =
      text("typedef ", variant.wide ? "long long" : "int", " Number;\n",
           "constexpr int kAxes = ", std::max(program.rank, 1), ";\n",
           "constexpr int kInnerLog = ", variant.inner_log, ";\n",
           "constexpr int kUnroll = ", unroll(program, variant), ";\n",
           "constexpr int kBlocksEach = ", blocks_each(program, variant), ";\n",
           "constexpr int kTogether = ", variant.together, ";\n",
           "constexpr bool kStores = ", program.stores.empty() ? "false" : "true", ";\n");
  std::string blocked = "false";
  std::string accs;
  for (std::size_t k = 0; k < count; ++k) {
    const ProgramReduction& reduction = program.reductions[k];
    const DType dtype = value_dtype(program, reduction);
    out += text("using M", k, " = ", monoid_type(reduction.op, dtype), ";\n");
    out += text("using R", k, " = ", lane_type(core::reduced_dtype(reduction.op, dtype)), ";\n");
    blocked += text(" || M", k, "::kBlocked");
    accs += text(" M", k, "::Acc a", k, ";");
  }
  out += text("constexpr bool kBlocked = ", blocked, ";\n");
  out += text("union AnyAcc {", accs, " };\n");
  out += text("struct Targets {\n  reduce::Target of[", count, "];\n  int* none;\n};\n");
  out += locate_function("set_kept", 0, variant.kept);
  out += locate_function("set_outer", variant.kept, variant.outer);
  out += locate_function("set_inner", variant.kept + variant.outer, variant.inner);
  out += specialise_function(program, variant);
  return out + state_definitions(program) + tile_definitions(program, variant);
}

constexpr const char* kBlocksBegin = R"(
extern "C" __global__ void __launch_bounds__(256, kBlocksEach)
    reduce_blocks(const Params given, const reduce::Walk w, const Targets to) {
  alignas(16) __shared__ unsigned char memory[256 * sizeof(AnyAcc)];
  Params p = given;
  specialise(p);
  const int thread = static_cast<int>(threadIdx.x);
  const int members = 1 << (w.inner_log + w.outer_log);
  const int member = thread >> w.member_shift & (members - 1);
  const int own = thread >> w.output_shift & ((1 << w.outputs_log) - 1);
  const int stride = 1 << w.member_shift;
  const Range range = part_of(w);
  for (long long tile = blockIdx.x; tile < w.tiles; tile += gridDim.x) {
    const long long output = (tile << w.outputs_log) + own;
    const bool active = output < w.outputs;
    const bool writes = active && member == 0;
    const long long place = blockIdx.y * w.outputs + output;
    Totals t;
    clear(t);
    long long c[kAxes];
    if (active) set_kept(p, output, c);
)";
constexpr const char* kFoldMembers = "    if (active) fold(p, w, range, c, member, t);\n";
constexpr const char* kFoldTiles =
    "    __shared__ Tiles tiles;\n"
    "    const Place at{output - own, thread, kAcross == kOuterRows ? member >> kInnerLog : own,\n"
    "                   kTogether * (member & static_cast<int>(kStep - 1)), active};\n"
    "    fold_tiles(p, w, range, at, c, member, tiles, t);\n";

std::string blocks_kernel(const Program& program, const ReduceVariant& variant) {
  std::string out =
      text(kBlocksBegin, variant.across == ReduceAcross::kNone ? kFoldMembers : kFoldTiles);
  for (std::size_t k = 0; k < program.reductions.size(); ++k) {
    out += text("    t.a", k, " = reduce::combine<M", k, ">(t.a", k,
                ", memory, thread, member, members, stride);\n");
    if (program.reductions[k].finish) {
      out +=
          text("    if (writes && gridDim.y == 1) reduce::finish_one<M", k, ", R", k, ">(to.of[", k,
               "], place, t.a", k, ", to.none + ", k, ");\n    if (writes && gridDim.y > 1) M", k,
               "::store(to.of[", k, "].planes, place, t.a", k, ");\n");
    } else {
      out += text("    if (writes) M", k, "::store(to.of[", k, "].planes, place, t.a", k, ");\n");
    }
  }
  return out + "  }\n}\n";
}

std::string parts_kernel(const Program& program) {
  std::string out = R"(
extern "C" __global__ void __launch_bounds__(256, 2)
    reduce_parts(const reduce::Parts w, const Targets from, const Targets to) {
  alignas(16) __shared__ unsigned char memory[256 * sizeof(AnyAcc)];
  const int thread = static_cast<int>(threadIdx.x);
  const long long output = (static_cast<long long>(blockIdx.x) << w.outputs_log) +
                           (thread & ((1 << w.outputs_log) - 1));
  const bool writes = thread >> w.outputs_log == 0 && output < w.outputs;
)";
  for (std::size_t k = 0; k < program.reductions.size(); ++k) {
    out += text("  if (blockIdx.y == ", k, ") {\n    const M", k, "::Acc a = reduce::merge_parts<M",
                k, ">(w, from.of[", k, "].planes, memory, output, thread);\n");
    if (program.reductions[k].finish) {
      out += text("    if (writes) reduce::finish_one<M", k, ", R", k, ">(to.of[", k,
                  "], output, a, to.none);\n  }\n");
    } else {
      out += text("    if (writes) M", k, "::store(to.of[", k, "].planes, output, a);\n  }\n");
    }
  }
  return out + "}\n";
}

}  // namespace

std::string_view reduce_prelude() noexcept {
  static const std::string kText = text(embedded_text("kernels/cuda/reduce_bodies.hpp"),
                                        embedded_text("kernels/cuda/reduce_order_bodies.hpp"),
                                        embedded_text("kernels/cuda/reduce_kernels.hpp"));
  return kText;
}

std::string monoid_type(ReduceOp op, DType dtype) {
  const std::string_view lane = lane_type(dtype);
  const auto with = [&](std::string_view family, std::string_view rest) {
    return text("reduce::", family, "<", lane, rest, skips_nan(op) ? ", true>" : ", false>");
  };
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
      return with("Sum", "");
    case ReduceOp::kProd:
    case ReduceOp::kNanProd:
      return with("Product", "");
    case ReduceOp::kMin:
    case ReduceOp::kNanMin:
      return with("Extreme", ", false");
    case ReduceOp::kMax:
    case ReduceOp::kNanMax:
      return with("Extreme", ", true");
    case ReduceOp::kArgMin:
    case ReduceOp::kNanArgMin:
      return with("Arg", ", false");
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMax:
      return with("Arg", ", true");
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      return with("Mean", "");
    case ReduceOp::kVar:
    case ReduceOp::kNanVar:
      return with("Moments", "");
    case ReduceOp::kStd:
    case ReduceOp::kNanStd:
      return with("Deviation", "");
    case ReduceOp::kAny:
      return text("reduce::Truth<", lane, ", true>");
    case ReduceOp::kAll:
      return text("reduce::Truth<", lane, ", false>");
    case ReduceOp::kCountNonzero:
      return text("reduce::Count<", lane, ">");
    case ReduceOp::kNorm2:
      return text("reduce::Norm<", lane, ">");
  }
  return {};
}

bool may_find_none(ReduceOp op) noexcept {
  return op == ReduceOp::kNanArgMin || op == ReduceOp::kNanArgMax;
}

std::string reduce_source(const Program& program, const ReduceVariant& variant) {
  std::string out = program_source(program);
  out += reduce_prelude();
  out += definitions(program, variant);
  out += embedded_text("kernels/cuda/reduce_fold.hpp");
  if (variant.across != ReduceAcross::kNone) out += embedded_text("kernels/cuda/reduce_tiles.hpp");
  out += blocks_kernel(program, variant);
  return out + parts_kernel(program);
}

}  // namespace tessera::kernels::cuda
