#include <gtest/gtest.h>

#include <complex>
#include <type_traits>

#include "tests/kernels/loops_fixture.hpp"

// Conversions of every pair of dtypes against a slow reference.

namespace tessera::kernels::host {
namespace {

template <class T>
inline constexpr bool kComplex = false;
template <class T>
inline constexpr bool kComplex<std::complex<T>> = true;

template <class To, class From>
To reference_cast(From x) {
  if constexpr (kComplex<From> && kComplex<To>) {
    return To(static_cast<typename To::value_type>(x.real()),
              static_cast<typename To::value_type>(x.imag()));
  } else if constexpr (kComplex<From> && std::is_same_v<To, bool>) {
    return x.real() != 0 || x.imag() != 0;
  } else if constexpr (kComplex<From>) {
    return reference_cast<To>(x.real());
  } else if constexpr (kComplex<To>) {
    return To(static_cast<typename To::value_type>(x), 0);
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(x)) return 0;
    const long double whole = std::trunc(static_cast<long double>(x));
    if (whole <= std::numeric_limits<To>::min()) return std::numeric_limits<To>::min();
    if (whole >= std::numeric_limits<To>::max()) return std::numeric_limits<To>::max();
    return static_cast<To>(whole);
  } else {
    return static_cast<To>(x);
  }
}

template <class T>
std::vector<T> values_of() {
  std::mt19937_64 generator(kSeed);
  std::vector<T> values;
  if constexpr (std::is_same_v<T, bool>) {
    return {true, false, false, true, true};
  } else if constexpr (kComplex<T>) {
    using R = typename T::value_type;
    const std::vector<R> parts = values_of<R>();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      values.emplace_back(parts[i], parts[(i * 7 + 3) % parts.size()]);
    }
    values.emplace_back(R(0), R(0));
    values.emplace_back(R(0), R(-0.0));
    values.emplace_back(R(0), std::numeric_limits<R>::denorm_min());
  } else if constexpr (std::is_floating_point_v<T>) {
    using Limits = std::numeric_limits<T>;
    for (const T x : {T(0), T(0.5), T(0.99), T(1), T(1.5), Limits::infinity(), Limits::quiet_NaN(),
                      Limits::denorm_min(), Limits::max(), T(65504), T(65519.99), T(65520)}) {
      values.insert(values.end(), {x, -x});
    }
    for (int e = 6; e <= 66; ++e) {
      for (const T x : {std::ldexp(T(1), e), std::ldexp(T(1), e) - 1, std::ldexp(T(1), e) + 1}) {
        for (const T y : {x, std::nextafter(x, T(0)), std::nextafter(x, Limits::infinity())}) {
          values.insert(values.end(), {y, -y});
        }
      }
    }
    for (int i = 0; i < 3000; ++i) {
      const T x =
          std::ldexp(static_cast<T>(generator() >> 11), static_cast<int>(generator() % 80) - 70);
      values.insert(values.end(), {x, -x});
    }
  } else {
    for (const T anchor : {T(0), std::numeric_limits<T>::min(), std::numeric_limits<T>::max()}) {
      for (int step = -3; step <= 3; ++step) values.push_back(stepped(anchor, step));
    }
    for (int i = 0; i < 1000; ++i)
      values.push_back(static_cast<T>(generator() >> (generator() % 64)));
  }
  return values;
}

template <class To, class From>
void check_cast() {
  const std::vector<From> source = values_of<From>();
  const Loop loop = find_cast(dtype_of<From>, dtype_of<To>);
  ASSERT_NE(loop, nullptr);
  std::unique_ptr<From[]> plain(new From[source.size()]);
  std::copy(source.begin(), source.end(), plain.get());
  Buffer<std::byte> in(source.size() * sizeof(From));
  std::memcpy(in.data(), plain.get(), source.size() * sizeof(From));
  Buffer<std::byte> out(source.size() * sizeof(To));
  const void* args[] = {in.data()};
  loop(args, out.data(), static_cast<std::int64_t>(source.size()));
  for (std::size_t i = 0; i < source.size(); ++i) {
    To got;
    std::memcpy(&got, static_cast<const char*>(out.data()) + i * sizeof(To), sizeof(To));
    const To expected = reference_cast<To>(static_cast<From>(source[i]));
    const auto same = [](auto a, auto b) {
      return (a != a && b != b) || std::memcmp(&a, &b, sizeof(a)) == 0;
    };
    bool right = false;
    if constexpr (kComplex<To>) {
      right = same(got.real(), expected.real()) && same(got.imag(), expected.imag());
    } else {
      right = same(got, expected);
    }
    ASSERT_TRUE(right) << dtype_of<From> << " " << source[i] << " became " << dtype_of<To> << " "
                       << +got << ", not " << +expected;
  }
}

template <class From>
void check_casts_from() {
  check_cast<bool, From>();
  check_cast<std::int8_t, From>();
  check_cast<std::int16_t, From>();
  check_cast<std::int32_t, From>();
  check_cast<std::int64_t, From>();
  check_cast<std::uint8_t, From>();
  check_cast<std::uint16_t, From>();
  check_cast<std::uint32_t, From>();
  check_cast<std::uint64_t, From>();
  check_cast<float, From>();
  check_cast<double, From>();
  check_cast<std::complex<float>, From>();
  check_cast<std::complex<double>, From>();
}

TEST(CastLoops, EveryPairFollowsTheRules) {
  for_each_target([] {
    check_casts_from<bool>();
    check_casts_from<std::int8_t>();
    check_casts_from<std::int16_t>();
    check_casts_from<std::int32_t>();
    check_casts_from<std::int64_t>();
    check_casts_from<std::uint8_t>();
    check_casts_from<std::uint16_t>();
    check_casts_from<std::uint32_t>();
    check_casts_from<std::uint64_t>();
    check_casts_from<float>();
    check_casts_from<double>();
    check_casts_from<std::complex<float>>();
    check_casts_from<std::complex<double>>();
  });
}

struct Format {
  DType dtype;
  int fraction;
  int min_exponent;
  int max_exponent;
};
constexpr Format kFormats[] = {{DType::kFloat16, 10, -14, 15}, {DType::kBFloat16, 7, -126, 127}};

// The value of a 16-bit code by the definition of the format.
double decoded(const Format& format, unsigned code) {
  const int exponent = static_cast<int>((code & 0x7fff) >> format.fraction);
  const int fraction = static_cast<int>(code & ((1u << format.fraction) - 1));
  const double sign = (code & 0x8000) != 0 ? -1 : 1;
  if (exponent == (1 << (15 - format.fraction)) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  const int shift = format.min_exponent - format.fraction;
  if (exponent == 0) return sign * std::ldexp(fraction, shift);
  return sign * std::ldexp(fraction + (1 << format.fraction), shift + exponent - 1);
}
// The number of that format nearest to x, ties to even.
double rounded(const Format& format, double x) {
  if (std::isnan(x) || std::isinf(x) || x == 0) return x;
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const double unit = std::ldexp(1.0, exponent - format.fraction);
  const double result = std::rint(x / unit) * unit;
  const double largest = std::ldexp(2.0, format.max_exponent);
  return std::fabs(result) >= largest ? std::copysign(std::numeric_limits<double>::infinity(), x)
                                      : result;
}

template <class To, class From>
std::vector<To> cast(DType from, DType to, const std::vector<From>& values) {
  const Buffer<From> in(values);
  Buffer<To> out(values.size());
  const void* args[] = {in.data()};
  find_cast(from, to)(args, out.data(), static_cast<std::int64_t>(values.size()));
  return out.values();
}

TEST(CastLoops, SixteenBitFloatsDecode) {
  std::vector<std::uint16_t> codes(65536);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint16_t>(i);
  for_each_target([&] {
    for (const Format& format : kFormats) {
      const auto wide = cast<double>(format.dtype, float64, codes);
      const auto single = cast<float>(format.dtype, float32, codes);
      const auto copied = cast<std::uint16_t>(format.dtype, format.dtype, codes);
      EXPECT_EQ(copied, codes);
      for (unsigned i = 0; i < codes.size(); ++i) {
        const double expected = decoded(format, i);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(wide[i]) && std::isnan(single[i])) << format.dtype << " " << i;
        } else {
          ASSERT_TRUE(same_bits(wide[i], expected)) << format.dtype << " " << i;
          ASSERT_TRUE(same_bits(single[i], static_cast<float>(expected))) << format.dtype << i;
        }
      }
    }
  });
}

TEST(CastLoops, SixteenBitFloatsRoundToNearestEven) {
  std::mt19937_64 generator(kSeed);
  for_each_target([&] {
    for (const Format& format : kFormats) {
      std::vector<double> values = values_of<double>();
      // Every number of the format, the midpoint above it, and the neighbours of both.
      for (unsigned code = 0; code < 0x7fff; ++code) {
        const double low = decoded(format, code);
        const double high = decoded(format, code + 1);
        if (!std::isfinite(low)) continue;
        const double middle = std::isfinite(high) ? (low + high) / 2 : low * 1.0001;
        for (const double x :
             {low, middle, std::nextafter(middle, 0.0), std::nextafter(middle, 1e300)}) {
          values.push_back((generator() & 1) != 0 ? x : -x);
        }
      }
      const auto codes = cast<std::uint16_t>(float64, format.dtype, values);
      std::vector<float> singles(values.begin(), values.end());
      const auto single_codes = cast<std::uint16_t>(float32, format.dtype, singles);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double expected = rounded(format, values[i]);
        const double got = decoded(format, codes[i]);
        const double single_expected = rounded(format, singles[i]);
        const double single_got = decoded(format, single_codes[i]);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(got) && std::isnan(single_got));
          continue;
        }
        ASSERT_TRUE(same_bits(got, expected)) << format.dtype << " " << values[i] << " " << got;
        ASSERT_TRUE(same_bits(single_got, single_expected)) << format.dtype << " " << singles[i];
      }
    }
  });
}

TEST(CastLoops, SixteenBitFloatsConvertFromAndToFloatsOnly) {
  for (const DType other : {bool_, int32, uint8, complex64, complex128}) {
    EXPECT_EQ(find_cast(DType::kFloat16, other), nullptr) << other;
    EXPECT_EQ(find_cast(other, DType::kBFloat16), nullptr) << other;
  }
  EXPECT_EQ(find_cast(DType::kFloat16, DType::kBFloat16), nullptr);
}

TEST(CastLoops, MayOverwriteAnOperandOfTheSameWidth) {
  std::vector<double> values(1001);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) - 500.5;
  for_each_target([&] {
    Buffer<double> buffer(values);
    const void* args[] = {buffer.data()};
    find_cast(float64, int64)(args, buffer.data(), static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::int64_t got = 0;
      std::memcpy(&got, static_cast<const char*>(buffer.data()) + 8 * i, 8);
      ASSERT_EQ(got, static_cast<std::int64_t>(values[i]));
    }
  });
}

}  // namespace
}  // namespace tessera::kernels::host
