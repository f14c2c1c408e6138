#include "kernels/program.hpp"

#include <charconv>
#include <complex>

namespace tessera::kernels {
namespace {

/// Shortest text that reads back as the same number, so that equal texts mean equal programs.
template <typename T>
std::string exact(T value) {
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return std::string(digits.data(), end);
}

std::string constant_text(const Scalar& value, DType dtype) {
  switch (kind(dtype)) {
    case DTypeKind::kBool:
      return value.to<bool>() ? "true" : "false";
    case DTypeKind::kSignedInteger:
      return exact(value.to<std::int64_t>());
    case DTypeKind::kUnsignedInteger:
      return exact(value.to<std::uint64_t>());
    case DTypeKind::kFloating:
      return exact(value.to<double>());
    case DTypeKind::kComplex: {
      const auto number = value.to<std::complex<double>>();
      return "(" + exact(number.real()) + ", " + exact(number.imag()) + ")";
    }
  }
  return {};
}

std::string_view name(Distribution distribution) {
  switch (distribution) {
    case Distribution::kUniform:
      return "uniform";
    case Distribution::kNormal:
      return "normal";
    case Distribution::kExponential:
      return "exponential";
    case Distribution::kIntegers:
      return "integers";
  }
  return "unknown";
}

std::string value_text(int value) { return "%" + std::to_string(value); }

std::string random_text(const RandomSpec& spec) {
  std::string out(name(spec.distribution));
  out += "(seed " + std::to_string(spec.seed);
  if (spec.distribution == Distribution::kIntegers) {
    out += ", low " + std::to_string(spec.low) + ", range " + std::to_string(spec.range);
  } else {
    out += ", a " + exact(spec.a) + ", b " + exact(spec.b);
  }
  return out + ")";
}

std::string op_text(const Instr& instr) {
  std::string out(core::info(instr.op).name);
  out += "(";
  for (std::size_t i = 0; i < instr.args.size() && instr.args[i] >= 0; ++i) {
    if (i > 0) out += ", ";
    out += value_text(instr.args[i]);
  }
  out += ")";
  if (instr.compute_dtype != instr.dtype) {
    out += " in ";
    out += tessera::name(instr.compute_dtype);
  }
  return out;
}

std::string instr_text(const Instr& instr) {
  switch (instr.kind) {
    case InstrKind::kLoad:
      return "load " + std::to_string(instr.slot);
    case InstrKind::kConstant:
      return "constant " + constant_text(instr.constant, instr.dtype);
    case InstrKind::kIndex:
      return "index " + std::to_string(instr.slot);
    case InstrKind::kRandom:
      return random_text(instr.random) + " at " + value_text(instr.args[0]);
    case InstrKind::kOp:
      return op_text(instr);
  }
  return {};
}

std::string reduction_text(const ProgramReduction& reduction) {
  std::string out(name(reduction.op));
  out += "(" + value_text(reduction.value);
  if (reduction.index >= 0) out += ", " + value_text(reduction.index);
  out += ")";
  if (reduction.finish) out += " finished, ddof " + exact(reduction.ddof);
  return out;
}

}  // namespace

std::string Program::to_string() const {
  std::string out = "program rank " + std::to_string(rank) + ", loads " +
                    std::to_string(load_count) + ", indices " + std::to_string(index_count) + "\n";
  for (std::size_t i = 0; i < instrs.size(); ++i) {
    out += value_text(static_cast<int>(i)) + " = " + instr_text(instrs[i]) + " : ";
    out += tessera::name(instrs[i].dtype);
    out += "\n";
  }
  for (const int value : stores) out += "store " + value_text(value) + "\n";
  if (!reduced.empty()) {
    out += "reduced axes (";
    bool first = true;
    for (std::size_t axis = 0; axis < reduced.size(); ++axis) {
      if (!reduced[axis]) continue;
      if (!first) out += ", ";
      out += std::to_string(axis);
      first = false;
    }
    out += ")\n";
  }
  for (const ProgramReduction& reduction : reductions) {
    out += "reduce " + reduction_text(reduction) + "\n";
  }
  return out;
}

}  // namespace tessera::kernels
