// Transcendental primitives on complex lanes: the C library's, in double for both widths so that
// complex64 is within one rounding. Included once per SIMD target, inside its namespace.

namespace prim {

template <class T>
inline constexpr bool kMathLane<Complex<T>> = true;

template <class T>
inline std::complex<double> widened(Complex<T> z) {
  return {static_cast<double>(z.re), static_cast<double>(z.im)};
}
template <class T, class W>
inline Complex<T> narrowed(std::complex<W> z) {
  return {static_cast<T>(z.real()), static_cast<T>(z.imag())};
}

#define TESSERA_COMPLEX_PRIMITIVE(name)        \
  template <class T>                           \
  inline Complex<T> name(Complex<T> z) {       \
    return narrowed<T>(std::name(widened(z))); \
  }
TESSERA_COMPLEX_PRIMITIVE(sqrt)
TESSERA_COMPLEX_PRIMITIVE(exp)
TESSERA_COMPLEX_PRIMITIVE(log)
TESSERA_COMPLEX_PRIMITIVE(log10)
TESSERA_COMPLEX_PRIMITIVE(sin)
TESSERA_COMPLEX_PRIMITIVE(cos)
TESSERA_COMPLEX_PRIMITIVE(tan)
TESSERA_COMPLEX_PRIMITIVE(asin)
TESSERA_COMPLEX_PRIMITIVE(acos)
TESSERA_COMPLEX_PRIMITIVE(atan)
TESSERA_COMPLEX_PRIMITIVE(sinh)
TESSERA_COMPLEX_PRIMITIVE(cosh)
TESSERA_COMPLEX_PRIMITIVE(tanh)
TESSERA_COMPLEX_PRIMITIVE(asinh)
TESSERA_COMPLEX_PRIMITIVE(acosh)
TESSERA_COMPLEX_PRIMITIVE(atanh)
#undef TESSERA_COMPLEX_PRIMITIVE

template <class T>
inline Complex<T> log2(Complex<T> z) {
  const std::complex<double> logarithm = std::log(widened(z));
  constexpr double kLog2 = 0x1.62e42fefa39efp-1;
  return narrowed<T>(std::complex<double>(logarithm.real() / kLog2, logarithm.imag() / kLog2));
}

template <class T>
inline T angle(Complex<T> z) {
  return static_cast<T>(std::atan2(static_cast<double>(z.im), static_cast<double>(z.re)));
}

// e^x cos y - 1 without cancellation near 0.
template <class T>
inline Complex<T> expm1(Complex<T> lane) {
  const std::complex<double> z = widened(lane);
  const double x = z.real();
  const double y = z.imag();
  if (!std::isfinite(x) || !std::isfinite(y)) {
    const std::complex<double> e = std::exp(z);
    return narrowed<T>(std::complex<double>(y == 0 ? std::expm1(x) : e.real() - 1, e.imag()));
  }
  const double half_sine = std::sin(y / 2);
  const double re = std::expm1(x) * std::cos(y) - 2 * half_sine * half_sine;
  return narrowed<T>(std::complex<double>(re, std::exp(z).imag()));
}

// log |1 + z| from |1 + z|^2 - 1 = 2x + x^2 + y^2, summed with its rounding errors.
template <class T>
inline Complex<T> log1p(Complex<T> lane) {
  const std::complex<double> z = widened(lane);
  const double x = z.real();
  const double y = z.imag();
  const double size = std::hypot(1 + x, y);
  if (!(size > 0.5 && size < 2)) {
    const std::complex<double> sum(1 + x, y);
    return narrowed<T>(std::log(sum));
  }
  const double xx = x * x;
  const double yy = y * y;
  const double rest = std::fma(x, x, -xx) + std::fma(y, y, -yy);
  const double first = 2 * x + yy;
  const double first_of = first - 2 * x;
  const double first_rest = (2 * x - (first - first_of)) + (yy - first_of);
  const double sum = first + xx;
  const double sum_of = sum - first;
  const double sum_rest = (first - (sum - sum_of)) + (xx - sum_of);
  const double excess = sum + (sum_rest + first_rest + rest);
  return narrowed<T>(std::complex<double>(std::log1p(excess) / 2, std::atan2(y, 1 + x)));
}

// Whole powers by multiplication (exact where the result is), others by logarithms one format
// wider.
template <class W>
inline std::complex<W> wide_pow(std::complex<W> base, std::complex<W> exponent) {
  constexpr W kWholeLimit = 64;
  if (exponent.imag() == 0 && std::fabs(exponent.real()) <= kWholeLimit &&
      exponent.real() == std::trunc(exponent.real())) {
    std::complex<W> power = base;
    std::complex<W> result = 1;
    for (int rest = static_cast<int>(std::fabs(exponent.real())); rest != 0; rest >>= 1) {
      if (rest & 1) {
        result = {result.real() * power.real() - result.imag() * power.imag(),
                  result.real() * power.imag() + result.imag() * power.real()};
      }
      power = {power.real() * power.real() - power.imag() * power.imag(),
               2 * power.real() * power.imag()};
    }
    return exponent.real() < 0 ? std::complex<W>(1) / result : result;
  }
  if (base == W(0)) {
    const W nan = std::numeric_limits<W>::quiet_NaN();
    return exponent.real() > 0 ? std::complex<W>(0) : std::complex<W>(nan, nan);
  }
  return std::pow(base, exponent);
}
inline Complex<float> pow(Complex<float> base, Complex<float> exponent) {
  return narrowed<float>(wide_pow(widened(base), widened(exponent)));
}
inline Complex<double> pow(Complex<double> base, Complex<double> exponent) {
  return narrowed<double>(wide_pow<long double>({base.re, base.im}, {exponent.re, exponent.im}));
}

}  // namespace prim
