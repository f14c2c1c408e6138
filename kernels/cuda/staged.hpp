#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "device/device.hpp"
#include "kernels/registry.hpp"
#include "kernels/task_kernel.hpp"

// Tasks of a CUDA device whose work is done on this machine's cores: blocks come to host memory,
// the host's kernel runs there, and what it made goes back.

namespace tessera::kernels::cuda {

struct FreePlainMemory {
  void operator()(std::byte* data) const noexcept;
};
using PlainMemory = std::unique_ptr<std::byte, FreePlainMemory>;
/// Bytes at a 256-byte boundary; null for none, and when the machine has none left.
PlainMemory plain_memory(std::size_t size_bytes) noexcept;

/// Host memory that copies of a queue go to and from: pinned, or plain where the budget of pinned
/// memory is used up, so that tasks never wait for one another's. Is freed when everything on the
/// queue is done.
class StagingMemory {
 public:
  /// Memory at 256-byte boundaries; none for 0 bytes. \throws OutOfMemory when the machine has none
  /// left.
  StagingMemory(device::Queue& queue, std::size_t size_bytes);
  ~StagingMemory();
  StagingMemory(const StagingMemory&) = delete;
  StagingMemory& operator=(const StagingMemory&) = delete;
  std::byte* data() const noexcept { return data_; }

 private:
  device::Queue& queue_;
  device::Buffer pinned_;
  PlainMemory plain_;
  std::byte* data_ = nullptr;
};

/// Copies host memory that may go at once to the device, behind what was queued before.
void send_bytes(device::Queue& queue, std::byte* to, std::span<const std::byte> bytes);

/// Runs `host`'s kernel for the description between copies.
std::unique_ptr<TaskKernel> make_staged(const Registry& host, const TaskSpec& spec);

}  // namespace tessera::kernels::cuda
