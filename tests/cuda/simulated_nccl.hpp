#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/nccl/nccl_module.h"

// NCCL for tests, over the devices of a simulated machine that is there already: a message is through when both ends
// have got to it on their streams, and not before; calls go on after they have returned; what one end sends in another
// size than the other expects is an error; an aborted end goes on alone.

namespace tessera::testing {

/// One at a time in a process, within the life of a SimulatedCuda.
class SimulatedNccl {
 public:
  explicit SimulatedNccl(std::uint64_t seed = 1);
  ~SimulatedNccl();
  SimulatedNccl(const SimulatedNccl&) = delete;
  SimulatedNccl& operator=(const SimulatedNccl&) = delete;

  const TesseraNcclApi& api() const noexcept;
  /// The n-th message from now, counted from 1, makes its link fail at the end that queues it first.
  void fail_message(std::int64_t n);
  /// Links never come to be from now on.
  void refuse_links();
  /// Messages that have got from one end to the other.
  std::int64_t messages() const;
  /// Links that were not aborted.
  std::int64_t links() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace tessera::testing
