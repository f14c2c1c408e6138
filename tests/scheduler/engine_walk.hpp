#pragma once

#include <functional>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "engine_reference.hpp"
#include "tessera/tessera.hpp"

namespace tessera::testing {

/// The same value as an expression of the engine and as eager numbers.
struct Pair {
  Array array;
  Reference reference;
};

/// A random expression grown step by step from random leaves: each step adds one value made of
/// earlier ones.
class Walk {
 public:
  /// Leaves only; the same seed gives the same walk.
  explicit Walk(std::uint64_t seed);
  /// One more value, if the drawn operation can be applied to what there is.
  bool step();

  const std::vector<Pair>& pool() const { return pool_; }
  bool persisted() const { return persisted_; }
  /// The steps so far, one line each.
  std::string log() const { return log_.str(); }

  /// A number from 0 to `count` - 1.
  std::int64_t pick(std::int64_t count) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(count));
  }
  bool coin(int one_in) { return pick(one_in) == 0; }
  const Pair& any() {
    return pool_[static_cast<std::size_t>(pick(static_cast<std::int64_t>(pool_.size())))];
  }
  /// A random cut of the shape: equal or ragged chunks, or one.
  Chunks chunks(const Shape& shape);
  /// Some axes of `rank`, perhaps none or all, as flags.
  std::vector<bool> some_axes(std::size_t rank);
  void set_persisted() { persisted_ = true; }

 private:
  Pair leaf();
  bool usable(const Reference& reference) const;

  std::mt19937_64 random_;
  std::vector<Pair> pool_;
  std::ostringstream log_;
  bool persisted_ = false;
};

/// One kind of step; nullopt when the operands drawn do not suit it.
using Step = std::optional<Pair> (*)(Walk&);
struct NamedStep {
  const char* name;
  Step step;
};
const std::vector<NamedStep>& elementwise_steps();
const std::vector<NamedStep>& shape_steps();
const std::vector<NamedStep>& reduction_steps();
const std::vector<NamedStep>& block_steps();

}  // namespace tessera::testing
