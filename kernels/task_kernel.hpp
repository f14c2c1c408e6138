#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>

#include "device/device.hpp"
#include "kernels/task_spec.hpp"

namespace tessera::kernels {

/// One block that a task reads: its number in its array's grid and where it lies on the task's device.
struct Piece {
  std::int64_t block = 0;
  const std::byte* data = nullptr;
};

/// Everything one task needs to run. Blocks are dense, C-order, 256-byte aligned.
struct TaskArgs {
  std::int64_t block = 0;                          ///< the task's number in its node's grid
  std::span<const std::int64_t> coords;            ///< and its coordinates
  std::span<const Piece> pieces;                   ///< blocks of all inputs, input by input, in access order
  std::span<const std::uint32_t> piece_offsets;    ///< pieces of input k: [offsets[k], offsets[k+1])
  std::span<std::byte* const> outputs;             ///< one dense block for each output
  std::byte* scratch = nullptr;                    ///< scratch_bytes() of memory, 64-byte aligned
  bool chained = false;                            ///< the chain's output holds what the predecessor left there
  int workers = 1;                                 ///< threads a wide kernel may use
  std::stop_token stop;
  device::Queue* queue = nullptr;                  ///< of a device that computes by itself; null on host devices
  std::span<const BlockSize* const> input_sizes;   ///< of each input's array
  std::span<const BlockSize* const> output_sizes;

  std::span<const Piece> input(std::size_t k) const {
    return pieces.subspan(piece_offsets[k], piece_offsets[k + 1] - piece_offsets[k]);
  }
};

/// A task description made ready for one kind of device. Immutable: any number of threads may run it.
class TaskKernel {
 public:
  virtual ~TaskKernel() = default;
  /// Computes one task. On a host device it returns when the work is done, on others when it is queued.
  /// \throws Error when the work cannot be done (a callable that throws, LAPACK's failure, a bad file).
  virtual void run(const TaskArgs& args) const = 0;
  /// Whether the calling thread has work of its own to do or to wait for, so that a worker should run it rather
  /// than the thread that feeds a device's stream.
  virtual bool occupies_thread() const noexcept { return false; }
};

}  // namespace tessera::kernels
