#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "device/cuda/cuda_module.h"

// A machine with CUDA devices for tests: it fills CUDA's table of functions with what a host can do. Device memory
// is the host's, at addresses of its own that are filled with rubbish when they are handed out and given back. Streams
// are queues that run as late as they can, and out of step with each other, so that a missing wait shows as a wrong
// value. Kernels are built by g++ (cuda_shim.hpp), cuBLAS and cuSOLVER are OpenBLAS and LAPACKE. The n-th call can
// be made to fail.

namespace tessera::testing {

struct SimulatedCudaOptions {
  int devices = 2;
  std::size_t memory_bytes = std::size_t{512} << 20;  ///< of each device
  unsigned thread_order = 0;  ///< of a block's threads; 0: forward, 1: backward, else a seed to shuffle by
  bool lazy = true;           ///< streams run only when somebody waits
  std::uint64_t seed = 1;     ///< of how far other streams get meanwhile
};

/// One at a time in a process. Everything made through its table goes before it does.
class SimulatedCuda {
 public:
  explicit SimulatedCuda(const SimulatedCudaOptions& options = {});
  ~SimulatedCuda();
  SimulatedCuda(const SimulatedCuda&) = delete;
  SimulatedCuda& operator=(const SimulatedCuda&) = delete;

  const TesseraCudaApi& api() const noexcept;

  /// The n-th call from now, counted from 1, of one function of the table ("copy"), or of any that can fail
  /// (""), returns `status`; a sticky failure is that of all later calls, too.
  void fail_call(std::int64_t n, int status, const std::string& name = {}, bool sticky = false);
  /// Calls since the last fail_call() or the beginning, of those that can fail.
  std::int64_t calls() const;
  void stop_failing();

  /// How often kernels of a name were launched.
  std::int64_t launches(const std::string& kernel) const;
  /// Device memory in use, of all devices.
  std::size_t bytes_in_use() const;
  /// What was wrong with how the table was used: reads and writes of memory that is not in use, work left behind.
  /// Empty when nothing was.
  std::string misuse() const;

  struct Machine;

 private:
  std::unique_ptr<Machine> machine_;
};

}  // namespace tessera::testing
