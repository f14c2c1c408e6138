#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/loop_nest.hpp"
#include "kernels/host/scratch_layout.hpp"

// Lanes of a block along one axis, brought one after the other into dense memory. Private to the
// sorting kernels.

namespace tessera::kernels::host {

/// Neighbouring lanes that are packed together, so that every cache line is read once.
inline std::int64_t packed_lane_count(DType dtype, std::span<const std::int64_t> shape, int axis) {
  std::int64_t lanes = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (static_cast<int>(i) != axis) lanes *= shape[i];
  }
  const auto per_line = static_cast<std::int64_t>(64 / itemsize(dtype));
  return std::clamp<std::int64_t>(lanes, 1, per_line);
}

/// Some evenly spaced lanes of a view.
struct LaneGroup {
  std::byte* data;
  DType dtype;
  std::int64_t length;
  std::int64_t lane_stride;
  std::int64_t step;

  std::byte* lane(std::int64_t i) const noexcept {
    return data + i * lane_stride * static_cast<std::int64_t>(itemsize(dtype));
  }
  bool contiguous() const noexcept { return step == 1 || length <= 1; }
  LaneGroup dense_in(std::byte* memory) const noexcept {
    return {memory, dtype, length, length, 1};
  }
};

inline void copy_lanes(const LaneGroup& to, const LaneGroup& from, std::int64_t count) {
  const std::array<std::int64_t, 2> shape{count, from.length};
  const std::array<std::int64_t, 2> to_strides{to.lane_stride, to.step};
  const std::array<std::int64_t, 2> from_strides{from.lane_stride, from.step};
  copy_region({to.data, to.dtype, shape, to_strides}, {from.data, from.dtype, shape, from_strides});
}

/// Walks the lanes of operands whose shapes agree but for the axis. Lanes that are not contiguous
/// go through packed memory, a cache line's worth of neighbours at a time.
template <std::size_t kOperands>
class LaneWalk {
 public:
  struct Operand {
    ConstBlockView view;
    std::byte* packed = nullptr;  ///< scratch for packed_lane_count() lanes; null: never packed
    bool written = false;         ///< whether lanes are copied back instead of in
  };

  LaneWalk(const std::array<Operand, kOperands>& operands, int axis)
      : operands_(operands),
        axis_(static_cast<std::size_t>(axis)),
        most_(packed_lane_count(operands[0].view.dtype, operands[0].view.shape, axis)) {
    for (std::size_t i = 0; i < operands[0].view.shape.size(); ++i) {
      if (i == axis_) continue;
      std::array<std::int64_t, kOperands> strides;
      for (std::size_t k = 0; k < kOperands; ++k) strides[k] = operands[k].view.strides[i];
      nest_.add_axis(operands[0].view.shape[i], strides);
    }
    nest_.merge();
  }

  /// Calls f({dense lane of each operand}) for every lane.
  template <typename F>
  void for_each(F&& f) const {
    const int last = nest_.rank() - 1;
    const std::int64_t run = last < 0 ? 1 : nest_.extent(last);
    nest_.for_each(1, [&](const std::array<std::int64_t, kOperands>& at) {
      for (std::int64_t lane = 0; lane < run; lane += most_) {
        walk_group(at, lane, std::min(most_, run - lane), f);
      }
    });
  }

 private:
  template <typename F>
  void walk_group(const std::array<std::int64_t, kOperands>& at, std::int64_t first,
                  std::int64_t count, F&& f) const {
    std::array<LaneGroup, kOperands> stored;
    std::array<LaneGroup, kOperands> dense;
    std::array<bool, kOperands> packed;
    for (std::size_t k = 0; k < kOperands; ++k) {
      stored[k] = group(k, at[k], first);
      packed[k] = !stored[k].contiguous() && operands_[k].packed != nullptr;
      dense[k] = packed[k] ? stored[k].dense_in(operands_[k].packed) : stored[k];
      if (packed[k] && !operands_[k].written) copy_lanes(dense[k], stored[k], count);
    }
    for (std::int64_t lane = 0; lane < count; ++lane) {
      std::array<std::byte*, kOperands> lanes;
      for (std::size_t k = 0; k < kOperands; ++k) lanes[k] = dense[k].lane(lane);
      f(std::as_const(lanes));
    }
    for (std::size_t k = 0; k < kOperands; ++k) {
      if (packed[k] && operands_[k].written) copy_lanes(stored[k], dense[k], count);
    }
  }

  LaneGroup group(std::size_t k, std::int64_t at, std::int64_t first) const noexcept {
    const ConstBlockView& view = operands_[k].view;
    const int last = nest_.rank() - 1;
    const std::int64_t stride = last < 0 ? 0 : nest_.stride(static_cast<int>(k), last);
    // Lanes of operands that are only read are handed out as const by f's reading of them.
    auto* data = const_cast<std::byte*>(view.data);
    return {data + (at + first * stride) * static_cast<std::int64_t>(itemsize(view.dtype)),
            view.dtype, view.shape[axis_], stride, view.strides[axis_]};
  }

  std::array<Operand, kOperands> operands_;
  std::size_t axis_;
  std::int64_t most_;
  LoopNest<static_cast<int>(kOperands)> nest_;
};

}  // namespace tessera::kernels::host
