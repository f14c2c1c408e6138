#pragma once

#include <optional>

#include "tessera/array.hpp"

// Elementwise functions and operators: names, promotion and special values of the Array API
// standard. Operands broadcast against each other by NumPy's rule. A number takes its dtype from
// the arrays beside it (`float32_array + 1.0` stays float32). The result's chunk grid is the common
// refinement of the operands' grids; nothing is computed or copied by the call. Every function
// throws InvalidArgument when shapes do not broadcast, when the operation does not take the dtype,
// and when a number does not fit the integer dtype of the array beside it.

namespace tessera {

// Arithmetic. Results have the operands' promoted dtype unless a line says otherwise.
/// Magnitude; complex numbers give their real dtype.
TESSERA_EXPORT Array abs(const Operand& x);
/// Minus x; not for bool.
TESSERA_EXPORT Array negative(const Operand& x);
/// x itself; not for bool.
TESSERA_EXPORT Array positive(const Operand& x);
/// -1, 0 or 1, NaN for NaN; for complex numbers x / abs(x), 0 for 0.
TESSERA_EXPORT Array sign(const Operand& x);
/// x * x.
TESSERA_EXPORT Array square(const Operand& x);
/// 1 / x; integers are computed in float64.
TESSERA_EXPORT Array reciprocal(const Operand& x);
/// Sum; of bools the logical or. Integers wrap around.
TESSERA_EXPORT Array add(const Operand& a, const Operand& b);
/// Difference; not for bool.
TESSERA_EXPORT Array subtract(const Operand& a, const Operand& b);
/// Product; of bools the logical and.
TESSERA_EXPORT Array multiply(const Operand& a, const Operand& b);
/// Quotient; integers are computed in float64, x / 0 is an infinity or NaN.
TESSERA_EXPORT Array divide(const Operand& a, const Operand& b);
/// Quotient rounded towards minus infinity; integers divided by 0 give 0. Not for complex or bool.
TESSERA_EXPORT Array floor_divide(const Operand& a, const Operand& b);
/// What floor_divide leaves, with the sign of `b`; integers modulo 0 give 0. Not for complex or
/// bool.
TESSERA_EXPORT Array remainder(const Operand& a, const Operand& b);
/// a to the power b; not for bool.
TESSERA_EXPORT Array pow(const Operand& a, const Operand& b);
/// The larger one; NaN if either is NaN. Not for complex.
TESSERA_EXPORT Array maximum(const Operand& a, const Operand& b);
/// The smaller one; NaN if either is NaN. Not for complex.
TESSERA_EXPORT Array minimum(const Operand& a, const Operand& b);
/// The larger one; a NaN counts as missing. Not for complex.
TESSERA_EXPORT Array fmax(const Operand& a, const Operand& b);
/// The smaller one; a NaN counts as missing. Not for complex.
TESSERA_EXPORT Array fmin(const Operand& a, const Operand& b);
/// sqrt(a * a + b * b) without overflow on the way; real floating-point.
TESSERA_EXPORT Array hypot(const Operand& a, const Operand& b);
/// Magnitude of `a` with the sign of `b`, zeros and NaN included; real floating-point.
TESSERA_EXPORT Array copysign(const Operand& a, const Operand& b);
/// The next number after `a` towards `b`; real floating-point.
TESSERA_EXPORT Array nextafter(const Operand& a, const Operand& b);

// Roots, exponentials and logarithms. Integers and bool are computed in float64.
/// Square root; NaN below 0, the principal root for complex.
TESSERA_EXPORT Array sqrt(const Operand& x);
/// Cube root, also of negative numbers; not for complex.
TESSERA_EXPORT Array cbrt(const Operand& x);
/// e to the power x.
TESSERA_EXPORT Array exp(const Operand& x);
/// 2 to the power x; not for complex.
TESSERA_EXPORT Array exp2(const Operand& x);
/// exp(x) - 1, exact near 0.
TESSERA_EXPORT Array expm1(const Operand& x);
/// Natural logarithm; -inf at 0, NaN below.
TESSERA_EXPORT Array log(const Operand& x);
/// Logarithm to base 2.
TESSERA_EXPORT Array log2(const Operand& x);
/// Logarithm to base 10.
TESSERA_EXPORT Array log10(const Operand& x);
/// log(1 + x), exact near 0.
TESSERA_EXPORT Array log1p(const Operand& x);
/// log(exp(a) + exp(b)) without overflow; not for complex.
TESSERA_EXPORT Array logaddexp(const Operand& a, const Operand& b);

// Trigonometry, in radians. Integers and bool are computed in float64.
/// Sine; NaN at infinities.
TESSERA_EXPORT Array sin(const Operand& x);
/// Cosine; NaN at infinities.
TESSERA_EXPORT Array cos(const Operand& x);
/// Tangent; NaN at infinities.
TESSERA_EXPORT Array tan(const Operand& x);
/// Inverse sine in [-pi/2, pi/2]; NaN outside [-1, 1].
TESSERA_EXPORT Array asin(const Operand& x);
/// Inverse cosine in [0, pi]; NaN outside [-1, 1].
TESSERA_EXPORT Array acos(const Operand& x);
/// Inverse tangent in [-pi/2, pi/2].
TESSERA_EXPORT Array atan(const Operand& x);
/// Angle of the point (b, a) in [-pi, pi]; signed zeros and infinities as in C. Not for complex.
TESSERA_EXPORT Array atan2(const Operand& a, const Operand& b);
/// Hyperbolic sine.
TESSERA_EXPORT Array sinh(const Operand& x);
/// Hyperbolic cosine.
TESSERA_EXPORT Array cosh(const Operand& x);
/// Hyperbolic tangent.
TESSERA_EXPORT Array tanh(const Operand& x);
/// Inverse hyperbolic sine.
TESSERA_EXPORT Array asinh(const Operand& x);
/// Inverse hyperbolic cosine; NaN below 1.
TESSERA_EXPORT Array acosh(const Operand& x);
/// Inverse hyperbolic tangent; infinite at -1 and 1, NaN outside.
TESSERA_EXPORT Array atanh(const Operand& x);

// Rounding. Integers are returned as they are; not for complex or bool, but round() takes complex.
/// Smallest integer not below x, in x's dtype.
TESSERA_EXPORT Array ceil(const Operand& x);
/// Largest integer not above x, in x's dtype.
TESSERA_EXPORT Array floor(const Operand& x);
/// Nearest integer, ties to even, in x's dtype.
TESSERA_EXPORT Array round(const Operand& x);
/// x without its fraction, in x's dtype.
TESSERA_EXPORT Array trunc(const Operand& x);

// Parts of complex numbers.
/// Complex conjugate; real numbers as they are.
TESSERA_EXPORT Array conj(const Operand& x);
/// Real part, of the real dtype.
TESSERA_EXPORT Array real(const Operand& x);
/// Imaginary part, of the real dtype; 0 for real numbers.
TESSERA_EXPORT Array imag(const Operand& x);
/// Angle in [-pi, pi], of the real dtype; 0 or pi for real numbers.
TESSERA_EXPORT Array angle(const Operand& x);

// Comparison: the result is bool, and false where an operand is NaN (true for not_equal).
/// Whether a == b.
TESSERA_EXPORT Array equal(const Operand& a, const Operand& b);
/// Whether a != b.
TESSERA_EXPORT Array not_equal(const Operand& a, const Operand& b);
/// Whether a < b; not for complex.
TESSERA_EXPORT Array less(const Operand& a, const Operand& b);
/// Whether a <= b; not for complex.
TESSERA_EXPORT Array less_equal(const Operand& a, const Operand& b);
/// Whether a > b; not for complex.
TESSERA_EXPORT Array greater(const Operand& a, const Operand& b);
/// Whether a >= b; not for complex.
TESSERA_EXPORT Array greater_equal(const Operand& a, const Operand& b);

// Predicates: the result is bool.
/// Neither infinite nor NaN; not for bool.
TESSERA_EXPORT Array isfinite(const Operand& x);
/// Infinite, of either sign or in either part; not for bool.
TESSERA_EXPORT Array isinf(const Operand& x);
/// Not a number, in either part; not for bool.
TESSERA_EXPORT Array isnan(const Operand& x);
/// Whether the sign bit is set, also of -0.0 and NaN; floating-point only.
TESSERA_EXPORT Array signbit(const Operand& x);

// Logic: operands of any dtype, true where not 0 (NaN is true); the result is bool.
/// Both.
TESSERA_EXPORT Array logical_and(const Operand& a, const Operand& b);
/// Either.
TESSERA_EXPORT Array logical_or(const Operand& a, const Operand& b);
/// One but not both.
TESSERA_EXPORT Array logical_xor(const Operand& a, const Operand& b);
/// Not.
TESSERA_EXPORT Array logical_not(const Operand& x);

// Bits of integers, or of bools, where they are logical operations.
/// Bits set in both.
TESSERA_EXPORT Array bitwise_and(const Operand& a, const Operand& b);
/// Bits set in either.
TESSERA_EXPORT Array bitwise_or(const Operand& a, const Operand& b);
/// Bits set in one of them.
TESSERA_EXPORT Array bitwise_xor(const Operand& a, const Operand& b);
/// All bits flipped; of bool, not x.
TESSERA_EXPORT Array bitwise_invert(const Operand& x);
/// a * 2^b, bits shifted out are lost; integers only.
TESSERA_EXPORT Array bitwise_left_shift(const Operand& a, const Operand& b);
/// a / 2^b rounded towards minus infinity; integers only.
TESSERA_EXPORT Array bitwise_right_shift(const Operand& a, const Operand& b);

// Selection and combinations of the above.
/// `a` where the condition is not 0, else `b`; of the promoted dtype of `a` and `b`.
TESSERA_EXPORT Array where(const Operand& condition, const Operand& a, const Operand& b);
/// x limited to [low, high]; an absent bound does not limit. NaN stays NaN, and so does a NaN
/// bound.
TESSERA_EXPORT Array clip(const Operand& x, const std::optional<Operand>& low = std::nullopt,
                          const std::optional<Operand>& high = std::nullopt);

struct IscloseOptions {
  double rtol = 1e-5;
  double atol = 1e-8;
  bool equal_nan = false;  ///< whether NaN is close to NaN
};
/// Whether abs(a - b) <= atol + rtol * abs(b); infinities are close to themselves only.
TESSERA_EXPORT Array isclose(const Operand& a, const Operand& b,
                             const IscloseOptions& options = {});

struct NanToNumOptions {
  double nan = 0.0;
  std::optional<double> posinf = std::nullopt;  ///< default: the dtype's largest number
  std::optional<double> neginf = std::nullopt;  ///< default: the dtype's lowest number
};
/// x with NaN and infinities replaced by numbers; integers and bool as they are. Not for complex.
TESSERA_EXPORT Array nan_to_num(const Array& x, const NanToNumOptions& options = {},
                                std::source_location where = std::source_location::current());

/// The dtype that arrays and numbers promote to together; numbers are weak, as everywhere. Without
/// arrays it is what the numbers make alone. \throws InvalidArgument for an empty list.
TESSERA_EXPORT DType result_type(std::initializer_list<Operand> operands);
/// can_cast() of x's dtype.
inline bool can_cast(const Array& from, DType to) noexcept { return can_cast(from.dtype(), to); }

/// x converted to `dtype`: floats to integers towards zero, anything to bool as "not 0".
/// x itself when it has that dtype.
/// \throws InvalidArgument for complex to real; take real() or abs() of it.
TESSERA_EXPORT Array astype(const Array& x, DType dtype,
                            std::source_location where = std::source_location::current());

// Operators, for arrays and numbers mixed in any order. Floor division is floor_divide().
TESSERA_EXPORT Array operator+(const Operand& x);
TESSERA_EXPORT Array operator-(const Operand& x);
TESSERA_EXPORT Array operator~(const Operand& x);
TESSERA_EXPORT Array operator+(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator-(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator*(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator/(const Operand& a, const Operand& b);
/// remainder()
TESSERA_EXPORT Array operator%(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator&(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator|(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator^(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator<<(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator>>(const Operand& a, const Operand& b);
/// Elementwise, as in NumPy: the result is a bool array, not a truth value.
TESSERA_EXPORT Array operator==(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator!=(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator<(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator<=(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator>(const Operand& a, const Operand& b);
TESSERA_EXPORT Array operator>=(const Operand& a, const Operand& b);

}  // namespace tessera
