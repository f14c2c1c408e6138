// What each rank of ranks_test runs: ranks_program WHAT [ARGUMENT].

#include <unistd.h>
#include <xxhash.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "engine_workloads.hpp"
#include "tessera/tessera.hpp"

namespace {

using tessera::testing::workloads;

void print_hash(const std::string& name, const tessera::HostArray& array) {
  std::printf("%s %016llx\n", name.c_str(),
              static_cast<unsigned long long>(XXH3_64bits(array.data(), array.nbytes())));
}

int run(const std::string& what, const std::string& argument) {
  if (what == "bits") {
    for (std::size_t w = 0; w < workloads().size(); ++w) {
      const std::vector<tessera::HostArray> results = tessera::compute(workloads()[w].make());
      for (std::size_t i = 0; i < results.size(); ++i)
        print_hash(std::to_string(w) + "." + std::to_string(i), results[i]);
    }
    return 0;
  }
  if (what == "unseeded") {
    print_hash("unseeded", tessera::random::uniform({100, 100}, {.chunks = {30, 30}}).compute());
    return 0;
  }
  if (what == "save") {
    const tessera::Array x = tessera::random::normal({500, 300}, {.chunks = {70, 90}, .seed = 4});
    tessera::save_npy(x + x * 2.0, argument);
    return 0;
  }
  if (what == "pile") {
    const tessera::Array x = tessera::random::normal({500, 300}, {.chunks = {70, 90}, .seed = 4});
    tessera::save_netcdf(x + x * 2.0, argument + "_*.nc", {.steps_per_file = 64});
    tessera::save_netcdf(tessera::mean(x, {.axis = 0}), argument + ".nc");
    return 0;
  }
  if (what == "differ") {
    const bool first = std::strcmp(std::getenv("TESSERA_RANK"), "0") == 0;
    const tessera::Array x = tessera::random::normal({50, 30}, {.chunks = {7, 9}, .seed = 4});
    (first ? tessera::sum(x) : tessera::std(x)).compute();
    return 0;
  }
  if (what == "forever") {
    const std::size_t which = std::strtoul(argument.c_str(), nullptr, 10);
    for (int i = 0;; ++i) {
      tessera::compute(workloads()[which].make());
      if (i == 0) {
        std::printf("rank %s is process %d\n", std::getenv("TESSERA_RANK"),
                    static_cast<int>(::getpid()));
        std::fflush(stdout);
      }
    }
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
