#pragma once

#include <complex>
#include <cstdint>
#include <type_traits>

#include "core/text.hpp"
#include "tessera/dtype.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {

/// Calls f(std::type_identity<T>{}) with the C++ type of `dtype`, a bool, integer or real floating
/// one. \throws InvalidArgument naming `where` for complex dtypes and storage-only floats.
template <typename F>
decltype(auto) visit_real_dtype(DType dtype, const char* where, F&& f) {
  switch (dtype) {
    case DType::kBool:
      return f(std::type_identity<bool>{});
    case DType::kInt8:
      return f(std::type_identity<std::int8_t>{});
    case DType::kInt16:
      return f(std::type_identity<std::int16_t>{});
    case DType::kInt32:
      return f(std::type_identity<std::int32_t>{});
    case DType::kInt64:
      return f(std::type_identity<std::int64_t>{});
    case DType::kUInt8:
      return f(std::type_identity<std::uint8_t>{});
    case DType::kUInt16:
      return f(std::type_identity<std::uint16_t>{});
    case DType::kUInt32:
      return f(std::type_identity<std::uint32_t>{});
    case DType::kUInt64:
      return f(std::type_identity<std::uint64_t>{});
    case DType::kFloat32:
      return f(std::type_identity<float>{});
    case DType::kFloat64:
      return f(std::type_identity<double>{});
    default:
      break;
  }
  throw InvalidArgument(core::text("[", where, "] the dtype must be bool, an integer or a real ",
                                   "floating one with arithmetic; got ", dtype,
                                   "; try astype(float64), or real() and imag() of complex data"));
}

/// The same, and complex dtypes as well.
/// \throws InvalidArgument naming `where` for storage-only floats.
template <typename F>
decltype(auto) visit_dtype(DType dtype, const char* where, F&& f) {
  switch (dtype) {
    case DType::kComplex64:
      return f(std::type_identity<std::complex<float>>{});
    case DType::kComplex128:
      return f(std::type_identity<std::complex<double>>{});
    case DType::kFloat16:
    case DType::kBFloat16:
      throw InvalidArgument(core::text("[", where, "] the dtype must have arithmetic; got ", dtype,
                                       "; try astype(float32)"));
    default:
      return visit_real_dtype(dtype, where, f);
  }
}

template <typename T>
inline constexpr bool kIsComplex = false;
template <typename T>
inline constexpr bool kIsComplex<std::complex<T>> = true;

}  // namespace tessera::kernels::host
