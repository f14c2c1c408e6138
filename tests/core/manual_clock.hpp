#pragma once

#include <atomic>

#include "core/clock.hpp"

namespace tessera::core {

/// A clock that tests move: it stands still but for what every look adds, which may be less than
/// nothing.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(duration each_look = duration::zero()) : each_look_(each_look.count()) {}

  time_point now() const noexcept override {
    return time_point(std::chrono::hours(1000) + duration(ticks_.fetch_add(each_look_)));
  }
  void advance(duration by) noexcept { ticks_ += by.count(); }

 private:
  const duration::rep each_look_;
  mutable std::atomic<duration::rep> ticks_{0};
};

}  // namespace tessera::core
