#include "kernels/host/program_steps.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {
namespace {

// Narrow values would make tiles so long that broadcast registers no longer fit the cache.
constexpr std::int64_t kMaxTileElements = 4096;

// Of a run: two operands, the result, and as much of the next run as is asked for ahead.
std::size_t run_bytes() {
  static const long cache = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  return std::min(kRegisterBytes / 2, static_cast<std::size_t>(cache > 0 ? cache : 32768) * 3 / 16);
}

std::size_t at(int i) { return static_cast<std::size_t>(i); }

template <typename... Got>
[[noreturn]] void refuse(const char* rule, const Got&... got) {
  throw InvalidArgument(core::text("[PreparedProgram] ", rule, "; got ", got...,
                                   "; try Program::to_string() to see the whole program"));
}

template <std::size_t kBytes>
void copy_loop(const void* const* args, void* out, std::int64_t n) {
  if (args[0] != out) std::memcpy(out, args[0], static_cast<std::size_t>(n) * kBytes);
}

Loop find_copy(DType dtype) {
  switch (itemsize(dtype)) {
    case 1:
      return &copy_loop<1>;
    case 2:
      return &copy_loop<2>;
    case 4:
      return &copy_loop<4>;
    case 8:
      return &copy_loop<8>;
    default:
      return &copy_loop<16>;
  }
}

int arity_of(const Instr& instr) {
  switch (instr.kind) {
    case InstrKind::kOp:
      return core::info(instr.op).arity;
    case InstrKind::kRandom:
      return 1;
    default:
      return 0;
  }
}

void check_instr(const Program& program, int value) {
  const Instr& instr = program.instrs[at(value)];
  for (int i = 0; i < arity_of(instr); ++i) {
    const int arg = instr.args[at(i)];
    if (arg < 0 || arg >= value) {
      refuse("an argument must be an earlier value", "%", value, " reading %", arg);
    }
    DType expected = instr.compute_dtype;
    if (instr.kind == InstrKind::kRandom) expected = DType::kInt64;
    if (instr.op == core::ScalarOp::kWhere && instr.kind == InstrKind::kOp && i == 0) {
      expected = DType::kBool;
    }
    const DType got = program.instrs[at(arg)].dtype;
    if (got != expected) {
      refuse("arguments must have the dtype computed in", "%", value, " reading ", got, " as ",
             expected);
    }
  }
  if (instr.kind == InstrKind::kConstant &&
      (instr.dtype == DType::kFloat16 || instr.dtype == DType::kBFloat16)) {
    refuse("a constant must have a dtype with arithmetic", "%", value, " : ", instr.dtype);
  }
  if (instr.kind == InstrKind::kLoad && (instr.slot < 0 || instr.slot >= program.load_count)) {
    refuse("a load must name an operand", "operand ", instr.slot, " of ", program.load_count);
  }
  if (instr.kind == InstrKind::kIndex && (instr.slot < 0 || instr.slot >= program.index_count)) {
    refuse("an index instruction must name an index", "index ", instr.slot, " of ",
           program.index_count);
  }
}

void check(const Program& program) {
  const int count = static_cast<int>(program.instrs.size());
  for (int v = 0; v < count; ++v) check_instr(program, v);
  for (const int v : program.stores) {
    if (v < 0 || v >= count) refuse("a store must name a value", "%", v, " of ", count);
  }
  for (const ProgramReduction& reduction : program.reductions) {
    if (reduction.value < 0 || reduction.value >= count || reduction.index >= count) {
      refuse("a reduction must name values", "%", reduction.value, " and %", reduction.index,
             " of ", count);
    }
    const bool places =
        accumulator_dtypes(reduction.op, program.instrs[at(reduction.value)].dtype).size() == 2 &&
        reduced_dtype(reduction.op, DType::kFloat64) == DType::kInt64;
    if (places &&
        (reduction.index < 0 || program.instrs[at(reduction.index)].dtype != DType::kInt64)) {
      refuse("an arg-reduction must name an int64 index", name(reduction.op), " with %",
             reduction.index);
    }
  }
  if (!program.reductions.empty() && program.reduced.size() != at(program.rank)) {
    refuse("a program with reductions must flag every axis", program.reduced.size(),
           " flags for rank ", program.rank);
  }
}

class StepCompiler {
 public:
  explicit StepCompiler(const Program& program) : program_(program) {}

  ProgramSteps compile() {
    describe_values();
    for (int v = 0; v < count(); ++v) {
      if (!out_.values[at(v)].used) continue;
      Step step = step_of(v);
      if (!out_.values[at(v)].hoisted && step.kind == StepKind::kOp) ++out_.op_count;
      (out_.values[at(v)].hoisted ? out_.hoisted : out_.steps).push_back(step);
      add_sinks(v);
    }
    join_pairs();
    allow_direct_stores();
    assign_registers();
    return std::move(out_);
  }

 private:
  int count() const { return static_cast<int>(program_.instrs.size()); }

  void describe_values() {
    out_.values.resize(program_.instrs.size());
    for (const int v : program_.stores) out_.values[at(v)].used = true;
    for (const ProgramReduction& reduction : program_.reductions) {
      out_.values[at(reduction.value)].used = true;
      if (reduction.index >= 0) out_.values[at(reduction.index)].used = true;
    }
    for (int v = count() - 1; v >= 0; --v) {
      const Instr& instr = program_.instrs[at(v)];
      ValueInfo& info = out_.values[at(v)];
      info.dtype = instr.dtype;
      info.itemsize = itemsize(instr.dtype);
      info.direct_only = instr.kind == InstrKind::kLoad;
      info.random_only = instr.kind == InstrKind::kIndex;
      for (int i = 0; info.used && i < arity_of(instr); ++i) {
        out_.values[at(instr.args[at(i)])].used = true;
      }
    }
    std::size_t widest = 1;
    for (int v = 0; v < count(); ++v) describe_users(v, widest);
    for (const ProgramReduction& reduction : program_.reductions) {
      out_.values[at(reduction.value)].random_only = false;
      if (reduction.index >= 0) out_.values[at(reduction.index)].random_only = false;
    }
    for (const int v : program_.stores) out_.values[at(v)].random_only = false;
    out_.tile_elements =
        std::min(static_cast<std::int64_t>(kRegisterBytes / widest), kMaxTileElements);
    out_.run_elements =
        std::min(static_cast<std::int64_t>(run_bytes() / widest), kMaxTileElements / 2);
  }

  void describe_users(int v, std::size_t& widest) {
    const Instr& instr = program_.instrs[at(v)];
    ValueInfo& info = out_.values[at(v)];
    if (!info.used) return;
    widest = std::max(widest, info.itemsize);
    out_.reads_only = out_.reads_only && instr.kind == InstrKind::kLoad;
    info.hoisted =
        instr.kind == InstrKind::kConstant || (instr.kind == InstrKind::kOp && arity_of(instr) > 0);
    for (int i = 0; i < arity_of(instr); ++i) {
      ValueInfo& arg = out_.values[at(instr.args[at(i)])];
      info.hoisted = info.hoisted && arg.hoisted;
      arg.direct_only = false;
      if (instr.kind != InstrKind::kRandom) arg.random_only = false;
      arg.drawn_from = arg.drawn_from || instr.kind == InstrKind::kRandom;
    }
  }

  Step step_of(int v) const {
    const Instr& instr = program_.instrs[at(v)];
    Step step{.kind = StepKind::kConstant, .value = v};
    step.args = instr.args;
    step.arity = arity_of(instr);
    switch (instr.kind) {
      case InstrKind::kConstant:
        break;
      case InstrKind::kLoad:
      case InstrKind::kIndex:
        step.kind = instr.kind == InstrKind::kLoad ? StepKind::kLoad : StepKind::kIndex;
        step.target = instr.slot;
        break;
      case InstrKind::kRandom:
        step.kind = StepKind::kRandom;
        break;
      case InstrKind::kOp:
        step.kind = StepKind::kOp;
        step.loop = loop_of(instr);
        break;
    }
    return step;
  }

  static Loop loop_of(const Instr& instr) {
    Loop loop = nullptr;
    if (instr.op != core::ScalarOp::kCast) {
      loop = find_loop(instr.op, instr.compute_dtype);
    } else if (instr.compute_dtype == instr.dtype) {
      loop = find_copy(instr.dtype);
    } else {
      loop = find_cast(instr.compute_dtype, instr.dtype);
    }
    if (loop == nullptr) {
      refuse("the operation must have a loop for its dtype", core::info(instr.op).name, " in ",
             instr.compute_dtype, " yielding ", instr.dtype);
    }
    return loop;
  }

  /// Values are stored and reduced as soon as they exist, so that their registers are soon free.
  void add_sinks(int v) {
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      if (program_.stores[s] != v) continue;
      out_.steps.push_back({.kind = StepKind::kStore, .value = v, .target = static_cast<int>(s)});
    }
    for (std::size_t r = 0; r < program_.reductions.size(); ++r) {
      const ProgramReduction& reduction = program_.reductions[r];
      if (std::max(reduction.value, reduction.index) != v) continue;
      Step step{.kind = StepKind::kReduce, .value = reduction.value, .target = static_cast<int>(r)};
      step.args[0] = reduction.index;
      out_.steps.push_back(step);
    }
  }

  /// Makes one step of an operation and the only one that reads it.
  void join_pairs() {
    std::vector<int> reads(at(count()), 0);
    std::vector<std::size_t> made_by(at(count()), out_.steps.size());
    for (std::size_t p = 0; p < out_.steps.size(); ++p) {
      for_each_read(out_.steps[p], [&](int v) { ++reads[at(v)]; });
      if (out_.steps[p].kind == StepKind::kOp) made_by[at(out_.steps[p].value)] = p;
    }
    std::vector<bool> gone(out_.steps.size(), false);
    for (std::size_t q = 0; q < out_.steps.size(); ++q) {
      for (const int side : {0, 1}) {
        Step& second = out_.steps[q];
        if (!pair_op_of(second)) break;
        const int between = second.args[at(side)];
        const std::size_t p = made_by[at(between)];
        if (p == out_.steps.size() || reads[at(between)] != 1 || !pair_op_of(out_.steps[p]))
          continue;
        second = joined(out_.steps[p], second, side);
        gone[p] = true;
        --out_.op_count;
      }
    }
    std::size_t kept = 0;
    for (std::size_t p = 0; p < gone.size(); ++p) {
      if (!gone[p]) out_.steps[kept++] = out_.steps[p];
    }
    out_.steps.resize(kept);
  }

  /// The operation of a step that is not a pair yet and may become part of one.
  std::optional<PairOp> pair_op_of(const Step& step) const {
    if (step.kind != StepKind::kOp || step.arity != 2) return std::nullopt;
    const Instr& instr = program_.instrs[at(step.value)];
    return pair_op(instr.op, instr.compute_dtype);
  }

  Step joined(const Step& first, const Step& second, int side) const {
    const auto turned = [](PairOp op) {
      return op == PairOp::kSubtract ? PairOp::kSubtractFrom : op;
    };
    Pair pair{*pair_op_of(first), *pair_op_of(second), false, false};
    int x = first.args[0];
    int y = first.args[1];
    if (out_.values[at(x)].hoisted) {
      std::swap(x, y);
      pair.first = turned(pair.first);
    }
    if (side == 1) pair.second = turned(pair.second);
    const int z = second.args[at(1 - side)];
    pair.y_uniform = out_.values[at(y)].hoisted;
    pair.z_uniform = out_.values[at(z)].hoisted;
    Step step = second;
    step.arity = 3;
    step.args = {x, y, z};
    step.loop = find_pair(pair, program_.instrs[at(second.value)].compute_dtype);
    return step;
  }

  /// A store may lie where a load lies: nothing may be written before the last load is read.
  void allow_direct_stores() {
    std::size_t last_load_use = 0;
    for (std::size_t p = 0; p < out_.steps.size(); ++p) {
      for_each_read(out_.steps[p], [&](int v) {
        if (program_.instrs[at(v)].kind == InstrKind::kLoad) last_load_use = p;
      });
    }
    for (std::size_t p = last_load_use; p + 1 < out_.steps.size(); ++p) {
      Step& step = out_.steps[p];
      const Step& next = out_.steps[p + 1];
      const bool computes = step.kind == StepKind::kOp || step.kind == StepKind::kRandom;
      if (computes && next.kind == StepKind::kStore && next.value == step.value) {
        step.direct_store = next.target;
      }
    }
  }

  template <typename F>
  static void for_each_read(const Step& step, F&& f) {
    if (step.kind == StepKind::kStore || step.kind == StepKind::kReduce) f(step.value);
    for (const int arg : step.args) {
      if (arg >= 0) f(arg);
    }
  }

  bool owns_register(int v) const {
    return out_.values[at(v)].hoisted || program_.instrs[at(v)].kind == InstrKind::kLoad;
  }

  void assign_registers() {
    std::vector<std::size_t> last_use(at(count()), 0);
    for (std::size_t p = 0; p < out_.steps.size(); ++p) {
      for_each_read(out_.steps[p], [&](int v) { last_use[at(v)] = p; });
    }
    for (int v = 0; v < count(); ++v) {
      ValueInfo& info = out_.values[at(v)];
      if (info.used && owns_register(v)) info.reg = out_.register_count++;
    }
    std::vector<int> free;
    for (std::size_t p = 0; p < out_.steps.size(); ++p) {
      Step& step = out_.steps[p];
      for (std::size_t i = 0; step.kind == StepKind::kOp && i < step.args.size(); ++i) {
        step.last_read[i] = step.args[i] >= 0 && last_use[at(step.args[i])] == p;
      }
      std::vector<int> dying;
      for_each_read(step, [&](int v) {
        const bool counted = std::ranges::find(dying, v) != dying.end();
        if (!owns_register(v) && last_use[at(v)] == p && !counted) dying.push_back(v);
      });
      if (step.kind == StepKind::kIndex || step.kind == StepKind::kRandom ||
          step.kind == StepKind::kOp) {
        out_.values[at(step.value)].reg = take_register(step, dying, free);
      }
      for (const int v : dying) free.push_back(out_.values[at(v)].reg);
    }
  }

  /// The register of a dying argument of the same width, else a free one, else a new one.
  int take_register(const Step& step, std::vector<int>& dying, std::vector<int>& free) {
    if (step.kind == StepKind::kOp) {
      const auto same = std::ranges::find_if(dying, [&](int v) {
        return out_.values[at(v)].itemsize == out_.values[at(step.value)].itemsize;
      });
      if (same != dying.end()) {
        const int reg = out_.values[at(*same)].reg;
        dying.erase(same);
        return reg;
      }
    }
    if (free.empty()) return out_.register_count++;
    const int reg = free.back();
    free.pop_back();
    return reg;
  }

  const Program& program_;
  ProgramSteps out_;
};

}  // namespace

ProgramSteps compile_steps(const Program& program) {
  check(program);
  return StepCompiler(program).compile();
}

}  // namespace tessera::kernels::host
