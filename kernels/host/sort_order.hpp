#pragma once

#include <bit>
#include <complex>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tessera/dtype.hpp"

// The order of elements as unsigned keys, and sorting by such keys. Private to the sorting kernels.

namespace tessera::kernels::host {

template <std::size_t kBytes>
struct KeyOfSize;
template <>
struct KeyOfSize<1> {
  using Type = std::uint8_t;
};
template <>
struct KeyOfSize<2> {
  using Type = std::uint16_t;
};
template <>
struct KeyOfSize<4> {
  using Type = std::uint32_t;
};
template <>
struct KeyOfSize<8> {
  using Type = std::uint64_t;
};
/// Unsigned integer whose order is that of T, a bool, integer or real floating type.
template <typename T>
using SortKey = typename KeyOfSize<sizeof(T)>::Type;

struct KeyOrder {
  bool flip = false;       ///< largest element first
  bool nan_first = false;  ///< NaN before everything else instead of behind
};

/// Writes the keys of n elements of `dtype`; returns whether any is below `threshold`. Equal
/// elements, NaNs and zeros of both signs among them, have equal keys.
bool make_keys(DType dtype, const void* in, std::int64_t n, KeyOrder order, void* keys,
               std::uint64_t threshold);

template <typename Key>
inline constexpr Key kKeyMax = std::numeric_limits<Key>::max();

/// The element of a key that is not NaN's.
template <typename T>
T element_of_key(SortKey<T> key, bool flip) noexcept {
  using Key = SortKey<T>;
  constexpr Key kSign = static_cast<Key>(Key{1} << (8 * sizeof(Key) - 1));
  if (flip) key = static_cast<Key>(~key);
  if constexpr (std::is_floating_point_v<T>) {
    return std::bit_cast<T>((key & kSign) != 0 ? static_cast<Key>(key ^ kSign)
                                               : static_cast<Key>(~key));
  } else if constexpr (std::is_same_v<T, bool>) {
    return key != 0;
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<T>(key ^ kSign);
  } else {
    return key;
  }
}

/// Whether a comes before b: by the place of NaN parts, then real part, then imaginary part.
template <typename T>
bool complex_before(const std::complex<T>& a, const std::complex<T>& b, bool descending) noexcept {
  const bool a_real_nan = a.real() != a.real();
  const bool a_imag_nan = a.imag() != a.imag();
  const bool b_real_nan = b.real() != b.real();
  const bool b_imag_nan = b.imag() != b.imag();
  if (a_real_nan != b_real_nan) return b_real_nan;
  if (a_imag_nan != b_imag_nan) return b_imag_nan;
  if (!a_real_nan && a.real() != b.real()) {
    return descending ? a.real() > b.real() : a.real() < b.real();
  }
  if (!a_imag_nan && a.imag() != b.imag()) {
    return descending ? a.imag() > b.imag() : a.imag() < b.imag();
  }
  return false;
}

/// Whether a comes before b in ascending order, NaN last.
template <typename T>
bool ascending_before(const T& a, const T& b) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    return a < b || (b != b && a == a);
  } else if constexpr (std::is_arithmetic_v<T>) {
    return a < b;
  } else {
    return complex_before(a, b, false);
  }
}

}  // namespace tessera::kernels::host
