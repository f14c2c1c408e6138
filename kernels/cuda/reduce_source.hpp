#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/reduce_op.hpp"
#include "kernels/program.hpp"

// CUDA C++ of reductions, for NVRTC and a host compiler with a shim. As with programs, no number
// stands in the text but ranks and counts.

namespace tessera::kernels::cuda {

/// How operands that lie across the lanes of a warp are read, see reduce_tiles.hpp.
enum class ReduceAcross : std::uint8_t { kNone, kOuterRows, kOutputRows, kOutputLanes };

/// What the text depends on beside the program. Axes lie role by role: kept ones, then outer, then
/// inner ones.
struct ReduceVariant {
  int kept = 0;
  int outer = 0;
  int inner = 0;
  bool wide = false;        ///< whether numbers of outputs or elements pass 2^29
  int inner_log = 0;        ///< of ReduceWalk
  int together = 1;         ///< likewise
  bool short_runs = false;  ///< whether members fold only few elements along inner
  ReduceAcross across = ReduceAcross::kNone;
  std::vector<bool> crossed;  ///< loads that are read so, where there are any
  /// Strides of loads, indices and stores along the last inner axis: '0', '1', or '?' for any.
  std::string strides;
  auto operator<=>(const ReduceVariant&) const = default;
};

/// Kernels "reduce_blocks" and "reduce_parts" for a program with reductions.
///   reduce_blocks(Params, Walk, Targets parts or outputs)
///   reduce_parts(Parts, Targets parts, Targets outputs)
/// A Targets holds one Target {three plane pointers, ddof} for each reduction, then an int*, see
/// reduce_kernels.hpp.
std::string reduce_source(const Program& program, const ReduceVariant& variant);

/// The monoid of an operation, a type of reduce_bodies.hpp or reduce_order_bodies.hpp.
std::string monoid_type(core::ReduceOp op, DType dtype);
/// What every source with monoids begins with after the prelude.
std::string_view reduce_prelude() noexcept;

/// Whether finishing may find an output that has no value, which is an error.
bool may_find_none(core::ReduceOp op) noexcept;

}  // namespace tessera::kernels::cuda
