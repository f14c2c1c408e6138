#include "kernels/host/loops.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "tessera/error.hpp"
#include "tests/kernels/loops_fixture.hpp"

// Every row of core/scalar_ops.def on real floating-point lanes against long double.

namespace tessera::kernels::host {
namespace {

using core::ScalarOp;
using Real = long double;

constexpr ScalarOp op_at(int i) { return static_cast<ScalarOp>(i); }

TEST(Loops, ExistWhereTheDTypeRuleAllows) {
  for_each_target([] {
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      for (int d = 0; d <= static_cast<int>(DType::kComplex128); ++d) {
        const auto dtype = static_cast<DType>(d);
        bool computes = false;
        try {
          computes = core::infer_dtypes(op_at(i), dtype).compute == dtype;
        } catch (const InvalidArgument&) {
        }
        if (op_at(i) == ScalarOp::kCast) computes = false;
        EXPECT_EQ(find_loop(op_at(i), dtype) != nullptr, computes)
            << core::info(op_at(i)).name << " in " << dtype;
      }
    }
  });
}

template <class T>
std::vector<T> special_values() {
  using Limits = std::numeric_limits<T>;
  std::vector<T> values;
  const T anchors[] = {T(0),
                       Limits::infinity(),
                       Limits::denorm_min(),
                       Limits::min(),
                       Limits::max(),
                       T(0.5),
                       T(1),
                       T(1.5),
                       T(2),
                       T(2.5),
                       T(3),
                       T(7),
                       T(0.1),
                       T(100.5),
                       T(1e10),
                       Limits::epsilon(),
                       std::sqrt(Limits::max()),
                       T(0x1p31),
                       T(1) / Limits::epsilon(),
                       std::log(Limits::max()),
                       T(3.14159265358979323846)};
  for (const T anchor : anchors) {
    for (const T value : {anchor, std::nextafter(anchor, Limits::infinity()),
                          std::nextafter(anchor, -Limits::infinity())}) {
      values.push_back(value);
      values.push_back(-value);
    }
  }
  values.push_back(Limits::quiet_NaN());
  return values;
}

template <class T>
T random_of_exponent(int exponent, std::mt19937_64& generator) {
  const T mantissa = 1 + static_cast<T>(generator() >> 40) * T(0x1p-24);
  const T value = std::ldexp(mantissa, exponent);
  return (generator() & 1) != 0 ? value : -value;
}

template <class T>
std::vector<T> unary_inputs() {
  std::mt19937_64 generator(kSeed);
  std::vector<T> values = special_values<T>();
  constexpr int kLow = std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits;
  for (int e = kLow; e < std::numeric_limits<T>::max_exponent; ++e) {
    for (int k = 0; k < 12; ++k) values.push_back(random_of_exponent<T>(e, generator));
  }
  for (const double range : {1.0, 3.0, 40.0, 180.0, 1500.0}) {
    std::uniform_real_distribution<double> draw(-range, range);
    for (int k = 0; k < 4000; ++k) values.push_back(static_cast<T>(draw(generator)));
  }
  return values;
}

template <class T>
std::vector<std::vector<T>> binary_inputs() {
  std::mt19937_64 generator(kSeed);
  std::vector<std::vector<T>> columns(2);
  const auto push = [&](T a, T b) {
    columns[0].push_back(a);
    columns[1].push_back(b);
  };
  const std::vector<T> special = special_values<T>();
  for (const T a : special) {
    for (const T b : special) push(a, b);
  }
  constexpr int kLow = std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits;
  constexpr int kSpan = std::numeric_limits<T>::max_exponent - kLow;
  const auto any = [&] {
    return random_of_exponent<T>(kLow + static_cast<int>(generator() % kSpan), generator);
  };
  std::uniform_real_distribution<double> small(-20, 20);
  std::uniform_real_distribution<double> near(0.999, 1.001);
  for (int k = 0; k < 10000; ++k) {
    const T a = any();
    push(a, any());
    push(any(), static_cast<T>(small(generator)));
    push(static_cast<T>(small(generator)), static_cast<T>(small(generator)));
    push(a, static_cast<T>(a * near(generator)));
    push(static_cast<T>(near(generator)), static_cast<T>(1e5 * small(generator)));
    push(static_cast<T>(std::round(small(generator))),
         static_cast<T>(std::round(small(generator))));
    push(static_cast<T>(std::round(1e6 * small(generator))), static_cast<T>(small(generator)));
  }
  return columns;
}

// Python's floor division and remainder, by the exact fmod.
Real python_remainder(Real a, Real b) {
  const Real r = std::fmod(a, b);
  if (r == 0) return std::copysign(Real(0), b);
  return (r < 0) != (b < 0) ? r + b : r;
}
Real python_floor_divide(Real a, Real b) {
  if (b == 0 || std::isnan(a) || std::isnan(b)) return a / b;
  if (std::isinf(a)) return std::numeric_limits<Real>::quiet_NaN();
  const Real r = std::fmod(a, b);
  const Real below = r != 0 && (r < 0) != (b < 0) ? Real(1) : Real(0);
  const Real q = std::rint((a - r) / b) - below;
  return q == 0 ? std::copysign(Real(0), a / b) : q;
}
Real log_of_sum(Real a, Real b) {
  if (a == b) return a + std::log(Real(2));
  const Real larger = std::fmax(a, b);
  if (std::isnan(a) || std::isnan(b)) return a + b;
  return larger + std::log1p(std::exp(std::fmin(a, b) - larger));
}

using Reference = Real (*)(Real, Real);
const std::map<ScalarOp, Reference>& references() {
  static const std::map<ScalarOp, Reference> table = {
      {ScalarOp::kAbs, [](Real a, Real) { return std::fabs(a); }},
      {ScalarOp::kNegative, [](Real a, Real) { return -a; }},
      {ScalarOp::kPositive, [](Real a, Real) { return a; }},
      {ScalarOp::kSign, [](Real a, Real) { return std::isnan(a) ? a : Real((a > 0) - (a < 0)); }},
      {ScalarOp::kSquare, [](Real a, Real) { return a * a; }},
      {ScalarOp::kReciprocal, [](Real a, Real) { return 1 / a; }},
      {ScalarOp::kAdd, [](Real a, Real b) { return a + b; }},
      {ScalarOp::kSubtract, [](Real a, Real b) { return a - b; }},
      {ScalarOp::kMultiply, [](Real a, Real b) { return a * b; }},
      {ScalarOp::kDivide, [](Real a, Real b) { return a / b; }},
      {ScalarOp::kFloorDivide, python_floor_divide},
      {ScalarOp::kRemainder, python_remainder},
      {ScalarOp::kPow, [](Real a, Real b) { return std::pow(a, b); }},
      {ScalarOp::kMaximum,
       [](Real a, Real b) { return std::isnan(a)            ? a
                                   : std::isnan(b) || b > a ? b
                                                            : a; }},
      {ScalarOp::kMinimum,
       [](Real a, Real b) { return std::isnan(a)            ? a
                                   : std::isnan(b) || b < a ? b
                                                            : a; }},
      {ScalarOp::kFmax, [](Real a, Real b) { return std::isnan(a) || b > a ? b : a; }},
      {ScalarOp::kFmin, [](Real a, Real b) { return std::isnan(a) || b < a ? b : a; }},
      {ScalarOp::kHypot, [](Real a, Real b) { return std::hypot(a, b); }},
      {ScalarOp::kCopysign, [](Real a, Real b) { return std::copysign(a, b); }},
      {ScalarOp::kSqrt, [](Real a, Real) { return std::sqrt(a); }},
      {ScalarOp::kCbrt, [](Real a, Real) { return std::cbrt(a); }},
      {ScalarOp::kExp, [](Real a, Real) { return std::exp(a); }},
      {ScalarOp::kExp2, [](Real a, Real) { return std::exp2(a); }},
      {ScalarOp::kExpm1, [](Real a, Real) { return std::expm1(a); }},
      {ScalarOp::kLog, [](Real a, Real) { return std::log(a); }},
      {ScalarOp::kLog2, [](Real a, Real) { return std::log2(a); }},
      {ScalarOp::kLog10, [](Real a, Real) { return std::log10(a); }},
      {ScalarOp::kLog1p, [](Real a, Real) { return std::log1p(a); }},
      {ScalarOp::kLogaddexp, log_of_sum},
      {ScalarOp::kSin, [](Real a, Real) { return std::sin(a); }},
      {ScalarOp::kCos, [](Real a, Real) { return std::cos(a); }},
      {ScalarOp::kTan, [](Real a, Real) { return std::tan(a); }},
      {ScalarOp::kAsin, [](Real a, Real) { return std::asin(a); }},
      {ScalarOp::kAcos, [](Real a, Real) { return std::acos(a); }},
      {ScalarOp::kAtan, [](Real a, Real) { return std::atan(a); }},
      {ScalarOp::kAtan2, [](Real a, Real b) { return std::atan2(a, b); }},
      {ScalarOp::kSinh, [](Real a, Real) { return std::sinh(a); }},
      {ScalarOp::kCosh, [](Real a, Real) { return std::cosh(a); }},
      {ScalarOp::kTanh, [](Real a, Real) { return std::tanh(a); }},
      {ScalarOp::kAsinh, [](Real a, Real) { return std::asinh(a); }},
      {ScalarOp::kAcosh, [](Real a, Real) { return std::acosh(a); }},
      {ScalarOp::kAtanh, [](Real a, Real) { return std::atanh(a); }},
      {ScalarOp::kCeil, [](Real a, Real) { return std::ceil(a); }},
      {ScalarOp::kFloor, [](Real a, Real) { return std::floor(a); }},
      {ScalarOp::kRound, [](Real a, Real) { return std::rint(a); }},
      {ScalarOp::kTrunc, [](Real a, Real) { return std::trunc(a); }},
      {ScalarOp::kConj, [](Real a, Real) { return a; }},
      {ScalarOp::kReal, [](Real a, Real) { return a; }},
      {ScalarOp::kImag, [](Real, Real) { return Real(0); }},
      {ScalarOp::kAngle, [](Real a, Real) { return std::isnan(a) ? a : std::atan2(Real(0), a); }},
  };
  return table;
}

using Predicate = bool (*)(Real, Real);
const std::map<ScalarOp, Predicate>& predicates() {
  static const std::map<ScalarOp, Predicate> table = {
      {ScalarOp::kEqual, [](Real a, Real b) { return a == b; }},
      {ScalarOp::kNotEqual, [](Real a, Real b) { return a != b; }},
      {ScalarOp::kLess, [](Real a, Real b) { return a < b; }},
      {ScalarOp::kLessEqual, [](Real a, Real b) { return a <= b; }},
      {ScalarOp::kGreater, [](Real a, Real b) { return a > b; }},
      {ScalarOp::kGreaterEqual, [](Real a, Real b) { return a >= b; }},
      {ScalarOp::kIsfinite, [](Real a, Real) { return std::isfinite(a); }},
      {ScalarOp::kIsinf, [](Real a, Real) { return std::isinf(a); }},
      {ScalarOp::kIsnan, [](Real a, Real) { return std::isnan(a); }},
      {ScalarOp::kSignbit, [](Real a, Real) { return std::signbit(a); }},
      {ScalarOp::kLogicalAnd, [](Real a, Real b) { return a != 0 && b != 0; }},
      {ScalarOp::kLogicalOr, [](Real a, Real b) { return a != 0 || b != 0; }},
      {ScalarOp::kLogicalXor, [](Real a, Real b) { return (a != 0) != (b != 0); }},
      {ScalarOp::kLogicalNot, [](Real a, Real) { return a == 0; }},
  };
  return table;
}

// Rows whose test is written out below.
bool has_own_test(ScalarOp op) { return op == ScalarOp::kNextafter || op == ScalarOp::kWhere; }

// One unit in the last place of a number of this size.
template <class T>
Real ulp_at(Real size) {
  int exponent = std::numeric_limits<T>::min_exponent;
  if (size != 0 && std::isfinite(size)) {
    exponent = std::max(exponent, static_cast<int>(std::ilogb(size)) + 1);
  }
  return std::ldexp(Real(1), exponent - std::numeric_limits<T>::digits);
}

/// Error in ulp, or nothing where a special value differs. `unit` is at least one ulp of the
/// result.
template <class T>
std::optional<double> error_in_ulp(T got, Real expected, Real unit) {
  const T rounded = static_cast<T>(expected);
  if (std::isnan(rounded) || std::isnan(got)) {
    if (std::isnan(rounded) && std::isnan(got)) return 0;
    return std::nullopt;
  }
  if (got == rounded) {
    if (got == 0 && std::signbit(got) != std::signbit(rounded)) return std::nullopt;
    return std::isinf(got) ? 0 : static_cast<double>(std::fabs(got - expected) / unit);
  }
  if (std::isinf(rounded) && !std::isinf(expected)) {
    return static_cast<double>(std::fabs(got - expected) / unit);
  }
  if (std::isinf(rounded) || std::isinf(got)) {
    // One step across the overflow threshold is one ulp.
    const bool at_edge = std::fabs(expected) >= std::numeric_limits<T>::max() &&
                         std::signbit(got) == std::signbit(rounded);
    if (at_edge) return 1;
    return std::nullopt;
  }
  return static_cast<double>(std::fabs(got - expected) / unit);
}

template <class T>
void check_row(ScalarOp op, Reference reference, const std::vector<std::vector<T>>& columns) {
  const bool binary = core::info(op).arity == 2;
  const std::vector<T>& a = columns[0];
  const std::vector<T>& b = binary ? columns[1] : columns[0];
  std::vector<Real> expected(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) expected[i] = reference(a[i], b[i]);
  for_each_target([&] {
    const std::vector<T> got = run<T>(op, dtype_of<T>, columns);
    double worst = 0;
    std::size_t where = 0;
    int wrong = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      Real size = std::fabs(expected[i]);
      // The larger operand carries an error of its own into the sum of exponentials.
      if (op == ScalarOp::kLogaddexp) size = std::fmax(size, std::fmax(a[i], b[i]));
      if (op == ScalarOp::kLogaddexp) size = std::fmax(size, std::fabs(std::fmax(a[i], b[i])));
      const auto error = error_in_ulp(got[i], expected[i], ulp_at<T>(size));
      if (!error.has_value()) {
        if (++wrong <= 5) {
          ADD_FAILURE() << core::info(op).name << "(" << a[i] << ", " << b[i] << ") is " << got[i]
                        << ", not " << static_cast<T>(expected[i]);
        }
      } else if (*error > worst) {
        worst = *error;
        where = i;
      }
    }
    ::testing::Test::RecordProperty(
        std::string(core::info(op).name) + "_" + std::string(simd_target()), std::to_string(worst));
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(worst, core::info(op).ulp)
        << core::info(op).name << "(" << std::hexfloat << a[where] << ", " << b[where] << ") is "
        << got[where] << ", not " << expected[where];
  });
}

template <class T>
void check_predicate(ScalarOp op, Predicate predicate, const std::vector<std::vector<T>>& columns) {
  const std::vector<T>& a = columns[0];
  const std::vector<T>& b = columns.back();
  for_each_target([&] {
    const auto got = run<std::uint8_t>(op, dtype_of<T>, columns);
    int wrong = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (got[i] != static_cast<std::uint8_t>(predicate(a[i], b[i])) && ++wrong <= 5) {
        ADD_FAILURE() << core::info(op).name << "(" << a[i] << ", " << b[i] << ") is "
                      << int{got[i]};
      }
    }
    EXPECT_EQ(wrong, 0);
  });
}

template <class T>
class RealLoops : public ::testing::Test {};
using RealTypes = ::testing::Types<float, double>;
TYPED_TEST_SUITE(RealLoops, RealTypes);

TYPED_TEST(RealLoops, EveryRowIsWithinItsBound) {
  const std::vector<std::vector<TypeParam>> one = {unary_inputs<TypeParam>()};
  const std::vector<std::vector<TypeParam>> two = binary_inputs<TypeParam>();
  for (int i = 0; i < core::kScalarOpCount; ++i) {
    const ScalarOp op = op_at(i);
    if (find_loop(op, dtype_of<TypeParam>) == nullptr || has_own_test(op)) continue;
    const auto& columns = core::info(op).arity == 2 ? two : one;
    if (const auto row = references().find(op); row != references().end()) {
      check_row<TypeParam>(op, row->second, columns);
    } else if (const auto test = predicates().find(op); test != predicates().end()) {
      check_predicate<TypeParam>(op, test->second, columns);
    } else {
      ADD_FAILURE() << core::info(op).name << " has no reference";
    }
  }
}

TYPED_TEST(RealLoops, NextafterSteps) {
  const std::vector<std::vector<TypeParam>> columns = binary_inputs<TypeParam>();
  for_each_target([&] {
    const auto got = run<TypeParam>(ScalarOp::kNextafter, dtype_of<TypeParam>, columns);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const TypeParam expected = std::nextafter(columns[0][i], columns[1][i]);
      if (std::isnan(expected) ? std::isnan(got[i]) : same_bits(got[i], expected)) continue;
      FAIL() << "nextafter(" << columns[0][i] << ", " << columns[1][i] << ") is " << got[i];
    }
  });
}

// A lane's bits depend on that lane alone: not on its neighbours, the padding, its position, the
// length, or on whether the result overwrites an operand.
TYPED_TEST(RealLoops, LanesAreIndependent) {
  using T = TypeParam;
  std::mt19937_64 generator(kSeed);
  std::vector<std::vector<T>> columns = binary_inputs<T>();
  std::vector<std::size_t> order(columns[0].size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), generator);
  order.resize(3001);
  std::vector<std::vector<T>> mixed(2);
  for (const std::size_t i : order) {
    mixed[0].push_back(columns[0][i]);
    mixed[1].push_back(columns[1][i]);
  }
  for_each_target([&] {
    for (int o = 0; o < core::kScalarOpCount; ++o) {
      const ScalarOp op = op_at(o);
      const Loop loop = find_loop(op, dtype_of<T>);
      if (!references().contains(op) || loop == nullptr) continue;
      const auto together = run<T>(op, dtype_of<T>, mixed);
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto alone = run<T, T>(op, dtype_of<T>, {{mixed[0][i]}, {mixed[1][i]}});
        if (std::isnan(alone[0]) && std::isnan(together[i])) continue;
        ASSERT_TRUE(same_bits(alone[0], together[i]))
            << core::info(op).name << "(" << mixed[0][i] << ", " << mixed[1][i] << ") is "
            << together[i] << " in company, " << alone[0] << " alone";
      }
      Buffer<T> first(mixed[0]);
      const Buffer<T> second(mixed[1]);
      const void* args[] = {first.data(), second.data()};
      loop(args, first.data(), static_cast<std::int64_t>(order.size()));
      const auto in_place = first.values();
      for (std::size_t i = 0; i < order.size(); ++i) {
        if (std::isnan(in_place[i]) && std::isnan(together[i])) continue;
        ASSERT_TRUE(same_bits(in_place[i], together[i])) << core::info(op).name << " in place";
      }
    }
  });
}

TEST(Loops, EmptyRunsWriteNothing) {
  for_each_target([] {
    std::byte* nothing = nullptr;
    const void* args[] = {nothing, nothing, nothing};
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      for (const DType dtype : {float64, float32, int8, complex128}) {
        if (const Loop loop = find_loop(op_at(i), dtype)) loop(args, nothing, 0);
      }
    }
  });
}

}  // namespace
}  // namespace tessera::kernels::host
