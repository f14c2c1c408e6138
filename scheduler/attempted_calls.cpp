#include "scheduler/attempted_calls.hpp"

#include <optional>
#include <set>

#include "kernels/specs.hpp"
#include "scheduler/placement/placement.hpp"

namespace tessera::scheduler {

using tessera::detail::Call;

void AttemptedCalls::note(const TaskOrder& order, const std::vector<std::shared_ptr<Call>>& wanted,
                          const Exchange::Step& step) {
  std::optional<Placement> placement;
  const std::set<std::shared_ptr<Call>> everywhere(wanted.begin(), wanted.end());
  for (std::size_t n = 0; n < order.plan().nodes.size(); ++n) {
    const auto* spec = dynamic_cast<const kernels::CallsSpec*>(order.plan().nodes[n].spec.get());
    if (spec == nullptr) continue;
    if (!placement) placement.emplace(order, Topology{step.ranks()});
    for (std::size_t i = 0; i < spec->calls.size(); ++i) {
      const auto number = static_cast<std::int64_t>(i);
      const comm::Rank owner = placement->owner(static_cast<NodeIndex>(n), &number);
      const bool on_all = step.ranks() == 1 || everywhere.contains(spec->calls[i]);
      calls_.emplace_back(spec->calls[i], on_all ? Call::kEverywhere : step.in_world(owner).number);
    }
  }
}

void AttemptedCalls::settle(bool may_be_lost) noexcept {
  for (const auto& [call, holder] : std::exchange(calls_, {})) call->settle(holder, may_be_lost);
}

void AttemptedCalls::undo() noexcept {
  for (const auto& [call, holder] : std::exchange(calls_, {})) call->undo();
}

bool AttemptedCalls::leave(Exchange::Step& step) {
  const bool is_over = step.over();
  is_over&& step.ended_well() ? settle(step.recovers()) : undo();
  return is_over;
}

}  // namespace tessera::scheduler
