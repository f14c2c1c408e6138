#include "tessera/scalar.hpp"

#include <array>
#include <charconv>
#include <string>

namespace tessera {
namespace {

// Shortest text that reads back as the same double; always recognisable as a floating-point number.
std::string real_text(double value) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string text(buffer.data(), end);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

DType Scalar::default_dtype() const noexcept {
  switch (kind_) {
    case Kind::kBool:
      return DType::kBool;
    case Kind::kInt:
      return DType::kInt64;
    case Kind::kUInt:
      return DType::kUInt64;
    case Kind::kReal:
      return DType::kFloat64;
    case Kind::kComplex:
      return DType::kComplex128;
  }
  return DType::kFloat64;
}

DType Scalar::dtype_beside(DType other) const noexcept {
  switch (kind_) {
    case Kind::kBool:
      return other;
    case Kind::kInt:
    case Kind::kUInt:
      return other == DType::kBool ? default_dtype() : other;
    case Kind::kReal:
      return is_floating(other) || is_complex(other) ? other : DType::kFloat64;
    case Kind::kComplex:
      return complex_dtype(other);
  }
  return other;
}

std::string Scalar::to_string() const {
  switch (kind_) {
    case Kind::kBool:
      return int_ != 0 ? "true" : "false";
    case Kind::kInt:
      return std::to_string(static_cast<std::int64_t>(int_));
    case Kind::kUInt:
      return std::to_string(int_);
    case Kind::kReal:
      return real_text(value_);
    case Kind::kComplex: {
      const std::string imag = real_text(imag_);
      return "(" + real_text(value_) + (imag.front() == '-' ? "" : "+") + imag + "j)";
    }
  }
  return {};
}

}  // namespace tessera
