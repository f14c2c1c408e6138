#pragma once

#include <chrono>

namespace tessera::core {

/// Where the engine takes the time from: the seam at which tests stop it, turn it back or let it
/// jump. Reports, traces and the size of batches depend on it, what is computed and when a run ends
/// does not. Thread safe.
class Clock {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  using duration = std::chrono::steady_clock::duration;

  virtual ~Clock() = default;
  virtual time_point now() const noexcept = 0;
};

/// The clock of this machine, which never goes back.
const Clock& machine_clock() noexcept;

/// Time from `begin` to `end`; none when the clock was turned back in between.
inline Clock::duration elapsed(Clock::time_point begin, Clock::time_point end) noexcept {
  return end < begin ? Clock::duration::zero() : end - begin;
}

}  // namespace tessera::core
