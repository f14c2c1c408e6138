// Weak scaling on a modelled cluster of 8 to 4,096 GPUs, eight to a node and one rank a node: the
// blocks of a GPU stay as many and as large, the arrays grow with the cluster. Nothing is computed;
// each rank's scheduler decides what it would decide for its process, block by block. What planning
// takes one rank is measured on this machine. scaling_table.py makes docs/scaling.md of the output.
//
// usage: bench_scaling [--from N] [--to N] [--only NAME] [--no-check]

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;

namespace {

constexpr int kGpusPerNode = 8;
constexpr double kBlocksPerGpu = 8.0;
constexpr std::int64_t kEdge = 8192;          // 8192^2 float64: 512 MiB
constexpr std::int64_t kGatheredEdge = 8192;  // of what is gathered into one block
constexpr std::int64_t kTallRows = 65'536;    // by 1024 float64: 512 MiB
constexpr std::int64_t kTallColumns = 1024;
constexpr double kAdapter = 50e9;  // 400 Gb/s
constexpr double kNetworks[] = {kAdapter,
                                kGpusPerNode* kAdapter};  // one for a node, or for each GPU

struct Problem {
  std::vector<ts::Array> results;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  double work = 0.0;  // what grows with the cluster: elements, or operations of the products
};

struct Row {
  const char* name;
  const char* expression;
  const char* work;
  bool deliver;  // numbers that every rank gets; arrays stay where they are made
  std::function<Problem(int gpus)> make;
};

// Blocks along each axis of a square array, so that there are about so many on each GPU.
std::int64_t square_blocks(int gpus) { return std::llround(std::sqrt(kBlocksPerGpu * gpus)); }

ts::Array square(std::int64_t n, std::int64_t edge, std::uint64_t seed) {
  return ts::random::normal({n, n}, {.chunks = {edge, edge}, .seed = seed});
}

std::vector<Row> rows() {
  const auto cube = [](std::int64_t n) { return 2.0 * std::pow(static_cast<double>(n), 3); };
  return {
      {"add_transpose_mean", "x + x.T - x.mean(axis=0)", "elements", false,
       [](int gpus) {
         const std::int64_t n = square_blocks(gpus) * kEdge;
         const ts::Array x = square(n, kEdge, 1);
         return Problem{{x + ts::transpose(x) - ts::mean(x, {.axis = 0})},
                        n,
                        n,
                        static_cast<double>(n) * static_cast<double>(n)};
       }},
      {"matmul", "a.dot(b)", "operations", false,
       [=](int gpus) {
         const std::int64_t n = square_blocks(gpus) * kEdge;
         return Problem{{ts::matmul(square(n, kEdge, 1), square(n, kEdge, 2))}, n, n, cube(n)};
       }},
      {"dot_std", "(x.dot(x.T + 1) - x.mean()).std()", "operations", true,
       [=](int gpus) {
         const std::int64_t n = square_blocks(gpus) * kEdge;
         const ts::Array x = square(n, kEdge, 1);
         const ts::Array y = ts::matmul(x, ts::transpose(x) + 1.0) - ts::mean(x);
         return Problem{{ts::std(y)}, n, n, cube(n)};
       }},
      {"svd_dot", "svd(x.dot(x.T))", "operations", false,
       [=](int gpus) {
         const std::int64_t n = square_blocks(gpus) * kGatheredEdge;
         const ts::Array x = square(n, kGatheredEdge, 1);
         const auto [u, s, vt] = ts::svd(ts::matmul(x, ts::transpose(x)));
         return Problem{{u, s, vt}, n, n, cube(n)};
       }},
      {"svd_tall", "svd(x), x tall and skinny", "elements", false,
       [](int gpus) {
         const std::int64_t m = static_cast<std::int64_t>(kBlocksPerGpu) * gpus * kTallRows;
         const ts::Array x = ts::random::normal({m, kTallColumns},
                                                {.chunks = {kTallRows, kTallColumns}, .seed = 1});
         const auto [u, s, vt] = ts::svd(x);
         return Problem{{u, s, vt}, m, kTallColumns, static_cast<double>(m) * kTallColumns};
       }},
  };
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string simulated(const Row& row, int gpus, ts::SimulationOptions options) {
  options.ranks = gpus / kGpusPerNode;
  options.deliver = row.deliver;
  const Problem problem = row.make(gpus);
  char head[512];
  std::snprintf(head, sizeof head,
                "{\"name\": \"%s\", \"network_bytes_per_s\": %g, \"gpus\": %d, \"nodes\": %d, "
                "\"rows\": %lld, "
                "\"columns\": %lld, \"work\": %.6g",
                row.name, options.network_bytes_per_s, gpus, options.ranks,
                static_cast<long long>(problem.rows), static_cast<long long>(problem.columns),
                problem.work);
  const auto begin = std::chrono::steady_clock::now();
  ts::SimulationReport report;
  try {
    report = ts::simulate(problem.results, options);
  } catch (const ts::OutOfMemory& e) {
    return std::string(head) + ", \"refused\": " + quoted(e.what()) + "}";
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  const auto most = [](const auto& values) {
    return static_cast<long long>(*std::max_element(values.begin(), values.end()));
  };
  char tail[1024];
  std::snprintf(
      tail, sizeof tail,
      ", \"seconds\": %.6g, \"critical_path_seconds\": %.6g, \"busy_seconds\": %.6g, \"tasks\": "
      "%lld, \"most_tasks_of_a_rank\": %lld, \"network_bytes\": %.6g, \"most_sent_bytes\": %.6g, "
      "\"most_fetched_bytes\": %.6g, \"within_nodes_bytes\": %.6g, \"spilled_bytes\": %.6g, "
      "\"peak_device_bytes\": %.6g, \"state_bytes\": %.6g, \"plan_seconds\": %.6g, "
      "\"rank_planning_seconds\": %.6g, \"simulation_seconds\": %.1f}",
      report.seconds, report.critical_path_seconds, report.busy_seconds,
      static_cast<long long>(report.tasks), most(report.rank_tasks),
      static_cast<double>(report.network_bytes), static_cast<double>(report.most_sent_bytes),
      static_cast<double>(report.most_fetched_bytes),
      static_cast<double>(report.device_to_device_bytes), static_cast<double>(report.spilled_bytes),
      static_cast<double>(most(report.peak_device_bytes)),
      static_cast<double>(report.peak_state_bytes), report.plan_seconds,
      report.rank_planning_seconds, wall.count());
  return std::string(head) + tail;
}

}  // namespace

int main(int argc, char** argv) {
  int least_gpus = kGpusPerNode;
  int most_gpus = 4096;
  std::string only;
  ts::SimulationOptions options;
  options.devices = kGpusPerNode;
  options.link_bytes_per_s = 450e9;
  options.check = true;
  options.measure_planning = true;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--to") == 0 && i + 1 < argc) {
      most_gpus = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--from") == 0 && i + 1 < argc) {
      least_gpus = std::atoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else if (std::strcmp(argv[i], "--no-check") == 0) {
      options.check = false;
    } else {
      std::fprintf(stderr, "usage: bench_scaling [--from N] [--to N] [--only NAME] [--no-check]\n");
      return 2;
    }
  }
  std::printf(
      "{\"benchmark\": \"scaling\", %s, \"gpus_per_node\": %d, \"blocks_per_gpu\": %.0f, "
      "\"checked\": %s, \"model\": {\"memory_bytes_per_s\": %g, \"flops_per_s\": %g, "
      "\"link_bytes_per_s\": %g, \"network_latency_s\": %g, "
      "\"host_bytes_per_s\": %g, \"disk_bytes_per_s\": %g, \"task_overhead_s\": %g, "
      "\"device_memory_bytes\": %zu, \"host_memory_bytes\": %zu},\n\"expressions\": [",
      ts::benchmarks::machine_facts().c_str(), kGpusPerNode, kBlocksPerGpu,
      options.check ? "true" : "false", options.memory_bytes_per_s, options.flops_per_s,
      options.link_bytes_per_s, options.network_latency_s, options.host_bytes_per_s,
      options.disk_bytes_per_s, options.task_overhead_s, options.device_memory_bytes,
      options.host_memory_bytes);
  const char* comma = "";
  for (const Row& row : rows()) {
    if (!only.empty() && only != row.name) continue;
    std::printf("%s\n  {\"name\": \"%s\", \"expression\": %s, \"work\": \"%s\", \"delivered\": %s}",
                comma, row.name, quoted(row.expression).c_str(), row.work,
                row.deliver ? "true" : "false");
    comma = ",";
  }
  std::printf("],\n\"rows\": [");
  comma = "";
  for (const double network : kNetworks) {
    options.network_bytes_per_s = network;
    for (const Row& row : rows()) {
      if (!only.empty() && only != row.name) continue;
      for (int gpus = kGpusPerNode; gpus <= most_gpus; gpus *= 2) {
        if (gpus < least_gpus) continue;
        std::printf("%s\n  %s", comma, simulated(row, gpus, options).c_str());
        std::fflush(stdout);
        comma = ",";
      }
    }
  }
  std::printf("]}\n");
  return 0;
}
