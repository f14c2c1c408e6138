#pragma once

#include <cstdint>
#include <string>

#include "core/reduce_op.hpp"
#include "tessera/dtype.hpp"

// CUDA C++ of grouped reductions, over the monoids of reductions (reduce_bodies.hpp). Each takes
// one struct, whose twin stands beside its launch.

namespace tessera::kernels::cuda {

/// fold_groups: accumulators of `op` for every group of a block.
std::string groupby_source(core::ReduceOp op, DType dtype);

/// What becomes of a merged accumulator.
enum class GroupbyEnd : std::uint8_t { kStored, kFinished, kDivided };
/// merge_groups_of_blocks: what several blocks have of each group, of `element` values.
std::string groupby_merge_source(core::ReduceOp op, DType element, DType result, GroupbyEnd end);

}  // namespace tessera::kernels::cuda
