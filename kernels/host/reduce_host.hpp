#pragma once

#include <cstdint>

#include "kernels/host/loops.hpp"
#include "kernels/host/reduce_kernels.hpp"

namespace tessera::kernels::host {

/// Turns accumulators of one operation into finished values of one dtype.
class Finisher {
 public:
  /// \throws InvalidArgument when no value can be converted to `result`.
  Finisher(core::ReduceOp op, DType dtype, DType result, double ddof);

  /// Writes `count` values for the accumulators in `planes`.
  /// \throws InvalidArgument for a nan-arg-reduction of an all-NaN slice.
  void finish(Planes planes, std::int64_t count, std::byte* out) const;
  std::size_t itemsize() const noexcept { return itemsize_; }

 private:
  void finish_chunk(const Planes& planes, std::int64_t count, std::byte* values) const;

  core::ReduceOp op_;
  DType dtype_;
  ReduceKernels kernels_;
  DType natural_;  // what the accumulators yield before conversion
  double ddof_;
  std::size_t itemsize_;
  Loop cast_ = nullptr;  // null when no conversion is needed
};

/// Planes of an accumulator buffer for `count` elements.
Planes accumulator_planes(const ReduceKernels& kernels, std::int64_t count, std::byte* buffer);

}  // namespace tessera::kernels::host
