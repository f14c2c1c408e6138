// Transcendental primitives on whole vectors: SLEEF, at most 1 ulp, guarded where it is wrong.
// Included once per SIMD target, inside its namespace. A lane's value depends on nothing but that
// lane.

namespace prim {

#if HWY_TARGET == HWY_AVX3
typedef double Doubles __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));
#define TESSERA_SLEEF_DOUBLE(name) Sleef_##name##d8_u10avx512f
#define TESSERA_SLEEF_FLOAT(name) Sleef_##name##f16_u10avx512f
#elif HWY_TARGET == HWY_AVX2
typedef double Doubles __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(32)));
#define TESSERA_SLEEF_DOUBLE(name) Sleef_##name##d4_u10avx2
#define TESSERA_SLEEF_FLOAT(name) Sleef_##name##f8_u10avx2
#else
using Doubles = double;
using Floats = float;
#define TESSERA_SLEEF_DOUBLE(name) Sleef_##name##_u10
#define TESSERA_SLEEF_FLOAT(name) Sleef_##name##f_u10
#endif

template <>
inline constexpr bool kMathLane<Doubles> = true;
template <>
inline constexpr bool kMathLane<Floats> = true;

// Of -0 it gives -0, which compares the same.
template <class V>
inline V magnitude(V x) {
  return x < 0 ? -x : x;
}
#if HWY_TARGET == HWY_AVX3
inline bool any(decltype(Doubles{} < Doubles{}) mask) {
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(mask)) != 0;
}
inline bool any(decltype(Floats{} < Floats{}) mask) {
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0;
}
#elif HWY_TARGET == HWY_AVX2
inline bool any(decltype(Doubles{} < Doubles{}) mask) {
  return _mm256_movemask_pd(reinterpret_cast<__m256d>(mask)) != 0;
}
inline bool any(decltype(Floats{} < Floats{}) mask) {
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
}
#else
inline bool any(bool mask) { return mask; }
#endif

// Ranges beyond which SLEEF leaves the exact function, and constants by precision.
template <class V>
struct Range;
template <>
struct Range<Doubles> {
  static constexpr double kInfinity = Infinity<double>::value;
  static constexpr double kTiny = 0x1p-28;     // sinh x = x and the like
  static constexpr double kTiniest = 0x1p-60;  // log1p x = x
  static constexpr double kHuge = 0x1p500;     // a square is still finite
  static constexpr double kSlope = 0x1p-30;    // atan t = t
  static constexpr double kSmallAngle = 15.0;  // argument reductions of sin, cos and tan
  static constexpr double kLargeAngle = 1e14;
  static constexpr double kExpSafe = 709.0;  // exp is still finite
  static constexpr double kExpOver = 720.0;  // and exp / 2 is not
  // 64 ln 2 in two parts, the first short enough for an exact difference.
  static constexpr double kLogScale = 0x1.62e42fefa3a00p+5;
  static constexpr double kLogScaleRest = -0x1.0ca86c3898d00p-43;
  static constexpr double kHalfScale = 0x1p63;
  static constexpr double kLog2 = 0x1.62e42fefa39efp-1;
};
template <>
struct Range<Floats> {
  static constexpr float kInfinity = Infinity<float>::value;
  static constexpr float kTiny = 0x1p-13f;
  static constexpr float kTiniest = 0x1p-30f;
  static constexpr float kHuge = 0x1p60f;
  static constexpr float kSlope = 0x1p-14f;
  static constexpr float kSmallAngle = 125.0f;
  static constexpr float kLargeAngle = 125.0f;
  static constexpr float kExpSafe = 88.0f;
  static constexpr float kExpOver = 95.0f;
  static constexpr float kLogScale = 0x1.62e4200000000p+4f;
  static constexpr float kLogScaleRest = 0x1.fdf4740000000p-17f;
  static constexpr float kHalfScale = 0x1p31f;
  static constexpr float kLog2 = 0x1.62e43p-1f;
};

// Declared here, for sleef.h shows the functions of an instruction set only to a whole file
// compiled for it.
#define TESSERA_SLEEF(name)                                                        \
  extern "C" Doubles TESSERA_SLEEF_DOUBLE(name)(Doubles) __attribute__((const));   \
  extern "C" Floats TESSERA_SLEEF_FLOAT(name)(Floats) __attribute__((const));      \
  inline Doubles sleef_##name(Doubles x) { return TESSERA_SLEEF_DOUBLE(name)(x); } \
  inline Floats sleef_##name(Floats x) { return TESSERA_SLEEF_FLOAT(name)(x); }
TESSERA_SLEEF(cbrt)
TESSERA_SLEEF(exp)
TESSERA_SLEEF(exp2)
TESSERA_SLEEF(expm1)
TESSERA_SLEEF(log)
TESSERA_SLEEF(log2)
TESSERA_SLEEF(log10)
TESSERA_SLEEF(log1p)
TESSERA_SLEEF(sin)
TESSERA_SLEEF(cos)
TESSERA_SLEEF(tan)
TESSERA_SLEEF(asin)
TESSERA_SLEEF(acos)
TESSERA_SLEEF(atan)
TESSERA_SLEEF(sinh)
TESSERA_SLEEF(cosh)
TESSERA_SLEEF(tanh)
TESSERA_SLEEF(asinh)
TESSERA_SLEEF(acosh)
TESSERA_SLEEF(atanh)
#undef TESSERA_SLEEF
#define TESSERA_SLEEF(name)                                                                      \
  extern "C" Doubles TESSERA_SLEEF_DOUBLE(name)(Doubles, Doubles) __attribute__((const));        \
  extern "C" Floats TESSERA_SLEEF_FLOAT(name)(Floats, Floats) __attribute__((const));            \
  inline Doubles sleef_##name(Doubles x, Doubles y) { return TESSERA_SLEEF_DOUBLE(name)(x, y); } \
  inline Floats sleef_##name(Floats x, Floats y) { return TESSERA_SLEEF_FLOAT(name)(x, y); }
TESSERA_SLEEF(pow)
TESSERA_SLEEF(atan2)
#undef TESSERA_SLEEF
#undef TESSERA_SLEEF_DOUBLE
#undef TESSERA_SLEEF_FLOAT

// Functions that SLEEF gets right everywhere.
template <class V>
inline V cbrt(V x) {
  return sleef_cbrt(x);
}
template <class V>
inline V exp2(V x) {
  return sleef_exp2(x);
}
template <class V>
inline V expm1(V x) {
  return sleef_expm1(x);
}
template <class V>
inline V log(V x) {
  return sleef_log(x);
}
template <class V>
inline V log2(V x) {
  return sleef_log2(x);
}
template <class V>
inline V log10(V x) {
  return sleef_log10(x);
}
template <class V>
inline V asin(V x) {
  return sleef_asin(x);
}
template <class V>
inline V acos(V x) {
  return sleef_acos(x);
}
template <class V>
inline V atan(V x) {
  return sleef_atan(x);
}

// SLEEF's exp and pow overflow a little (1e-13) below the largest number; the C library decides
// there.
struct ExpOfLibrary {
  template <class T>
  static inline T call(T x, T) {
    return std::exp(x);
  }
};
struct PowOfLibrary {
  template <class T>
  static inline T call(T base, T exponent) {
    return std::pow(base, exponent);
  }
};
template <class Function, class V>
inline V settle_overflow(V x, V y, V result) {
  using T = std::remove_const_t<decltype(Range<V>::kInfinity)>;
  constexpr std::size_t kLanes = sizeof(V) / sizeof(T);
  T lane[3][kLanes];
  std::memcpy(lane[0], &x, sizeof(V));
  std::memcpy(lane[1], &y, sizeof(V));
  std::memcpy(lane[2], &result, sizeof(V));
  for (std::size_t i = 0; i < kLanes; ++i) {
    if (std::isinf(lane[2][i]) && std::isfinite(lane[0][i]) && std::isfinite(lane[1][i])) {
      lane[2][i] = Function::call(lane[0][i], lane[1][i]);
    }
  }
  std::memcpy(&result, lane[2], sizeof(V));
  return result;
}
template <class V>
inline V exp(V x) {
  const V result = sleef_exp(x);
  const auto overflow = (x > Range<V>::kExpSafe) & (x < Range<V>::kExpOver);
  return any(overflow) ? settle_overflow<ExpOfLibrary>(x, x, result) : result;
}

// Of subnormal numbers SLEEF loses the last place of these.
template <class V>
inline V identity_where_tiny(V x, V result) {
  return magnitude(x) < Range<V>::kTiny ? x : result;
}
template <class V>
inline V tanh(V x) {
  return identity_where_tiny(x, sleef_tanh(x));
}
template <class V>
inline V atanh(V x) {
  return identity_where_tiny(x, sleef_atanh(x));
}

// SLEEF's log1p, asinh and acosh overflow before their argument does.
template <class V>
inline V log1p(V x) {
  V result = sleef_log1p(x);
  const auto huge = x > Range<V>::kHuge;
  if (any(huge)) result = huge ? sleef_log(x) : result;
  return magnitude(x) < Range<V>::kTiniest ? x : result;
}
template <class V>
inline V log_of_twice(V x) {
  const V twice = x + x;
  const auto overflow = twice == Range<V>::kInfinity;
  return sleef_log(overflow ? x : twice) + (overflow ? V{} + Range<V>::kLog2 : V{});
}
template <class V>
inline V asinh(V x) {
  V result = sleef_asinh(x);
  const V size = magnitude(x);
  const auto huge = size > Range<V>::kHuge;
  if (any(huge)) {
    const V value = log_of_twice(size);
    result = huge ? (x < 0 ? -value : value) : result;
  }
  return identity_where_tiny(x, result);
}
template <class V>
inline V acosh(V x) {
  V result = sleef_acosh(x);
  const auto huge = x > Range<V>::kHuge;
  if (any(huge)) result = huge ? log_of_twice(x) : result;
  return result;
}

// Where exp overflows though half of it does not: exp(x) = 2^k exp(x - k ln 2).
template <class V>
inline V half_exp(V size) {
  const V bounded = size > Range<V>::kExpOver ? V{} + Range<V>::kExpOver : size;
  const V scaled = sleef_exp(bounded - Range<V>::kLogScale);
  return (scaled - scaled * Range<V>::kLogScaleRest) * Range<V>::kHalfScale;
}
template <class V>
inline V sinh(V x) {
  V result = sleef_sinh(x);
  const V size = magnitude(x);
  const auto large = size > Range<V>::kExpSafe;
  if (any(large)) {
    const V value = half_exp(size);
    result = large ? (x < 0 ? -value : value) : result;
  }
  return identity_where_tiny(x, result);
}
template <class V>
inline V cosh(V x) {
  V result = sleef_cosh(x);
  const V size = magnitude(x);
  const auto large = size > Range<V>::kExpSafe;
  if (any(large)) result = large ? half_exp(size) : result;
  return result;
}

// SLEEF reduces the argument in a way chosen by the largest lane. One call per range, with the
// other lanes filled from the same range, makes a lane's value its own.
template <class Function, class V>
inline V by_range(V x) {
  using R = Range<V>;
  const V size = magnitude(x);
  const auto small = size < R::kSmallAngle;
  const auto beyond = !(size < R::kSmallAngle);
  if (!any(beyond)) return Function::call(x);
  V result = Function::call(small ? x : V{});
  if constexpr (R::kLargeAngle > R::kSmallAngle) {
    const auto medium = (size >= R::kSmallAngle) & (size < R::kLargeAngle);
    if (any(medium)) {
      result = medium ? Function::call(medium ? x : V{} + R::kSmallAngle) : result;
    }
  }
  const auto large = !(size < R::kLargeAngle);
  if (any(large)) result = large ? Function::call(large ? x : V{} + R::kLargeAngle) : result;
  return result;
}
#define TESSERA_ANGLE_FUNCTION(name) \
  struct Sleef_##name {              \
    template <class V>               \
    static inline V call(V x) {      \
      return sleef_##name(x);        \
    }                                \
  };
TESSERA_ANGLE_FUNCTION(sin)
TESSERA_ANGLE_FUNCTION(cos)
TESSERA_ANGLE_FUNCTION(tan)
#undef TESSERA_ANGLE_FUNCTION
template <class V>
inline V sin(V x) {
  return by_range<Sleef_sin>(x);
}
template <class V>
inline V cos(V x) {
  return by_range<Sleef_cos>(x);
}
template <class V>
inline V tan(V x) {
  return identity_where_tiny(x, by_range<Sleef_tan>(x));
}

template <class V>
inline V pow(V base, V exponent) {
  const V result = sleef_pow(base, exponent);
  const auto overflow = (magnitude(result) == Range<V>::kInfinity) & (base != 0) &
                        (magnitude(base) < Range<V>::kInfinity) &
                        (magnitude(exponent) < Range<V>::kInfinity);
  return any(overflow) ? settle_overflow<PowOfLibrary>(base, exponent, result) : result;
}
// Subnormal angles are exact as quotients.
template <class V>
inline V atan2(V y, V x) {
  const auto flat = (x > 0) & (x < Range<V>::kInfinity) & (magnitude(y) <= x * Range<V>::kSlope);
  return flat ? y / x : sleef_atan2(y, x);
}

}  // namespace prim
