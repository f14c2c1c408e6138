// What several ranks make of the cores and the memory that one would have: an array cut anew so
// that every rank gets a part of every other's blocks, a product, and singular values of a tall
// matrix. Every rank runs it; the first prints one JSON object.
//
// usage: tessera run -n N -- bench_ranks [--quick]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "scheduler/team.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;

namespace {

struct Row {
  const char* name;
  std::function<ts::Array()> prepare;                            // kept, before the time
  std::function<std::vector<ts::Array>(const ts::Array&)> work;  // kept, in the time
  std::function<bool(const ts::Array&, const std::vector<ts::Array>&)> check;
  double bytes;
  double flops;
};

std::vector<Row> rows(bool quick) {
  const std::int64_t edge = quick ? 2048 : 16'384;
  const std::int64_t product = quick ? 1024 : 4096;
  const std::int64_t tall = quick ? 50'000 : 1'000'000;
  constexpr std::int64_t kNarrow = 100;
  const auto n = static_cast<double>(edge);
  const auto p = static_cast<double>(product);
  const auto t = static_cast<double>(tall);
  return {
      {"rechunk",
       [=] {
         return ts::random::uniform({edge, edge}, {.chunks = {edge / 16, edge}, .seed = 1});
       },
       [=](const ts::Array& x) {
         return std::vector{ts::rechunk(x, {edge, edge / 16})};
       },
       [](const ts::Array& x, const std::vector<ts::Array>& y) {
         return ts::all(ts::rechunk(y[0], ts::Chunks(x.chunks())) == x).item<bool>();
       },
       2 * 8 * n * n, 0},
      {"matmul",
       [=] {
         return ts::random::normal({product, product},
                                   {.chunks = {product / 4, product / 4}, .seed = 2});
       },
       [](const ts::Array& x) { return std::vector{ts::matmul(x, x)}; },
       [](const ts::Array& x, const std::vector<ts::Array>& y) {
         const ts::Array ones = ts::ones({x.shape()[0], 1});
         const ts::Array other = ts::matmul(x, ts::matmul(x, ones));
         return ts::max(ts::abs(ts::matmul(y[0], ones) - other)).item<double>() < 1e-6;
       },
       3 * 8 * p * p, 2 * p * p * p},
      {"svd_tall",
       [=] {
         return ts::random::normal({tall, kNarrow}, {.chunks = {tall / 16, kNarrow}, .seed = 3});
       },
       [](const ts::Array& x) {
         const auto [u, s, vt] = ts::svd(x);
         return std::vector{u, s, vt};
       },
       [](const ts::Array& x, const std::vector<ts::Array>& y) {
         const double squares = ts::sum(y[1] * y[1]).item<double>();
         return std::abs(squares / ts::sum(x * x).item<double>() - 1.0) < 1e-12;
       },
       2 * 8 * t * kNarrow, 6 * t * kNarrow * kNarrow},
  };
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  if (argc > 2 || (argc > 1 && !quick)) {
    std::fprintf(stderr, "usage: tessera run -n N -- bench_ranks [--quick]\n");
    return 2;
  }
  constexpr int kRepetitions = 5;
  const ts::scheduler::Team team = ts::scheduler::Team::current();
  std::string text;
  bool right = true;
  for (const Row& row : rows(quick)) {
    const ts::Array x = row.prepare().persist();
    std::vector<double> seconds;
    std::size_t fetched = 0;
    for (int i = -1; i < kRepetitions; ++i) {
      team.together([] {});
      const auto begin = std::chrono::steady_clock::now();
      const std::vector<ts::Array> y = ts::persist(row.work(x));
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
      fetched = ts::Session::current().last_run().fetched_bytes;
      if (i >= 0) {
        seconds.push_back(time.count());
      } else {
        right = row.check(x, y) && right;
      }
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    char line[512];
    std::snprintf(
        line, sizeof line,
        "%s\n  {\"name\": \"%s\", \"seconds\": %.5f, \"seconds_min\": %.5f, \"seconds_max\": %.5f, "
        "\"fetched_bytes_of_rank_0\": %zu, \"gb_per_s\": %.3f, \"gflop_per_s\": %.3f}",
        text.empty() ? "" : ",", row.name, median, seconds.front(), seconds.back(), fetched,
        1e-9 * row.bytes / median, 1e-9 * row.flops / median);
    text += line;
  }
  if (team.leads()) {
    std::printf(
        "{\"benchmark\": \"ranks\", %s, \"ranks\": %d, \"repetitions\": %d, \"checked\": %s, "
        "\"rows\": [%s]}\n",
        ts::benchmarks::machine_facts().c_str(), team.ranks(), kRepetitions,
        right ? "true" : "false", text.c_str());
  }
  return right ? 0 : 1;
}
