#pragma once

#include <cstddef>
#include <cstdint>

#include "tessera/dtype.hpp"

// The loops of scans, chosen at run time for this processor. Private to scan_host.cpp.

namespace tessera::kernels::host {

enum class ScanOp : std::uint8_t { kSum, kProd, kNanSum, kNanProd };

enum class ScanLayout : std::uint8_t {
  kRows,      // lanes are neighbours in memory: one vector add per row
  kLanes,     // elements of a lane are neighbours: as many lanes side by side as a vector holds
  kSegments,  // too few lanes for that: segments of a lane side by side
};

// Fixed for all targets, so that the bits of a single lane are those of the program, not of the
// vector.
constexpr std::int64_t kSegments = 8;
constexpr std::int64_t kSegmentLength = 128;

/// Lanes of the dtype that is written, and the running value of each.
struct ScanTile {
  const std::byte* in;
  std::byte* out;
  std::byte* state;
  std::int64_t lanes;
  std::int64_t length;
  std::int64_t in_stride;  ///< elements from row to row (kRows) or lane to lane
  std::int64_t out_stride;
  bool exclusive;
};

/// Scans a tile of `dtype` and leaves its state behind. \throws InvalidArgument for storage-only
/// dtypes.
void scan_one_tile(ScanOp op, DType dtype, ScanLayout layout, const ScanTile& tile);

}  // namespace tessera::kernels::host
