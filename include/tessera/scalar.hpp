#pragma once

#include <complex>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "tessera/dtype.hpp"

namespace tessera {

/// One number of any dtype, kept exactly: the C++ scalars that stand in expressions such as `x
/// + 1.0`. Scalars are weakly typed as the Array API standard says: `float32_array + 1.0` stays
/// float32.
class TESSERA_EXPORT Scalar {
 public:
  enum class Kind : std::uint8_t { kBool, kInt, kUInt, kReal, kComplex };

  constexpr Scalar() : Scalar(0.0) {}
  constexpr Scalar(bool v) : kind_(Kind::kBool), int_(v ? 1 : 0), value_(v ? 1.0 : 0.0) {}
  template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) constexpr Scalar(T v)
      : kind_(std::is_signed_v<T> ? Kind::kInt : Kind::kUInt),
        int_(static_cast<std::uint64_t>(v)),
        value_(static_cast<double>(v)) {}
  constexpr Scalar(float v) : kind_(Kind::kReal), value_(v) {}
  constexpr Scalar(double v) : kind_(Kind::kReal), value_(v) {}
  constexpr Scalar(std::complex<float> v)
      : kind_(Kind::kComplex), value_(v.real()), imag_(v.imag()) {}
  constexpr Scalar(std::complex<double> v)
      : kind_(Kind::kComplex), value_(v.real()), imag_(v.imag()) {}

  constexpr Kind kind() const noexcept { return kind_; }
  /// The value converted to T as `astype` would convert it: integers wrap around, real numbers are cut
  /// to whole ones and then to T's range, NaN becomes 0, and of complex numbers the real part is taken.
  template <Element T>
  constexpr T to() const noexcept {
    if constexpr (std::is_same_v<T, bool>) {
      return kind_ == Kind::kReal || kind_ == Kind::kComplex ? value_ != 0.0 || imag_ != 0.0
                                                             : int_ != 0;
    } else if constexpr (std::is_integral_v<T>) {
      return kind_ == Kind::kReal || kind_ == Kind::kComplex ? saturated<T>(value_)
                                                             : static_cast<T>(int_);
    } else if constexpr (std::is_floating_point_v<T>) {
      if (kind_ == Kind::kInt) return static_cast<T>(static_cast<std::int64_t>(int_));
      if (kind_ == Kind::kUInt) return static_cast<T>(int_);
      return static_cast<T>(value_);
    } else {
      return T(static_cast<typename T::value_type>(value_),
               static_cast<typename T::value_type>(imag_));
    }
  }
  /// The dtype an array made of this scalar alone gets: bool, int64, uint64, float64 or complex128.
  DType default_dtype() const noexcept;
  /// The dtype it takes beside an array of dtype `other` (weak typing).
  DType dtype_beside(DType other) const noexcept;
  std::string to_string() const;
  bool operator==(const Scalar&) const = default;

 private:
  template <typename T>
  static constexpr T saturated(double value) noexcept {
    // The bound is a power of two, hence exact in double; it is the first value beyond T.
    constexpr T kTop = T{1} << (std::numeric_limits<T>::digits - 1);
    constexpr double kBeyond = 2.0 * static_cast<double>(kTop);
    if (value != value) return T{0};
    if (value >= kBeyond) return std::numeric_limits<T>::max();
    if (value < static_cast<double>(std::numeric_limits<T>::min())) {
      return std::numeric_limits<T>::min();
    }
    return static_cast<T>(value);
  }

  Kind kind_;
  std::uint64_t int_ = 0;  // two's complement bits for kInt
  double value_ = 0.0;
  double imag_ = 0.0;
};

}  // namespace tessera
