#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tessera/array.hpp"

// How arrays that are kept come back when blocks of theirs are lost: they are computed anew, from
// what they were computed from. Expressions are pure, so that the bits are the same; where a user's
// function is not, that is refused.

namespace tessera::scheduler {

/// What computes `array`, without holding on to the blocks of arrays that are kept: where these are
/// gone by then, they are computed anew as well. It does hold on to what such computations start
/// from, memory of the caller's, say.
std::shared_ptr<const Array> lineage_of(const Array& array);

/// Arrays that are kept, as their expressions know them.
using Blocks = std::shared_ptr<void>;

struct Restored {
  std::vector<Array> arrays;
  /// Arrays that are lost, and what computes each.
  std::vector<std::pair<Blocks, Array>> again;
};

/// The arrays, of which nothing reads blocks that are lost. \throws CommError where a function that
/// need not give the same again made such blocks.
Restored restore(const std::vector<Array>& arrays, const std::function<bool(const Blocks&)>& lost);

}  // namespace tessera::scheduler
