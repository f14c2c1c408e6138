// What one task costs on host devices when its kernel does nothing: its inputs and readers found by
// arithmetic, memory for its block taken and given back, placement, reservation, hand-over to a
// worker, completion. Every task of a layer reads two blocks of the layer before.
//
// usage: bench_tasks [--layers N] [--width N] [--workers N] [--devices N] [--repeat N] [--window N]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "device/host_devices.hpp"
#include "scheduler/executor/host_driver.hpp"

namespace ts = tessera;
namespace sched = tessera::scheduler;

namespace {

struct Options {
  std::int64_t layers = 1000;
  std::int64_t width = 1000;
  std::int64_t workers = 2;
  std::int64_t devices = 1;
  std::int64_t repeat = 5;
  std::int64_t window = 4096;
};

sched::Access two_neighbours(std::int64_t width) {
  std::vector<std::int32_t> low, high;
  for (std::int64_t i = 0; i < width; ++i) {
    low.push_back(static_cast<std::int32_t>(std::min(i, width - 2)));
    high.push_back(low.back() + 2);
  }
  sched::Access access;
  access.links.push_back({0, sched::AxisMap::ranges(low, high, width)});
  return access;
}

sched::Plan layers_of_tasks(const Options& options) {
  sched::Plan plan;
  const ts::ChunkGrid grid({ts::AxisChunks::regular(options.width, 1)});
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const auto number = static_cast<sched::NodeIndex>(layer);
    sched::PlanNode node;
    node.label = "empty";
    node.counts = {options.width};
    if (layer > 0) {
      sched::PlanInput input;
      input.slot = plan.nodes.back().outputs[0];
      input.access = two_neighbours(options.width);
      node.inputs.push_back(std::move(input));
    }
    node.outputs = {plan.add_slot(number, 0, ts::kernels::BlockSize(grid, ts::DType::kFloat64))};
    plan.add_node(std::move(node));
  }
  plan.slots.back().retained = true;
  plan.finalize();
  return plan;
}

double microseconds_per_task(const sched::TaskOrder& order, const sched::HostRunOptions& options,
                             std::size_t& state_bytes) {
  const auto begin = std::chrono::steady_clock::now();
  const sched::HostRunResult result = sched::run_on_host(order, options);
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
  state_bytes = result.counters.peak_state_bytes;
  return time.count() / static_cast<double>(result.counters.tasks);
}

bool parse(int argc, char** argv, Options& options) {
  const struct {
    const char* name;
    std::int64_t* value;
  } known[] = {{"--layers", &options.layers},   {"--width", &options.width},
               {"--workers", &options.workers}, {"--devices", &options.devices},
               {"--repeat", &options.repeat},   {"--window", &options.window}};
  for (int i = 1; i < argc; i += 2) {
    bool found = false;
    for (const auto& option : known) {
      if (i + 1 < argc && std::strcmp(argv[i], option.name) == 0) {
        *option.value = std::atoll(argv[i + 1]);
        found = *option.value > 0;
      }
    }
    if (!found) return false;
  }
  return options.width >= 2;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: bench_tasks [--layers N] [--width N (at least 2)] [--workers N] "
                 "[--devices N] [--repeat N] [--window N]\n");
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const sched::Plan plan = layers_of_tasks(options);
  const sched::TaskOrder order(plan);
  const std::chrono::duration<double> planning = std::chrono::steady_clock::now() - begin;

  ts::device::HostDevicesOptions machine;
  machine.count = static_cast<int>(options.devices);
  machine.workers = static_cast<int>(options.workers);
  machine.device_budget_bytes = std::size_t{4} << 30;
  sched::HostRunOptions run;
  run.devices = std::make_shared<ts::device::HostDevices>(machine);
  run.registry = &ts::kernels::host_registry();
  run.window = static_cast<std::uint32_t>(options.window);

  std::vector<double> times;
  std::string raw;
  std::size_t state_bytes = 0;
  for (std::int64_t r = 0; r < options.repeat; ++r) {
    times.push_back(microseconds_per_task(order, run, state_bytes));
    raw += (r > 0 ? ", " : "") + std::to_string(times.back());
  }
  std::sort(times.begin(), times.end());
  // A window over all tasks: everything that is kept of a task that waits, its block included.
  run.window = static_cast<std::uint32_t>(plan.total_tasks());
  std::size_t all_bytes = 0;
  microseconds_per_task(order, run, all_bytes);
  std::printf(
      "{\"benchmark\": \"tasks\", %s, \"tasks\": %lld, \"dependences\": 2, \"workers\": %lld, "
      "\"devices\": %lld, \"window\": %lld, \"planning_us_per_task\": %.4f, "
      "\"us_per_task\": %.4f, \"us_per_task_raw\": [%s], \"state_bytes\": %zu, "
      "\"state_bytes_per_waiting_task\": %.1f}\n",
      tessera::benchmarks::machine_facts().c_str(), static_cast<long long>(plan.total_tasks()),
      static_cast<long long>(options.workers), static_cast<long long>(options.devices),
      static_cast<long long>(options.window),
      1e6 * planning.count() / static_cast<double>(plan.total_tasks()), times[times.size() / 2],
      raw.c_str(), state_bytes,
      static_cast<double>(all_bytes) / static_cast<double>(plan.total_tasks()));
  return 0;
}
