#include "array/number.hpp"

#include <cmath>

#include "array/refuse.hpp"
#include "core/storage_dtype.hpp"

namespace tessera::array {
namespace {

bool fits_integers(const Scalar& number, DType dtype) {
  const int bits = 8 * static_cast<int>(itemsize(dtype));
  const bool is_signed = kind(dtype) != DTypeKind::kUnsignedInteger;
  if (number.kind() == Scalar::Kind::kReal || number.kind() == Scalar::Kind::kComplex) {
    const double value = number.to<double>();
    const double beyond = std::ldexp(1.0, is_signed ? bits - 1 : bits);
    return value == std::trunc(value) && value >= (is_signed ? -beyond : 0.0) && value < beyond;
  }
  const bool negative = number.kind() == Scalar::Kind::kInt && number.to<std::int64_t>() < 0;
  const auto value = number.to<std::uint64_t>();
  if (!is_signed) return !negative && (bits == 64 || value >> bits == 0);
  return (negative ? ~value : value) >> (bits - 1) == 0;
}

}  // namespace

bool fits(const Scalar& number, DType dtype) {
  if (dtype == DType::kBool || is_complex(dtype)) return true;
  if (number.kind() == Scalar::Kind::kComplex && number.to<std::complex<double>>().imag() != 0.0) {
    return false;
  }
  return !is_integer(dtype) || fits_integers(number, dtype);
}

void check_fits(std::string_view where, const Scalar& number, DType dtype) {
  if (fits(number, dtype)) return;
  refuse(where, "a number must fit the dtype; got ", number.to_string(), " for ", dtype,
         "; try another dtype");
}

void check_arithmetic(std::string_view where, DType dtype) {
  if (core::has_arithmetic(dtype)) return;
  refuse(where, "the dtype must have arithmetic; got ", dtype, "; try astype(float32)");
}

}  // namespace tessera::array
