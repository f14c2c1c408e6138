#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/registry.hpp"
#include "scheduler/plan/plan.hpp"
#include "tessera/array.hpp"
#include "tessera/delayed.hpp"

// Turns expression graphs into a plan. Elementwise chains, generated sources and views fuse into the task
// that needs them; a value becomes a stored array only when several tasks read it, when the caller keeps it,
// or when the kernel that reads it takes blocks.

namespace tessera::scheduler {

/// Arrays that stand for others, by node and output.
using Instead = std::map<std::pair<const array::Node*, int>, Array>;

struct LowerOptions {
  /// Delayed calls to run beside what the goals need.
  std::vector<std::shared_ptr<tessera::detail::Call>> calls;
  Instead instead;   ///< among the arguments of calls
  bool fuse = true;  ///< false: every operation is a node of its own
  /// Of the smallest device. Where a fused task would not fit it and those of single operations do, these run:
  /// results are the same.
  std::size_t budget_bytes = std::numeric_limits<std::size_t>::max();
  /// Of all devices together, where there is one rank, and how many devices or else ranks there are.
  /// Cutting an array anew goes through pieces where that much does not hold what would be read
  /// again and again, where a task of whole blocks would not fit the budget, or where whole blocks
  /// would travel to several devices.
  double memory_bytes = std::numeric_limits<double>::infinity();
  std::int64_t devices = 1;
  /// Numbers in the world of the ranks that compute together, in order; empty: this process alone.
  std::vector<std::int32_t> ranks;
  const kernels::Registry* registry = nullptr;  ///< for scratch sizes; null: none (simulation)
  /// Resident arrays that the goals may not read but a run must know of, since they take memory that it may
  /// have to make free.
  struct Bystander {
    std::shared_ptr<void> blocks;
    kernels::BlockSize size;
    std::string label;   ///< the operations that made it
    std::string origin;  ///< and their source line
  };
  std::vector<Bystander> bystanders;
};

/// What becomes of one requested array.
struct Goal {
  enum class Kind : std::uint8_t {
    kKeep,     ///< its blocks stay in the session
    kDeliver,  ///< it is copied into `memory`, dense and in C order
  };
  Array array;
  Kind kind = Kind::kKeep;
  std::shared_ptr<std::byte> memory;
};

struct Lowered {
  Plan plan;
  std::vector<SlotIndex> kept;  ///< slot of each kKeep goal, in order
  /// Resident arrays, bystanders included, and the slot each has in the plan.
  std::vector<std::pair<std::shared_ptr<void>, SlotIndex>> residents;
};

/// \throws InvalidArgument for what cannot be planned.
Lowered lower(const std::vector<Goal>& goals, const LowerOptions& options);

}  // namespace tessera::scheduler
