#pragma once

#include <cstdint>

namespace tessera::core {

enum class Distribution : std::uint8_t { kUniform, kNormal, kExponential, kIntegers };

/// Parameters of a draw. Floats: uniform in [a, b), normal with mean a and deviation b, exponential with
/// scale a (b unused). Integers: in [low, low + range), range 0 meaning the full 2^64.
struct RandomSpec {
  Distribution distribution = Distribution::kUniform;
  std::uint64_t seed = 0;
  double a = 0.0;
  double b = 1.0;
  std::int64_t low = 0;
  std::uint64_t range = 0;
  bool operator==(const RandomSpec&) const = default;
};

}  // namespace tessera::core
