#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/block_view.hpp"
#include "kernels/host/simd_targets.hpp"
#include "kernels/host/visit_dtype.hpp"
//
#include "hwy/highway.h"

// What the tests of block kernels share: blocks of random layout, walks over indices, every SIMD
// target.

namespace tessera::kernels::test {

using Index = std::vector<std::int64_t>;
using Random = std::mt19937_64;

inline constexpr std::uint64_t kBlockSeed = 20240611;

/// Runs `check` once for each SIMD target that this processor has.
template <typename Check>
void on_each_target(const Check& check) {
  const std::int64_t supported = hwy::SupportedTargets();
  for (const std::int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR}) {
    if (target != HWY_SCALAR && (supported & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(std::string("target ") + hwy::TargetName(target));
    check();
    hwy::SetSupportedTargetsForTest(0);
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

inline std::int64_t uniform(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

/// Calls f(index) for every index of a shape, in C order.
template <typename F>
void for_each_index(std::span<const std::int64_t> shape, F&& f) {
  Index index(shape.size(), 0);
  if (extent_product(shape) == 0) return;
  while (true) {
    f(std::as_const(index));
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

/// Memory of a block with any strides; everything outside the block holds a pattern that tests may
/// check.
class TestBlock {
 public:
  /// Dense, C order.
  TestBlock(DType dtype, Index shape) : dtype_(dtype), shape_(std::move(shape)) {
    strides_.resize(shape_.size());
    std::int64_t stride = 1;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      strides_[i] = stride;
      stride *= std::max<std::int64_t>(shape_[i], 1);
    }
    allocate(stride);
  }
  /// Axes in memory in random order, with gaps and some of them flipped, or broadcast if allowed.
  TestBlock(DType dtype, Index shape, Random& random, bool broadcast)
      : dtype_(dtype), shape_(std::move(shape)) {
    std::vector<std::size_t> order(shape_.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    strides_.resize(shape_.size());
    std::int64_t stride = uniform(random, 0, 3) == 0 ? 2 : 1;
    for (const std::size_t axis : order) {
      if (broadcast && uniform(random, 0, 5) == 0) continue;
      strides_[axis] = uniform(random, 0, 3) == 0 ? -stride : stride;
      const std::int64_t gap = uniform(random, 0, 2) == 0 ? uniform(random, 0, 3) : 0;
      stride = stride * std::max<std::int64_t>(shape_[axis], 1) + gap;
    }
    for (std::size_t i = 0; i < shape_.size(); ++i) {
      if (strides_[i] < 0) first_ -= strides_[i] * (shape_[i] - 1);
    }
    first_ = std::max<std::int64_t>(first_, 0);
    allocate(stride + first_);
  }

  DType dtype() const { return dtype_; }
  const Index& shape() const { return shape_; }
  std::int64_t count() const { return extent_product(shape_); }
  BlockView view() { return {memory_.data() + offset(0), dtype_, shape_, strides_}; }
  ConstBlockView view() const { return {memory_.data() + offset(0), dtype_, shape_, strides_}; }
  std::byte* data() { return memory_.data() + offset(0); }

  std::byte* at(const Index& index) {
    std::int64_t element = 0;
    for (std::size_t i = 0; i < index.size(); ++i) element += index[i] * strides_[i];
    return memory_.data() + offset(element);
  }
  template <typename T>
  T get(const Index& index) const {
    T value;
    std::memcpy(&value, const_cast<TestBlock*>(this)->at(index), sizeof(T));
    return value;
  }
  template <typename T>
  void set(const Index& index, T value) {
    std::memcpy(at(index), &value, sizeof(T));
  }
  /// Sets every element to make(index).
  template <typename T, typename F>
  void fill(F&& make) {
    for_each_index(shape_, [&](const Index& index) { set<T>(index, make(index)); });
  }
  /// Small numbers of the dtype: exact sums, many ties.
  void fill_small(Random& random) {
    host::visit_dtype(dtype_, "test", [&]<typename T>(std::type_identity<T>) {
      fill<T>([&](const Index&) { return small<T>(random); });
    });
  }
  template <typename T>
  static T small(Random& random) {
    if constexpr (host::kIsComplex<T>) {
      using Real = typename T::value_type;
      return {small<Real>(random), small<Real>(random)};
    } else if constexpr (std::is_same_v<T, bool>) {
      return uniform(random, 0, 1) == 1;
    } else {
      return static_cast<T>(uniform(random, std::is_signed_v<T> ? -9 : 0, 9));
    }
  }
  /// Normal draws, of which one in `nan_every` is NaN (0: none).
  template <typename T>
  void fill_normal(Random& random, std::int64_t nan_every = 0) {
    fill<T>([&](const Index&) { return normal<T>(random, nan_every); });
  }
  template <typename T>
  static T normal(Random& random, std::int64_t nan_every) {
    if constexpr (host::kIsComplex<T>) {
      using Real = typename T::value_type;
      return {normal<Real>(random, nan_every), normal<Real>(random, nan_every)};
    } else {
      if (nan_every > 0 && uniform(random, 0, nan_every - 1) == 0) {
        return std::numeric_limits<T>::quiet_NaN();
      }
      return static_cast<T>(std::normal_distribution<double>()(random));
    }
  }

  /// The elements in C order.
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> result;
    for_each_index(shape_, [&](const Index& index) { result.push_back(get<T>(index)); });
    return result;
  }
  const std::vector<std::byte>& memory() const { return memory_; }

 private:
  std::size_t offset(std::int64_t element) const {
    return kAlignment - shift_ + static_cast<std::size_t>(first_ + element) * itemsize(dtype_);
  }
  void allocate(std::int64_t elements) {
    memory_.assign(static_cast<std::size_t>(elements) * itemsize(dtype_) + 2 * kAlignment,
                   std::byte{0xa5});
    shift_ = reinterpret_cast<std::uintptr_t>(memory_.data()) % kAlignment;
  }

  static constexpr std::size_t kAlignment = 64;
  DType dtype_;
  Index shape_;
  Index strides_;
  std::int64_t first_ = 0;
  std::size_t shift_ = 0;
  std::vector<std::byte> memory_;
};

/// 64-byte aligned scratch of exactly so many bytes.
class TestScratch {
 public:
  explicit TestScratch(std::size_t bytes)
      : memory_(bytes + 64),
        begin_((64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64),
        bytes_(bytes) {}
  std::span<std::byte> span() { return {memory_.data() + begin_, bytes_}; }

 private:
  std::vector<std::byte> memory_;
  std::size_t begin_;
  std::size_t bytes_;
};

/// Text of the exception of type E that f throws, or "" with a failure.
template <typename E, typename F>
std::string thrown_text(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace tessera::kernels::test
