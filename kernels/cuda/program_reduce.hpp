#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/cuda/kernel_cache.hpp"
#include "kernels/cuda/program_source.hpp"

// Runs programs that end in reductions, and writes their stores in the same pass. Owned here:
// launches, scratch memory for partial accumulators, and the error of a nan-arg-reduction that
// finds no number. Which thread folds which elements: reduce_walk.hpp; what the kernels do:
// reduce_source.hpp.

namespace tessera::kernels::cuda {

class ProgramReducer {
 public:
  /// `program` has reductions. Storage-only dtypes and operations without an accumulator are
  /// refused. \throws InvalidArgument as core::accumulator_dtypes() does.
  ProgramReducer(KernelCache& cache, Program program);
  ~ProgramReducer();

  /// Starts to compile what run() with operands of these strides needs; their addresses do not
  /// count.
  void expect(const SourceArgs& args) const;

  /// Queues the work over args.shape: stores to where args says, and one output for each reduction,
  /// accumulator planes or finished values, in C order of the kept elements. An empty space writes
  /// reduction identities. Bits depend on the program, its shape and the device's architecture
  /// alone: neither on strides nor on where operands lie. Waits for the queue where waits().
  /// \throws InvalidArgument for a nan-arg-reduction of an all-NaN slice.
  void run(device::cuda::CudaQueue& queue, const SourceArgs& args,
           std::span<std::byte* const> outputs, std::byte* scratch) const;

  /// Whether run() looks at what came out before it returns, so that a task should not run it on
  /// the thread that feeds a stream.
  bool waits() const noexcept;

  /// Scratch that run() needs at most, over blocks of up to so many elements.
  static std::size_t scratch_bytes(const Program& program, std::int64_t block_elements);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::kernels::cuda
