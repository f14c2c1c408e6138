#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/host/loops.hpp"
#include "kernels/host/simd_targets.hpp"
#include "tessera/error.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/random_host.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_bodies.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {

#include "kernels/host/random_primitives.hpp"

namespace body {
#include "kernels/philox.hpp"
#include "kernels/sampler_bodies.hpp"
}  // namespace body

using Bits = unsigned long long;

// The numbers of elements 2 pair and 2 pair + 1.
template <class T>
struct Two {
  T even, odd;
};

template <class T>
struct Uniform {
  using Value = T;
  double low, width;
  T last;
  explicit Uniform(const RandomSpec& spec)
      : low(spec.a), width(spec.b - spec.a), last(std::numeric_limits<T>::infinity()) {
    if (!(spec.a <= spec.b)) return;
    last = static_cast<T>(spec.b);
    if (spec.a == spec.b || static_cast<double>(last) < spec.b) return;
    last = std::nextafter(last, -std::numeric_limits<T>::infinity());
  }
  Two<T> operator()(Bits, Bits even, Bits odd) const {
    if constexpr (sizeof(T) == 8) {
      return {body::uniform_double(even, low, width, last),
              body::uniform_double(odd, low, width, last)};
    } else {
      return {body::uniform_float(even, low, width, last),
              body::uniform_float(odd, low, width, last)};
    }
  }
};

template <class T>
struct Normal {
  using Value = T;
  double mean, deviation;
  explicit Normal(const RandomSpec& spec) : mean(spec.a), deviation(spec.b) {}
  Two<T> operator()(Bits, Bits even, Bits odd) const {
    const body::NormalPair x = body::normal_pair(even, odd);
    return {static_cast<T>(prim::fma(x.even, deviation, mean)),
            static_cast<T>(prim::fma(x.odd, deviation, mean))};
  }
};

template <class T>
struct Exponential {
  using Value = T;
  double scale;
  explicit Exponential(const RandomSpec& spec) : scale(spec.a) {}
  Two<T> operator()(Bits, Bits even, Bits odd) const {
    return {static_cast<T>(body::exponential(even) * scale),
            static_cast<T>(body::exponential(odd) * scale)};
  }
};

template <class T>
struct Integers {
  using Value = T;
  body::PhiloxKey key;
  Bits low, range, threshold;
  explicit Integers(const RandomSpec& spec)
      : key(body::philox_key(spec.seed, static_cast<unsigned>(spec.distribution))),
        low(static_cast<Bits>(spec.low)),
        range(spec.range),
        threshold(spec.range == 0 ? 0 : (0 - spec.range) % spec.range) {}
  T value(Bits x) const {
    if constexpr (std::is_same_v<T, Bool>) {
      return body::to_bool(low + x != 0);
    } else {
      return static_cast<T>(low + x);
    }
  }
  HWY_NOINLINE T redraw(Bits pair, bool odd) const {
    for (unsigned draw = 1;; ++draw) {
      const body::RandomPair<Bits> bits = body::random_pair(key, pair, draw);
      Bits x = 0;
      if (body::bounded(odd ? bits.odd : bits.even, range, threshold, x)) return value(x);
    }
  }
  Two<T> operator()(Bits pair, Bits even, Bits odd) const {
    Bits x = 0;
    Bits y = 0;
    const bool keep_even = body::bounded(even, range, threshold, x);
    const bool keep_odd = body::bounded(odd, range, threshold, y);
    return {keep_even ? value(x) : redraw(pair, false), keep_odd ? value(y) : redraw(pair, true)};
  }
};

// Random bits are made in blocks that stay in the first-level cache; the samplers are then plain
// loops.
constexpr std::int64_t kPairs = 64;
struct Block {
  alignas(64) Bits pair[kPairs];
  alignas(64) Bits even[kPairs];
  alignas(64) Bits odd[kPairs];
};

HWY_FLATTEN void fill_bits(body::PhiloxKey key, Block& block) {
  using prim::Words;
  for (std::size_t i = 0; i < sizeof(block.pair); i += sizeof(Words)) {
    Words pair;
    std::memcpy(&pair, reinterpret_cast<const char*>(block.pair) + i, sizeof(Words));
    const body::RandomPair<Words> bits = body::random_pair(key, pair, 0);
    std::memcpy(reinterpret_cast<char*>(block.even) + i, &bits.even, sizeof(Words));
    std::memcpy(reinterpret_cast<char*>(block.odd) + i, &bits.odd, sizeof(Words));
  }
}

template <class Sampler>
HWY_FLATTEN void sample_run(const Sampler& sampler, const Block& block,
                            typename Sampler::Value* out) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < kPairs; ++i) {
    const auto both = sampler(block.pair[i], block.even[i], block.odd[i]);
    out[2 * i] = both.even;
    out[2 * i + 1] = both.odd;
  }
}

template <class Sampler>
void fill_run(const RandomSpec& spec, std::int64_t first, void* out, std::int64_t n) {
  using T = typename Sampler::Value;
  const Sampler sampler(spec);
  const body::PhiloxKey key = body::philox_key(spec.seed, static_cast<unsigned>(spec.distribution));
  Block block;
  T* result = static_cast<T*>(out);
  T spare[2 * kPairs];
  std::int64_t skip = first & 1;
  for (Bits pair = static_cast<Bits>(first) >> 1; n > 0; pair += kPairs) {
    for (std::int64_t i = 0; i < kPairs; ++i) block.pair[i] = pair + static_cast<Bits>(i);
    fill_bits(key, block);
    const std::int64_t count = std::min(n, 2 * kPairs - skip);
    if (count == 2 * kPairs) {
      sample_run(sampler, block, result);
    } else {
      sample_run(sampler, block, spare);
      std::copy_n(spare + skip, count, result);
    }
    result += count;
    n -= count;
    skip = 0;
  }
}

template <class Sampler>
HWY_FLATTEN void sample_each(const Sampler& sampler, const Block& block, const std::int64_t* index,
                             typename Sampler::Value* out) {
  for (std::int64_t i = 0; i < kPairs; ++i) {
    const auto both = sampler(block.pair[i], block.even[i], block.odd[i]);
    out[i] = (index[i] & 1) != 0 ? both.odd : both.even;
  }
}

template <class Sampler>
void fill_each(const RandomSpec& spec, const std::int64_t* index, void* out, std::int64_t n) {
  using T = typename Sampler::Value;
  const Sampler sampler(spec);
  const body::PhiloxKey key = body::philox_key(spec.seed, static_cast<unsigned>(spec.distribution));
  Block block;
  std::int64_t element[kPairs] = {};
  T spare[kPairs];
  for (std::int64_t begin = 0; begin < n; begin += kPairs) {
    const std::int64_t count = std::min(n - begin, kPairs);
    // Copied first: the output may overwrite the indices.
    std::copy_n(index + begin, count, element);
    for (std::int64_t i = 0; i < kPairs; ++i) block.pair[i] = static_cast<Bits>(element[i]) >> 1;
    fill_bits(key, block);
    sample_each(sampler, block, element, spare);
    std::copy_n(spare, count, static_cast<T*>(out) + begin);
  }
}

// Draws for a run (index == nullptr) or for given elements.
template <class Sampler>
void fill(const RandomSpec& spec, const std::int64_t* index, std::int64_t first, void* out,
          std::int64_t n) {
  if (index == nullptr) {
    fill_run<Sampler>(spec, first, out, n);
  } else {
    fill_each<Sampler>(spec, index, out, n);
  }
}

template <template <class> class Sampler>
bool fill_floats(const RandomSpec& spec, DType dtype, const std::int64_t* index, std::int64_t first,
                 void* out, std::int64_t n) {
  if (dtype != DType::kFloat64 && dtype != DType::kFloat32) return false;
  if (dtype == DType::kFloat64) {
    fill<Sampler<double>>(spec, index, first, out, n);
  } else {
    fill<Sampler<float>>(spec, index, first, out, n);
  }
  return true;
}

bool fill_integers(const RandomSpec& spec, DType dtype, const std::int64_t* index,
                   std::int64_t first, void* out, std::int64_t n) {
  switch (dtype) {
    case DType::kBool:
      fill<Integers<Bool>>(spec, index, first, out, n);
      return true;
    case DType::kInt8:
    case DType::kUInt8:
      fill<Integers<std::uint8_t>>(spec, index, first, out, n);
      return true;
    case DType::kInt16:
    case DType::kUInt16:
      fill<Integers<std::uint16_t>>(spec, index, first, out, n);
      return true;
    case DType::kInt32:
    case DType::kUInt32:
      fill<Integers<std::uint32_t>>(spec, index, first, out, n);
      return true;
    case DType::kInt64:
    case DType::kUInt64:
      fill<Integers<std::uint64_t>>(spec, index, first, out, n);
      return true;
    default:
      return false;
  }
}

bool fill_any(const RandomSpec& spec, DType dtype, const std::int64_t* index, std::int64_t first,
              void* out, std::int64_t n) {
  switch (spec.distribution) {
    case Distribution::kUniform:
      return fill_floats<Uniform>(spec, dtype, index, first, out, n);
    case Distribution::kNormal:
      return fill_floats<Normal>(spec, dtype, index, first, out, n);
    case Distribution::kExponential:
      return fill_floats<Exponential>(spec, dtype, index, first, out, n);
    case Distribution::kIntegers:
      return fill_integers(spec, dtype, index, first, out, n);
  }
  return false;
}

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {

HWY_EXPORT(fill_any);

void fill_or_throw(const RandomSpec& spec, DType dtype, const std::int64_t* index,
                   std::int64_t first, void* out, std::int64_t n) {
  if (HWY_DYNAMIC_DISPATCH(fill_any)(spec, dtype, index, first, out, n)) return;
  const bool integers = spec.distribution == Distribution::kIntegers;
  throw InvalidArgument(std::string("[random] dtype must hold the numbers drawn; got ") +
                        std::string(name(dtype)) + "; try " + (integers ? "int64" : "float64"));
}

}  // namespace

void fill_random(const RandomSpec& spec, DType dtype, const std::int64_t* index, void* out,
                 std::int64_t n) {
  if (n > 0) fill_or_throw(spec, dtype, index, 0, out, n);
}

void fill_random_run(const RandomSpec& spec, DType dtype, std::int64_t first, void* out,
                     std::int64_t n) {
  fill_or_throw(spec, dtype, nullptr, first, out, n);
}

}  // namespace tessera::kernels::host
#endif
