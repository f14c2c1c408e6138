#include "core/clock.hpp"

namespace tessera::core {
namespace {

class MachineClock final : public Clock {
 public:
  time_point now() const noexcept override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& machine_clock() noexcept {
  static const MachineClock clock;
  return clock;
}

}  // namespace tessera::core
