#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/reduce_op.hpp"
#include "kernels/block_view.hpp"

// Reductions of a block's elements by labels along one axis. Owns how elements reach the
// accumulators of their groups; the accumulators themselves are those of reductions, merged and
// finished like them.

namespace tessera::kernels::host {

/// Writes the accumulators of `op` for every group: shape of `in` with the axis' extent replaced by
/// `group_count`, C order, planes where accumulator_offset() says. Element i along `axis` belongs
/// to group labels[i]; those labelled -1 are left out; groups without elements get the accumulator
/// of nothing. Elements of a group are added in their order, whatever the strides of `in`.
///
/// Operations: sum, prod, min, max, mean, var, std and their nan versions, and kCountNonzero, which
/// here counts the elements that are not NaN. Variances take the mean first and then the squared
/// deviations from it. \throws InvalidArgument for other operations, an axis that does not exist, a
/// label outside
/// [-1, group_count) and dtypes without the operation.
void groupby_bins(core::ReduceOp op, ConstBlockView in, int axis, const std::int64_t* labels,
                  std::int64_t group_count, std::byte* accumulators);

/// Accumulators of an empty slice for `count` elements.
void clear_accumulators(core::ReduceOp op, DType dtype, std::int64_t count,
                        std::byte* accumulators);

/// Accumulators of some groups: `outer` times groups times `inner` elements, in C order.
template <typename Byte>
struct GroupAccumulators {
  std::int64_t count;
  const std::int64_t* groups;  ///< `count` numbers, ascending; null: first, first + 1, ..
  Byte* data;
  std::int64_t first;
};
/// Adds `part`, which has numbered groups that are all among those of `into`, to it.
void merge_groups(core::ReduceOp op, DType dtype, std::int64_t outer, std::int64_t inner,
                  const GroupAccumulators<std::byte>& into,
                  const GroupAccumulators<const std::byte>& part);

/// Means of real or complex floating values, from accumulators of their sums and the elements of
/// each group: outer x counts.size() x inner values in C order.
void divide_sums(DType dtype, std::int64_t outer, std::int64_t inner,
                 std::span<const std::int64_t> counts, const std::byte* sums, std::byte* out);

}  // namespace tessera::kernels::host
