#include "engine_walk.hpp"

#include <cmath>
#include <limits>

namespace tessera::testing {

namespace {

constexpr DType kDTypes[] = {DType::kFloat64, DType::kFloat64,   DType::kFloat32, DType::kInt64,
                             DType::kInt16,   DType::kUInt8,     DType::kUInt32,  DType::kComplex64,
                             DType::kBool,    DType::kComplex128};

std::vector<NamedStep> all_steps() {
  std::vector<NamedStep> out;
  for (const auto* steps : {&elementwise_steps(), &elementwise_steps(), &shape_steps(),
                            &reduction_steps(), &block_steps()}) {
    out.insert(out.end(), steps->begin(), steps->end());
  }
  return out;
}

}  // namespace

Walk::Walk(std::uint64_t seed) : random_(seed) {
  const std::int64_t leaves = 2 + pick(2);
  for (std::int64_t i = 0; i < leaves; ++i) {
    pool_.push_back(leaf());
    log_ << "  " << i << ": leaf " << pool_.back().array << "\n";
  }
}

Chunks Walk::chunks(const Shape& shape) {
  std::vector<std::vector<std::int64_t>> cuts;
  for (const std::int64_t extent : shape) {
    std::vector<std::int64_t> cut;
    std::int64_t left = extent;
    const std::int64_t most = 1 + pick(extent + 1);
    const bool ragged = coin(3);
    while (left > 0) {
      cut.push_back(std::min(left, ragged ? 1 + pick(most) : most));
      left -= cut.back();
    }
    if (cut.empty()) cut.push_back(0);
    cuts.push_back(std::move(cut));
  }
  return cuts;
}

std::vector<bool> Walk::some_axes(std::size_t rank) {
  std::vector<bool> out(rank);
  for (std::size_t d = 0; d < rank; ++d) out[d] = coin(2);
  return out;
}

Pair Walk::leaf() {
  Shape shape;
  const std::int64_t rank = pick(5);
  const std::int64_t longest = rank > 2 ? 6 : 15;
  for (std::int64_t d = 0; d < rank; ++d)
    shape.push_back(coin(12) ? 0 : coin(6) ? 1 : 1 + pick(longest));
  if (rank == 2 && coin(3)) shape[1] = shape[0];
  const DType dtype = kDTypes[pick(std::size(kDTypes))];
  const bool wild = is_floating(dtype) && coin(5);
  const bool sign = kind(dtype) != DTypeKind::kUnsignedInteger;
  const auto part = [&]() -> long double {
    const std::int64_t n = pick(65);
    const auto value = static_cast<long double>(sign ? n - 32 : n);
    return is_floating(dtype) || is_complex(dtype) ? value / 8 : value;
  };
  Reference reference = build(shape, dtype, {}, [&](const Place&) -> Number {
    if (dtype == DType::kBool) return Number(static_cast<long double>(pick(2)));
    if (wild && coin(8)) {
      if (coin(3)) return Number(coin(2) ? -HUGE_VALL : HUGE_VALL);
      return Number(std::numeric_limits<long double>::quiet_NaN());
    }
    const long double real = part();
    return {real, is_complex(dtype) ? part() : 0.0L};
  });
  return {to_array(reference, chunks(shape)), reference};
}

// Left out are values whose rounding the reference does not follow, and arrays too large for a fast
// test.
bool Walk::usable(const Reference& reference) const {
  if (reference.values.size() > 3000 || reference.shape.size() > 5) return false;
  if (reference.scale > 1e9L) return false;
  for (const Number& x : reference.values) {
    if (is_complex(reference.dtype) && is_wild(x)) return false;
  }
  return true;
}

bool Walk::step() {
  static const std::vector<NamedStep> steps = all_steps();
  const NamedStep& chosen =
      steps[static_cast<std::size_t>(pick(static_cast<std::int64_t>(steps.size())))];
  std::optional<Pair> made = chosen.step(*this);
  if (!made || !usable(made->reference)) return false;
  log_ << "  " << pool_.size() << ": " << chosen.name << " " << made->array << "\n";
  pool_.push_back(std::move(*made));
  return true;
}

}  // namespace tessera::testing
