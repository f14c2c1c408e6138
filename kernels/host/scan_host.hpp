#pragma once

#include <cstddef>
#include <cstdint>

#include "core/reduce_op.hpp"
#include "kernels/block_view.hpp"

// Cumulative sums and products along one axis of a block. Owns the running value's type and the
// order in which a lane is added up; how blocks along the axis hand the carry on is the scheduler's
// business.

namespace tessera::kernels::host {

/// Dtype of the running value and of carries: float64, complex128, int64 or uint64, by the kind of
/// the dtype that is written.
DType scan_accumulator_dtype(DType out) noexcept;

struct ScanOptions {
  /// Running values before the block's first elements: shape of the block without the axis, C
  /// order, of the accumulator dtype. Null: 0 or 1.
  const std::byte* carry_in = nullptr;
  /// Where the running values after the last elements go, or null. May be the memory of carry_in.
  std::byte* carry_out = nullptr;
  /// Whether an element's own value is left out of its result (the first result is the carry).
  bool exclusive = false;
};

/// Writes the running values of `in` along `axis`: sums or products, by `op` (kSum, kProd, or
/// kNanSum and kNanProd, where NaN counts as 0 or 1). out.shape == in.shape; `out` is dense in C
/// order; `in` is first converted to out.dtype, as NumPy does, and accumulated in
/// scan_accumulator_dtype(out.dtype). Lanes are added
/// up one element after the other, but where the axis is the innermost one and there are fewer than
/// 8 lanes, 8 segments of 128 elements at a time (not products of floats, which may overflow or
/// vanish within a segment alone). The memories must not overlap.
///
/// \throws InvalidArgument for an axis or shape that does not fit, and for bool and storage-only
/// outputs and other operations.
void scan(core::ReduceOp op, ConstBlockView in, int axis, BlockView out, const ScanOptions& options = {});

/// Writes only what scan() would leave in carry_out: for each lane the total, of the accumulator
/// dtype of `dtype`, to which elements are converted first. \throws InvalidArgument as scan() does.
void scan_totals(core::ReduceOp op, ConstBlockView in, int axis, DType dtype, std::byte* totals);

}  // namespace tessera::kernels::host
