#pragma once

#include <cstdint>
#include <span>
#include <vector>

// How a reduction is spread over the threads of a device: a tree that depends on the shape and on
// which axes are reduced, never on strides, dtypes or the device, so that a view gives the bits of
// its copy.
//
// Outputs are numbered in C order. The elements of an output are numbered by a pair: `inner` counts
// along the innermost reduced axis (and its reduced neighbours, where it is short), `outer` in C
// order along the other reduced axes. A block has 2^8 threads: 2^outputs_log outputs times
// 2^(outer_log + inner_log) members. Members take elements in turn, along inner (two at a time
// where a warp's lanes follow it: neighbours share a random draw) and along outer; a member folds
// its elements in order, and members combine in a tree. Where the outputs are too few to fill a
// device, the elements are cut into parts, whose accumulators a second kernel combines in a binary
// tree too.

namespace tessera::kernels::cuda {

/// `Walk` in the text of the kernels.
struct ReduceWalk {
  std::int64_t outputs = 1;
  std::int64_t tiles = 1;  ///< of 2^outputs_log outputs
  std::int64_t outer = 1;
  std::int64_t inner = 1;
  std::int64_t outer_part = 1;  ///< of one part
  std::int64_t inner_part = 1;
  std::uint32_t inner_parts = 1;
  std::int32_t outputs_log = 0;
  std::int32_t inner_log = 0;
  std::int32_t outer_log = 0;
  std::int32_t output_shift = 0;  ///< places of an output's and a member's number in a thread's
  std::int32_t member_shift = 0;
};

/// How the accumulators of parts combine; `Parts` in the text.
struct PartsWalk {
  std::int64_t outputs = 1;
  std::int32_t parts = 1;
  std::int32_t outputs_log = 0;
  std::int32_t members_log = 0;
  std::int32_t unused = 0;
};

enum class ReduceRole : std::uint8_t { kKept, kOuter, kInner };

struct ReducePlan {
  std::vector<ReduceRole> roles;  ///< of each axis
  ReduceWalk walk;
  int together = 1;         ///< neighbours along inner that a member takes at once
  std::int64_t blocks = 1;  ///< side by side, each with every so manieth tile
  std::int64_t parts = 1;   ///< that each output's elements are cut into
};

inline constexpr int kReduceThreadsLog = 8;
inline constexpr std::int64_t kReduceThreads = std::int64_t{1} << kReduceThreadsLog;

ReducePlan plan_reduction(std::span<const std::int64_t> shape, const std::vector<bool>& reduced);
PartsWalk plan_parts(std::int64_t outputs, std::int64_t parts);

/// Most accumulators that parts of a space of up to so many elements leave behind.
std::int64_t max_part_accumulators(std::int64_t elements);

}  // namespace tessera::kernels::cuda
