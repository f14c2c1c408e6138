#pragma once

#include <string>

// `tessera demo`: climate statistics of NetCDF files, matrix expressions, and one of these again in
// little memory. Every result is compared with an independent computation; a table gives times and
// rates beside what the machine was measured to reach.

namespace tessera::demo {

struct Options {
  std::string path;
  std::string variable;
  std::string output = "tessera_demo_output";
  bool quick = false;
};

/// 0 when every check passed.
int run(const Options& options);

}  // namespace tessera::demo
