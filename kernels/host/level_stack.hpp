#pragma once

#include <cstring>

#include "kernels/host/reduce_kernels.hpp"

namespace tessera::kernels::host {

/// Combines accumulators that arrive one after the other in pairs of equal weight (a binary
/// counter), in bounded memory: the tree depends on how many came, never on when. Borrows its
/// memory.
class LevelStack {
 public:
  /// Past 2^15 arrivals the top level takes them in one after the other.
  static constexpr int kLevels = 16;

  static std::size_t bytes(const ReduceKernels& kernels, std::int64_t capacity) {
    return level_bytes(kernels, capacity) * kLevels;
  }

  LevelStack() = default;
  LevelStack(const ReduceKernels& kernels, std::byte* memory, std::int64_t capacity)
      : kernels_(&kernels), memory_(memory), capacity_(capacity) {}

  bool empty() const { return occupied_ == 0; }

  void push(const Planes& accumulators, std::int64_t cols) {
    Planes carry = accumulators;
    int l = 0;
    for (; (occupied_ >> l & 1u) != 0; ++l) {
      kernels_->merge(level(l), carry, cols);
      if (l == kLevels - 1) return;
      carry = level(l);
      occupied_ &= ~(1u << l);
    }
    const Planes free = level(l);
    for (std::size_t i = 0; i < kernels_->plane_count; ++i) {
      std::memcpy(free[i], carry[i], kernels_->plane_bytes[i] * static_cast<std::size_t>(cols));
    }
    occupied_ |= 1u << l;
  }

  /// Everything pushed since the last call, combined; valid until the next push.
  Planes take_total(std::int64_t cols) {
    Planes total{};
    bool any = false;
    for (int l = 0; l < kLevels; ++l) {
      if ((occupied_ >> l & 1u) == 0) continue;
      if (any) kernels_->merge(level(l), total, cols);
      total = level(l);
      any = true;
    }
    if (!any) {
      total = level(0);
      kernels_->identity(total, cols);
    }
    occupied_ = 0;
    return total;
  }

 private:
  static std::size_t plane_stride(const ReduceKernels& kernels, std::int64_t capacity,
                                  std::size_t i) {
    return (kernels.plane_bytes[i] * static_cast<std::size_t>(capacity) + 63) / 64 * 64;
  }
  static std::size_t level_bytes(const ReduceKernels& kernels, std::int64_t capacity) {
    std::size_t total = 0;
    for (std::size_t i = 0; i < kernels.plane_count; ++i) {
      total += plane_stride(kernels, capacity, i);
    }
    return total;
  }

  Planes level(int l) const {
    Planes planes{};
    std::byte* at = memory_ + static_cast<std::size_t>(l) * level_bytes(*kernels_, capacity_);
    for (std::size_t i = 0; i < kernels_->plane_count; ++i) {
      planes[i] = at;
      at += plane_stride(*kernels_, capacity_, i);
    }
    return planes;
  }

  const ReduceKernels* kernels_ = nullptr;
  std::byte* memory_ = nullptr;
  std::int64_t capacity_ = 0;
  std::uint32_t occupied_ = 0;
};

}  // namespace tessera::kernels::host
