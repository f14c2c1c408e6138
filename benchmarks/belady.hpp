#pragma once

#include <cstddef>

#include "scheduler/plan/order.hpp"

namespace tessera::benchmarks {

/// Bytes out of and back into a device of `budget_bytes` when the tasks of a plan run one after the
/// other in its order and the block whose next use is furthest away makes room (Belady, "A study of
/// replacement algorithms for a virtual-storage computer", 1966): what no execution of that order
/// with that budget can do without.
struct Replay {
  std::size_t out_bytes = 0;
  std::size_t in_bytes = 0;
};
Replay replay(const scheduler::TaskOrder& order, std::size_t budget_bytes);

}  // namespace tessera::benchmarks
