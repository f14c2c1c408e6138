#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "scheduler/plan/lower.hpp"
#include "tessera/delayed.hpp"

// The delayed calls that a computation needs. Those that need only calls of their kind form one
// list, each after those it reads, which becomes one node of the plan however many they are; those
// that take arrays, and whatever reads such a call, become a node each.

namespace tessera::scheduler {

/// The calls and arrays among a call's arguments.
struct CallInputs {
  std::vector<std::shared_ptr<tessera::detail::Call>> calls;
  std::vector<Array> arrays;
};

class CallGraph {
 public:
  /// Finds the calls that have not run among `calls` and what they and the goals need. Those whose
  /// values were lost with a rank that is not one of `ranks` any more are to run again. What stands
  /// for others among their arguments is taken for these.
  CallGraph(const std::vector<Goal>& goals,
            const std::vector<std::shared_ptr<tessera::detail::Call>>& calls,
            const std::vector<std::int32_t>& ranks, Instead instead);
  CallInputs inputs(const tessera::detail::Call& call) const;
  /// The same without what stands for others.
  static CallInputs own_inputs(const tessera::detail::Call& call);
  /// Those whose values this has found to be lost.
  const std::vector<std::shared_ptr<tessera::detail::Call>>& lost() const noexcept { return lost_; }

  const std::vector<std::shared_ptr<tessera::detail::Call>>& list() const noexcept { return list_; }
  const std::vector<std::shared_ptr<tessera::detail::Call>>& own() const noexcept { return own_; }
  /// Those that are needed and had run before, on one of several ranks alone.
  const std::vector<std::shared_ptr<tessera::detail::Call>>& held() const noexcept { return held_; }

  struct Place {
    /// kNeither: it had run before, and its value is here.
    enum class In : std::uint8_t { kNeither, kList, kOwn, kHeld };
    In in = In::kNeither;
    std::int32_t number = 0;
  };
  Place place(const tessera::detail::Call& call) const;

 private:
  class Walk;
  const Instead instead_;
  std::unordered_map<const tessera::detail::Call*, Place> places_;
  std::vector<std::shared_ptr<tessera::detail::Call>> list_, own_, held_, lost_;
};

}  // namespace tessera::scheduler
