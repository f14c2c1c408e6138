#pragma once

#include <cstddef>
#include <cstdint>

// How a scan is spread over the threads of a device, by the shape of the block alone. Lanes are the
// elements of the other axes in C order. Along the innermost axis, groups of threads take rows tile
// by tile; else a thread takes a lane, one element after the other. Where that is too little work
// at once, lanes are cut into segments: their totals come first, then what lies before each
// segment, then the results.

namespace tessera::kernels::cuda {

/// `ScanWalk` in the text of the kernels.
struct ScanWalk {
  std::int64_t lanes = 1;
  std::int64_t length = 0;
  std::int64_t segment = 1;
  std::int32_t segments = 1;
  std::int32_t members_log = 0;  ///< threads of a group
};

struct ScanPlan {
  bool rows = false;
  ScanWalk walk;
  std::int64_t blocks = 1;  ///< side by side
};

/// `innermost`: whether the elements of a lane are neighbours. `in_order`: whether a lane must be
/// taken one element after the other, as products that may overflow in part.
ScanPlan plan_scan(std::int64_t lanes, std::int64_t length, bool innermost, bool in_order);

/// Most totals of segments that a scan of so many elements leaves in scratch.
std::int64_t max_segment_totals(std::int64_t elements);

}  // namespace tessera::kernels::cuda
