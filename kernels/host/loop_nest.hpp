#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>

#include "tessera/chunk_grid.hpp"

namespace tessera::kernels::host {

/// The axes over which K operands are walked together, merged where all operands allow it, so that
/// kernels see the fewest and longest loops. Offsets are in elements.
template <int K>
class LoopNest {
 public:
  using Offsets = std::array<std::int64_t, K>;

  /// Appends an axis inside those added before; extents of 1 vanish.
  void add_axis(std::int64_t extent, const Offsets& strides) noexcept {
    if (extent == 0) empty_ = true;
    if (extent == 1) return;
    axes_[static_cast<std::size_t>(rank_++)] = {extent, strides};
  }

  /// Orders axes by the stride of an operand, largest first; equal ones keep their order.
  void sort_by(int operand) noexcept {
    for (int i = 1; i < rank_; ++i) {
      for (int j = i; j > 0 && magnitude(j - 1, operand) < magnitude(j, operand); --j) {
        std::swap(at(j - 1), at(j));
      }
    }
  }

  /// Makes one axis of neighbours that every operand steps through evenly.
  void merge() noexcept {
    int kept = 0;
    for (int i = 1; i < rank_; ++i) {
      bool even = true;
      for (int k = 0; k < K; ++k) even &= stride(k, kept) == stride(k, i) * extent(i);
      if (even) {
        at(kept) = {extent(kept) * extent(i), at(i).strides};
      } else {
        at(++kept) = at(i);
      }
    }
    if (rank_ > 0) rank_ = kept + 1;
  }

  void move_axis(int from, int to) noexcept {
    for (; from < to; ++from) std::swap(at(from), at(from + 1));
    for (; from > to; --from) std::swap(at(from), at(from - 1));
  }
  void drop_last_axis() noexcept { --rank_; }
  void set_stride(int operand, int axis, std::int64_t value) noexcept {
    at(axis).strides[static_cast<std::size_t>(operand)] = value;
  }

  bool empty() const noexcept { return empty_; }
  int rank() const noexcept { return rank_; }
  std::int64_t extent(int axis) const noexcept { return at(axis).extent; }
  std::int64_t stride(int operand, int axis) const noexcept {
    return at(axis).strides[static_cast<std::size_t>(operand)];
  }

  /// Calls f(offsets) in C order for every point of all axes but the last `inner` ones.
  template <typename F>
  void for_each(int inner, F&& f) const {
    if (empty_) return;
    const int walked = rank_ - inner;
    std::array<std::int64_t, kMaxRank> index{};
    Offsets offsets{};
    while (true) {
      f(std::as_const(offsets));
      int axis = walked - 1;
      for (; axis >= 0; --axis) {
        const Axis& a = at(axis);
        std::int64_t& i = index[static_cast<std::size_t>(axis)];
        if (++i < a.extent) {
          for (std::size_t k = 0; k < K; ++k) offsets[k] += a.strides[k];
          break;
        }
        i = 0;
        for (std::size_t k = 0; k < K; ++k) offsets[k] -= (a.extent - 1) * a.strides[k];
      }
      if (axis < 0) return;
    }
  }

 private:
  struct Axis {
    std::int64_t extent;
    Offsets strides;
  };

  Axis& at(int axis) noexcept { return axes_[static_cast<std::size_t>(axis)]; }
  const Axis& at(int axis) const noexcept { return axes_[static_cast<std::size_t>(axis)]; }
  std::int64_t magnitude(int axis, int operand) const noexcept {
    return std::abs(stride(operand, axis));
  }

  std::array<Axis, kMaxRank> axes_;
  int rank_ = 0;
  bool empty_ = false;
};

}  // namespace tessera::kernels::host
