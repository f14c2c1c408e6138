#include "kernels/cuda/program_source.hpp"

#include <algorithm>
#include <array>

#include "core/storage_dtype.hpp"
#include "core/text.hpp"
#include "kernels/cuda/embedded_text.hpp"
#include "kernels/cuda/program_fields.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {

namespace {

using core::ScalarOp;
using core::text;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

// What of the prelude a program needs: every line costs compile time.
struct Needs {
  bool complex_math = false;
  bool complex_inverse = false;
  bool draws = false;
};

bool is_inverse(ScalarOp op) {
  switch (op) {
    case ScalarOp::kAsin:
    case ScalarOp::kAcos:
    case ScalarOp::kAtan:
    case ScalarOp::kAsinh:
    case ScalarOp::kAcosh:
    case ScalarOp::kAtanh:
      return true;
    default:
      return false;
  }
}

Needs needs_of(const Program& program, const ProgramFields& fields) {
  Needs out;
  out.draws = fields.draws;
  for (std::size_t v = 0; v < program.instrs.size(); ++v) {
    const Instr& instr = program.instrs[v];
    if (!fields.used[v] || instr.kind != InstrKind::kOp || !is_complex(instr.compute_dtype))
      continue;
    const core::DTypeRule rule = core::info(instr.op).rule;
    if (rule != core::DTypeRule::kFloating && rule != core::DTypeRule::kAngle &&
        instr.op != ScalarOp::kPow)
      continue;
    if (instr.op == ScalarOp::kDivide || instr.op == ScalarOp::kReciprocal) continue;
    out.complex_math = true;
    out.complex_inverse = out.complex_inverse || is_inverse(instr.op);
  }
  return out;
}

std::string prelude(const Needs& needs) {
  std::string out = "#define TESSERA_HD __device__ __forceinline__\n";
  const auto append = [&](std::string_view file) { out += embedded_text(file); };
  append("kernels/lane_types.hpp");
  append("kernels/cuda/prelude_exact.hpp");
  append("kernels/cuda/prelude_math.hpp");
  if (needs.complex_math) append("kernels/cuda/prelude_complex.hpp");
  if (needs.complex_inverse) append("kernels/cuda/prelude_inverse.hpp");
  if (needs.draws) append("kernels/cuda/prelude_random.hpp");
  out += "namespace body {\n";
  append("kernels/scalar_bodies.hpp");
  append("kernels/complex_bodies.hpp");
  append("kernels/cast_bodies.hpp");
  if (needs.draws) append("kernels/philox.hpp");
  if (needs.draws) append("kernels/sampler_bodies.hpp");
  out += "}  // namespace body\n";
  if (needs.draws) append("kernels/cuda/prelude_draws.hpp");
  return out;
}

class SourceWriter {
 public:
  explicit SourceWriter(const Program& program) : program_(program), fields_(fields_of(program)) {}

  std::string write() {
    out_ = prelude(needs_of(program_, fields_));
    out_ += constants_text(program_, fields_);
    operands();
    draws();
    values();
    compute();
    params();
    fetch();
    evaluate();
    write_stores();
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void line(const Args&... args) {
    out_ += text(args..., "\n");
  }

  const Instr& instr(int v) const { return program_.instrs[at(v)]; }
  std::string_view type_of(int v) const { return lane_type(instr(v).dtype); }

  void operands() {
    line("struct Operands {");
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      line("  ", lane_type(fields_.load_dtypes[k]), " l", fields_.loads[k], ";");
    }
    for (const int slot : fields_.indices) line("  long long i", slot, ";");
    line("};");
  }

  void draws() {
    line("struct Draws {");
    for (const int v : fields_.numbers) {
      if (instr(v).kind == InstrKind::kRandom) line("  Draw<", type_of(v), "> d", v, ";");
    }
    line("};");
  }

  void values() {
    line("struct Values {");
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      line("  ", type_of(program_.stores[s]), " s", s, ";");
    }
    for (std::size_t r = 0; r < program_.reductions.size(); ++r) {
      line("  ", type_of(program_.reductions[r].value), " r", r, ";");
      if (program_.reductions[r].index >= 0) line("  long long n", r, ";");
    }
    line("};");
  }

  void compute() {
    line(
        "TESSERA_HD void compute(const Constants& constants, const Operands& o, Draws& draws, "
        "Values& out) {");
    for (int v = 0; v < static_cast<int>(program_.instrs.size()); ++v) {
      if (fields_.used[at(v)]) line("  const ", type_of(v), " v", v, " = ", expression(v), ";");
    }
    for (std::size_t s = 0; s < program_.stores.size(); ++s)
      line("  out.s", s, " = v", program_.stores[s], ";");
    for (std::size_t r = 0; r < program_.reductions.size(); ++r) {
      const ProgramReduction& reduction = program_.reductions[r];
      line("  out.r", r, " = v", reduction.value, ";");
      if (reduction.index >= 0) line("  out.n", r, " = v", reduction.index, ";");
    }
    line("}");
  }

  std::string expression(int v) const {
    const Instr& i = instr(v);
    switch (i.kind) {
      case InstrKind::kLoad:
        return text("o.l", i.slot);
      case InstrKind::kIndex:
        return text("o.i", i.slot);
      case InstrKind::kConstant:
        if (!core::has_arithmetic(i.dtype)) {
          throw InvalidArgument(text("[program] a constant must have a dtype with arithmetic; got ",
                                     i.dtype, "; try a cast of a float32"));
        }
        return text("constants.k", v);
      case InstrKind::kRandom:
        return text("draw(constants.k", v, ", draws.d", v, ", v", i.args[0], ")");
      case InstrKind::kOp:
        break;
    }
    if (i.op == ScalarOp::kCast) {
      if (i.dtype == i.compute_dtype) return text("v", i.args[0]);
      return text("body::Cast<", type_of(v), ">::from(v", i.args[0], ")");
    }
    std::string call = text("body::", core::info(i.op).name, "(");
    for (int a = 0; a < core::info(i.op).arity; ++a)
      call += text(a > 0 ? ", v" : "v", i.args[at(a)]);
    return call + ")";
  }

  void params() {
    const int axes = axis_count(program_.rank);
    line("struct Params {");
    line("  long long n[", axes, "];");
    for (std::size_t k = 0; k < fields_.loads.size(); ++k) {
      const int slot = fields_.loads[k];
      line("  const ", lane_type(fields_.load_dtypes[k]), "* l", slot, ";");
      line("  long long l", slot, "_strides[", axes, "];");
    }
    for (const int slot : fields_.indices) {
      line("  long long i", slot, ";");
      line("  long long i", slot, "_strides[", axes, "];");
    }
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      line("  ", type_of(program_.stores[s]), "* s", s, ";");
      line("  long long s", s, "_strides[", axes, "];");
    }
    line("  Constants constants;");
    line("};");
  }

  /// "c[0] * p.l0_strides[0] + ..." with terms cast to `type`.
  std::string offset(std::string_view field, std::string_view type) const {
    std::string out = program_.rank == 0 ? "0" : "";
    for (int d = 0; d < program_.rank; ++d) {
      out +=
          text(d > 0 ? " + " : "", type, "c[", d, "] * ", type, "p.", field, "_strides[", d, "]");
    }
    return out;
  }

  void fetch() {
    line("TESSERA_HD void fetch(const Params& p, ", coordinates(), ", Operands& o) {");
    for (const int slot : fields_.loads) {
      line("  o.l", slot, " = p.l", slot, "[", offset(text("l", slot), ""), "];");
    }
    for (const int slot : fields_.indices) {
      line("  o.i", slot, " = (long long)((unsigned long long)p.i", slot, " + ",
           offset(text("i", slot), "(unsigned long long)"), ");");
    }
    line("}");
  }

  std::string coordinates() const {
    return text("const long long (&c)[", axis_count(program_.rank), "]");
  }

  void evaluate() {
    line("TESSERA_HD void evaluate(const Params& p, ", coordinates(),
         ", Draws& draws, Values& out) {");
    line("  Operands o;");
    line("  fetch(p, c, o);");
    line("  compute(p.constants, o, draws, out);");
    line("}");
    line("TESSERA_HD void evaluate(const Params& p, ", coordinates(), ", Values& out) {");
    line("  Draws draws;");
    line("  evaluate(p, c, draws, out);");
    line("}");
  }

  void write_stores() {
    line("TESSERA_HD void write_stores(const Params& p, ", coordinates(), ", const Values& v) {");
    for (std::size_t s = 0; s < program_.stores.size(); ++s) {
      line("  p.s", s, "[", offset(text("s", s), ""), "] = v.s", s, ";");
    }
    line("}");
  }

  const Program& program_;
  ProgramFields fields_;
  std::string out_;
};

}  // namespace

std::string_view lane_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBool:
      return "Bool";
    case DType::kInt8:
      return "signed char";
    case DType::kInt16:
      return "short";
    case DType::kInt32:
      return "int";
    case DType::kInt64:
      return "long long";
    case DType::kUInt8:
      return "unsigned char";
    case DType::kUInt16:
      return "unsigned short";
    case DType::kUInt32:
      return "unsigned int";
    case DType::kUInt64:
      return "unsigned long long";
    case DType::kFloat16:
      return "Half";
    case DType::kBFloat16:
      return "BFloat16";
    case DType::kFloat32:
      return "float";
    case DType::kFloat64:
      return "double";
    case DType::kComplex64:
      return "Complex<float>";
    case DType::kComplex128:
      return "Complex<double>";
  }
  return "void";
}

std::string program_source(const Program& program) { return SourceWriter(program).write(); }

std::vector<std::byte> pack_params(const Program& program, const SourceArgs& args) {
  const ProgramFields fields = fields_of(program);
  ParamsWriter out;
  out.add_axes(args.shape, 1);
  for (const int slot : fields.loads) {
    out.add(args.loads[at(slot)].data);
    out.add_axes(args.loads[at(slot)].strides, 0);
  }
  for (const int slot : fields.indices) {
    out.add(args.indices[at(slot)].base);
    out.add_axes(args.indices[at(slot)].strides, 0);
  }
  for (std::size_t s = 0; s < program.stores.size(); ++s) {
    out.add(args.stores[s].data);
    out.add_axes(args.stores[s].strides, 0);
  }
  add_constants(program, fields, out);
  return out.take();
}

std::span<const char* const> compile_options() noexcept {
  static constexpr std::array kOptions = {"--std=c++20", "--fmad=false"};
  return kOptions;
}

}  // namespace tessera::kernels::cuda
