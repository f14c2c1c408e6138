#include "kernels/host/histogram_host.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::uniform;

/// numpy.linspace(low, high, count + 1).
std::vector<double> linspace(double low, double high, std::int64_t count) {
  std::vector<double> edges;
  const double step = (high - low) / static_cast<double>(count);
  for (std::int64_t i = 0; i <= count; ++i) edges.push_back(static_cast<double>(i) * step + low);
  edges.back() = high;
  return edges;
}

/// The bin that numpy.histogram(a, bins=count, range=(low, high)) of NumPy 1.24 chooses, or -1.
std::int64_t numpy_even_bin(double x, const std::vector<double>& edges) {
  const auto count = static_cast<std::int64_t>(edges.size()) - 1;
  if (!(x >= edges.front() && x <= edges.back())) return -1;
  const double norm = static_cast<double>(count) / (edges.back() - edges.front());
  auto bin = static_cast<std::int64_t>((x - edges.front()) * norm);
  if (bin == count) --bin;
  if (x < edges[static_cast<std::size_t>(bin)]) --bin;
  if (x >= edges[static_cast<std::size_t>(bin) + 1] && bin != count - 1) ++bin;
  return bin;
}

/// The bin that numpy.histogram(a, bins=edges) chooses: searchsorted on both sides.
std::int64_t numpy_bin(double x, const std::vector<double>& edges) {
  const auto count = static_cast<std::int64_t>(edges.size()) - 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const double low = edges[static_cast<std::size_t>(i)];
    const double high = edges[static_cast<std::size_t>(i) + 1];
    if (x >= low && (x < high || (i == count - 1 && x == high))) return i;
  }
  return -1;
}

template <typename T, typename Bin>
void check_histogram(TestBlock& in, const std::vector<double>& edges, Bin&& bin_of,
                     test::Random& random) {
  const auto count = static_cast<std::int64_t>(edges.size()) - 1;
  std::vector<std::int64_t> expected(static_cast<std::size_t>(count), 0);
  std::vector<double> expected_sum(static_cast<std::size_t>(count), 0.0);
  TestBlock weights(DType::kFloat64, in.shape(), random, false);
  weights.fill_normal<double>(random);
  test::for_each_index(in.shape(), [&](const Index& index) {
    const std::int64_t bin = bin_of(static_cast<double>(in.get<T>(index)), edges);
    if (bin < 0) return;
    ++expected[static_cast<std::size_t>(bin)];
    expected_sum[static_cast<std::size_t>(bin)] += weights.get<double>(index);
  });
  TestBlock counts(DType::kInt64, {count});
  histogram(in.view(), edges, nullptr, counts.view());
  EXPECT_EQ(counts.values<std::int64_t>(), expected);
  TestBlock sums(DType::kFloat64, {count});
  const ConstBlockView weight_view = std::as_const(weights).view();
  histogram(in.view(), edges, &weight_view, sums.view());
  EXPECT_EQ(sums.values<double>(), expected_sum);
}

TEST(Histogram, EvenBinsMatchNumPysArithmetic) {
  test::Random random(test::kBlockSeed);
  test::on_each_target([&] {
    for (int round = 0; round < 40; ++round) {
      const std::int64_t count = round % 8 == 0 ? 3000 : uniform(random, 1, 60);
      const double low = static_cast<double>(uniform(random, -50, 50)) / 7;
      const double high = low + static_cast<double>(uniform(random, 1, 100)) / 3;
      const std::vector<double> edges = linspace(low, high, count);
      TestBlock in(DType::kFloat64, {uniform(random, 0, 40), uniform(random, 1, 60)}, random, true);
      in.fill<double>([&](const Index&) {
        // Elements on and right beside edges are where arithmetic goes wrong.
        const double edge = edges[static_cast<std::size_t>(uniform(random, 0, count))];
        switch (uniform(random, 0, 5)) {
          case 0:
            return edge;
          case 1:
            return std::nextafter(edge, -1e300);
          case 2:
            return std::nextafter(edge, 1e300);
          case 3:
            return uniform(random, 0, 20) == 0 ? std::nan("") : edge + 1e-9;
          default:
            return low - 1 + (high - low + 2) * std::generate_canonical<double, 53>(random);
        }
      });
      SCOPED_TRACE(round);
      check_histogram<double>(in, edges, numpy_even_bin, random);
    }
  });
}

TEST(Histogram, UnevenAndRepeatedEdgesMatchSearchsorted) {
  test::Random random(test::kBlockSeed + 1);
  test::on_each_target([&] {
    for (int round = 0; round < 40; ++round) {
      std::vector<double> edges;
      for (std::int64_t i = uniform(random, 2, 30); i > 0; --i) {
        edges.push_back(static_cast<double>(uniform(random, -20, 20)) / 2);
      }
      std::ranges::sort(edges);
      TestBlock in(DType::kFloat32, {30, 31}, random, false);
      in.fill<float>(
          [&](const Index&) { return static_cast<float>(uniform(random, -50, 50)) / 4; });
      SCOPED_TRACE(round);
      check_histogram<float>(in, edges, numpy_bin, random);
    }
  });
}

TEST(Histogram, CountsIntegersAndBoolsAsFloat64) {
  test::Random random(test::kBlockSeed + 2);
  TestBlock bytes(DType::kUInt8, {50, 50});
  bytes.fill<std::uint8_t>([&](const Index&) { return static_cast<std::uint8_t>(random()); });
  check_histogram<std::uint8_t>(bytes, linspace(0, 255, 10), numpy_even_bin, random);
  TestBlock wide(DType::kInt64, {100});
  wide.fill<std::int64_t>([&](const Index&) { return static_cast<std::int64_t>(random()); });
  check_histogram<std::int64_t>(wide, linspace(-9.3e18, 9.3e18, 17), numpy_even_bin, random);
  TestBlock flags(DType::kBool, {64});
  flags.fill_small(random);
  check_histogram<bool>(flags, {0, 0.5, 1}, numpy_bin, random);
}

// From numpy.histogram of NumPy 1.24.2.
TEST(Histogram, GivesNumPysNumbers) {
  TestBlock in(DType::kFloat64, {9});
  const std::vector<double> elements{0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0, 0.30000000000000004};
  std::ranges::copy(elements, reinterpret_cast<double*>(in.data()));
  TestBlock counts(DType::kInt64, {10});
  histogram(in.view(), linspace(0, 1, 10), nullptr, counts.view());
  EXPECT_EQ(counts.values<std::int64_t>(),
            (std::vector<std::int64_t>{0, 1, 2, 1, 0, 1, 1, 0, 1, 2}));
}

TEST(Histogram, HugeRangesFallBackToSearching) {
  TestBlock in(DType::kFloat64, {3});
  in.fill<double>([](const Index& index) {
    return std::array{-1e308, 0.0, 1.5e308}[static_cast<std::size_t>(index[0])];
  });
  const std::vector<double> edges{-1.7e308, 0.0, 1.7e308};
  TestBlock counts(DType::kInt64, {2});
  histogram(in.view(), edges, nullptr, counts.view());
  EXPECT_EQ(counts.values<std::int64_t>(), (std::vector<std::int64_t>{1, 2}));
}

TEST(Histogram, RefusesWhatItCannotDo) {
  TestBlock in(DType::kFloat64, {3});
  TestBlock numbers(DType::kComplex64, {3});
  TestBlock counts(DType::kInt64, {2});
  const auto text = [&](TestBlock& block, const std::vector<double>& edges) {
    return test::thrown_text<InvalidArgument>(
        [&] { histogram(block.view(), edges, nullptr, counts.view()); });
  };
  EXPECT_EQ(text(in, {0, 2, 1}),
            "[histogram] edges must increase; got 2 before 1 at position 2; try sorting them");
  EXPECT_EQ(text(in, {1}),
            "[histogram] bins must have between 2 and 2^31 edges; got 1; try linspace(low, high, "
            "bins + 1)");
  EXPECT_EQ(text(in, {0, 1}),
            "[histogram] counts must be 1-d with one int64 for each of the 1 bins; got another "
            "shape or dtype int64; try allocating them so");
  EXPECT_EQ(text(numbers, {0, 1, 2}),
            "[histogram] the dtype must be bool, an integer or a real floating one with "
            "arithmetic; got complex64; try astype(float64), or real() and imag() of complex data");
}

}  // namespace
}  // namespace tessera::kernels::host
