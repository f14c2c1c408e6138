#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/host/loops.hpp"
#include "kernels/host/simd_targets.hpp"

#include "hwy/highway.h"

// What the loop tests share: buffers padded as the loops want them, and every SIMD target in turn.

namespace tessera::kernels::host {

inline constexpr std::uint64_t kSeed = 20240229;

/// Runs `check` once for each SIMD target that this processor has.
template <class Check>
void for_each_target(const Check& check) {
  const std::int64_t compiled = HWY_AVX3 | HWY_AVX2 | HWY_SCALAR;
  for (const std::int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR}) {
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target & compiled) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE("target " + std::string(simd_target()));
    check();
    hwy::SetSupportedTargetsForTest(0);
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

/// Elements followed by kLanePadBytes of arbitrary bytes.
template <class T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    if (!values.empty()) std::memcpy(bytes_.data(), values.data(), values.size() * sizeof(T));
  }
  explicit Buffer(std::size_t size) : size_(size), bytes_(size * sizeof(T) + kLanePadBytes) {
    static std::mt19937 generator(kSeed);
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(generator());
  }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  std::vector<T> values() const {
    std::vector<T> result(size_);
    if (size_ != 0) std::memcpy(result.data(), bytes_.data(), size_ * sizeof(T));
    return result;
  }

 private:
  std::size_t size_;
  std::vector<std::byte> bytes_;
};

/// The operation's loop over the given columns; R is the result's element type.
template <class R, class T>
std::vector<R> run(core::ScalarOp op, DType compute, const std::vector<std::vector<T>>& columns) {
  const Loop loop = find_loop(op, compute);
  EXPECT_NE(loop, nullptr) << core::info(op).name << " in " << compute;
  std::vector<Buffer<T>> buffers;
  for (const auto& column : columns) buffers.emplace_back(column);
  std::vector<const void*> args;
  for (const auto& buffer : buffers) args.push_back(buffer.data());
  Buffer<R> out(columns[0].size());
  if (loop != nullptr) loop(args.data(), out.data(), static_cast<std::int64_t>(columns[0].size()));
  return out.values();
}

/// Random bit patterns.
template <class T>
std::vector<T> any_values(std::size_t count, std::mt19937_64& generator) {
  std::vector<T> values(count);
  for (T& value : values) {
    const std::uint64_t bits[2] = {generator(), generator()};
    static_assert(sizeof(T) <= sizeof(bits));
    std::memcpy(&value, bits, sizeof(T));
  }
  return values;
}

/// anchor + step, wrapped.
template <class T>
T stepped(T anchor, int step) {
  return static_cast<T>(static_cast<std::uint64_t>(anchor) + static_cast<std::uint64_t>(step));
}

template <class T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

}  // namespace tessera::kernels::host
