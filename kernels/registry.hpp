#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/task_kernel.hpp"

namespace tessera::device::cuda {
class CudaSystem;
}

// Turns task descriptions into kernels of one device kind. The list of families is explicit, in the
// registry's source file: no static initialisers.

namespace tessera::kernels {

class Registry {
 public:
  virtual ~Registry() = default;
  /// The kernel for a description. \throws Error naming the family when this device kind lacks it.
  virtual std::unique_ptr<TaskKernel> prepare(const TaskSpec& spec) const = 0;
  /// Most scratch that one task of this description needs on this device kind.
  virtual std::size_t scratch_bytes(const TaskSpec& spec) const = 0;
};

/// Kernels that run on the cores of this machine.
const Registry& host_registry();

/// What the bits of the host's results depend on besides the program: SIMD target, BLAS build and core type, LAPACK
/// threads.
std::string numeric_profile();

/// Kernels for the CUDA devices of `system`, which outlives the registry and its kernels. Families that have none
/// run `host`'s on this machine's cores, between copies.
std::unique_ptr<Registry> make_cuda_registry(device::cuda::CudaSystem& system, const Registry& host = host_registry());

}  // namespace tessera::kernels
