#pragma once

#include <cstddef>
#include <functional>
#include <ostream>
#include <stop_token>
#include <string>
#include <vector>

// Computations of every family, small enough to be repeated thousands of times, whose results are
// kept, so that they spill.

namespace tessera::testing {

using Bytes = std::vector<std::byte>;

/// A computation in the current session, and the bytes of its results; it may write into the
/// folder.
struct Workload {
  std::string name;
  std::function<Bytes(const std::string& folder)> run;
};

inline void PrintTo(const Workload& value, std::ostream* out) { *out << value.name; }

/// Stops the workloads that can be stopped.
extern std::stop_source stopping;

std::vector<Workload> stoppable_workloads();
/// These, and one that saves.
std::vector<Workload> all_workloads();
/// Draws and saves a picture.
Workload picture_workload();
/// The file that a workload has left in the folder, which goes.
Bytes take_saved(const std::string& folder);

}  // namespace tessera::testing
