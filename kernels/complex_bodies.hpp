// Bodies of the operations on complex lanes; included after kernels/scalar_bodies.hpp, under the
// same rules. Products are the plain formula as in NumPy; quotients and magnitudes neither overflow
// nor underflow before their result does.

template <class T>
TESSERA_HD Complex<T> add(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
TESSERA_HD Complex<T> subtract(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
TESSERA_HD Complex<T> multiply(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
TESSERA_HD Complex<T> negative(Complex<T> x) {
  return {-x.re, -x.im};
}
template <class T>
TESSERA_HD Complex<T> square(Complex<T> x) {
  const T cross = x.re * x.im;
  return {(x.re - x.im) * (x.re + x.im), cross + cross};
}
template <class T>
TESSERA_HD T abs(Complex<T> x) {
  return hypot(x.re, x.im);
}

// Smith's algorithm without branches, after scaling by powers of two; division by zero as in NumPy.
TESSERA_HD Complex<double> divide(Complex<double> a, Complex<double> b) {
  const bool real_larger = prim::fabs(b.re) >= prim::fabs(b.im);
  const double large = real_larger ? b.re : b.im;
  const double small = real_larger ? b.im : b.re;
  const double down = prim::fabs(large) > 0x1p1000 ? 0x1p-100 : 1.0;
  const double scale = prim::fabs(large) < 0x1p-900 ? 0x1p100 : down;
  const bool huge = (prim::fabs(a.re) > 0x1p1020) | (prim::fabs(a.im) > 0x1p1020);
  const double shrink = huge ? 0x1p-4 : 1.0;
  const double grow = huge ? 0x1p4 : 1.0;
  const double first = (real_larger ? a.re : a.im) * scale * shrink;
  const double second = (real_larger ? a.im : a.re) * scale * shrink;
  const double ratio = small / large;
  const double divisor = large * scale + small * scale * ratio;
  const double re = (first + second * ratio) / divisor * grow;
  const double im = (second - first * ratio) / divisor * grow;
  const double magnitude = prim::fabs(large);
  const bool zero = magnitude == 0;
  return {zero ? a.re / magnitude : re, zero ? a.im / magnitude : (real_larger ? im : -im)};
}
TESSERA_HD Complex<float> divide(Complex<float> a, Complex<float> b) {
  const Complex<double> quotient = divide(Complex<double>{a.re, a.im}, Complex<double>{b.re, b.im});
  return {static_cast<float>(quotient.re), static_cast<float>(quotient.im)};
}
template <class T>
TESSERA_HD Complex<T> reciprocal(Complex<T> x) {
  return divide(Complex<T>{T(1), T(0)}, x);
}

// x / |x|; an infinite part outweighs a finite one.
template <class T>
TESSERA_HD Complex<T> sign(Complex<T> x) {
  const bool infinite_re = prim::fabs(x.re) == prim::Infinity<T>::value;
  const bool infinite_im = prim::fabs(x.im) == prim::Infinity<T>::value;
  const bool infinite = infinite_re | infinite_im;
  const T re = infinite ? (infinite_re ? copysign(T(1), x.re) : x.re * T(0)) : x.re;
  const T im = infinite ? (infinite_im ? copysign(T(1), x.im) : x.im * T(0)) : x.im;
  // Scaled, or the magnitude of a subnormal number would be rounded too coarsely.
  const T magnitude = hypot(re, im);
  constexpr T kTiny = kMantissaBits<T> == 53 ? T(0x1p-900) : T(0x1p-100);
  constexpr T kGrow = kMantissaBits<T> == 53 ? T(0x1p200) : T(0x1p60);
  const T scale = magnitude < kTiny ? kGrow : T(1);
  const T u = re * scale;
  const T v = im * scale;
  const T m = hypot(u, v);
  return {m == 0 ? T(0) : u / m, m == 0 ? T(0) : v / m};
}

template <class T>
TESSERA_HD Complex<T> round(Complex<T> x) {
  return {prim::rint(x.re), prim::rint(x.im)};
}
template <class T>
TESSERA_HD Complex<T> conj(Complex<T> x) {
  return {x.re, -x.im};
}
template <class T>
TESSERA_HD T real(Complex<T> x) {
  return x.re;
}
template <class T>
TESSERA_HD T imag(Complex<T> x) {
  return x.im;
}
template <class T>
requires MathLane<Complex<T>> TESSERA_HD T angle(Complex<T> x) { return prim::angle(x); }
template <class T>
requires MathLane<Complex<T>> TESSERA_HD Complex<T> sqrt(Complex<T> x) { return prim::sqrt(x); }

template <class T>
TESSERA_HD Bool equal(Complex<T> a, Complex<T> b) {
  return to_bool((a.re == b.re) & (a.im == b.im));
}
template <class T>
TESSERA_HD Bool not_equal(Complex<T> a, Complex<T> b) {
  return to_bool((a.re != b.re) | (a.im != b.im));
}
template <class T>
TESSERA_HD Bool isfinite(Complex<T> x) {
  return static_cast<Bool>(raw(isfinite(x.re)) & raw(isfinite(x.im)));
}
template <class T>
TESSERA_HD Bool isinf(Complex<T> x) {
  return static_cast<Bool>(raw(isinf(x.re)) | raw(isinf(x.im)));
}
template <class T>
TESSERA_HD Bool isnan(Complex<T> x) {
  return static_cast<Bool>(raw(isnan(x.re)) | raw(isnan(x.im)));
}
template <class T>
TESSERA_HD Complex<T> where(Bool condition, Complex<T> a, Complex<T> b) {
  return {where(condition, a.re, b.re), where(condition, a.im, b.im)};
}
