// Schedules 1 PB through 100 operations on 64 modelled devices whose memory together holds a
// quarter of it: 8 transposes, 4 axis means broadcast back, 4 rechunks, 4 one-block halos, the rest
// binary. Nothing is computed; reservation, residency, eviction, placement and transfers run for
// every task, and a checker proves that each ran once and after its inputs.
//
// usage: bench_petabyte [--blocks N] [--fuse] [--no-check]

#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "benchmarks/machine.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;

namespace {

constexpr std::int64_t kBlockEdge = 11'180;  // 11180^2 float64: 1 GB

struct Expression {
  ts::Array value;
  int operations;
};

ts::Array halo(const ts::Array& x) {
  ts::MapOverlapOptions options;
  options.depth = {1};
  options.pure = true;
  return ts::map_overlap(
      x, [](const ts::InputBlock&, const ts::OutputBlock&) {}, options);
}

Expression hundred_operations(std::int64_t blocks) {
  const std::int64_t n = blocks * kBlockEdge;
  ts::Array x = ts::random::uniform({n, n}, {.chunks = {kBlockEdge, kBlockEdge}, .seed = 1});
  ts::Array before = x;
  ts::Array now = x;
  int operations = 0;
  const auto binary = [&](int count) {
    for (int i = 0; i < count; ++i, ++operations) {
      ts::Array next = now + before;
      before = now;
      now = next;
    }
  };
  const auto add_transpose = [&] {
    now = now + ts::transpose(now);
    operations += 2;
  };
  for (int round = 0; round < 4; ++round) {
    binary(8);
    add_transpose();
    now = ts::rechunk(now, {2 * kBlockEdge, kBlockEdge / 2});
    now = halo(now);
    operations += 2;
    now = ts::rechunk(now + 1.0, {kBlockEdge, kBlockEdge});
    ++operations;
    before = now;
    binary(7);
    add_transpose();
    now = now - ts::mean(now, {.axis = 0, .keepdims = true});
    operations += 2;
    before = now;
  }
  binary(100 - operations);
  // One number at the end: what is kept is not what is measured.
  return {ts::sum(now), operations};
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t blocks = 1000;
  ts::SimulationOptions options;
  options.fuse = false;
  options.check = true;
  options.critical_path = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--blocks") == 0 && i + 1 < argc) {
      blocks = std::atoll(argv[++i]);
    } else if (std::strcmp(argv[i], "--fuse") == 0) {
      options.fuse = true;
    } else if (std::strcmp(argv[i], "--no-check") == 0) {
      options.check = false;
    } else {
      std::fprintf(stderr, "usage: bench_petabyte [--blocks N] [--fuse] [--no-check]\n");
      return 2;
    }
  }
  const Expression expression = hundred_operations(blocks);
  const double bytes =
      static_cast<double>(blocks) * static_cast<double>(blocks) * kBlockEdge * kBlockEdge * 8.0;
  options.devices = 64;
  options.device_memory_bytes = static_cast<std::size_t>(bytes / 4 / 64);
  options.host_memory_bytes = std::size_t{1} << 60;
  options.disk_memory_bytes = std::size_t{1} << 61;
  const auto begin = std::chrono::steady_clock::now();
  const ts::SimulationReport report = ts::simulate({expression.value}, options);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "{\"benchmark\": \"petabyte\", %s, \"blocks\": %lld, \"bytes\": %.4g, \"operations\": %d, "
      "\"fused\": %s, "
      "\"checked\": %s, \"tasks\": %lld, \"moves\": %lld, \"seconds\": %.3f, \"us_per_task\": "
      "%.3f, "
      "\"us_per_task_or_move\": %.3f, "
      "\"peak_rss_mib\": %.1f, "
      "\"state_mib\": %.1f, \"modelled_seconds\": %.1f, \"between_devices_bytes\": %.4g, "
      "\"spilled_bytes\": %.4g}\n",
      tessera::benchmarks::machine_facts().c_str(), static_cast<long long>(blocks), bytes,
      expression.operations, options.fuse ? "true" : "false", options.check ? "true" : "false",
      static_cast<long long>(report.tasks), static_cast<long long>(report.moves), seconds,
      1e6 * seconds / static_cast<double>(report.tasks),
      1e6 * seconds / static_cast<double>(report.tasks + report.moves),
      static_cast<double>(usage.ru_maxrss) / 1024.0,
      static_cast<double>(report.peak_state_bytes) / 1048576.0, report.seconds,
      static_cast<double>(report.device_to_device_bytes),
      static_cast<double>(report.spilled_bytes));
  return 0;
}
