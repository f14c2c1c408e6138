#include <gtest/gtest.h>

#include <complex>
#include <limits>

#include "kernels/host/loops.hpp"
#include "tests/cuda/program_cuda_fixture.hpp"

// Every operation and conversion in every dtype, as CUDA C++ built by a host compiler, beside the
// host's kernels. What both compute by one text agrees in every bit; transcendental functions,
// which are another library's here than on a device, within a few units of the last place.

namespace tessera::kernels::cuda {
namespace {

using core::ScalarOp;
using test::ProgramBuilder;
using test::ProgramMachine;
using test::Rng;
using test::RunInput;
using test::TestArray;
using Layout = TestArray::Layout;

constexpr std::uint64_t kSeed = 20250612;
constexpr std::int64_t kCount = 6000;

template <typename T>
T random_real(Rng& rng) {
  using Limits = std::numeric_limits<T>;
  const T special[] = {T(0),
                       T(1),
                       T(0.5),
                       T(2),
                       T(3),
                       Limits::infinity(),
                       Limits::quiet_NaN(),
                       Limits::max(),
                       Limits::min(),
                       Limits::denorm_min(),
                       T(709.5),
                       T(88.6),
                       Limits::epsilon(),
                       T(1e10)};
  const T sign = test::chance(rng, 0.5) ? T(1) : T(-1);
  std::uniform_real_distribution<double> small(0, 30);
  switch (test::draw(rng, 0, 3)) {
    case 0:
      return sign * special[test::draw(rng, 0, std::ssize(special) - 1)];
    case 1:
      return sign * std::ldexp(T(1) + static_cast<T>(small(rng)) / 30,
                               static_cast<int>(test::draw(rng, Limits::min_exponent,
                                                           Limits::max_exponent - 2)));
    case 2:
      return sign * std::round(static_cast<T>(small(rng)));
    default:
      return sign * static_cast<T>(small(rng));
  }
}

// Values of any kind that a dtype has.
void fill_any(TestArray& array, Rng& rng) {
  host::visit_dtype(array.dtype(), "test", [&]<typename T>(std::type_identity<T>) {
    for (std::int64_t i = 0; i < array.count(); ++i) {
      T value;
      if constexpr (std::is_same_v<T, bool>) {
        value = test::chance(rng, 0.5);
      } else if constexpr (host::kIsComplex<T>) {
        using Real = typename T::value_type;
        value = T(random_real<Real>(rng), random_real<Real>(rng));
      } else if constexpr (std::is_floating_point_v<T>) {
        value = random_real<T>(rng);
      } else {
        const auto bits = static_cast<T>(rng());
        value = test::chance(rng, 0.5) ? bits : static_cast<T>(test::draw(rng, -9, 9));
      }
      std::memcpy(array.address(i), &value, sizeof(T));
    }
  });
}

// Within so many units of the last place of the larger one, or of `scale`.
template <typename T>
bool near(T a, T b, double ulp, T scale = 0) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return true;
  if (!std::isfinite(a) || !std::isfinite(b)) return false;
  const T size = std::max({std::fabs(a), std::fabs(b), scale, std::numeric_limits<T>::min()});
  return std::fabs(static_cast<double>(a) - static_cast<double>(b)) <=
         ulp * static_cast<double>(std::numeric_limits<T>::epsilon()) * static_cast<double>(size);
}

// Of complex numbers the error is measured beside the magnitude; near the end of the range only one
// may overflow.
template <typename T>
bool near(std::complex<T> a, std::complex<T> b, double ulp, T = 0) {
  const auto finite = [](std::complex<T> z) {
    return std::isfinite(z.real()) && std::isfinite(z.imag());
  };
  constexpr T kHuge = std::numeric_limits<T>::max() / 4;
  const T size = std::max(
      {std::fabs(a.real()), std::fabs(a.imag()), std::fabs(b.real()), std::fabs(b.imag())});
  if (finite(a) && finite(b))
    return near(a.real(), b.real(), ulp, size) && near(a.imag(), b.imag(), ulp, size);
  const auto alike = [](T x, T y) {
    return x == y || (std::isnan(x) && std::isnan(y)) ||
           (std::fabs(x) > kHuge && std::fabs(y) > kHuge && (x < 0) == (y < 0));
  };
  return (alike(a.real(), b.real()) || near(a.real(), b.real(), ulp)) &&
         (alike(a.imag(), b.imag()) || near(a.imag(), b.imag(), ulp));
}

// Kernels of the host are within their ulp of the truth, and so is the other library. The host's
// compiler fuses products of complex numbers, which no device does.
double tolerance(ScalarOp op, DType dtype) {
  const core::ScalarOpInfo& info = core::info(op);
  if (info.ulp == 0 && op != ScalarOp::kSign) return 0;
  if (is_complex(dtype)) return op == ScalarOp::kPow ? 256 : 16;
  switch (op) {
    case ScalarOp::kSqrt:
    case ScalarOp::kDivide:
    case ScalarOp::kReciprocal:
    case ScalarOp::kHypot:
      return 0;
    case ScalarOp::kLogaddexp:
      return 8;
    default:
      break;
  }
  const bool transcendental = info.rule == core::DTypeRule::kFloating ||
                              info.rule == core::DTypeRule::kRealFloating || op == ScalarOp::kPow ||
                              op == ScalarOp::kAngle;
  return transcendental && is_floating(dtype) ? 4 : 0;
}

// Powers of complex numbers whose angle no double holds differ in every digit, and products that
// overflow do so in another step where they are fused.
bool is_lost(ScalarOp op, DType dtype, test::Value a, test::Value b) {
  if (!is_complex(dtype)) return false;
  if (op == ScalarOp::kPow) return !(std::abs(b * std::log(a)) < 50);
  const long double large = dtype == DType::kComplex64 ? 1e18L : 1e150L;
  return op == ScalarOp::kMultiply && !(std::abs(a) < large && std::abs(b) < large);
}

bool agrees(DType dtype, const std::byte* got, const std::byte* expected, double ulp,
            double scale) {
  return host::visit_dtype(dtype, "test", [&]<typename T>(std::type_identity<T>) {
    T a, b;
    std::memcpy(&a, got, sizeof(T));
    std::memcpy(&b, expected, sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) && std::isnan(b)) return true;
      return ulp == 0 ? std::memcmp(got, expected, sizeof(T)) == 0
                      : near(a, b, ulp, static_cast<T>(scale));
    } else if constexpr (host::kIsComplex<T>) {
      return near(a, b, ulp);
    } else {
      return a == b;
    }
  });
}

struct Step {
  ScalarOp op;
  DType dtype;  ///< of the result
};

TEST(ProgramValuesCuda, EveryOperationIsTheHosts) {
  ProgramMachine machine;
  Rng rng(kSeed);
  for (const DType dtype : test::kAllDTypes) {
    ProgramBuilder b(1);
    const int x = b.load(dtype);
    const int y = b.load(dtype);
    const int condition = b.load(bool_);
    std::vector<Step> steps;
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      const auto op = static_cast<ScalarOp>(i);
      if (op == ScalarOp::kCast || host::find_loop(op, dtype) == nullptr) continue;
      const int arity = core::info(op).arity;
      b.program.stores.push_back(arity == 3 ? b.op(op, condition, x, y)
                                            : b.op(op, x, arity == 2 ? y : -1));
      steps.push_back({op, b.program.instrs.back().dtype});
    }
    std::vector<TestArray> loads, expected, got;
    for (const DType load : {dtype, dtype, bool_}) {
      loads.emplace_back(load, std::vector<std::int64_t>{kCount}, Layout::kDense, rng);
      fill_any(loads.back(), rng);
    }
    RunInput input{{kCount}, {&loads[0], &loads[1], &loads[2]}, {}, {}};
    for (const Step& step : steps) {
      expected.emplace_back(step.dtype, std::vector<std::int64_t>{kCount}, Layout::kDense, rng);
      got.emplace_back(step.dtype, std::vector<std::int64_t>{kCount}, Layout::kDense, rng);
    }
    for (const TestArray& array : expected) input.stores.push_back(&array);
    run(host::PreparedProgram(b.program), input);
    input.stores.clear();
    for (const TestArray& array : got) input.stores.push_back(&array);
    run_on_device(machine, ProgramMapper(machine.cache, b.program), input);
    for (std::size_t s = 0; s < steps.size(); ++s) {
      int wrong = 0;
      for (std::int64_t i = 0; i < kCount && wrong < 3; ++i) {
        if (is_lost(steps[s].op, dtype, loads[0].get(i), loads[1].get(i))) continue;
        double scale = 0;  // the error of logaddexp is measured beside the larger of its operands
        if (steps[s].op == ScalarOp::kLogaddexp) {
          scale =
              static_cast<double>(std::max(std::abs(loads[0].get(i)), std::abs(loads[1].get(i))));
          if (!std::isfinite(scale)) scale = 0;
        }
        if (agrees(steps[s].dtype, got[s].address(i), expected[s].address(i),
                   tolerance(steps[s].op, dtype), scale))
          continue;
        ++wrong;
        ADD_FAILURE() << core::info(steps[s].op).name << " in " << dtype << " of "
                      << loads[0].get(i) << ", " << loads[1].get(i) << " is " << got[s].get(i)
                      << ", the host's " << expected[s].get(i);
      }
    }
  }
}

TEST(ProgramValuesCuda, EveryConversionIsTheHosts) {
  ProgramMachine machine;
  Rng rng(kSeed + 1);
  for (int from = 0; from <= static_cast<int>(DType::kComplex128); ++from) {
    const auto source = static_cast<DType>(from);
    ProgramBuilder b(1);
    const bool narrow = source == DType::kFloat16 || source == DType::kBFloat16;
    const int x = b.load(source);
    for (int to = 0; to <= static_cast<int>(DType::kComplex128); ++to) {
      const auto target = static_cast<DType>(to);
      if (host::find_cast(source, target) != nullptr || source == target)
        b.program.stores.push_back(b.cast(x, target));
    }
    TestArray load(source, {kCount}, Layout::kDense, rng);
    if (narrow) {
      for (std::int64_t i = 0; i < kCount; ++i) {
        const auto bits = static_cast<std::uint16_t>(rng());
        std::memcpy(load.address(i), &bits, sizeof(bits));
      }
    } else {
      fill_any(load, rng);
    }
    std::vector<TestArray> stores;
    for (const int v : b.program.stores) {
      stores.emplace_back(b.program.instrs[static_cast<std::size_t>(v)].dtype,
                          std::vector<std::int64_t>{kCount}, Layout::kDense, rng);
    }
    ASSERT_NO_FATAL_FAILURE(
        expect_same_bytes(machine, b.program, {{kCount}, {&load}, {}, {}}, stores, rng));
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
