// Bodies of the elementwise operations: one function per row of core/scalar_ops.def, named as the
// row, templated over the lane type. Owns what an operation computes on one lane (special cases,
// overflow, order of roundings); knows nothing of loops, blocks or result dtypes.
//
// A backend includes this text inside its own namespace, once per instruction set; hence no include
// guard, no include and no std:: here. It must have defined before:
//   TESSERA_HD            `inline`, or `__host__ __device__ inline` for CUDA
//   the types of kernels/lane_types.hpp
//   prim::fabs floor ceil trunc rint sqrt fma fmod bits from_bits, for float and double, all exact
//   prim::Infinity<T>::value
//   prim::kMathLane<T>    whether the transcendental primitives take T: double, or a vector of
//   doubles,
//                         or Complex<double>; each is called prim::<name of the row>
// Integers wrap, division of an integer by zero gives zero, comparisons yield Bool.

template <class T>
concept MathLane = prim::kMathLane<T>;

TESSERA_HD Bool to_bool(bool x) { return static_cast<Bool>(x); }
TESSERA_HD unsigned char raw(Bool x) { return static_cast<unsigned char>(x); }
TESSERA_HD bool truthy(Bool x) { return x != Bool::kFalse; }
template <RealNumber T>
TESSERA_HD bool truthy(T x) {
  return x != 0;
}
template <class T>
TESSERA_HD bool truthy(Complex<T> x) {
  return (x.re != 0) | (x.im != 0);
}

// Arithmetic

template <Integer T>
TESSERA_HD T add(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
}
template <Integer T>
TESSERA_HD T subtract(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
}
template <Integer T>
TESSERA_HD T multiply(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
}
template <Integer T>
TESSERA_HD T negative(T x) {
  return static_cast<T>(Wrapping<T>{0} - static_cast<Wrapping<T>>(x));
}
template <Floating T>
TESSERA_HD T add(T a, T b) {
  return a + b;
}
template <Floating T>
TESSERA_HD T subtract(T a, T b) {
  return a - b;
}
template <Floating T>
TESSERA_HD T multiply(T a, T b) {
  return a * b;
}
template <Floating T>
TESSERA_HD T divide(T a, T b) {
  return a / b;
}
template <Floating T>
TESSERA_HD T negative(T x) {
  return -x;
}
TESSERA_HD Bool add(Bool a, Bool b) { return static_cast<Bool>(raw(a) | raw(b)); }
TESSERA_HD Bool multiply(Bool a, Bool b) { return static_cast<Bool>(raw(a) & raw(b)); }

template <class T>
TESSERA_HD T positive(T x) {
  return x;
}
template <Integer T>
TESSERA_HD T abs(T x) {
  if constexpr (SignedInteger<T>) {
    return x < 0 ? negative(x) : x;
  } else {
    return x;
  }
}
template <Floating T>
TESSERA_HD T abs(T x) {
  return prim::fabs(x);
}
TESSERA_HD Bool abs(Bool x) { return x; }
template <Integer T>
TESSERA_HD T sign(T x) {
  return static_cast<T>((x > 0 ? 1 : 0) - (x < 0 ? 1 : 0));
}
template <Floating T>
TESSERA_HD T sign(T x) {
  const T nonzero = x > 0 ? T(1) : T(-1);
  return x != x ? x : (x == 0 ? T(0) : nonzero);
}
template <class T>
TESSERA_HD T square(T x) {
  return multiply(x, x);
}
template <Floating T>
TESSERA_HD T reciprocal(T x) {
  return T(1) / x;
}

// Quotients of integers below 64 bits are exact after rounding down in double, and vectorise.
template <Integer T>
TESSERA_HD T floor_divide(T a, T b) {
  const bool minus_one = SignedInteger<T> && b == static_cast<T>(-1);
  const T divisor = (b == 0) | minus_one ? T(1) : b;
  T quotient;
  if constexpr (sizeof(T) == 8) {
    quotient = static_cast<T>(a / divisor);
    if constexpr (SignedInteger<T>) {
      if (a % divisor != 0 && (a < 0) != (divisor < 0)) --quotient;
    }
  } else {
    const double exact = prim::floor(static_cast<double>(a) / static_cast<double>(divisor));
    if constexpr (SignedInteger<T>) {
      quotient = static_cast<T>(static_cast<int>(exact));
    } else {
      quotient = static_cast<T>(static_cast<unsigned>(exact));
    }
  }
  quotient = minus_one ? negative(a) : quotient;
  return b == 0 ? T(0) : quotient;
}
template <Integer T>
TESSERA_HD T remainder(T a, T b) {
  return b == 0 ? T(0) : subtract(a, multiply(floor_divide(a, b), b));
}

template <Floating T>
TESSERA_HD T copysign(T magnitude, T sign) {
  constexpr Unsigned<T> kSign = Unsigned<T>{1} << (8 * sizeof(T) - 1);
  return prim::from_bits((prim::bits(magnitude) & ~kSign) | (prim::bits(sign) & kSign));
}
template <Floating T>
struct DivMod {
  T quotient, remainder;
  bool exact;  // quotients from 2^53 (2^24) on and infinite divisors are not
};
// As Python's divmod, without fmod and hence vectorisable: the rounded quotient is off by at most
// one.
template <Floating T>
TESSERA_HD DivMod<T> divmod(T a, T b) {
  constexpr T kLimit = static_cast<T>(1ull << kMantissaBits<T>);
  const T ratio = a / b;
  const T whole = prim::trunc(ratio);
  const T rest = prim::fma(-whole, b, a);
  const bool adjust = (rest != 0) & ((rest < 0) != (b < 0));
  const T quotient = adjust ? whole - T(1) : whole;
  const T remainder = adjust ? rest + b : rest;
  return {quotient == 0 ? copysign(quotient, ratio) : quotient,
          remainder == 0 ? copysign(remainder, b) : remainder,
          ((prim::fabs(ratio) < kLimit) & (prim::fabs(b) < prim::Infinity<T>::value)) != 0};
}
// Special values are NumPy's: inf // x is NaN, -1 // inf is -1.
template <Floating T>
TESSERA_HD T floor_divide(T a, T b) {
  const T ratio = a / b;
  const DivMod<T> both = divmod(a, b);
  const bool infinite_a = prim::fabs(a) == prim::Infinity<T>::value;
  const bool infinite_b = prim::fabs(b) == prim::Infinity<T>::value;
  const bool below_zero = infinite_b & (((a < 0) & (b > 0)) | ((a > 0) & (b < 0)));
  const T large = infinite_a & (b != 0) ? ratio - ratio : (below_zero ? T(-1) : ratio);
  return both.exact ? both.quotient : large;
}
template <Floating T>
TESSERA_HD T remainder(T a, T b) {
  const T rest = prim::fmod(a, b);
  const T shifted = (b < 0) != (rest < 0) ? rest + b : rest;
  return rest == 0 ? copysign(T(0), b) : shifted;
}

template <Integer T>
TESSERA_HD T pow(T base, T exponent) {
  if constexpr (SignedInteger<T>) {
    if (exponent < 0) {
      if (base == 1) return T(1);
      if (base == -1) return (exponent & 1) != 0 ? T(-1) : T(1);
      return T(0);
    }
  }
  T power = base;
  T result = 1;
  for (auto rest = static_cast<Unsigned<T>>(exponent); rest != 0;) {
    if ((rest & 1u) != 0) result = multiply(result, power);
    rest = static_cast<Unsigned<T>>(rest >> 1);
    if (rest != 0) power = multiply(power, power);
  }
  return result;
}

template <RealNumber T>
TESSERA_HD T maximum(T a, T b) {
  return (a >= b) | (a != a) ? a : b;
}
template <RealNumber T>
TESSERA_HD T minimum(T a, T b) {
  return (a <= b) | (a != a) ? a : b;
}
template <RealNumber T>
TESSERA_HD T fmax(T a, T b) {
  return (a >= b) | (b != b) ? a : b;
}
template <RealNumber T>
TESSERA_HD T fmin(T a, T b) {
  return (a <= b) | (b != b) ? a : b;
}
TESSERA_HD Bool maximum(Bool a, Bool b) { return add(a, b); }
TESSERA_HD Bool minimum(Bool a, Bool b) { return multiply(a, b); }
TESSERA_HD Bool fmax(Bool a, Bool b) { return add(a, b); }
TESSERA_HD Bool fmin(Bool a, Bool b) { return multiply(a, b); }

// Borges, "An Improved Algorithm for hypot(a,b)", with fma: within 0.51 ulp in the scaled range.
TESSERA_HD double hypot(double a, double b) {
  const double x = prim::fabs(a) > prim::fabs(b) ? prim::fabs(a) : prim::fabs(b);
  const double y = prim::fabs(a) > prim::fabs(b) ? prim::fabs(b) : prim::fabs(a);
  const double down = x > 0x1p500 ? 0x1p-600 : 1.0;
  const double scale = x < 0x1p-450 ? 0x1p600 : down;
  const double unscale = x < 0x1p-450 ? 0x1p-600 : (x > 0x1p500 ? 0x1p600 : 1.0);
  const double u = x * scale;
  const double v = y * scale;
  const double h = prim::sqrt(prim::fma(u, u, v * v));
  const double hh = h * h;
  const double uu = u * u;
  const double residual = prim::fma(-v, v, hh - uu) + prim::fma(h, h, -hh) - prim::fma(u, u, -uu);
  const double corrected = (h == 0 ? h : h - residual / (2 * h)) * unscale;
  const bool infinite = (prim::fabs(a) == prim::Infinity<double>::value) |
                        (prim::fabs(b) == prim::Infinity<double>::value);
  return infinite ? prim::Infinity<double>::value : corrected;
}
TESSERA_HD float hypot(float a, float b) {
  const double x = a;
  const double y = b;
  const bool infinite = (prim::fabs(a) == prim::Infinity<float>::value) |
                        (prim::fabs(b) == prim::Infinity<float>::value);
  const float h = static_cast<float>(prim::sqrt(x * x + y * y));
  return infinite ? prim::Infinity<float>::value : h;
}

template <Floating T>
TESSERA_HD T nextafter(T from, T to) {
  const auto bits = prim::bits(from);
  const bool away = (from < to) == (from > 0);
  const T stepped = prim::from_bits(static_cast<Unsigned<T>>(away ? bits + 1 : bits - 1));
  const T moved = from == 0 ? copysign(prim::from_bits(Unsigned<T>{1}), to) : stepped;
  const T ordered = from == to ? to : moved;
  return (from != from) | (to != to) ? from + to : ordered;
}

// Roots, exponentials, logarithms and trigonometry

template <Floating T>
TESSERA_HD T sqrt(T x) {
  return prim::sqrt(x);
}
#define TESSERA_UNARY_PRIMITIVE(name) \
  template <MathLane T>               \
  TESSERA_HD T name(T x) {            \
    return prim::name(x);             \
  }
TESSERA_UNARY_PRIMITIVE(cbrt)
TESSERA_UNARY_PRIMITIVE(exp)
TESSERA_UNARY_PRIMITIVE(exp2)
TESSERA_UNARY_PRIMITIVE(expm1)
TESSERA_UNARY_PRIMITIVE(log)
TESSERA_UNARY_PRIMITIVE(log2)
TESSERA_UNARY_PRIMITIVE(log10)
TESSERA_UNARY_PRIMITIVE(log1p)
TESSERA_UNARY_PRIMITIVE(sin)
TESSERA_UNARY_PRIMITIVE(cos)
TESSERA_UNARY_PRIMITIVE(tan)
TESSERA_UNARY_PRIMITIVE(asin)
TESSERA_UNARY_PRIMITIVE(acos)
TESSERA_UNARY_PRIMITIVE(atan)
TESSERA_UNARY_PRIMITIVE(sinh)
TESSERA_UNARY_PRIMITIVE(cosh)
TESSERA_UNARY_PRIMITIVE(tanh)
TESSERA_UNARY_PRIMITIVE(asinh)
TESSERA_UNARY_PRIMITIVE(acosh)
TESSERA_UNARY_PRIMITIVE(atanh)
#undef TESSERA_UNARY_PRIMITIVE

template <MathLane T>
TESSERA_HD T pow(T base, T exponent) {
  return prim::pow(base, exponent);
}
template <MathLane T>
TESSERA_HD T atan2(T y, T x) {
  return prim::atan2(y, x);
}
// The gap is taken with its rounding error: the exponential would magnify it.
template <MathLane T>
TESSERA_HD T logaddexp(T a, T b) {
  const T larger = a > b ? a : b;
  const T smaller = a > b ? b : a;
  const T gap = smaller - larger;
  const T part = gap - smaller;
  const T rest = (smaller - (gap - part)) - (larger + part);
  const T term = prim::exp(a == b ? T{} : gap);
  return larger + prim::log1p(term + term * (rest == rest ? rest : T{}));
}

// Rounding

#define TESSERA_ROUNDING(name, primitive) \
  template <Integer T>                    \
  TESSERA_HD T name(T x) {                \
    return x;                             \
  }                                       \
  template <Floating T>                   \
  TESSERA_HD T name(T x) {                \
    return prim::primitive(x);            \
  }
TESSERA_ROUNDING(ceil, ceil)
TESSERA_ROUNDING(floor, floor)
TESSERA_ROUNDING(round, rint)
TESSERA_ROUNDING(trunc, trunc)
#undef TESSERA_ROUNDING

// Parts of real numbers

template <class T>
TESSERA_HD T conj(T x) {
  return x;
}
template <class T>
TESSERA_HD T real(T x) {
  return x;
}
template <class T>
TESSERA_HD T imag(T) {
  return static_cast<T>(0);
}
template <Floating T>
TESSERA_HD Bool signbit(T x) {
  return to_bool((prim::bits(x) >> (8 * sizeof(T) - 1)) != 0);
}
template <Floating T>
TESSERA_HD T angle(T x) {
  const T half_turn = signbit(x) != Bool::kFalse ? T(3.14159265358979323846) : T(0);
  return x != x ? x : half_turn;
}

// Comparison, predicates and logic

template <class T>
TESSERA_HD Bool equal(T a, T b) {
  return to_bool(a == b);
}
template <class T>
TESSERA_HD Bool not_equal(T a, T b) {
  return to_bool(a != b);
}
template <class T>
TESSERA_HD Bool less(T a, T b) {
  return to_bool(a < b);
}
template <class T>
TESSERA_HD Bool less_equal(T a, T b) {
  return to_bool(a <= b);
}
template <class T>
TESSERA_HD Bool greater(T a, T b) {
  return to_bool(a > b);
}
template <class T>
TESSERA_HD Bool greater_equal(T a, T b) {
  return to_bool(a >= b);
}
template <Integer T>
TESSERA_HD Bool isfinite(T) {
  return Bool::kTrue;
}
template <Integer T>
TESSERA_HD Bool isinf(T) {
  return Bool::kFalse;
}
template <Integer T>
TESSERA_HD Bool isnan(T) {
  return Bool::kFalse;
}
template <Floating T>
TESSERA_HD Bool isfinite(T x) {
  return to_bool(prim::fabs(x) < prim::Infinity<T>::value);
}
template <Floating T>
TESSERA_HD Bool isinf(T x) {
  return to_bool(prim::fabs(x) == prim::Infinity<T>::value);
}
template <Floating T>
TESSERA_HD Bool isnan(T x) {
  return to_bool(x != x);
}
template <class T>
TESSERA_HD Bool logical_and(T a, T b) {
  return to_bool(truthy(a) & truthy(b));
}
template <class T>
TESSERA_HD Bool logical_or(T a, T b) {
  return to_bool(truthy(a) | truthy(b));
}
template <class T>
TESSERA_HD Bool logical_xor(T a, T b) {
  return to_bool(truthy(a) != truthy(b));
}
template <class T>
TESSERA_HD Bool logical_not(T x) {
  return to_bool(!truthy(x));
}

// Bits

template <Integer T>
TESSERA_HD T bitwise_and(T a, T b) {
  return static_cast<T>(a & b);
}
template <Integer T>
TESSERA_HD T bitwise_or(T a, T b) {
  return static_cast<T>(a | b);
}
template <Integer T>
TESSERA_HD T bitwise_xor(T a, T b) {
  return static_cast<T>(a ^ b);
}
template <Integer T>
TESSERA_HD T bitwise_invert(T x) {
  return static_cast<T>(~x);
}
TESSERA_HD Bool bitwise_and(Bool a, Bool b) { return multiply(a, b); }
TESSERA_HD Bool bitwise_or(Bool a, Bool b) { return add(a, b); }
TESSERA_HD Bool bitwise_xor(Bool a, Bool b) { return static_cast<Bool>(raw(a) ^ raw(b)); }
TESSERA_HD Bool bitwise_invert(Bool x) { return to_bool(x == Bool::kFalse); }

// A count outside [0, width) shifts every bit out.
template <Integer T>
TESSERA_HD T bitwise_left_shift(T x, T count) {
  constexpr Unsigned<T> kWidth = 8 * sizeof(T);
  const auto distance = static_cast<Unsigned<T>>(count);
  const auto safe = static_cast<Unsigned<T>>(distance & (kWidth - 1));
  const auto shifted = static_cast<T>(static_cast<Wrapping<T>>(x) << safe);
  return distance < kWidth ? shifted : T(0);
}
template <Integer T>
TESSERA_HD T bitwise_right_shift(T x, T count) {
  constexpr Unsigned<T> kWidth = 8 * sizeof(T);
  const auto distance = static_cast<Unsigned<T>>(count);
  const auto last = static_cast<Unsigned<T>>(kWidth - 1);
  if constexpr (SignedInteger<T>) {
    return static_cast<T>(x >> (distance < kWidth ? distance : last));
  } else {
    return distance < kWidth ? static_cast<T>(x >> (distance & last)) : T(0);
  }
}

// Selection

template <class T>
TESSERA_HD T where(Bool condition, T a, T b) {
  return condition != Bool::kFalse ? a : b;
}
