#include "tools/demo/demo.hpp"

#include <cstdio>
#include <optional>

#include "core/file_system.hpp"
#include "tessera/error.hpp"
#include "tools/demo/parts.hpp"

namespace tessera::demo {

int run(const Options& options) {
  std::optional<Pile> pile;
  try {
    pile = find_pile(options);
  } catch (const LibraryError& error) {
    if (!options.path.empty()) throw;  // asked for; without a path the rest is still worth showing
    std::printf("the part with files is left out: %s\n", error.what());
  }
  core::posix_file_system().make_directories(options.output, "demo");
  std::printf("measuring what this machine reaches ...\n");
  std::fflush(stdout);
  Report report(measure_ceilings());
  if (pile) run_pile(options, *pile, report);
  run_expressions(options, report);
  report.print();
  std::printf("%s; pictures and arrays: %s\n",
              report.all_right() ? "every result agrees with its check" : "A CHECK FAILED",
              options.output.c_str());
  return report.all_right() ? 0 : 1;
}

}  // namespace tessera::demo
