#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/program.hpp"

// Runs fused programs on a host core: an interpreter over cache-sized tiles whose every instruction is a
// SIMD loop. One call runs on one thread and allocates nothing after prepare().

namespace tessera::kernels::host {

/// One operand of a call: first element and strides in elements over the iteration space (0: broadcast,
/// negative: flipped). Any strides are allowed for loads; stores are written with the given strides too.
struct Operand {
  std::byte* data = nullptr;
  std::span<const std::int64_t> strides;
};

/// base + sum(strides[d] * coordinate[d]): the element number that generated sources and arg-reductions use.
struct AffineIndex {
  std::int64_t base = 0;
  std::span<const std::int64_t> strides;
};

struct ProgramArgs {
  std::span<const std::int64_t> shape;      ///< extents of the iteration space, program.rank of them
  std::span<const Operand> loads;           ///< program.load_count
  std::span<const AffineIndex> indices;     ///< program.index_count
  std::span<const Operand> stores;          ///< program.stores.size()
  std::span<std::byte* const> reductions;   ///< accumulator buffers (planes of the kept shape, C order), or finished values
};

/// A program made ready for this machine: registers assigned, loops looked up. Immutable; any number of
/// threads may run it at once.
class PreparedProgram {
 public:
  explicit PreparedProgram(Program program);
  ~PreparedProgram();
  PreparedProgram(PreparedProgram&&) noexcept;
  PreparedProgram& operator=(PreparedProgram&&) noexcept;

  /// Bytes of 64-byte aligned scratch that run() needs: bounded by the program alone, not by the block.
  std::size_t scratch_bytes() const noexcept;
  /// Runs over the whole iteration space. Bits depend on the program, shape and strides' zero pattern only,
  /// never on alignment or on where tiles were cut. An empty space writes reduction identities.
  void run(const ProgramArgs& args, std::byte* scratch) const;
  const Program& program() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// Merges `partials` accumulator buffers, in the order given, into `out` (a fixed pairwise tree). All hold
/// `count` elements. `out` may not alias an input.
void merge_accumulators(core::ReduceOp op, DType dtype, std::int64_t count, std::span<const std::byte* const> partials,
                        std::byte* out);

/// Finishes an accumulator into `count` values of `result` dtype (C order).
/// \throws InvalidArgument for a nan-arg-reduction of an all-NaN slice.
void finish_accumulator(core::ReduceOp op, DType dtype, DType result, double ddof, std::int64_t count,
                        const std::byte* accumulator, std::byte* out);

}  // namespace tessera::kernels::host
