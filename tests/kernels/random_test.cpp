#include <gtest/gtest.h>

#include <array>
#include <map>

#include "tessera/error.hpp"
#include "tests/kernels/loops_fixture.hpp"

// Random draws: the generator's published vectors, the samplers against long double, the same bits
// for every way of asking and every SIMD target, and the shape of the distributions.

namespace tessera::kernels::host {
namespace {

// The shared text compiled once more as plain scalar code: what every backend must agree with.
namespace plain {
namespace prim {
double fma(double a, double b, double c) { return std::fma(a, b, c); }
double sqrt(double x) { return std::sqrt(x); }
unsigned long long bits(double x) { return std::bit_cast<unsigned long long>(x); }
double from_bits(unsigned long long x) { return std::bit_cast<double>(x); }
double unit53_to_double(unsigned long long x) { return static_cast<double>(x); }
unsigned long long multiply_low32(unsigned long long w, unsigned m) { return (w & 0xffffffff) * m; }
unsigned long long multiply_high(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
}  // namespace prim
#define TESSERA_HD [[maybe_unused]] inline
#include "kernels/philox.hpp"
#include "kernels/sampler_bodies.hpp"
#undef TESSERA_HD
}  // namespace plain

using Words = std::array<std::uint32_t, 4>;
Words philox(Words counter, std::uint32_t low, std::uint32_t high) {
  const plain::PhiloxBlock<unsigned long long> block = plain::philox(
      plain::PhiloxBlock<unsigned long long>{{counter[0], counter[1], counter[2], counter[3]}},
      plain::PhiloxKey{low, high});
  Words out;
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint32_t>(block.word[i]);
  return out;
}

TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

RandomSpec spec_of(Distribution distribution, double a = 0, double b = 1) {
  RandomSpec spec;
  spec.distribution = distribution;
  spec.seed = kSeed;
  spec.a = a;
  spec.b = b;
  return spec;
}
RandomSpec integers(std::int64_t low, std::uint64_t range) {
  RandomSpec spec = spec_of(Distribution::kIntegers);
  spec.low = low;
  spec.range = range;
  return spec;
}

template <class T>
std::vector<T> draw_run(const RandomSpec& spec, std::int64_t first, std::size_t n,
                        DType dtype = dtype_of<T>) {
  Buffer<T> out(n);
  fill_random_run(spec, dtype, first, out.data(), static_cast<std::int64_t>(n));
  return out.values();
}
template <class T>
std::vector<T> draw_each(const RandomSpec& spec, const std::vector<std::int64_t>& index) {
  Buffer<T> out(index.size());
  fill_random(spec, dtype_of<T>, index.data(), out.data(), static_cast<std::int64_t>(index.size()));
  return out.values();
}

// The documented numbering, spelled out: key, counter, and which words an element takes.
std::uint64_t element_bits(const RandomSpec& spec, std::uint64_t element, std::uint32_t draw) {
  std::uint64_t key =
      spec.seed + 0x9e3779b97f4a7c15 * (static_cast<std::uint64_t>(spec.distribution) + 1);
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9;
  key = (key ^ (key >> 27)) * 0x94d049bb133111eb;
  key ^= key >> 31;
  const std::uint64_t pair = element / 2;
  const Words words =
      philox({static_cast<std::uint32_t>(pair), static_cast<std::uint32_t>(pair >> 32), draw, 0},
             static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32));
  const int first = element % 2 == 0 ? 0 : 2;
  return words[first] | static_cast<std::uint64_t>(words[first + 1]) << 32;
}

// Elements around the places where a word of the counter carries.
std::vector<std::int64_t> interesting_elements() {
  std::vector<std::int64_t> elements;
  for (const std::int64_t base : {std::int64_t{0}, std::int64_t{1} << 32, std::int64_t{1} << 33,
                                  std::numeric_limits<std::int64_t>::max() - 200}) {
    for (std::int64_t i = 0; i < 150; ++i) elements.push_back(base + i - (base > 0 ? 75 : 0));
  }
  return elements;
}

TEST(Random, DrawsAreThoseOfTheirElements) {
  const std::vector<std::int64_t> elements = interesting_elements();
  const RandomSpec uniform = spec_of(Distribution::kUniform, -3, 5);
  const RandomSpec normal = spec_of(Distribution::kNormal, 2, 0.5);
  const RandomSpec exponential = spec_of(Distribution::kExponential, 3);
  const RandomSpec dice = integers(-2, 6);
  for_each_target([&] {
    const auto u = draw_each<double>(uniform, elements);
    const auto v = draw_each<float>(uniform, elements);
    const auto x = draw_each<double>(normal, elements);
    const auto y = draw_each<float>(normal, elements);
    const auto e = draw_each<double>(exponential, elements);
    const auto k = draw_each<std::int32_t>(dice, elements);
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const auto element = static_cast<std::uint64_t>(elements[i]);
      const std::uint64_t bits = element_bits(uniform, element, 0);
      ASSERT_EQ(u[i], std::fma(static_cast<double>(bits >> 11) * 0x1p-53, 8.0, -3.0));
      ASSERT_EQ(v[i],
                static_cast<float>(std::fma(static_cast<double>(bits >> 40) * 0x1p-24, 8.0, -3.0)));
      const plain::NormalPair pair = plain::normal_pair(element_bits(normal, element & ~1ull, 0),
                                                        element_bits(normal, element | 1, 0));
      const double n = std::fma(element % 2 == 0 ? pair.even : pair.odd, 0.5, 2.0);
      ASSERT_EQ(x[i], n);
      ASSERT_EQ(y[i], static_cast<float>(n));
      ASSERT_EQ(e[i], plain::exponential(element_bits(exponential, element, 0)) * 3);
      __extension__ using Wide = unsigned __int128;
      ASSERT_EQ(k[i], static_cast<int>(Wide{element_bits(dice, element, 0)} * 6 >> 64) - 2);
    }
  });
}

template <class T>
void check_cutting(const RandomSpec& spec) {
  std::map<std::string, std::vector<T>> by_target;
  const std::size_t n = 1500;
  const std::int64_t first = (std::int64_t{1} << 33) - 701;
  for_each_target([&] {
    const std::vector<T> whole = draw_run<T>(spec, first, n);
    by_target[std::string(simd_target())] = whole;
    std::vector<std::int64_t> index(n);
    for (std::size_t i = 0; i < n; ++i) index[i] = first + static_cast<std::int64_t>(i);
    const std::vector<T> each = draw_each<T>(spec, index);
    ASSERT_EQ(std::memcmp(whole.data(), each.data(), n * sizeof(T)), 0);
    std::mt19937_64 generator(kSeed);
    for (int round = 0; round < 50; ++round) {
      const std::size_t begin = generator() % n;
      const std::size_t count = generator() % (n - begin + 1);
      const auto part = draw_run<T>(spec, first + static_cast<std::int64_t>(begin), count);
      ASSERT_EQ(std::memcmp(part.data(), whole.data() + begin, count * sizeof(T)), 0)
          << begin << " " << count;
    }
  });
  for (const auto& [target, values] : by_target) {
    EXPECT_EQ(std::memcmp(values.data(), by_target.begin()->second.data(), n * sizeof(T)), 0)
        << target << " differs from " << by_target.begin()->first;
  }
}

TEST(Random, BitsDependNeitherOnCutsNorOnTheTarget) {
  for (const Distribution distribution :
       {Distribution::kUniform, Distribution::kNormal, Distribution::kExponential}) {
    check_cutting<double>(spec_of(distribution, 1.5, 2.25));
    check_cutting<float>(spec_of(distribution, 1.5, 2.25));
  }
  check_cutting<std::int8_t>(integers(-100, 200));
  check_cutting<std::uint16_t>(integers(0, 65536));
  check_cutting<std::int32_t>(integers(-5, 1000));
  check_cutting<std::int64_t>(integers(0, (1ull << 63) + 1));
  check_cutting<std::uint64_t>(integers(0, 0));
}

TEST(Random, OutputIsNotWrittenBeyondItsEnd) {
  Buffer<double> out(1000);
  const std::vector<double> before = out.values();
  for_each_target([&] {
    for (const std::int64_t n : {0, 1, 7, 129, 500}) {
      fill_random_run(spec_of(Distribution::kNormal), float64, 3, out.data(), n);
    }
  });
  const std::vector<double> after = out.values();
  EXPECT_EQ(std::memcmp(before.data() + 500, after.data() + 500, 500 * sizeof(double)), 0);
}

double ulp_error(double got, long double expected) {
  if (expected == 0) return got == 0 ? 0 : 1e9;
  const int exponent = std::ilogb(expected);
  return static_cast<double>(std::fabs(got - expected) / std::ldexp(1.0L, exponent - 52));
}

TEST(Samplers, LogarithmIsWithinOneUlp) {
  std::mt19937_64 generator(kSeed);
  double worst = 0;
  for (int i = 0; i < 300000; ++i) {
    const double u = static_cast<double>((generator() >> 11) + 1) * 0x1p-53;
    for (const double x :
         {u, std::ldexp(u, -static_cast<int>(generator() % 52)), 1 - u * 0x1p-10}) {
      if (x < 0x1p-53) continue;
      worst = std::max(worst, ulp_error(plain::log_unit(x), std::log(static_cast<long double>(x))));
    }
  }
  EXPECT_LE(worst, 1.0);
  EXPECT_EQ(plain::log_unit(1.0), 0.0);
  ::testing::Test::RecordProperty("worst", std::to_string(worst));
}

TEST(Samplers, SineAndCosineAreWithinAFewUlp) {
  std::mt19937_64 generator(kSeed);
  const long double turn = 2 * std::acos(-1.0L);
  double worst = 0;
  for (int i = 0; i < 300000; ++i) {
    double t = static_cast<double>(generator() >> 11) * 0x1p-53;
    if (i % 3 == 0) t = std::ldexp(t, -static_cast<int>(generator() % 40));
    const plain::SineCosine got = plain::sincos_turn(t);
    // Reduced to an eighth turn, where the reference is accurate.
    const int quadrant = static_cast<int>(std::rint(4 * t));
    const long double rest = (4.0L * t - quadrant) * turn / 4;
    const long double s = std::sin(rest);
    const long double c = std::cos(rest);
    const std::array<long double, 4> cycle = {s, c, -s, -c};
    worst = std::max(worst, ulp_error(got.sine, cycle[quadrant % 4]));
    worst = std::max(worst, ulp_error(got.cosine, cycle[(quadrant + 1) % 4]));
  }
  EXPECT_LE(worst, 1.2);
  ::testing::Test::RecordProperty("worst", std::to_string(worst));
}

struct Moments {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0, lag = 0;
};
template <class T>
Moments moments_of(const std::vector<T>& x) {
  Moments m;
  const auto n = static_cast<double>(x.size());
  for (const T v : x) m.mean += v / n;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - m.mean;
    m.variance += d * d / n;
    m.skewness += d * d * d / n;
    m.kurtosis += d * d * d * d / n;
    if (i > 0) m.lag += d * (x[i - 1] - m.mean) / n;
  }
  m.skewness /= std::pow(m.variance, 1.5);
  m.kurtosis /= m.variance * m.variance;
  m.lag /= m.variance;
  return m;
}

constexpr std::size_t kMany = 1 << 20;

// Largest distance between the sample's distribution function and `cdf`, times sqrt(n); 1.95 is the
// 0.1 % point of the Kolmogorov distribution.
template <class T, class Cdf>
double kolmogorov(std::vector<T> x, const Cdf& cdf) {
  std::sort(x.begin(), x.end());
  const auto n = static_cast<double>(x.size());
  double distance = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double f = cdf(x[i]);
    distance =
        std::max({distance, f - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - f});
  }
  return distance * std::sqrt(n);
}

template <class T>
void check_uniform() {
  const std::vector<T> x = draw_run<T>(spec_of(Distribution::kUniform), 0, kMany);
  const Moments m = moments_of(x);
  EXPECT_NEAR(m.mean, 0.5, 0.0012);
  EXPECT_NEAR(m.variance, 1.0 / 12, 0.0004);
  EXPECT_NEAR(m.lag, 0, 0.004);
  EXPECT_LT(kolmogorov(x, [](double v) { return v; }), 1.95);
  EXPECT_GE(*std::min_element(x.begin(), x.end()), T(0));
  EXPECT_LT(*std::max_element(x.begin(), x.end()), T(1));
  // Pairs of neighbours fill the square evenly: chi-squared of 64 x 64 cells.
  std::vector<int> cells(64 * 64);
  for (std::size_t i = 0; i + 1 < x.size(); i += 2) {
    ++cells[static_cast<std::size_t>(x[i] * 64) * 64 + static_cast<std::size_t>(x[i + 1] * 64)];
  }
  double chi = 0;
  const double expected = kMany / 2.0 / 4096;
  for (const int count : cells) chi += (count - expected) * (count - expected) / expected;
  EXPECT_NEAR(chi, 4095, 4 * std::sqrt(2 * 4095.0));
}

TEST(Distributions, UniformIsEven) {
  check_uniform<double>();
  check_uniform<float>();
}

TEST(Distributions, UniformStaysBelowItsEnd) {
  for_each_target([] {
    const auto narrow = draw_run<double>(spec_of(Distribution::kUniform, 1, 1 + 0x1p-52), 0, 2000);
    for (const double x : narrow) ASSERT_EQ(x, 1.0);
    const auto floats = draw_run<float>(spec_of(Distribution::kUniform, 1, 1 + 0x1p-22), 0, 5000);
    for (const float x : floats) ASSERT_TRUE(x >= 1.0f && x < 1 + 0x1p-22f);
    const auto point = draw_run<double>(spec_of(Distribution::kUniform, 3, 3), 0, 100);
    for (const double x : point) ASSERT_EQ(x, 3.0);
    const auto backward = draw_run<double>(spec_of(Distribution::kUniform, 2, -2), 0, 5000);
    for (const double x : backward) ASSERT_TRUE(x > -2 && x <= 2);
  });
}

template <class T>
void check_normal() {
  const std::vector<T> x = draw_run<T>(spec_of(Distribution::kNormal), 1, kMany);
  const Moments m = moments_of(x);
  EXPECT_NEAR(m.mean, 0, 0.004);
  EXPECT_NEAR(m.variance, 1, 0.006);
  EXPECT_NEAR(m.skewness, 0, 0.01);
  EXPECT_NEAR(m.kurtosis, 3, 0.02);
  EXPECT_NEAR(m.lag, 0, 0.004);
  EXPECT_LT(kolmogorov(x, [](double v) { return 0.5 * std::erfc(-v / std::sqrt(2.0)); }), 1.95);
  // Tails: the expected counts beyond 3, 4 and 4.5 deviations, on both sides.
  for (const double limit : {3.0, 4.0, 4.5}) {
    const double expected = kMany * 0.5 * std::erfc(limit / std::sqrt(2.0));
    for (const double sign : {-1.0, 1.0}) {
      const auto count = std::count_if(x.begin(), x.end(), [&](T v) { return sign * v > limit; });
      EXPECT_NEAR(static_cast<double>(count), expected, 4.5 * std::sqrt(expected) + 1) << limit;
    }
  }
}

TEST(Distributions, NormalHasItsMomentsAndTails) {
  check_normal<double>();
  check_normal<float>();
  const auto x = draw_run<double>(spec_of(Distribution::kNormal, 10, 3), 0, kMany);
  EXPECT_NEAR(moments_of(x).mean, 10, 0.012);
  EXPECT_NEAR(moments_of(x).variance, 9, 0.06);
}

TEST(Distributions, ExponentialIsPositive) {
  const auto x = draw_run<double>(spec_of(Distribution::kExponential, 2), 0, kMany);
  EXPECT_NEAR(moments_of(x).mean, 2, 0.008);
  EXPECT_NEAR(moments_of(x).variance, 4, 0.05);
  EXPECT_GE(*std::min_element(x.begin(), x.end()), 0.0);
  EXPECT_FALSE(std::signbit(*std::min_element(x.begin(), x.end())));
  EXPECT_LT(kolmogorov(x, [](double v) { return -std::expm1(-v / 2); }), 1.95);
}

TEST(Distributions, IntegersAreUnbiased) {
  for (const std::uint64_t range : {2, 3, 7, 100, 1000}) {
    const auto x = draw_run<std::int64_t>(integers(-3, range), 0, kMany);
    std::vector<int> counts(range);
    for (const std::int64_t v : x) {
      ASSERT_GE(v, -3);
      ASSERT_LT(v, static_cast<std::int64_t>(range) - 3);
      ++counts[static_cast<std::size_t>(v + 3)];
    }
    const double expected = static_cast<double>(kMany) / static_cast<double>(range);
    double chi = 0;
    for (const int count : counts) chi += (count - expected) * (count - expected) / expected;
    const double freedom = static_cast<double>(range) - 1;
    EXPECT_LT(chi, freedom + 4.5 * std::sqrt(2 * freedom)) << range;
  }
}

// A range just above 2^63 rejects almost half of all draws; each redraw raises the draw counter.
TEST(Distributions, RejectedIntegersAreRedrawn) {
  const std::uint64_t range = (1ull << 63) + 1;
  const RandomSpec spec = integers(0, range);
  const auto x = draw_run<std::uint64_t>(spec, 0, 4000);
  std::size_t redrawn = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    __extension__ using Wide = unsigned __int128;
    std::uint32_t draw = 0;
    Wide product = 0;
    do {
      product = Wide{element_bits(spec, i, draw++)} * range;
    } while (static_cast<std::uint64_t>(product) < (0 - range) % range);
    redrawn += draw > 1;
    ASSERT_EQ(x[i], static_cast<std::uint64_t>(product >> 64)) << i;
  }
  EXPECT_NEAR(static_cast<double>(redrawn), 2000, 200);
}

TEST(Distributions, IntegersOfEveryWidth) {
  const auto all = draw_run<std::uint64_t>(integers(0, 0), 0, 1000);
  const RandomSpec spec = integers(0, 0);
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], element_bits(spec, i, 0));
  const auto wide = draw_run<std::int64_t>(integers(-100, 200), 0, 1000);
  const auto narrow = draw_run<std::int8_t>(integers(-100, 200), 0, 1000);
  const auto coins = draw_run<std::uint8_t>(integers(0, 2), 0, 1000, bool_);
  const auto bits = draw_run<std::int64_t>(integers(0, 2), 0, 1000);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    ASSERT_EQ(narrow[i], wide[i]);
    ASSERT_EQ(coins[i], bits[i]);
  }
}

TEST(Distributions, SeedsAndDistributionsAreIndependentStreams) {
  RandomSpec spec = spec_of(Distribution::kUniform);
  const auto first = draw_run<double>(spec, 0, kMany);
  ++spec.seed;
  const auto second = draw_run<double>(spec, 0, kMany);
  const auto other = draw_run<double>(spec_of(Distribution::kExponential, 1), 0, kMany);
  double seeds = 0;
  double kinds = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    seeds += (first[i] - 0.5) * (second[i] - 0.5) * 12;
    kinds += (first[i] - 0.5) * std::sqrt(12.0) * (other[i] - 1);
  }
  EXPECT_NEAR(seeds / std::sqrt(static_cast<double>(kMany)), 0, 4);
  EXPECT_NEAR(kinds / std::sqrt(static_cast<double>(kMany)), 0, 4);
}

TEST(Random, RefusesDTypesThatCannotHoldTheDraws) {
  const auto message = [](Distribution distribution, DType dtype) -> std::string {
    double out[16];
    try {
      fill_random_run(spec_of(distribution), dtype, 0, out, 1);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(Distribution::kNormal, int32),
            "[random] dtype must hold the numbers drawn; got int32; try float64");
  EXPECT_EQ(message(Distribution::kIntegers, float32),
            "[random] dtype must hold the numbers drawn; got float32; try int64");
}

}  // namespace
}  // namespace tessera::kernels::host
