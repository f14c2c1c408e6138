#include "io/numpy_dtype.hpp"

#include <bit>

namespace tessera::io {
namespace {

constexpr bool kLittle = std::endian::native == std::endian::little;

struct TypeCode {
  std::string_view code;
  DType dtype;
};
constexpr TypeCode kTypeCodes[] = {
    {"b1", DType::kBool},      {"i1", DType::kInt8},        {"i2", DType::kInt16},
    {"i4", DType::kInt32},     {"i8", DType::kInt64},       {"u1", DType::kUInt8},
    {"u2", DType::kUInt16},    {"u4", DType::kUInt32},      {"u8", DType::kUInt64},
    {"f2", DType::kFloat16},   {"f4", DType::kFloat32},     {"f8", DType::kFloat64},
    {"c8", DType::kComplex64}, {"c16", DType::kComplex128},
};

}  // namespace

std::optional<NumpyDtype> parse_numpy_dtype(std::string_view text) noexcept {
  if (text.empty() || std::string_view("<>|=").find(text[0]) == std::string_view::npos)
    return std::nullopt;
  for (const TypeCode& type : kTypeCodes) {
    if (text.substr(1) != type.code) continue;
    return NumpyDtype{type.dtype, itemsize(type.dtype) > 1 && text[0] == (kLittle ? '>' : '<')};
  }
  return std::nullopt;
}

std::string numpy_dtype(DType dtype) {
  for (const TypeCode& type : kTypeCodes) {
    if (type.dtype == dtype)
      return (itemsize(dtype) == 1 ? "|" : kLittle ? "<" : ">") + std::string(type.code);
  }
  return {};
}

}  // namespace tessera::io
