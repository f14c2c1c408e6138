#pragma once

#include <string>

#include "tools/demo/demo.hpp"
#include "tools/demo/report.hpp"

namespace tessera::demo {

/// Writes ten years of monthly sea-surface temperature on a 1 degree grid, one packed NetCDF file a
/// year, into a folder that is made. The values follow a formula of latitude, longitude and month.
void write_synthetic_ocean(const std::string& folder);
/// Time mean, mean of each calendar month and spread about it, of one variable of a pile of files.
void run_pile(const Options& options, Report& report);
/// Matrix expressions and decompositions, and the first of them again in little memory.
void run_expressions(const Options& options, Report& report);

}  // namespace tessera::demo
