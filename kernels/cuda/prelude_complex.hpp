// Text of CUDA C++: transcendental primitives on complex lanes, in double for both widths so that
// complex64 is within one rounding. Special values are those of C99, annex G.

namespace prim {

template <class T>
inline constexpr bool kMathLane<Complex<T>> = true;

using Wide = Complex<double>;
inline constexpr double kInfinite = Infinity<double>::value;
inline constexpr double kNan = __builtin_bit_cast(double, 0x7ff8000000000000ull);
inline constexpr double kLogTwo = 0x1.62e42fefa39efp-1;
inline constexpr double kLogTen = 0x1.26bb1bbb55516p+1;
inline constexpr double kQuarterTurn = 0x1.921fb54442d18p+0;
inline constexpr double kQuarterTurnRest = 0x1.1a62633145c07p-54;

TESSERA_HD bool is_nan(double x) { return x != x; }
TESSERA_HD bool is_infinite(double x) { return fabs(x) == kInfinite; }
TESSERA_HD bool is_finite(double x) { return fabs(x) < kInfinite; }
TESSERA_HD bool is_negative(double x) { return (bits(x) >> 63) != 0; }
TESSERA_HD double with_sign(double size, double sign) { return ::copysign(size, sign); }
TESSERA_HD Wide swapped(Wide z) { return {z.im, z.re}; }

// Exponentials

// scale e^x (cos y, sin y) for finite y, and x beyond 709 where scale is not 1; the part of e^x
// that no double holds comes in factors.
TESSERA_HD Wide exp_polar(double x, double y, double scale) {
  constexpr double kStep = 709.0;
  constexpr double kExpOfStep = 0x1.d422d2be5dc9bp+1022;
  double sine, cosine;
  ::sincos(y, &sine, &cosine);
  double factor = kExpOfStep * scale;
#pragma unroll 1
  for (int i = 0; i < 2 && x > kStep; ++i) {
    x -= kStep;
    sine *= factor;
    cosine *= factor;
    factor = kExpOfStep;
  }
  const double size = exp(x);
  return {size * cosine, size * sine};
}
TESSERA_HD Wide exp(Wide z) {
  if (z.im == 0) return {exp(z.re), z.im};
  if (is_finite(z.im)) return exp_polar(z.re, z.im, 1.0);
  if (z.re == -kInfinite) return {0.0, with_sign(0.0, z.im)};
  return {z.re == kInfinite ? z.re : kNan, kNan};
}
// e^x cos y - 1 without cancellation near 0.
TESSERA_HD Wide expm1(Wide z) {
  const Wide e = exp(z);
  if (!is_finite(z.re) | !is_finite(z.im)) return {z.im == 0 ? expm1(z.re) : e.re - 1, e.im};
  const double half_sine = sin(z.im / 2);
  return {expm1(z.re) * cos(z.im) - 2 * half_sine * half_sine, e.im};
}
TESSERA_HD Wide sinh(Wide z) {
  if (z.im == 0) return {sinh(z.re), z.im};
  if (!is_finite(z.im)) return {z.re == 0 ? z.re : (is_infinite(z.re) ? kInfinite : kNan), kNan};
  const double size = fabs(z.re);
  if (size > 709.0) {
    const Wide e = exp_polar(size, z.im, 0.5);
    return {z.re < 0 ? -e.re : e.re, e.im};
  }
  double sine, cosine;
  ::sincos(z.im, &sine, &cosine);
  return {sinh(z.re) * cosine, cosh(z.re) * sine};
}
TESSERA_HD Wide cosh(Wide z) {
  if (z.im == 0) return {cosh(z.re), is_nan(z.re) | !is_negative(z.re) ? z.im : -z.im};
  if (!is_finite(z.im)) {
    return {is_infinite(z.re) ? kInfinite : kNan, z.re == 0 ? z.re : kNan};
  }
  const double size = fabs(z.re);
  if (size > 709.0) {
    const Wide e = exp_polar(size, z.im, 0.5);
    return {e.re, z.re < 0 ? -e.im : e.im};
  }
  double sine, cosine;
  ::sincos(z.im, &sine, &cosine);
  return {cosh(z.re) * cosine, sinh(z.re) * sine};
}
TESSERA_HD Wide tanh(Wide z) {
  if (z.im == 0) return {tanh(z.re), z.im};
  const double size = fabs(z.re);
  if (!is_finite(z.im)) {
    if (size == kInfinite) return {with_sign(1.0, z.re), with_sign(0.0, z.im)};
    return {z.re == 0 ? z.re : kNan, kNan};
  }
  double sine, cosine;
  ::sincos(z.im, &sine, &cosine);
  // From here on tanh is 1 and cosh is e^x / 2.
  if (size > 22.0) return {with_sign(1.0, z.re), 4 * sine * cosine * exp(-2 * size)};
  const double s = sinh(z.re);
  const double divisor = s * s + cosine * cosine;
  return {s * cosh(z.re) / divisor, sine * cosine / divisor};
}
TESSERA_HD Wide sin(Wide z) { return swapped(sinh(swapped(z))); }
TESSERA_HD Wide cos(Wide z) {
  const Wide w = cosh(swapped(z));
  return {w.re, -w.im};
}
TESSERA_HD Wide tan(Wide z) { return swapped(tanh(swapped(z))); }

// Logarithms

// log1p(first + second + rest) / 2, where first + second cancel to few bits.
TESSERA_HD double half_log1p(double first, double second, double rest) {
  const double sum = first + second;
  const double part = sum - first;
  const double lost = (first - (sum - part)) + (second - part);
  return log1p(sum + (lost + rest)) / 2;
}
// log |z|; near the unit circle from |z|^2 - 1 with the rounding errors of the squares.
TESSERA_HD double log_size(double x, double y) {
  const bool x_larger = fabs(x) > fabs(y);  // false for NaN, which is then a or b
  const double a = fabs(x_larger ? x : y);
  const double b = fabs(x_larger ? y : x);
  if ((a >= 0.5) & (a <= 2.0) & (b <= 2.0)) {
    const double aa = a * a;
    const double bb = b * b;
    const double rest = fma(a, a, -aa) + fma(b, b, -bb);
    if (aa + bb <= 3.0) return half_log1p(aa - 1, bb, rest);
  }
  if (!(a < kInfinite) | (a == 0)) return log(hypot(x, y));
  const double down = a > 0x1p1000 ? 0x1p-100 : 1.0;
  const double scale = a < 0x1p-900 ? 0x1p100 : down;
  const double shift = (a > 0x1p1000 ? 100.0 : 0.0) - (a < 0x1p-900 ? 100.0 : 0.0);
  return log(hypot(x * scale, y * scale)) + shift * kLogTwo;
}
TESSERA_HD Wide log(Wide z) { return {log_size(z.re, z.im), atan2(z.im, z.re)}; }
TESSERA_HD Wide log2(Wide z) {
  const Wide w = log(z);
  return {w.re / kLogTwo, w.im / kLogTwo};
}
TESSERA_HD Wide log10(Wide z) {
  const Wide w = log(z);
  return {w.re / kLogTen, w.im / kLogTen};
}
// log |1 + z| from |1 + z|^2 - 1 = 2x + x^2 + y^2, summed with its rounding errors.
TESSERA_HD Wide log1p(Wide z) {
  const double x = z.re;
  const double y = z.im;
  const double size = hypot(1 + x, y);
  if (!((size > 0.5) & (size < 2))) return log(Wide{1 + x, y});
  const double xx = x * x;
  const double yy = y * y;
  const double rest = fma(x, x, -xx) + fma(y, y, -yy);
  const double first = 2 * x + yy;
  const double first_of = first - 2 * x;
  const double first_rest = (2 * x - (first - first_of)) + (yy - first_of);
  return {half_log1p(first, xx, first_rest + rest), atan2(y, 1 + x)};
}

// Roots and powers

TESSERA_HD Wide sqrt(Wide z) {
  if (is_infinite(z.im)) return {kInfinite, z.im};
  if (is_nan(z.re)) return {kNan, kNan};
  if (is_infinite(z.re)) {
    const double other = is_nan(z.im) ? kNan : 0.0;
    if (z.re > 0) return {z.re, is_nan(z.im) ? z.im : with_sign(0.0, z.im)};
    return {other, with_sign(kInfinite, z.im)};
  }
  if ((z.re == 0) & (z.im == 0)) return {0.0, z.im};
  const double a = ::fmax(fabs(z.re), fabs(z.im));
  const double down = a > 0x1p1000 ? 0x1p-100 : 1.0;
  const double scale = a < 0x1p-900 ? 0x1p100 : down;
  const double unscale = a < 0x1p-900 ? 0x1p-50 : (a > 0x1p1000 ? 0x1p50 : 1.0);
  const double x = fabs(z.re) * scale;
  const double y = fabs(z.im) * scale;
  const double root = sqrt((x + hypot(x, y)) / 2);
  const double large = root * unscale;
  const double small = y / (2 * root) * unscale;
  if (!is_negative(z.re)) return {large, with_sign(small, z.im)};
  return {small, with_sign(large, z.im)};
}
TESSERA_HD Wide inverse(Wide z) {
  if ((z.re == 0) & (z.im == 0)) return {with_sign(kInfinite, z.re), kNan};
  const double a = ::fmax(fabs(z.re), fabs(z.im));
  if (is_infinite(a)) return {with_sign(0.0, z.re), with_sign(0.0, -z.im)};
  const double scale = a > 0x1p1000 ? 0x1p-100 : (a < 0x1p-900 ? 0x1p100 : 1.0);
  const double size = hypot(z.re * scale, z.im * scale);
  return {z.re * scale / size / size * scale, -z.im * scale / size / size * scale};
}
// Whole powers by multiplication (exact where the result is), others by logarithms.
TESSERA_HD Wide pow(Wide base, Wide exponent) {
  constexpr double kWholeLimit = 64;
  if ((exponent.im == 0) & (fabs(exponent.re) <= kWholeLimit) &
      (exponent.re == trunc(exponent.re))) {
    Wide power = base;
    Wide result = {1.0, 0.0};
#pragma unroll 1
    for (int rest = static_cast<int>(fabs(exponent.re)); rest != 0; rest >>= 1) {
      if ((rest & 1) != 0) {
        result = {result.re * power.re - result.im * power.im,
                  result.re * power.im + result.im * power.re};
      }
      power = {power.re * power.re - power.im * power.im, 2 * power.re * power.im};
    }
    return exponent.re < 0 ? inverse(result) : result;
  }
  if ((base.re == 0) & (base.im == 0)) {
    return exponent.re > 0 ? Wide{0.0, 0.0} : Wide{kNan, kNan};
  }
  const Wide w = log(base);
  return exp(
      Wide{exponent.re * w.re - exponent.im * w.im, exponent.re * w.im + exponent.im * w.re});
}

#define TESSERA_NARROW(name)                                     \
  TESSERA_HD Complex<float> name(Complex<float> z) {             \
    const Wide w = name(Wide{z.re, z.im});                       \
    return {static_cast<float>(w.re), static_cast<float>(w.im)}; \
  }
TESSERA_NARROW(exp)
TESSERA_NARROW(expm1)
TESSERA_NARROW(sinh)
TESSERA_NARROW(cosh)
TESSERA_NARROW(tanh)
TESSERA_NARROW(sin)
TESSERA_NARROW(cos)
TESSERA_NARROW(tan)
TESSERA_NARROW(log)
TESSERA_NARROW(log2)
TESSERA_NARROW(log10)
TESSERA_NARROW(log1p)
TESSERA_NARROW(sqrt)
TESSERA_HD Complex<float> pow(Complex<float> base, Complex<float> exponent) {
  const Wide w = pow(Wide{base.re, base.im}, Wide{exponent.re, exponent.im});
  return {static_cast<float>(w.re), static_cast<float>(w.im)};
}

}  // namespace prim
