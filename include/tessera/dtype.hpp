#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>

#include "tessera/export.hpp"

namespace tessera {

/// Element type of an array. float16 and bfloat16 are storage types with no arithmetic yet.
enum class DType : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kComplex64,
  kComplex128,
};

inline constexpr DType bool_ = DType::kBool;
inline constexpr DType int8 = DType::kInt8;
inline constexpr DType int16 = DType::kInt16;
inline constexpr DType int32 = DType::kInt32;
inline constexpr DType int64 = DType::kInt64;
inline constexpr DType uint8 = DType::kUInt8;
inline constexpr DType uint16 = DType::kUInt16;
inline constexpr DType uint32 = DType::kUInt32;
inline constexpr DType uint64 = DType::kUInt64;
inline constexpr DType float32 = DType::kFloat32;
inline constexpr DType float64 = DType::kFloat64;
inline constexpr DType complex64 = DType::kComplex64;
inline constexpr DType complex128 = DType::kComplex128;

/// Kinds in the sense of the Array API standard's `isdtype`.
enum class DTypeKind : std::uint8_t {
  kBool,
  kSignedInteger,
  kUnsignedInteger,
  kFloating,
  kComplex
};

/// Bytes of one element.
TESSERA_EXPORT std::size_t itemsize(DType dtype) noexcept;
/// NumPy's name, such as "float32".
TESSERA_EXPORT std::string_view name(DType dtype) noexcept;
/// The dtype of that name. \throws InvalidArgument for an unknown name.
TESSERA_EXPORT DType dtype_from_name(std::string_view name);
TESSERA_EXPORT DTypeKind kind(DType dtype) noexcept;
inline bool is_floating(DType d) noexcept { return kind(d) == DTypeKind::kFloating; }
inline bool is_complex(DType d) noexcept { return kind(d) == DTypeKind::kComplex; }
inline bool is_integer(DType d) noexcept {
  return kind(d) == DTypeKind::kSignedInteger || kind(d) == DTypeKind::kUnsignedInteger;
}
/// float32 for complex64, float64 for complex128, itself otherwise.
TESSERA_EXPORT DType real_dtype(DType dtype) noexcept;
/// complex64 for float32, complex128 for float64 and integers, itself for complex.
TESSERA_EXPORT DType complex_dtype(DType dtype) noexcept;

/// The dtype that two array dtypes promote to: the Array API table, and NumPy's rule for the mixes
/// that the standard leaves open. int64 with uint64 gives float64; an integer with a floating-point
/// dtype counts as float16 (8 bits), float32 (16 bits) or float64 (32 and 64 bits).
TESSERA_EXPORT DType result_type(DType a, DType b) noexcept;
/// Whether every value of `from` keeps its kind in `to` (NumPy's "same_kind" without narrowing of
/// kind).
TESSERA_EXPORT bool can_cast(DType from, DType to) noexcept;

/// Whether a dtype is of a kind named as in the Array API standard: "bool", "signed integer",
/// "unsigned integer", "integral", "real floating", "complex floating" or "numeric". \throws
/// InvalidArgument for another name.
TESSERA_EXPORT bool isdtype(DType dtype, std::string_view kind);

/// Limits of a floating-point dtype; of a complex one, those of its parts.
struct FloatInfo {
  DType dtype;
  int bits;                ///< of one real number
  double eps;              ///< from 1 to the next larger number
  double max;              ///< largest finite number
  double min;              ///< lowest finite number
  double smallest_normal;  ///< smallest positive number of full precision
};
/// \throws InvalidArgument for bool and integers.
TESSERA_EXPORT FloatInfo finfo(DType dtype);
/// Limits of an integer dtype.
struct IntegerInfo {
  DType dtype;
  int bits;
  std::int64_t min;
  std::uint64_t max;
};
/// \throws InvalidArgument for other dtypes.
TESSERA_EXPORT IntegerInfo iinfo(DType dtype);

TESSERA_EXPORT std::ostream& operator<<(std::ostream& out, DType dtype);

/// The DType of a C++ element type; undefined for types that no array can hold.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::kInt8;
};
template <>
struct DTypeOf<std::int16_t> {
  static constexpr DType value = DType::kInt16;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::kInt32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::kInt64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::kUInt8;
};
template <>
struct DTypeOf<std::uint16_t> {
  static constexpr DType value = DType::kUInt16;
};
template <>
struct DTypeOf<std::uint32_t> {
  static constexpr DType value = DType::kUInt32;
};
template <>
struct DTypeOf<std::uint64_t> {
  static constexpr DType value = DType::kUInt64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOf<std::complex<float>> {
  static constexpr DType value = DType::kComplex64;
};
template <>
struct DTypeOf<std::complex<double>> {
  static constexpr DType value = DType::kComplex128;
};
template <typename T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

template <typename T>
concept Element = requires {
  DTypeOf<T>::value;
};

}  // namespace tessera
