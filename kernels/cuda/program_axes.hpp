#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/program_fields.hpp"
#include "kernels/cuda/program_source.hpp"

// The iteration space of one launch: the axes of a call, ordered by the first store's memory and
// merged where every operand steps evenly from one into the next.

namespace tessera::kernels::cuda {

class MapSpace {
 public:
  /// Operands are numbered as in `fields`: loads, indices, stores.
  MapSpace(const ProgramFields& fields, const SourceArgs& args);

  bool empty() const noexcept { return empty_; }
  int rank() const noexcept { return static_cast<int>(axes_.size()); }  ///< at least 1
  std::int64_t extent(int axis) const noexcept { return at(axis).extent; }
  std::int64_t stride(int axis, std::size_t operand) const noexcept {
    return at(axis).strides[operand];
  }
  std::span<const std::int64_t> strides(int axis) const noexcept { return at(axis).strides; }

  std::size_t loads() const noexcept { return loads_; }
  std::size_t indices() const noexcept { return indices_; }
  std::size_t stores() const noexcept { return stores_; }
  std::size_t index(std::size_t i) const noexcept { return loads_ + i; }
  std::size_t store(std::size_t i) const noexcept { return loads_ + indices_ + i; }

  /// Makes `axis` the outermost one.
  void move_out(int axis);
  /// Limits the outermost axis to `extent` elements.
  void set_outer_extent(std::int64_t extent) noexcept { axes_.front().extent = extent; }

 private:
  struct Axis {
    std::int64_t extent;
    std::vector<std::int64_t> strides;
  };
  const Axis& at(int axis) const noexcept { return axes_[static_cast<std::size_t>(axis)]; }
  void add_axes(const ProgramFields& fields, const SourceArgs& args);
  void sort_by_store();
  void merge();

  std::vector<Axis> axes_;  ///< outermost first
  std::size_t loads_;
  std::size_t indices_;
  std::size_t stores_;
  bool empty_ = false;
};

}  // namespace tessera::kernels::cuda
