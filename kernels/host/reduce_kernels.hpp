#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/reduce_op.hpp"

// The folding loops of reductions, one set per (operation, dtype), chosen at run time for this
// processor. A reduction's working state is a row of columns. Data whose kept axis is innermost is
// folded row by row into as many columns as there are elements; a run along a reduced axis is
// folded as rows of `lanes` elements into `lanes` columns, which collapse into one accumulator.
// Both are the same loop. States of rounding sums are flushed every kBlockRows rows into
// accumulators that combine in pairs, so that the error grows with the logarithm of the length.
// These functions own the arithmetic and its order inside a block; they know nothing of shapes,
// tiles or outputs.

namespace tessera::kernels::host {

inline constexpr std::size_t kMaxPlanes = 3;
inline constexpr std::size_t kMaxWork = 4;
inline constexpr std::int64_t kBlockRows = 128;

/// Component planes of accumulators, as accumulator_dtypes() lists them, at the first column.
using Planes = std::array<std::byte*, kMaxPlanes>;
/// Component arrays of the working state, at the first column.
using Work = std::array<std::byte*, kMaxWork>;

/// Rows of values to be folded into the columns of a working state; or of several states, `lanes`
/// columns apart, one for each sequence of elements.
struct FoldArgs {
  Work work{};
  Work other{};  ///< fold_both(): the states of the other reduction
  const std::byte* values = nullptr;
  const std::int64_t* index = nullptr;  ///< arg-reductions only
  std::int64_t pitch = 0;               ///< elements from row to row of values
  std::int64_t index_pitch = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t sequences = 1;
  std::int64_t sequence_pitch = 0;  ///< elements from sequence to sequence of values
  std::int64_t index_sequence_pitch = 0;
  bool first = false;  ///< the first row opens a block
};

struct ReduceKernels {
  std::int64_t lanes = 1;  ///< columns that a run is folded into; a constant of (operation, dtype)
  bool blocked = false;    ///< whether states are flushed every kBlockRows rows
  std::size_t work_count = 0;
  std::array<std::size_t, kMaxWork> work_bytes{};  ///< bytes of a column in each component array
  std::size_t plane_count = 0;
  std::array<std::size_t, kMaxPlanes> plane_bytes{};

  /// Makes `cols` columns empty.
  void (*init)(const Work& work, std::int64_t cols) = nullptr;
  void (*fold)(const FoldArgs& args) = nullptr;
  /// Folds the values into the states of two reductions, this one and `partner` of the same dtype.
  /// Null where there is no such pair.
  void (*fold_both)(const FoldArgs& args) = nullptr;
  core::ReduceOp partner{};
  /// Columns that each hold `rows` elements become accumulators.
  void (*flush)(const Work& work, std::int64_t rows, std::int64_t cols,
                const Planes& out) = nullptr;
  /// Each of `sequences` times `lanes` columns, which hold a run of `count` elements, become one
  /// accumulator.
  void (*collapse)(const Work& work, std::int64_t count, std::int64_t sequences,
                   const Planes& out) = nullptr;
  /// into[c] = into[c] then from[c].
  void (*merge)(const Planes& into, const Planes& from, std::int64_t cols) = nullptr;
  /// Accumulators of nothing.
  void (*identity)(const Planes& out, std::int64_t cols) = nullptr;
};

/// Loops for an operation on elements of `dtype`. \throws InvalidArgument where
/// accumulator_dtypes() does.
ReduceKernels find_reduce_kernels(core::ReduceOp op, DType dtype);

/// The families behind find_reduce_kernels(), one file each.
ReduceKernels find_sum_kernels(core::ReduceOp op, DType dtype);
ReduceKernels find_moment_kernels(core::ReduceOp op, DType dtype);
ReduceKernels find_order_kernels(core::ReduceOp op, DType dtype);
ReduceKernels find_logic_kernels(core::ReduceOp op, DType dtype);

template <std::size_t kCount>
std::array<std::byte*, kCount> advance(std::array<std::byte*, kCount> arrays,
                                       const std::array<std::size_t, kCount>& item_bytes,
                                       std::int64_t items) {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (arrays[i] != nullptr) arrays[i] += static_cast<std::int64_t>(item_bytes[i]) * items;
  }
  return arrays;
}
inline Planes advance(const Planes& planes, const ReduceKernels& kernels, std::int64_t cols) {
  return advance(planes, kernels.plane_bytes, cols);
}
inline Work advance(const Work& work, const ReduceKernels& kernels, std::int64_t cols) {
  return advance(work, kernels.work_bytes, cols);
}

}  // namespace tessera::kernels::host
