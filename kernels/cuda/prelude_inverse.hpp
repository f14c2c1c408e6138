// Text of CUDA C++, after prelude_complex.hpp: inverse trigonometric and hyperbolic functions of
// complex lanes, after Hull, Fairgrieve and Tang, "Implementing the complex arcsine and arccosine
// functions using exception handling", ACM TOMS 23 (1997).

namespace prim {

inline constexpr double kEpsilon = 0x1p-52;

// (hypot(a, b) - b) / 2 without cancellation, given the hypot.
TESSERA_HD double half_excess(double a, double b, double size) {
  if (b < 0) return (size - b) / 2;
  return b == 0 ? a / 2 : a * a / (size + b) / 2;
}

struct AsinhParts {
  double size;  // real part of asinh(x + iy)
  double sine;  // its imaginary part is asin(sine) where by_sine, else atan2(top, bottom)
  double top, bottom;
  bool by_sine;
};
// For x, y >= 0 that are neither both tiny nor huge.
TESSERA_HD AsinhParts asinh_parts(double x, double y) {
  AsinhParts out;
  const double r = hypot(x, y + 1);
  const double s = hypot(x, y - 1);
  const double a = ::fmax((r + s) / 2, 1.0);
  // In the strip |x| < epsilon |y - 1| both foci are in line with the point: terms of order x^2
  // vanish.
  const bool in_line = x < kEpsilon * fabs(y - 1);
  if (a >= 10.0) {
    out.size = log(a + sqrt(a * a - 1));
  } else if ((y == 1) & (x < kEpsilon * kEpsilon / 128)) {
    out.size = sqrt(x);
  } else if (!in_line) {
    const double rest = half_excess(x, 1 + y, r) + half_excess(x, 1 - y, s);
    out.size = log1p(rest + sqrt(rest * (a + 1)));
  } else if (y < 1) {
    out.size = x / sqrt((1 - y) * (1 + y));
  } else {
    out.size = log1p((y - 1) + sqrt((y - 1) * (y + 1)));
  }
  out.sine = y / a;
  out.top = y;
  out.by_sine = false;
  if (y < 0x1p-509) {  // y / a might be subnormal
    out.top = y * (2 / kEpsilon);
    out.bottom = a * (2 / kEpsilon);
  } else if (out.sine <= 0.6417) {
    out.by_sine = true;
    out.bottom = 1;
  } else if ((y == 1) & (x < kEpsilon / 128)) {
    out.bottom = sqrt(x) * sqrt((a + y) / 2);
  } else if (!in_line) {
    out.bottom = sqrt((half_excess(x, y + 1, r) + half_excess(x, y - 1, s)) * (a + y));
  } else if (y > 1) {
    constexpr double kScale = 4 / kEpsilon / kEpsilon;
    out.top = y * kScale;
    out.bottom = x * kScale * y / sqrt((y + 1) * (y - 1));
  } else {
    out.bottom = sqrt((1 - y) * (1 + y));
  }
  return out;
}

TESSERA_HD bool both_tiny(Wide z) { return (fabs(z.re) < 0x1p-27) & (fabs(z.im) < 0x1p-27); }
TESSERA_HD bool one_huge(Wide z) { return (fabs(z.re) > 0x1p52) | (fabs(z.im) > 0x1p52); }

TESSERA_HD Wide asinh(Wide z) {
  const double x = fabs(z.re);
  const double y = fabs(z.im);
  if (is_nan(x) | is_nan(y)) {
    if (x == kInfinite) return {z.re, kNan};
    if (y == kInfinite) return {with_sign(kInfinite, z.re), kNan};
    return {kNan, y == 0 ? z.im : kNan};
  }
  if (both_tiny(z)) return z;
  if (one_huge(z)) {
    return {with_sign(log_size(x, y) + kLogTwo, z.re), with_sign(atan2(y, x), z.im)};
  }
  const AsinhParts parts = asinh_parts(x, y);
  const double angle = parts.by_sine ? asin(parts.sine) : atan2(parts.top, parts.bottom);
  return {with_sign(parts.size, z.re), with_sign(angle, z.im)};
}
TESSERA_HD Wide asin(Wide z) { return swapped(asinh(swapped(z))); }
TESSERA_HD Wide acos(Wide z) {
  const double x = fabs(z.re);
  const double y = fabs(z.im);
  if (is_nan(x) | is_nan(y)) {
    if (x == kInfinite) return {kNan, -kInfinite};
    if (y == kInfinite) return {kNan, -z.im};
    return {x == 0 ? kQuarterTurn : kNan, kNan};
  }
  if (both_tiny(z)) return {kQuarterTurn - (z.re - kQuarterTurnRest), -z.im};
  if (one_huge(z)) return {atan2(y, z.re), with_sign(log_size(x, y) + kLogTwo, -z.im)};
  if ((z.re == 1) & (y == 0)) return {0.0, -z.im};
  const AsinhParts parts = asinh_parts(y, x);
  const double angle = parts.by_sine ? acos(with_sign(parts.sine, z.re))
                                     : atan2(parts.bottom, with_sign(parts.top, z.re));
  return {angle, with_sign(parts.size, -z.im)};
}
TESSERA_HD Wide acosh(Wide z) {
  const Wide w = acos(z);
  if (is_nan(w.re) & is_nan(w.im)) return w;
  if (is_nan(w.re)) return {fabs(w.im), w.re};
  if (is_nan(w.im)) return {w.im, w.re};
  return {fabs(w.im), with_sign(w.re, z.im)};
}

// x / (x^2 + y^2)
TESSERA_HD double real_of_inverse(double x, double y) {
  if (is_infinite(x) | is_infinite(y)) return with_sign(0.0, x);
  const double scale = (fabs(x) > 0x1p1000) | (fabs(y) > 0x1p1000) ? 0x1p-100 : 1.0;
  const double size = hypot(x * scale, y * scale);
  return x * scale / size / size * scale;
}
TESSERA_HD Wide atanh(Wide z) {
  const double x = fabs(z.re);
  const double y = fabs(z.im);
  if ((y == 0) & (x <= 1)) return {atanh(z.re), z.im};
  if (x == 0) return {z.re, atan(z.im)};
  if (is_nan(x) | is_nan(y)) {
    if (x == kInfinite) return {with_sign(0.0, z.re), kNan};
    if (y == kInfinite) return {with_sign(0.0, z.re), with_sign(kQuarterTurn, z.im)};
    return {kNan, kNan};
  }
  if (one_huge(z)) return {real_of_inverse(z.re, y), with_sign(kQuarterTurn, z.im)};
  if (both_tiny(z)) return z;
  double size;
  if ((x == 1) & (y < kEpsilon)) {
    size = (kLogTwo - log(y)) / 2;
  } else {
    size = log1p(4 * x / ((x - 1) * (x - 1) + (y < 0x1p-511 ? 0.0 : y * y))) / 4;
  }
  double angle;
  if (x == 1) {
    angle = atan2(2.0, -y) / 2;
  } else {
    angle = atan2(2 * y, (1 - x) * (1 + x) - (y < kEpsilon ? 0.0 : y * y)) / 2;
  }
  return {with_sign(size, z.re), with_sign(angle, z.im)};
}
TESSERA_HD Wide atan(Wide z) { return swapped(atanh(swapped(z))); }

TESSERA_NARROW(asin)
TESSERA_NARROW(acos)
TESSERA_NARROW(atan)
TESSERA_NARROW(asinh)
TESSERA_NARROW(acosh)
TESSERA_NARROW(atanh)
#undef TESSERA_NARROW

}  // namespace prim
