#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "array/node.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/array.hpp"

// How arrays that are kept come back when blocks of theirs are lost: they are computed anew, from
// what they were computed from. Expressions are pure, so that the bits are the same; where a user's
// function is not, that is refused.

namespace tessera::scheduler {

/// What computes `array`, without holding on to the blocks of arrays that are kept: where these are
/// gone by then, they are computed anew as well. It does hold on to what such computations start
/// from, memory that the caller shares, say.
std::shared_ptr<const Array> lineage_of(const Array& array);

/// A node of the array's expression that `is` true of; null where there is none. What arrays that
/// are kept were computed from is not looked at.
const array::Node* find_node(const Array& array, const std::function<bool(const array::Node&)>& is);
/// Whether a function of the user's computes it that need not give the same again.
bool is_impure(const array::Node& node);

/// Arrays that are kept, as their expressions know them.
using Blocks = std::shared_ptr<void>;

struct Restored {
  std::vector<Array> arrays;  ///< for the goals
  Instead instead;            ///< for arguments of calls
  /// Arrays that are lost, and what computes each.
  std::vector<std::pair<Blocks, Array>> again;
};

/// What stands for the goals, and for the arguments of the calls that these and `calls` need on
/// `ranks`, that reads no blocks that are lost. \throws CommError where a function that need not
/// give the same again made such blocks, or what is computed anew starts from memory that may be
/// gone by now.
Restored restore(const std::vector<Goal>& goals,
                 const std::vector<std::shared_ptr<tessera::detail::Call>>& calls,
                 const std::vector<std::int32_t>& ranks,
                 const std::function<bool(const Blocks&)>& lost);

}  // namespace tessera::scheduler
