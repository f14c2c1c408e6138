#pragma once

#include <memory>

#include "kernels/cuda/kernel_cache.hpp"
#include "kernels/cuda/program_source.hpp"

// Runs programs that write arrays and reduce nothing. Owned here: which of the program's kernels
// fits the operands of a call, its grid and its parameters. What the kernels do:
// program_map_source.hpp.

namespace tessera::kernels::cuda {

class ProgramMapper {
 public:
  /// `program` has stores and no reductions.
  ProgramMapper(KernelCache& cache, Program program);
  ~ProgramMapper();

  /// Starts to compile the kernel that run() takes for such operands. Addresses count by their
  /// alignment alone.
  void expect(const SourceArgs& args) const;
  /// Queues the work. Any strides are allowed; those of a store must name distinct elements. A
  /// store may lie where a load of the same strides lies. Bits do not depend on strides. \throws
  /// what kernel() throws.
  void run(device::cuda::CudaQueue& queue, const SourceArgs& args) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::kernels::cuda
