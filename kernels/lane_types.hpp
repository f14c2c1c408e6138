// Types of one element as the bodies of operations see it, and what they need to know of them.
// Included by a backend inside its own namespace before its primitives, under the rules of
// kernels/scalar_bodies.hpp. Layouts are those of the array elements in memory.

/// An element of a bool array: 0 or 1.
enum class Bool : unsigned char { kFalse, kTrue };
template <class T>
struct Complex {
  T re, im;
};
struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

template <int kBytes>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
  using type = unsigned char;
};
template <>
struct UnsignedOf<2> {
  using type = unsigned short;
};
template <>
struct UnsignedOf<4> {
  using type = unsigned int;
};
template <>
struct UnsignedOf<8> {
  using type = unsigned long long;
};
template <class T>
using Unsigned = typename UnsignedOf<sizeof(T)>::type;

template <class T>
inline constexpr bool kIsFloating = false;
template <>
inline constexpr bool kIsFloating<float> = true;
template <>
inline constexpr bool kIsFloating<double> = true;
template <class T>
concept Floating = kIsFloating<T>;
template <class T>
concept Integer = !kIsFloating<T> && requires(T x) {
  x % x;
};
template <class T>
concept RealNumber = Integer<T> || Floating<T>;
template <class T>
concept SignedInteger = Integer<T> &&(static_cast<T>(-1) < static_cast<T>(0));
template <class T>
inline constexpr int kMantissaBits = sizeof(T) == 8 ? 53 : 24;
// Integers narrower than int would be promoted to int, whose overflow is undefined.
template <Integer T>
using Wrapping = typename UnsignedOf<(sizeof(T) < 4 ? 4 : sizeof(T))>::type;
