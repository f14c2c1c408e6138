#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/cuda/cuda_system.hpp"

// Kernels of CUDA C++ sources, compiled by NVRTC ahead of need. Owned here: the threads that
// compile, what has been compiled in this process, and a folder of cubins that later processes
// find. Not owned: what the sources say, and launches.
//
// Folder: TESSERA_CACHE_DIR, else $XDG_CACHE_HOME/tessera, else ~/.cache/tessera. A file is named
// by a hash of source, options, architecture and compiler, holds all of them and a checksum, and
// appears under its name in one step. One that is damaged or belongs to another key is ignored and
// written anew; a folder that cannot be written costs compile time only.

namespace tessera::kernels::cuda {

/// A source on its way to be kernels. Copies share it. Thread safe.
class CompiledSource {
 public:
  CompiledSource() = default;
  /// The kernel with `name`, one of those asked for, for launches on `queue`'s device; waits until
  /// it is there. \throws Error with the compiler's words and the source when it does not compile;
  /// DeviceError when the cubin does not load.
  void* kernel(device::cuda::CudaQueue& queue, const char* name) const;
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  friend class KernelCache;
  struct State;
  std::shared_ptr<State> state_;
};

class KernelCache {
 public:
  /// `system` outlives the cache and the kernels. An empty folder is the one described above.
  explicit KernelCache(device::cuda::CudaSystem& system, std::string folder = {});
  ~KernelCache();
  KernelCache(const KernelCache&) = delete;
  KernelCache& operator=(const KernelCache&) = delete;

  /// Starts to compile a source, for every architecture among the system's devices, unless that has
  /// been done; returns at once. `names` are its extern "C" kernels. Thread safe.
  CompiledSource prepare(std::string source, std::vector<std::string> names);

  device::cuda::CudaSystem& system() const noexcept;

 private:
  friend class CompiledSource;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::kernels::cuda
