#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tessera::benchmarks {

/// What this machine's memory, cores, disk and loopback link reach, by loops that do nothing else,
/// on all cores: for every ceiling the rates of all repetitions. `folder` takes a file that is
/// removed again.
nlohmann::ordered_json measure_ceilings(const std::string& folder, bool quick);

}  // namespace tessera::benchmarks
