#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "tessera/tessera.hpp"

// The error of sums of a thousand million float32 values against exact sums, and the bound that
// include/tessera/reduction.hpp states. Values are generated and never held together.

namespace tessera {
namespace {

constexpr std::int64_t kCount = 1'000'000'000;
constexpr std::int64_t kChunk = 1'300'000;  // a ragged last one

double half_ulp(double x) {
  const float nearest = static_cast<float>(std::abs(x));
  return 0.5 * (static_cast<double>(std::nextafter(nearest, INFINITY)) - nearest);
}

// Half an ulp of the result for its rounding, and what the float64 sums may lose.
void expect_within_bound(float got, double exact, double magnitudes) {
  const double error = std::abs(static_cast<double>(got) - exact);
  const double bound = half_ulp(exact) + std::ldexp(magnitudes, -44);
  std::cout << "sum " << got << ", error " << error << ", bound " << bound << "\n";
  EXPECT_LE(error, bound);
}

TEST(Float32Sum, OfAConstant) {
  const Array x = full({kCount}, 0.1f, {.chunks = Chunks{kChunk}, .dtype = float32});
  // The significand of 0.1f has 24 bits and the count 21 beside its powers of two.
  const double exact = static_cast<double>(0.1f) * 1e9;
  ASSERT_EQ(std::fma(static_cast<double>(0.1f), 1e9, -exact), 0.0);
  expect_within_bound(sum(x).item<float>(), exact, exact);
}

TEST(Float32Sum, OfRandomNumbersOfBothSigns) {
  // Multiples of 2^-23, whose sum in int64 is exact.
  const Array x = random::uniform(
      {kCount}, {.chunks = {kChunk}, .seed = 11, .dtype = float32, .low = -1.0, .high = 1.0});
  const Array exact_of_blocks = map_blocks(
      [](std::span<const InputBlock> in, const OutputBlock& out) {
        std::int64_t total = 0;
        std::int64_t magnitudes = 0;
        for (std::int64_t i = 0; i < in[0].shape[0]; ++i) {
          const float scaled = in[0].as<float>()[i] * 0x1p23f;
          const auto units = static_cast<std::int64_t>(scaled);
          total += units;
          magnitudes += std::abs(units);
        }
        out.as<std::int64_t>()[0] = total;
        out.as<std::int64_t>()[1] = magnitudes;
      },
      {x},
      {.dtype = int64,
       .shape = Shape{2 * x.chunks().block_count()},
       .chunks = Chunks{std::int64_t{2}}});
  const std::vector<HostArray> results =
      compute({sum(x), sum(x, {.dtype = float64}), exact_of_blocks});
  std::int64_t total = 0;
  std::int64_t magnitudes = 0;
  const std::span<const std::int64_t> blocks = results[2].span<std::int64_t>();
  for (std::size_t i = 0; i < blocks.size(); i += 2) {
    total += blocks[i];
    magnitudes += blocks[i + 1];
  }
  const double exact = std::ldexp(static_cast<double>(total), -23);
  const double all = std::ldexp(static_cast<double>(magnitudes), -23);
  expect_within_bound(results[0].item<float>(), exact, all);
  const double error = std::abs(results[1].item<double>() - exact);
  std::cout << "in float64: error " << error << ", bound " << std::ldexp(all, -44) << "\n";
  EXPECT_LE(error, std::ldexp(all, -44));
}

}  // namespace
}  // namespace tessera
