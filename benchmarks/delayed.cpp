// What a delayed call costs: built, planned and run, for calls that only add numbers.
//
// usage: bench_delayed [--calls N] [--repeat N]

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;

namespace {

struct Figures {
  double build_s;
  double run_s;
  long sum;
};

// Pairs of neighbours added, level by level, until one is left.
Figures tree_of_calls(std::int64_t leaves) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<ts::Delayed<long>> level;
  for (std::int64_t i = 0; i < leaves; ++i)
    level.push_back(ts::delayed([](long v) { return v; }, static_cast<long>(i)));
  while (level.size() > 1) {
    std::vector<ts::Delayed<long>> next;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2)
      next.push_back(ts::delayed([](long a, long b) { return a + b; }, level[i], level[i + 1]));
    if (level.size() % 2 == 1) next.push_back(level.back());
    level.swap(next);
  }
  const auto built = std::chrono::steady_clock::now();
  const long sum = level[0].get();
  const auto end = std::chrono::steady_clock::now();
  return {std::chrono::duration<double>(built - begin).count(),
          std::chrono::duration<double>(end - built).count(), sum};
}

double peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t calls = 100'000;
  std::int64_t repeat = 5;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--calls") == 0 && i + 1 < argc) {
      calls = std::atoll(argv[++i]);
    } else if (std::strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) {
      repeat = std::atoll(argv[++i]);
    } else {
      std::fprintf(stderr, "usage: bench_delayed [--calls N] [--repeat N]\n");
      return 2;
    }
  }
  const std::int64_t leaves = (std::max<std::int64_t>(calls, 1) + 1) / 2;
  tree_of_calls(2);  // the session is made at first use
  const double before = peak_rss_bytes();
  std::vector<double> totals;
  std::string raw;
  double bytes = 0.0;
  for (std::int64_t r = 0; r < std::max<std::int64_t>(repeat, 1); ++r) {
    const Figures f = tree_of_calls(leaves);
    // The first one alone takes fresh memory.
    if (r == 0) bytes = peak_rss_bytes() - before;
    if (f.sum != static_cast<long>(leaves * (leaves - 1) / 2)) {
      std::fprintf(stderr, "wrong sum %ld\n", f.sum);
      return 1;
    }
    totals.push_back(f.build_s + f.run_s);
    raw += (r > 0 ? ", [" : "[") + std::to_string(f.build_s) + ", " + std::to_string(f.run_s) + "]";
  }
  std::sort(totals.begin(), totals.end());
  const auto made = static_cast<double>(2 * leaves - 1);
  std::printf(
      "{\"benchmark\": \"delayed\", %s, \"calls\": %lld, \"seconds\": %.4f, \"us_per_call\": %.4f, "
      "\"peak_bytes_per_call\": %.1f, \"build_and_run_seconds_raw\": [%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), static_cast<long long>(2 * leaves - 1),
      totals[totals.size() / 2], 1e6 * totals[totals.size() / 2] / made, bytes / made, raw.c_str());
  return 0;
}
