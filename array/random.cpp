#include "tessera/random.hpp"

#include <cmath>
#include <mutex>
#include <random>

#include "array/node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "core/job.hpp"

namespace tessera::random {
namespace {

using array::refuse;
using core::Distribution;

// Seeds of arrays that were given none: a mix of the process's seed and a call counter.
class SeedSequence {
 public:
  void restart(std::uint64_t seed) {
    const std::lock_guard lock(mutex_);
    seed_ = seed;
    calls_ = 0;
  }
  std::uint64_t next() {
    const std::lock_guard lock(mutex_);
    if (!seed_) seed_ = core::shared_seed();
    if (!seed_) {
      std::random_device device;
      seed_ = std::uint64_t{device()} << 32 | device();
    }
    return mix(*seed_ + mix(++calls_));
  }

 private:
  // The finisher of splitmix64 (Steele, Lea and Flood 2014).
  static std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  std::mutex mutex_;
  std::optional<std::uint64_t> seed_;
  std::uint64_t calls_ = 0;
};

SeedSequence& sequence() {
  static SeedSequence instance;
  return instance;
}

Array draw(const char* name, const Shape& shape, const Chunks& chunks,
           std::optional<std::uint64_t> seed, DType dtype, core::RandomSpec spec,
           const std::source_location& where) {
  ChunkGrid grid = chunks.resolve(shape, dtype, name);
  spec.seed = seed ? *seed : sequence().next();
  return array::make_array(name, array::Random{spec}, {}, dtype, std::move(grid), where);
}

void check_floating(const char* name, DType dtype) {
  if (dtype == DType::kFloat32 || dtype == DType::kFloat64) return;
  refuse(name, "the dtype must be float32 or float64; got ", dtype, "; try astype of the result");
}

void check_scale(const char* name, double scale) {
  if (scale >= 0.0 && std::isfinite(scale)) return;
  refuse(name, "scale must be a finite number >= 0; got ", scale);
}

}  // namespace

void set_seed(std::uint64_t seed) { sequence().restart(seed); }

Array uniform(const Shape& shape, const UniformOptions& options, std::source_location where) {
  check_floating("uniform", options.dtype);
  if (!(options.low <= options.high) || !std::isfinite(options.low) ||
      !std::isfinite(options.high)) {
    refuse("uniform", "bounds must be finite with low <= high; got low ", options.low, " and high ",
           options.high);
  }
  if (!std::isfinite(options.high - options.low)) {
    refuse("uniform", "the distance between the bounds must be finite; got low ", options.low,
           " and high ", options.high, "; try a multiple of a narrower range");
  }
  const core::RandomSpec spec{
      .distribution = Distribution::kUniform, .a = options.low, .b = options.high};
  return draw("uniform", shape, options.chunks, options.seed, options.dtype, spec, where);
}

Array normal(const Shape& shape, const NormalOptions& options, std::source_location where) {
  check_floating("normal", options.dtype);
  if (!std::isfinite(options.loc)) refuse("normal", "loc must be finite; got ", options.loc);
  check_scale("normal", options.scale);
  const core::RandomSpec spec{
      .distribution = Distribution::kNormal, .a = options.loc, .b = options.scale};
  return draw("normal", shape, options.chunks, options.seed, options.dtype, spec, where);
}

Array exponential(const Shape& shape, const ExponentialOptions& options,
                  std::source_location where) {
  check_floating("exponential", options.dtype);
  check_scale("exponential", options.scale);
  const core::RandomSpec spec{.distribution = Distribution::kExponential, .a = options.scale};
  return draw("exponential", shape, options.chunks, options.seed, options.dtype, spec, where);
}

Array integers(std::int64_t low, std::int64_t high, const Shape& shape,
               const IntegersOptions& options, std::source_location where) {
  if (!is_integer(options.dtype)) {
    refuse("integers", "the dtype must be an integer dtype; got ", options.dtype,
           "; try uniform()");
  }
  if (low >= high) refuse("integers", "low must lie below high; got low ", low, " and high ", high);
  if (!array::fits(low, options.dtype) || !array::fits(high - 1, options.dtype)) {
    refuse("integers", "the range must fit the dtype; got low ", low, " and high ", high, " for ",
           options.dtype, "; try a wider dtype");
  }
  core::RandomSpec spec{.distribution = Distribution::kIntegers};
  spec.low = low;
  spec.range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  return draw("integers", shape, options.chunks, options.seed, options.dtype, spec, where);
}

}  // namespace tessera::random
