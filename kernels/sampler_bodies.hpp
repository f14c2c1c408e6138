// From random bits to numbers of a distribution. Included by a backend inside its own namespace, as
// kernels/scalar_bodies.hpp. Everything is branch-free double arithmetic whose only contractions
// are the fma written here, with polynomials of our own, so that a draw has the same bits on every
// backend. Float32 results are the double ones, rounded once.

/// log x for 2^-53 <= x <= 1, within 1 ulp.
TESSERA_HD double log_unit(double x) {
  // x = 2^k m with sqrt(1/2) <= m < sqrt(2); the bias keeps the shifted number positive.
  constexpr unsigned long long kRootHalf = 0x3fe6a09e667f3bcdull;
  constexpr unsigned long long kFraction = 0x000fffffffffffffull;
  const unsigned long long offset = prim::bits(x) - kRootHalf;
  const double m = prim::from_bits((offset & kFraction) + kRootHalf);
  const unsigned long long exponent = (offset + (1024ull << 52)) >> 52;
  const double k = prim::from_bits(exponent | 0x4330000000000000ull) - (0x1p52 + 1024);
  // log m = f - s (f - z L(z)) with s = f / (2 + f), z = s^2: Chebyshev fit, relative error 5e-18.
  const double f = m - 1;
  const double s = f / (2 + f);
  const double z = s * s;
  double poly = 0x1.2b5900de53b32p-3;
  poly = prim::fma(poly, z, 0x1.39fe51a7c18f9p-3);
  poly = prim::fma(poly, z, 0x1.7462b51cb66b1p-3);
  poly = prim::fma(poly, z, 0x1.c71c62e3f11e6p-3);
  poly = prim::fma(poly, z, 0x1.2492492df281ap-2);
  poly = prim::fma(poly, z, 0x1.99999999952d7p-2);
  poly = prim::fma(poly, z, 0x1.5555555555558p-1);
  const double half_square = 0.5 * f * f;
  const double inner = prim::fma(s, prim::fma(z, poly, half_square), k * 0x1.3de6af278ece6p-42);
  // The high part of log 2 has 42 bits, so its product with k is exact.
  return prim::fma(k, 0x1.62e42fefa3p-1, f - (half_square - inner));
}

struct SineCosine {
  double sine, cosine;
};
/// sin and cos of 2 pi t for 0 <= t < 1.
TESSERA_HD SineCosine sincos_turn(double t) {
  // Adding 1.5 * 2^52 rounds to an integer and leaves the quadrant in the low bits.
  const double shifted = prim::fma(t, 4.0, 0x1.8p52);
  const unsigned long long quadrant = prim::bits(shifted);
  const double f = prim::fma(t, 4.0, -(shifted - 0x1.8p52));
  const double z = f * f;
  // Chebyshev fits of sin(pi/2 f) and cos(pi/2 f) for |f| <= 1/2, errors 1e-20 and 2e-19.
  double sine = -0x1.6cc577dadd922p-31;
  sine = prim::fma(sine, z, 0x1.e8f036bcd3237p-25);
  sine = prim::fma(sine, z, -0x1.e3074d2614b2dp-19);
  sine = prim::fma(sine, z, 0x1.50783486facaap-13);
  sine = prim::fma(sine, z, -0x1.32d2cce62b872p-8);
  sine = prim::fma(sine, z, 0x1.466bc6775aae1p-4);
  sine = prim::fma(sine, z, -0x1.4abbce625be53p-1);
  const double tail = prim::fma(f * z, sine, f * 0x1.1a62633145c07p-54);
  const double s = prim::fma(f, 0x1.921fb54442d18p+0, tail);
  double cosine = -0x1.b2f3eb054afcdp-28;
  cosine = prim::fma(cosine, z, 0x1.f9ce245cada0bp-22);
  cosine = prim::fma(cosine, z, -0x1.a6d1eef479be1p-16);
  cosine = prim::fma(cosine, z, 0x1.e1f5068688d5bp-11);
  cosine = prim::fma(cosine, z, -0x1.55d3c7e3cb241p-6);
  cosine = prim::fma(cosine, z, 0x1.03c1f081b5ac0p-2);
  cosine = prim::fma(cosine, z, -0x1.3bd3cc9be45dep+0);
  const double c = prim::fma(z, cosine, 1.0);
  const unsigned long long swap = 0 - (quadrant & 1);
  const unsigned long long sine_bits = (prim::bits(s) & ~swap) | (prim::bits(c) & swap);
  const unsigned long long cosine_bits = (prim::bits(c) & ~swap) | (prim::bits(s) & swap);
  const unsigned long long sine_sign = (quadrant & 2) << 62;
  const unsigned long long cosine_sign = ((quadrant + 1) & 2) << 62;
  return {prim::from_bits(sine_bits ^ sine_sign), prim::from_bits(cosine_bits ^ cosine_sign)};
}

/// A multiple of 2^-53 in [0, 1) from the high 53 of 64 random bits.
TESSERA_HD double unit_from_bits(unsigned long long bits) {
  return prim::unit53_to_double(bits >> 11) * 0x1p-53;
}
/// A multiple of 2^-24 in [0, 1) from the high 24.
TESSERA_HD double unit24_from_bits(unsigned long long bits) {
  return prim::unit53_to_double(bits >> 40) * 0x1p-24;
}

/// Uniform in [low, low + width); `last` is the largest result, for the sum may round up to the
/// end.
TESSERA_HD double uniform_double(unsigned long long bits, double low, double width, double last) {
  const double x = prim::fma(unit_from_bits(bits), width, low);
  return x > last ? last : x;
}
TESSERA_HD float uniform_float(unsigned long long bits, double low, double width, float last) {
  const float x = static_cast<float>(prim::fma(unit24_from_bits(bits), width, low));
  return x > last ? last : x;
}

struct NormalPair {
  double even, odd;
};
/// Two standard normal numbers (Box and Muller) from the bits of a pair.
TESSERA_HD NormalPair normal_pair(unsigned long long even_bits, unsigned long long odd_bits) {
  const double radius = prim::sqrt(-2.0 * log_unit(1.0 - unit_from_bits(even_bits)));
  const SineCosine angle = sincos_turn(unit_from_bits(odd_bits));
  return {radius * angle.cosine, radius * angle.sine};
}

/// A standard exponential number.
TESSERA_HD double exponential(unsigned long long bits) {
  return 0.0 - log_unit(1.0 - unit_from_bits(bits));
}

/// Lemire, "Fast Random Integer Generation in an Interval": true, and a number in [0, range),
/// unless the draw must be rejected. `threshold` is 2^64 mod range. A range of 0 means 2^64.
TESSERA_HD bool bounded(unsigned long long bits, unsigned long long range,
                        unsigned long long threshold, unsigned long long& result) {
  const unsigned long long low = bits * range;
  result = range == 0 ? bits : prim::multiply_high(bits, range);
  return low >= threshold;
}
