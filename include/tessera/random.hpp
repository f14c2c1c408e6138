#pragma once

#include <cstdint>
#include <optional>

#include "tessera/array.hpp"

// Random arrays. An element's value follows from the seed, the distribution and the element's index
// alone: chunks, devices and the order of execution never change it.

namespace tessera::random {

/// Fixes the seed from which arrays without one of their own take theirs, in the order of the calls
/// that make them. Programs of several processes must call it with the same number in each. Until
/// it is called, the process draws its seed from the system.
TESSERA_EXPORT void set_seed(std::uint64_t seed);

struct UniformOptions {
  Chunks chunks = {};
  std::optional<std::uint64_t> seed = std::nullopt;
  DType dtype = DType::kFloat64;
  double low = 0.0;
  double high = 1.0;
};
/// Numbers spread evenly over [low, high). dtype float32 or float64.
/// \throws InvalidArgument unless low <= high and both and their distance are finite.
TESSERA_EXPORT Array uniform(const Shape& shape, const UniformOptions& options = {},
                             std::source_location where = std::source_location::current());

struct NormalOptions {
  Chunks chunks = {};
  std::optional<std::uint64_t> seed = std::nullopt;
  DType dtype = DType::kFloat64;
  double loc = 0.0;    ///< mean
  double scale = 1.0;  ///< standard deviation
};
/// Normally distributed numbers. dtype float32 or float64. \throws InvalidArgument unless loc is
/// finite and scale is finite and not negative.
TESSERA_EXPORT Array normal(const Shape& shape, const NormalOptions& options = {},
                            std::source_location where = std::source_location::current());

struct ExponentialOptions {
  Chunks chunks = {};
  std::optional<std::uint64_t> seed = std::nullopt;
  DType dtype = DType::kFloat64;
  double scale = 1.0;  ///< mean
};
/// Exponentially distributed numbers. dtype float32 or float64. \throws InvalidArgument for scale <
/// 0.
TESSERA_EXPORT Array exponential(const Shape& shape, const ExponentialOptions& options = {},
                                 std::source_location where = std::source_location::current());

struct IntegersOptions {
  Chunks chunks = {};
  std::optional<std::uint64_t> seed = std::nullopt;
  DType dtype = DType::kInt64;
};
/// Integers spread evenly over low <= i < high. Any integer dtype.
/// \throws InvalidArgument unless low < high and both ends fit the dtype.
TESSERA_EXPORT Array integers(std::int64_t low, std::int64_t high, const Shape& shape,
                              const IntegersOptions& options = {},
                              std::source_location where = std::source_location::current());

}  // namespace tessera::random
