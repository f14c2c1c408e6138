#pragma once

#include <cstddef>
#include <cstdint>

#include "tessera/dtype.hpp"

// The loops of grouped reductions, chosen at run time for this processor. Private to
// groupby_host.cpp.

namespace tessera::kernels::host {

/// What one walk over the block adds to the accumulators.
enum class GroupPass : std::uint8_t {
  kSum,         // plane 0, in the type of sums
  kMeanSum,     // plane 0, in float64 or complex128
  kProd,        // plane 0
  kMin,         // plane 0
  kMax,         // plane 0
  kCount,       // plane 0: elements that are not NaN
  kDeviations,  // plane 1: squares of distances from plane 0
};

/// Rows x lanes of the block: in[r, l] goes to accumulator [labels[r], l]. Strides in elements.
struct GroupTile {
  const std::byte* in;
  std::byte* planes[2];
  const std::int64_t* labels;
  std::int64_t rows;
  std::int64_t lanes;
  std::int64_t in_row;
  std::int64_t in_lane;
  std::int64_t out_group;
  std::int64_t out_lane;
  bool skip_nan;
};

/// Adds a tile to the accumulators as a pass does. \throws InvalidArgument for dtypes without the
/// pass.
void add_group_tile(GroupPass pass, DType dtype, const GroupTile& tile);

}  // namespace tessera::kernels::host
