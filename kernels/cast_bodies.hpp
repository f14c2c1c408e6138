// Conversions between lane types; included after kernels/scalar_bodies.hpp, under the same rules.
// Floating point to integer truncates, saturates, and takes NaN to 0: never undefined, the same on
// every backend. Float16 and bfloat16 convert from and to float and double only, rounding once.

// 2^digits, the first value beyond To.
template <Floating From, Integer To>
inline constexpr From kBeyond = static_cast<From>(1ull << (8 * sizeof(To) - 1)) *
                                (SignedInteger<To> ? From(1) : From(2));
template <Integer To>
inline constexpr To kLargest = static_cast<To>(SignedInteger<To>
                                                   ? static_cast<Unsigned<To>>(~Unsigned<To>{0}) >>
                                                         1
                                                   : static_cast<Unsigned<To>>(~Unsigned<To>{0}));

template <Integer To, Floating From>
TESSERA_HD To saturate(From x) {
  constexpr From kEnd = kBeyond<From, To>;
  constexpr bool kEveryIntegerFits = 8 * sizeof(To) - SignedInteger<To> <= kMantissaBits<From>;
  constexpr From kStep =
      kEveryIntegerFits ? From(1) : kEnd / static_cast<From>(1ull << kMantissaBits<From>);
  constexpr From kLow = SignedInteger<To> ? -kEnd : From(0);
  const From below = x > kEnd - kStep ? kEnd - kStep : x;
  const From inside = below < kLow ? kLow : below;
  const From number = x != x ? From(0) : inside;
  // By way of int: vector units convert to 32 and 64 bits only.
  To result;
  if constexpr (sizeof(To) < 4) {
    result = static_cast<To>(static_cast<int>(number));
  } else {
    result = static_cast<To>(number);
  }
  return !kEveryIntegerFits && x >= kEnd ? kLargest<To> : result;
}

// Formats of 16 bits: kFraction explicit mantissa bits, smallest normal number 2^kMinExponent.
template <int kFraction, int kMinExponent>
struct Narrow {
  static constexpr int kExponentOnes = (1 << (15 - kFraction)) - 1;
  static constexpr int kDropped = 52 - kFraction;
  static constexpr unsigned long long kSubnormalUnit =
      static_cast<unsigned long long>(1023 - kMinExponent + kFraction) << 52;
  static constexpr unsigned long long kBias =
      static_cast<unsigned long long>(1023 + kMinExponent - 1) << 52;

  static TESSERA_HD unsigned short encode(double x) {
    const unsigned long long bits = prim::bits(x);
    const unsigned long long magnitude = bits & 0x7fffffffffffffffull;
    const auto sign = static_cast<unsigned>(bits >> 48) & 0x8000u;
    constexpr unsigned long long kInfinite = static_cast<unsigned long long>(kExponentOnes)
                                             << kFraction;
    const unsigned long long rounded =
        magnitude + ((1ull << (kDropped - 1)) - 1) + ((magnitude >> kDropped) & 1);
    const unsigned long long normal = (rounded - kBias) >> kDropped;
    const unsigned long long finite = normal < kInfinite ? normal : kInfinite;
    // Adding 2^52 units of the last subnormal place leaves the rounded count in the low bits.
    const double shifted = prim::from_bits(magnitude) * prim::from_bits(kSubnormalUnit);
    const unsigned long long subnormal = prim::bits(shifted + 0x1p52) & 0xffffull;
    constexpr unsigned long long kSmallestNormal =
        static_cast<unsigned long long>(1023 + kMinExponent) << 52;
    unsigned long long result = magnitude < kSmallestNormal ? subnormal : finite;
    result = magnitude >= 0x7ff0000000000000ull ? kInfinite : result;
    result = magnitude > 0x7ff0000000000000ull ? kInfinite | (1ull << (kFraction - 1)) : result;
    return static_cast<unsigned short>(sign | static_cast<unsigned>(result));
  }
  static TESSERA_HD double decode(unsigned short code) {
    const unsigned long long magnitude = code & 0x7fffu;
    const unsigned long long sign = static_cast<unsigned long long>(code & 0x8000u) << 48;
    const double normal = prim::from_bits((magnitude << kDropped) + kBias);
    const double subnormal = (prim::from_bits(magnitude | 0x4330000000000000ull) - 0x1p52) *
                             prim::from_bits(0x7fe0000000000000ull - kSubnormalUnit);
    const auto exponent = magnitude >> kFraction;
    const double finite = exponent == 0 ? subnormal : normal;
    const unsigned long long special =
        0x7ff0000000000000ull | (magnitude << kDropped & 0x000fffffffffffffull);
    const unsigned long long bits = exponent == kExponentOnes ? special : prim::bits(finite);
    return prim::from_bits(bits | sign);
  }
};
template <class T>
struct NarrowOf;
template <>
struct NarrowOf<Half> {
  using type = Narrow<10, -14>;
};
template <>
struct NarrowOf<BFloat16> {
  using type = Narrow<7, -126>;
};
template <class T>
concept NarrowFloat = requires {
  typename NarrowOf<T>::type;
};

template <class To>
struct Cast {
  template <RealNumber From>
  static TESSERA_HD To from(From x) {
    if constexpr (Integer<To> && Floating<From>) {
      return saturate<To>(x);
    } else {
      return static_cast<To>(x);
    }
  }
  template <NarrowFloat From>
  requires Floating<To>
  static TESSERA_HD To from(From x) {
    return static_cast<To>(NarrowOf<From>::type::decode(x.bits));
  }
  static TESSERA_HD To from(Bool x) { return static_cast<To>(raw(x)); }
  template <class T>
  static TESSERA_HD To from(Complex<T> x) {
    return from(x.re);
  }
};
template <>
struct Cast<Bool> {
  template <class From>
  requires requires(From x) { truthy(x); }
  static TESSERA_HD Bool from(From x) { return to_bool(truthy(x)); }
};
template <class T>
struct Cast<Complex<T>> {
  template <RealNumber From>
  static TESSERA_HD Complex<T> from(From x) {
    return {static_cast<T>(x), T(0)};
  }
  static TESSERA_HD Complex<T> from(Bool x) { return {static_cast<T>(raw(x)), T(0)}; }
  template <class From>
  static TESSERA_HD Complex<T> from(Complex<From> x) {
    return {static_cast<T>(x.re), static_cast<T>(x.im)};
  }
};

template <NarrowFloat To>
struct Cast<To> {
  template <Floating From>
  static TESSERA_HD To from(From x) {
    return {NarrowOf<To>::type::encode(static_cast<double>(x))};
  }
  static TESSERA_HD To from(To x) { return x; }
};
