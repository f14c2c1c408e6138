// Text of CUDA C++: transcendental primitives on float and double. CUDA's library is right on
// special and subnormal values, and within the bounds of its programming guide (1 to 2 ulp in
// double, up to 4 in float).

namespace prim {

template <>
inline constexpr bool kMathLane<float> = true;
template <>
inline constexpr bool kMathLane<double> = true;

#define TESSERA_LIBRARY(name)                             \
  TESSERA_HD float name(float x) { return ::name##f(x); } \
  TESSERA_HD double name(double x) { return ::name(x); }
TESSERA_LIBRARY(cbrt)
TESSERA_LIBRARY(exp)
TESSERA_LIBRARY(exp2)
TESSERA_LIBRARY(expm1)
TESSERA_LIBRARY(log)
TESSERA_LIBRARY(log2)
TESSERA_LIBRARY(log10)
TESSERA_LIBRARY(log1p)
TESSERA_LIBRARY(sin)
TESSERA_LIBRARY(cos)
TESSERA_LIBRARY(tan)
TESSERA_LIBRARY(asin)
TESSERA_LIBRARY(acos)
TESSERA_LIBRARY(atan)
TESSERA_LIBRARY(sinh)
TESSERA_LIBRARY(cosh)
TESSERA_LIBRARY(tanh)
TESSERA_LIBRARY(asinh)
TESSERA_LIBRARY(acosh)
TESSERA_LIBRARY(atanh)
#undef TESSERA_LIBRARY
#define TESSERA_LIBRARY(name)                                         \
  TESSERA_HD float name(float x, float y) { return ::name##f(x, y); } \
  TESSERA_HD double name(double x, double y) { return ::name(x, y); }
TESSERA_LIBRARY(pow)
TESSERA_LIBRARY(atan2)
TESSERA_LIBRARY(hypot)
#undef TESSERA_LIBRARY

template <class T>
TESSERA_HD T angle(Complex<T> z) {
  return static_cast<T>(atan2(static_cast<double>(z.im), static_cast<double>(z.re)));
}

}  // namespace prim
