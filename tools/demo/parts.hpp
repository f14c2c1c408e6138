#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tessera/io.hpp"
#include "tools/demo/demo.hpp"
#include "tools/demo/report.hpp"

namespace tessera::demo {

/// Writes ten years of monthly sea-surface temperature on a 1 degree grid, one packed NetCDF file a
/// year, into a folder that is made. The values follow a formula of latitude, longitude and month.
void write_synthetic_ocean(const std::string& folder);
/// The variable that the demo reads, and the calendar month of each of its times, 0 to 11.
struct Pile {
  std::string path;
  VariableInfo info;
  std::vector<std::int64_t> months;
};
/// What the options name; without a path a synthetic ocean, written first. \throws Error when there
/// is no such file or variable, or it has no times.
Pile find_pile(const Options& options);
/// Time mean, mean of each calendar month and spread about it, of one variable of a pile of files.
void run_pile(const Options& options, const Pile& pile, Report& report);
/// Matrix expressions and decompositions, and the first of them again in little memory.
void run_expressions(const Options& options, Report& report);

}  // namespace tessera::demo
