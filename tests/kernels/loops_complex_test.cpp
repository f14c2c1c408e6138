#include <gtest/gtest.h>

#include <complex>
#include <map>

#include "tests/kernels/loops_fixture.hpp"

// Rows on complex lanes against complex long double; errors are relative to the magnitude of the
// result.

namespace tessera::kernels::host {
namespace {

using core::ScalarOp;
using Wide = std::complex<long double>;

// Series where the plain formula would cancel.
Wide expm1_reference(Wide z) {
  if (std::abs(z) > 0.25L) return std::exp(z) - 1.0L;
  Wide sum = 0;
  for (int k = 30; k > 0; --k) sum = (sum + 1.0L) * z / static_cast<long double>(k);
  return sum;
}
Wide log1p_reference(Wide z) {
  if (std::abs(z) > 0.25L) return std::log(1.0L + z);
  Wide sum = 0;
  Wide power = 1;
  for (int k = 1; k < 80; ++k) {
    power *= z;
    sum += power * ((k % 2 == 1 ? 1.0L : -1.0L) / k);
  }
  return sum;
}
Wide pow_reference(Wide a, Wide b) { return std::pow(a, b); }

struct Row {
  Wide (*reference)(Wide, Wide);
  double bound;  ///< in units of 2^-53 (2^-24) of the result's magnitude
};
const std::map<ScalarOp, Row>& rows() {
  static const std::map<ScalarOp, Row> table = {
      {ScalarOp::kAbs, {[](Wide a, Wide) { return Wide(std::abs(a)); }, 1.2}},
      {ScalarOp::kNegative, {[](Wide a, Wide) { return -a; }, 0}},
      {ScalarOp::kPositive, {[](Wide a, Wide) { return a; }, 0}},
      {ScalarOp::kSign, {[](Wide a, Wide) { return a == 0.0L ? a : a / std::abs(a); }, 3}},
      {ScalarOp::kSquare, {[](Wide a, Wide) { return a * a; }, 3}},
      {ScalarOp::kReciprocal, {[](Wide a, Wide) { return 1.0L / a; }, 5}},
      {ScalarOp::kAdd, {[](Wide a, Wide b) { return a + b; }, 1}},
      {ScalarOp::kSubtract, {[](Wide a, Wide b) { return a - b; }, 1}},
      {ScalarOp::kMultiply, {[](Wide a, Wide b) { return a * b; }, 2.3}},
      {ScalarOp::kDivide, {[](Wide a, Wide b) { return a / b; }, 6}},
      {ScalarOp::kPow, {pow_reference, 2}},
      {ScalarOp::kSqrt, {[](Wide a, Wide) { return std::sqrt(a); }, 4}},
      {ScalarOp::kExp, {[](Wide a, Wide) { return std::exp(a); }, 4}},
      {ScalarOp::kExpm1, {[](Wide a, Wide) { return expm1_reference(a); }, 6}},
      {ScalarOp::kLog, {[](Wide a, Wide) { return std::log(a); }, 4}},
      {ScalarOp::kLog2, {[](Wide a, Wide) { return std::log(a) / std::log(2.0L); }, 6}},
      {ScalarOp::kLog10, {[](Wide a, Wide) { return std::log(a) / std::log(10.0L); }, 6}},
      {ScalarOp::kLog1p, {[](Wide a, Wide) { return log1p_reference(a); }, 4}},
      {ScalarOp::kSin, {[](Wide a, Wide) { return std::sin(a); }, 4}},
      {ScalarOp::kCos, {[](Wide a, Wide) { return std::cos(a); }, 4}},
      {ScalarOp::kTan, {[](Wide a, Wide) { return std::tan(a); }, 6}},
      {ScalarOp::kAsin, {[](Wide a, Wide) { return std::asin(a); }, 6}},
      {ScalarOp::kAcos, {[](Wide a, Wide) { return std::acos(a); }, 6}},
      {ScalarOp::kAtan, {[](Wide a, Wide) { return std::atan(a); }, 6}},
      {ScalarOp::kSinh, {[](Wide a, Wide) { return std::sinh(a); }, 4}},
      {ScalarOp::kCosh, {[](Wide a, Wide) { return std::cosh(a); }, 4}},
      {ScalarOp::kTanh, {[](Wide a, Wide) { return std::tanh(a); }, 6}},
      {ScalarOp::kAsinh, {[](Wide a, Wide) { return std::asinh(a); }, 6}},
      {ScalarOp::kAcosh, {[](Wide a, Wide) { return std::acosh(a); }, 6}},
      {ScalarOp::kAtanh, {[](Wide a, Wide) { return std::atanh(a); }, 6}},
      {ScalarOp::kRound,
       {[](Wide a, Wide) { return Wide(std::rint(a.real()), std::rint(a.imag())); }, 0}},
      {ScalarOp::kConj, {[](Wide a, Wide) { return std::conj(a); }, 0}},
      {ScalarOp::kReal, {[](Wide a, Wide) { return Wide(a.real()); }, 0}},
      {ScalarOp::kImag, {[](Wide a, Wide) { return Wide(a.imag()); }, 0}},
      {ScalarOp::kAngle, {[](Wide a, Wide) { return Wide(std::arg(a)); }, 2}},
  };
  return table;
}

using Predicate = bool (*)(Wide, Wide);
const std::map<ScalarOp, Predicate>& predicates() {
  static const std::map<ScalarOp, Predicate> table = {
      {ScalarOp::kEqual, [](Wide a, Wide b) { return a == b; }},
      {ScalarOp::kNotEqual, [](Wide a, Wide b) { return a != b; }},
      {ScalarOp::kIsfinite,
       [](Wide a, Wide) { return std::isfinite(a.real()) && std::isfinite(a.imag()); }},
      {ScalarOp::kIsinf, [](Wide a, Wide) { return std::isinf(a.real()) || std::isinf(a.imag()); }},
      {ScalarOp::kIsnan, [](Wide a, Wide) { return std::isnan(a.real()) || std::isnan(a.imag()); }},
      {ScalarOp::kLogicalAnd, [](Wide a, Wide b) { return a != 0.0L && b != 0.0L; }},
      {ScalarOp::kLogicalOr, [](Wide a, Wide b) { return a != 0.0L || b != 0.0L; }},
      {ScalarOp::kLogicalXor, [](Wide a, Wide b) { return (a != 0.0L) != (b != 0.0L); }},
      {ScalarOp::kLogicalNot, [](Wide a, Wide) { return a == 0.0L; }},
  };
  return table;
}

template <class T>
std::vector<std::vector<std::complex<T>>> random_pairs() {
  std::mt19937_64 generator(kSeed);
  std::uniform_real_distribution<double> wide(-20, 20);
  std::uniform_real_distribution<double> narrow(-1.5, 1.5);
  const auto scaled = [&] {
    return static_cast<T>(std::ldexp(narrow(generator), static_cast<int>(generator() % 40) - 20));
  };
  std::vector<std::vector<std::complex<T>>> columns(2);
  for (auto& column : columns) {
    for (int i = 0; i < 1500; ++i) {
      column.emplace_back(static_cast<T>(wide(generator)), static_cast<T>(wide(generator)));
      column.emplace_back(static_cast<T>(narrow(generator)), static_cast<T>(narrow(generator)));
      column.emplace_back(std::ldexp(static_cast<T>(narrow(generator)), -8),
                          std::ldexp(static_cast<T>(narrow(generator)), -8));
      column.emplace_back(std::min(scaled(), T(40)), scaled());
    }
    for (int re = -3; re <= 3; ++re) {
      for (int im = -3; im <= 3; ++im) column.emplace_back(T(re) / 2, T(im) / 2);
    }
  }
  return columns;
}

template <class T>
class ComplexLoops : public ::testing::Test {};
using Parts = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ComplexLoops, Parts);

TYPED_TEST(ComplexLoops, EveryRowIsWithinItsBound) {
  using T = TypeParam;
  using C = std::complex<T>;
  const auto columns = random_pairs<T>();
  const std::size_t n = columns[0].size();
  for (int i = 0; i < core::kScalarOpCount; ++i) {
    const auto op = static_cast<ScalarOp>(i);
    if (find_loop(op, dtype_of<C>) == nullptr || op == ScalarOp::kWhere) continue;
    if (predicates().contains(op)) continue;
    ASSERT_TRUE(rows().contains(op)) << core::info(op).name << " has no reference";
    const Row row = rows().at(op);
    const bool real_result = core::infer_dtypes(op, dtype_of<C>).result == dtype_of<T>;
    std::vector<Wide> expected(n);
    for (std::size_t k = 0; k < n; ++k) expected[k] = row.reference(columns[0][k], columns[1][k]);
    for_each_target([&] {
      std::vector<C> got(n);
      if (real_result) {
        const auto real = run<T>(op, dtype_of<C>, columns);
        got.assign(real.begin(), real.end());
      } else {
        got = run<C>(op, dtype_of<C>, columns);
      }
      double worst = 0;
      std::size_t where = 0;
      for (std::size_t k = 0; k < n; ++k) {
        const long double size = std::abs(expected[k]);
        // Poles and results out of range are the special values' business.
        if (!std::isfinite(size) || size > std::numeric_limits<T>::max()) continue;
        if (size < std::numeric_limits<T>::min()) continue;
        const double error = static_cast<double>(std::abs(Wide(got[k]) - expected[k]) / size) * 2 /
                             std::numeric_limits<T>::epsilon();
        if (!(error <= worst)) {
          worst = error;
          where = k;
        }
      }
      ::testing::Test::RecordProperty(
          std::string(core::info(op).name) + "_" + std::string(simd_target()),
          std::to_string(worst));
      EXPECT_LE(worst, row.bound) << core::info(op).name << "(" << columns[0][where] << ", "
                                  << columns[1][where] << ") is " << got[where] << ", not "
                                  << expected[where];
    });
  }
}

TYPED_TEST(ComplexLoops, PredicatesAgree) {
  using T = TypeParam;
  using C = std::complex<T>;
  const T inf = std::numeric_limits<T>::infinity();
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::vector<std::vector<C>> columns(2);
  const T parts[] = {T(0), T(-0.0), T(1), T(-2), inf, -inf, nan};
  for (const T a : parts) {
    for (const T b : parts) {
      for (const T c : parts) {
        for (const T d : parts) {
          columns[0].emplace_back(a, b);
          columns[1].emplace_back(c, d);
        }
      }
    }
  }
  for_each_target([&] {
    for (const auto& [op, predicate] : predicates()) {
      const auto got = run<std::uint8_t>(op, dtype_of<C>, columns);
      for (std::size_t k = 0; k < got.size(); ++k) {
        ASSERT_EQ(got[k], predicate(columns[0][k], columns[1][k]))
            << core::info(op).name << columns[0][k] << columns[1][k];
      }
    }
  });
}

using Z = std::complex<double>;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void expect_complex(ScalarOp op, Z a, Z b, Z expected) {
  const Z got = run<Z, Z>(op, complex128, {{a}, {b}})[0];
  const auto same = [](double x, double y) { return (std::isnan(x) && std::isnan(y)) || x == y; };
  EXPECT_TRUE(same(got.real(), expected.real()) && same(got.imag(), expected.imag()))
      << core::info(op).name << "(" << a << ", " << b << ") is " << got << ", not " << expected;
}

TEST(ComplexLoops128, DivisionNeitherOverflowsNorUnderflowsEarly) {
  for_each_target([] {
    const auto divide = [](Z a, Z b, Z expected) {
      expect_complex(ScalarOp::kDivide, a, b, expected);
    };
    const double large = 0x1p1023;
    const double small = 0x1p-1074;
    divide({large, large}, {large, large}, 1);
    divide({large, -large}, {large, large}, {0, -1});
    divide({small, small}, {small, small}, 1);
    divide({small, 0}, {0, small}, {0, -1});
    divide({large, 0}, {0x1p1000, 0x1p1000}, {0x1p22, -0x1p22});
    divide({1, 1}, {large, large}, {0x1p-1023, 0});
    divide({1, 2}, {0, 0}, {kInf, kInf});
    divide({1, 0}, {0, 0}, {kInf, kNan});
    divide({0, 0}, {0, 0}, {kNan, kNan});
    divide({1, 1}, {kInf, 0}, {0, 0});
    divide({kInf, 0}, {2, 0}, {kInf, kNan});
    divide({kNan, 1}, {2, 0}, {kNan, kNan});
    divide({6, 4}, {2, 0}, {3, 2});
    divide({6, 4}, {0, 2}, {2, -3});
  });
}

TEST(ComplexLoops128, SignsAndMagnitudesOfExtremes) {
  for_each_target([] {
    const auto sign = [](Z a, Z expected) { expect_complex(ScalarOp::kSign, a, a, expected); };
    sign({0, 0}, {0, 0});
    sign({3, 4}, {0.6, 0.8});
    sign({3 * 0x1p-1074, 4 * 0x1p-1074}, {0.6, 0.8});
    sign({0, -0x1p1023}, {0, -1});
    sign({kInf, 2}, {1, 0});
    sign({kNan, 2}, {kNan, kNan});
    const auto magnitude = [](Z a) { return run<double, Z>(ScalarOp::kAbs, complex128, {{a}})[0]; };
    EXPECT_EQ(magnitude({3e300, 4e300}), 5e300);
    EXPECT_EQ(magnitude({3 * 0x1p-1070, 4 * 0x1p-1070}), 5 * 0x1p-1070);
    EXPECT_EQ(magnitude({kNan, -kInf}), kInf);
    EXPECT_TRUE(std::isnan(magnitude({kNan, 1})));
  });
}

TEST(ComplexLoops128, SpecialValuesOfTheCompositeFunctions) {
  for_each_target([] {
    const auto expm1 = [](Z a, Z expected) { expect_complex(ScalarOp::kExpm1, a, a, expected); };
    expm1({0, 0}, {0, 0});
    expm1({kInf, 0}, {kInf, 0});
    expm1({-kInf, 1}, {-1, 0});
    expm1({-kInf, kInf}, {-1, 0});
    expm1({kInf, kInf}, {kInf, kNan});
    expm1({kNan, 0}, {kNan, 0});
    expm1({1, kNan}, {kNan, kNan});
    const auto log1p = [](Z a, Z expected) { expect_complex(ScalarOp::kLog1p, a, a, expected); };
    log1p({0, 0}, {0, 0});
    log1p({-1, 0}, {-kInf, 0});
    log1p({kInf, 1}, {kInf, 0});
    log1p({1, kInf}, {kInf, std::acos(0.0)});
    log1p({kNan, 0}, {kNan, kNan});
    log1p({0x1p-40, 0}, {0x1.ffffffffffp-41, 0});
    const auto pow = [](Z a, Z b, Z expected) { expect_complex(ScalarOp::kPow, a, b, expected); };
    pow({0, 0}, {0, 0}, 1);
    pow({0, 0}, {2, 0}, 0);
    pow({0, 0}, {0.5, 1}, 0);
    pow({0, 0}, {-0.5, 0}, {kNan, kNan});
    pow({1, 1}, {2, 0}, {0, 2});
    pow({0, 1}, {-1, 0}, {0, -1});
    pow({3, 4}, {1, 0}, {3, 4});
    pow({kNan, 1}, {0, 0}, 1);
    pow({1, 2}, {5, 0}, {41, -38});
  });
}

}  // namespace
}  // namespace tessera::kernels::host
