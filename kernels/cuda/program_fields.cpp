#include "kernels/cuda/program_fields.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <type_traits>

#include "core/text.hpp"
#include "kernels/cuda/program_source.hpp"

namespace tessera::kernels::cuda {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

int arity_of(const Instr& instr) {
  if (instr.kind == InstrKind::kOp) return core::info(instr.op).arity;
  return instr.kind == InstrKind::kRandom ? 1 : 0;
}

void insert_ascending(std::vector<int>& slots, int slot) {
  const auto place = std::lower_bound(slots.begin(), slots.end(), slot);
  if (place == slots.end() || *place != slot) slots.insert(place, slot);
}

const char* sampler_name(core::Distribution distribution) {
  switch (distribution) {
    case core::Distribution::kUniform:
      return "Uniform";
    case core::Distribution::kNormal:
      return "Normal";
    case core::Distribution::kExponential:
      return "Exponential";
    case core::Distribution::kIntegers:
      return "Integers";
  }
  return "Uniform";
}

// As kernels/philox.hpp: a bijection of the seed for each distribution.
std::uint64_t philox_key(const RandomSpec& spec) {
  std::uint64_t x =
      spec.seed + 0x9e3779b97f4a7c15ull * (static_cast<std::uint64_t>(spec.distribution) + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Largest number of [low, high) in T.
template <typename T>
T last_below(double low, double high) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  if (!(low <= high)) return kInfinity;
  const T last = static_cast<T>(high);
  if (low == high || static_cast<double>(last) < high) return last;
  return std::nextafter(last, -kInfinity);
}

void add_sampler(const Instr& instr, ParamsWriter& out) {
  const RandomSpec& spec = instr.random;
  out.add(philox_key(spec));
  switch (spec.distribution) {
    case core::Distribution::kUniform:
      out.add(spec.a);
      out.add(spec.b - spec.a);
      if (instr.dtype == DType::kFloat64) {
        out.add(last_below<double>(spec.a, spec.b));
      } else {
        out.add(last_below<float>(spec.a, spec.b));
      }
      break;
    case core::Distribution::kNormal:
      out.add(spec.a);
      out.add(spec.b);
      break;
    case core::Distribution::kExponential:
      out.add(spec.a);
      break;
    case core::Distribution::kIntegers:
      out.add(spec.low);
      out.add(spec.range);
      out.add(spec.range == 0 ? std::uint64_t{0} : (0 - spec.range) % spec.range);
      break;
  }
}

void add_constant(const Instr& instr, ParamsWriter& out) {
  const Scalar& value = instr.constant;
  switch (instr.dtype) {
    case DType::kBool:
      return out.add(value.to<bool>());
    case DType::kInt8:
      return out.add(value.to<std::int8_t>());
    case DType::kInt16:
      return out.add(value.to<std::int16_t>());
    case DType::kInt32:
      return out.add(value.to<std::int32_t>());
    case DType::kInt64:
      return out.add(value.to<std::int64_t>());
    case DType::kUInt8:
      return out.add(value.to<std::uint8_t>());
    case DType::kUInt16:
      return out.add(value.to<std::uint16_t>());
    case DType::kUInt32:
      return out.add(value.to<std::uint32_t>());
    case DType::kUInt64:
      return out.add(value.to<std::uint64_t>());
    case DType::kFloat32:
      return out.add(value.to<float>());
    case DType::kFloat64:
      return out.add(value.to<double>());
    case DType::kComplex64:
      return out.add(value.to<std::complex<float>>());
    case DType::kComplex128:
      return out.add(value.to<std::complex<double>>());
    case DType::kFloat16:
    case DType::kBFloat16:
      break;  // PreparedProgram and program_source() refuse them
  }
}

}  // namespace

void ParamsWriter::add_axes(std::span<const std::int64_t> values, std::int64_t when_none) {
  for (const std::int64_t value : values) add(value);
  if (values.empty()) add(when_none);
}

ProgramFields fields_of(const Program& program) {
  ProgramFields out;
  const int count = static_cast<int>(program.instrs.size());
  out.used.assign(program.instrs.size(), false);
  for (const int v : program.stores) out.used[at(v)] = true;
  for (const ProgramReduction& reduction : program.reductions) {
    out.used[at(reduction.value)] = true;
    if (reduction.index >= 0) out.used[at(reduction.index)] = true;
  }
  for (int v = count - 1; v >= 0; --v) {
    const Instr& instr = program.instrs[at(v)];
    for (int i = 0; out.used[at(v)] && i < arity_of(instr); ++i)
      out.used[at(instr.args[at(i)])] = true;
  }
  std::vector<DType> dtypes(at(program.load_count));
  for (int v = 0; v < count; ++v) {
    const Instr& instr = program.instrs[at(v)];
    if (!out.used[at(v)]) continue;
    switch (instr.kind) {
      case InstrKind::kLoad:
        insert_ascending(out.loads, instr.slot);
        dtypes[at(instr.slot)] = instr.dtype;
        break;
      case InstrKind::kIndex:
        insert_ascending(out.indices, instr.slot);
        break;
      case InstrKind::kRandom:
        out.draws = true;
        out.numbers.push_back(v);
        break;
      case InstrKind::kConstant:
        out.numbers.push_back(v);
        break;
      case InstrKind::kOp:
        break;
    }
  }
  for (const int slot : out.loads) out.load_dtypes.push_back(dtypes[at(slot)]);
  return out;
}

std::string constants_text(const Program& program, const ProgramFields& fields) {
  std::string out = "struct Constants {\n";
  for (const int v : fields.numbers) {
    const Instr& instr = program.instrs[at(v)];
    const std::string_view type = lane_type(instr.dtype);
    if (instr.kind == InstrKind::kConstant) {
      out += core::text("  alignas(8) ", type, " k", v, ";\n");
    } else {
      out += core::text("  alignas(8) ", sampler_name(instr.random.distribution), "<", type, "> k",
                        v, ";\n");
    }
  }
  if (fields.numbers.empty()) out += "  alignas(8) char none;\n";
  return out + "};\n";
}

void add_constants(const Program& program, const ProgramFields& fields, ParamsWriter& out) {
  for (const int v : fields.numbers) {
    const Instr& instr = program.instrs[at(v)];
    if (instr.kind == InstrKind::kConstant) {
      add_constant(instr, out);
    } else {
      add_sampler(instr, out);
    }
  }
  if (fields.numbers.empty()) out.add(std::uint64_t{0});
}

}  // namespace tessera::kernels::cuda
