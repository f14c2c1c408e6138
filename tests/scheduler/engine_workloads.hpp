#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "tessera/tessera.hpp"

// Expressions that together use every family of kernels, for tests that run the same work on other devices,
// budgets and orders.

namespace tessera::testing {

struct Workload {
  std::string name;
  std::function<std::vector<Array>()> make;
  std::size_t tight_bytes = std::size_t{512} << 10;  ///< enough for the largest task, too little for all blocks
};

const std::vector<Workload>& workloads();

}  // namespace tessera::testing
