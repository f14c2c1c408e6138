#include "tessera/dtype.hpp"

#include <array>
#include <cmath>
#include <ostream>
#include <string>
#include <utility>

#include "tessera/error.hpp"

namespace tessera {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t itemsize;
  DTypeKind kind;
};

constexpr std::array<DTypeInfo, 15> kInfo{{
    {"bool", 1, DTypeKind::kBool},
    {"int8", 1, DTypeKind::kSignedInteger},
    {"int16", 2, DTypeKind::kSignedInteger},
    {"int32", 4, DTypeKind::kSignedInteger},
    {"int64", 8, DTypeKind::kSignedInteger},
    {"uint8", 1, DTypeKind::kUnsignedInteger},
    {"uint16", 2, DTypeKind::kUnsignedInteger},
    {"uint32", 4, DTypeKind::kUnsignedInteger},
    {"uint64", 8, DTypeKind::kUnsignedInteger},
    {"float16", 2, DTypeKind::kFloating},
    {"bfloat16", 2, DTypeKind::kFloating},
    {"float32", 4, DTypeKind::kFloating},
    {"float64", 8, DTypeKind::kFloating},
    {"complex64", 8, DTypeKind::kComplex},
    {"complex128", 16, DTypeKind::kComplex},
}};

constexpr const DTypeInfo& info(DType dtype) noexcept {
  return kInfo[static_cast<std::size_t>(dtype)];
}

DType signed_of(std::size_t bytes) noexcept {
  switch (bytes) {
    case 1:
      return DType::kInt8;
    case 2:
      return DType::kInt16;
    case 4:
      return DType::kInt32;
    default:
      return DType::kInt64;
  }
}

// Smallest float that holds every value of an integer dtype; 64-bit integers are rounded.
DType float_for(DType integer) noexcept {
  switch (itemsize(integer)) {
    case 1:
      return DType::kFloat16;
    case 2:
      return DType::kFloat32;
    default:
      return DType::kFloat64;
  }
}

DType promote_integers(DType a, DType b) noexcept {
  if (kind(a) == kind(b)) return itemsize(a) >= itemsize(b) ? a : b;
  if (kind(a) == DTypeKind::kUnsignedInteger) std::swap(a, b);
  if (itemsize(a) > itemsize(b)) return a;
  return itemsize(b) == 8 ? DType::kFloat64 : signed_of(2 * itemsize(b));
}

DType promote_floats(DType a, DType b) noexcept {
  if (a == b) return a;
  if (itemsize(a) == itemsize(b)) return DType::kFloat32;  // float16 with bfloat16
  return itemsize(a) > itemsize(b) ? a : b;
}

}  // namespace

std::size_t itemsize(DType dtype) noexcept { return info(dtype).itemsize; }
std::string_view name(DType dtype) noexcept { return info(dtype).name; }
DTypeKind kind(DType dtype) noexcept { return info(dtype).kind; }

DType dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  throw InvalidArgument("[dtype_from_name] name must be that of a dtype; got \"" +
                        std::string(name) + "\"; try \"float64\", \"int32\" or \"bool\"");
}

DType real_dtype(DType dtype) noexcept {
  if (dtype == DType::kComplex64) return DType::kFloat32;
  if (dtype == DType::kComplex128) return DType::kFloat64;
  return dtype;
}

DType complex_dtype(DType dtype) noexcept {
  if (is_complex(dtype)) return dtype;
  return is_floating(dtype) && dtype != DType::kFloat64 ? DType::kComplex64 : DType::kComplex128;
}

DType result_type(DType a, DType b) noexcept {
  if (a == b || b == DType::kBool) return a;
  if (a == DType::kBool) return b;
  if (is_integer(a) && is_integer(b)) return promote_integers(a, b);
  const bool complex = is_complex(a) || is_complex(b);
  if (is_integer(b)) std::swap(a, b);
  if (is_integer(a)) {
    const DType real = real_dtype(b);
    // An int8 fits bfloat16 as it fits float16.
    a = real == DType::kBFloat16 && itemsize(a) == 1 ? real : float_for(a);
  }
  const DType real = promote_floats(real_dtype(a), real_dtype(b));
  return complex ? complex_dtype(real) : real;
}

bool can_cast(DType from, DType to) noexcept {
  const auto rank = [](DType d) {
    switch (kind(d)) {
      case DTypeKind::kBool:
        return 0;
      case DTypeKind::kUnsignedInteger:
        return 1;
      case DTypeKind::kSignedInteger:
        return 2;
      case DTypeKind::kFloating:
        return 3;
      case DTypeKind::kComplex:
        return 4;
    }
    return 4;
  };
  return rank(from) <= rank(to);
}

bool isdtype(DType dtype, std::string_view kind_name) {
  const DTypeKind of = kind(dtype);
  const bool integral = is_integer(dtype);
  if (kind_name == "bool") return of == DTypeKind::kBool;
  if (kind_name == "signed integer") return of == DTypeKind::kSignedInteger;
  if (kind_name == "unsigned integer") return of == DTypeKind::kUnsignedInteger;
  if (kind_name == "integral") return integral;
  if (kind_name == "real floating") return of == DTypeKind::kFloating;
  if (kind_name == "complex floating") return of == DTypeKind::kComplex;
  if (kind_name == "numeric") return of != DTypeKind::kBool;
  throw InvalidArgument("[isdtype] the kind must be one of the Array API standard; got \"" +
                        std::string(kind_name) +
                        "\"; try \"integral\", \"real floating\" or \"numeric\"");
}

FloatInfo finfo(DType dtype) {
  const DType real = real_dtype(dtype);
  int digits = 0;
  int top = 0;
  switch (real) {
    case DType::kFloat16:
      digits = 11;
      top = 16;
      break;
    case DType::kBFloat16:
      digits = 8;
      top = 128;
      break;
    case DType::kFloat32:
      digits = 24;
      top = 128;
      break;
    case DType::kFloat64:
      digits = 53;
      top = 1024;
      break;
    default:
      throw InvalidArgument("[finfo] the dtype must be floating-point; got " +
                            std::string(name(dtype)) + "; try iinfo()");
  }
  const double eps = std::ldexp(1.0, 1 - digits);
  const double max = std::ldexp(2.0 - eps, top - 1);
  return {dtype, static_cast<int>(8 * itemsize(real)), eps, max, -max, std::ldexp(1.0, 2 - top)};
}

IntegerInfo iinfo(DType dtype) {
  if (!is_integer(dtype)) {
    throw InvalidArgument("[iinfo] the dtype must be an integer one; got " +
                          std::string(name(dtype)) + "; try finfo()");
  }
  const int bits = static_cast<int>(8 * itemsize(dtype));
  const std::uint64_t all = ~std::uint64_t{0} >> (64 - bits);
  if (kind(dtype) == DTypeKind::kUnsignedInteger) return {dtype, bits, 0, all};
  const std::uint64_t max = all >> 1;
  return {dtype, bits, -static_cast<std::int64_t>(max) - 1, max};
}

std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

}  // namespace tessera
