#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "scheduler/executor/exchange.hpp"
#include "scheduler/plan/order.hpp"
#include "tessera/delayed.hpp"

namespace tessera::scheduler {

/// The delayed calls of one attempt of a step of several ranks, and what becomes of them: where all
/// ranks get through, their values are where they ran, and on all ranks where they were asked for;
/// else none of them has run. All ranks come to the same.
class AttemptedCalls {
 public:
  /// Those of a plan that is about to run, of which `wanted` are asked for.
  void note(const TaskOrder& order,
            const std::vector<std::shared_ptr<tessera::detail::Call>>& wanted,
            const Exchange::Step& step);
  void settle(bool may_be_lost) noexcept;
  void undo() noexcept;
  /// Leaves an attempt that this rank throws from, and says whether its step is over. What it
  /// throws may be its own matter, of which the others know nothing.
  bool leave(Exchange::Step& step);

 private:
  std::vector<std::pair<std::shared_ptr<tessera::detail::Call>, std::int32_t>> calls_;  // holders
};

}  // namespace tessera::scheduler
