// Exact primitives on scalars, which the compiler vectorises inside loops. Included once per SIMD
// target, inside its namespace.

namespace prim {

inline float fabs(float x) { return __builtin_fabsf(x); }
inline double fabs(double x) { return __builtin_fabs(x); }
inline float floor(float x) { return __builtin_floorf(x); }
inline double floor(double x) { return __builtin_floor(x); }
inline float ceil(float x) { return __builtin_ceilf(x); }
inline double ceil(double x) { return __builtin_ceil(x); }
inline float trunc(float x) { return __builtin_truncf(x); }
inline double trunc(double x) { return __builtin_trunc(x); }
inline float rint(float x) { return __builtin_rintf(x); }
inline double rint(double x) { return __builtin_rint(x); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline double sqrt(double x) { return __builtin_sqrt(x); }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float fmod(float a, float b) { return __builtin_fmodf(a, b); }
inline double fmod(double a, double b) { return __builtin_fmod(a, b); }
inline unsigned int bits(float x) { return __builtin_bit_cast(unsigned int, x); }
inline unsigned long long bits(double x) { return __builtin_bit_cast(unsigned long long, x); }
inline float from_bits(unsigned int x) { return __builtin_bit_cast(float, x); }
inline double from_bits(unsigned long long x) { return __builtin_bit_cast(double, x); }
template <class T>
struct Infinity;
template <>
struct Infinity<float> {
  static constexpr float value = __builtin_inff();
};
template <>
struct Infinity<double> {
  static constexpr double value = __builtin_inf();
};

template <class T>
inline constexpr bool kMathLane = false;

}  // namespace prim
