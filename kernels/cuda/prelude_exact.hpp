// Text of CUDA C++, first in every generated source: exact primitives on scalars, under the rules
// of kernels/scalar_bodies.hpp. Functions of the mathematical library go by their C names, so that
// a host compiler can build the text too.

namespace prim {

TESSERA_HD float fabs(float x) { return ::fabsf(x); }
TESSERA_HD double fabs(double x) { return ::fabs(x); }
TESSERA_HD float floor(float x) { return ::floorf(x); }
TESSERA_HD double floor(double x) { return ::floor(x); }
TESSERA_HD float ceil(float x) { return ::ceilf(x); }
TESSERA_HD double ceil(double x) { return ::ceil(x); }
TESSERA_HD float trunc(float x) { return ::truncf(x); }
TESSERA_HD double trunc(double x) { return ::trunc(x); }
TESSERA_HD float rint(float x) { return ::rintf(x); }
TESSERA_HD double rint(double x) { return ::rint(x); }
TESSERA_HD float sqrt(float x) { return ::sqrtf(x); }
TESSERA_HD double sqrt(double x) { return ::sqrt(x); }
TESSERA_HD float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
TESSERA_HD double fma(double a, double b, double c) { return ::fma(a, b, c); }
TESSERA_HD float fmod(float a, float b) { return ::fmodf(a, b); }
TESSERA_HD double fmod(double a, double b) { return ::fmod(a, b); }
TESSERA_HD unsigned int bits(float x) { return __builtin_bit_cast(unsigned int, x); }
TESSERA_HD unsigned long long bits(double x) { return __builtin_bit_cast(unsigned long long, x); }
TESSERA_HD float from_bits(unsigned int x) { return __builtin_bit_cast(float, x); }
TESSERA_HD double from_bits(unsigned long long x) { return __builtin_bit_cast(double, x); }
template <class T>
struct Infinity;
template <>
struct Infinity<float> {
  static constexpr float value = __builtin_bit_cast(float, 0x7f800000u);
};
template <>
struct Infinity<double> {
  static constexpr double value = __builtin_bit_cast(double, 0x7ff0000000000000ull);
};

template <class T>
inline constexpr bool kMathLane = false;

}  // namespace prim
