// What one task costs on host devices when its kernel does nothing: its inputs and readers found by
// arithmetic, memory for its block taken and given back, placement, reservation, hand-over to a
// worker, completion. In a grid every task of a layer reads two blocks of the layer before, in a
// chain its own, and in a tree two that no other reads.
//
// usage: bench_tasks [--shape grid|chain|tree] [--layers N] [--width N] [--workers N] [--devices N]
//                    [--repeat N] [--window N]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "device/host_devices.hpp"
#include "scheduler/executor/host_driver.hpp"

namespace ts = tessera;
namespace sched = tessera::scheduler;

namespace {

enum class Layout : std::uint8_t { kGrid, kChain, kTree };
constexpr const char* kLayouts[] = {"grid", "chain", "tree"};

struct Options {
  Layout layout = Layout::kGrid;
  std::int64_t layers = 1000;
  std::int64_t width = 1000;
  std::int64_t workers = 2;
  std::int64_t devices = 1;
  std::int64_t repeat = 5;
  std::int64_t window = 4096;
};

/// What the tasks of a layer of `width` read of a layer of `before`.
sched::Access reads(Layout layout, std::int64_t width, std::int64_t before) {
  std::vector<std::int32_t> low, high;
  for (std::int64_t i = 0; i < width; ++i) {
    const std::int64_t first = layout == Layout::kGrid    ? std::min(i, before - 2)
                               : layout == Layout::kChain ? i
                                                          : 2 * i;
    low.push_back(static_cast<std::int32_t>(first));
    high.push_back(static_cast<std::int32_t>(first + (layout == Layout::kChain ? 1 : 2)));
  }
  sched::Access access;
  access.links.push_back({0, sched::AxisMap::ranges(low, high, before)});
  return access;
}

/// Widths of the layers. A tree has about as many tasks as the others.
std::vector<std::int64_t> layer_widths(const Options& options) {
  if (options.layout != Layout::kTree)
    return std::vector<std::int64_t>(static_cast<std::size_t>(options.layers), options.width);
  std::vector<std::int64_t> widths{1};
  while (4 * widths.front() <= options.layers * options.width)
    widths.insert(widths.begin(), 2 * widths.front());
  return widths;
}

sched::Plan layers_of_tasks(const Options& options) {
  sched::Plan plan;
  std::int64_t before = 0;
  for (const std::int64_t width : layer_widths(options)) {
    const auto number = static_cast<sched::NodeIndex>(plan.nodes.size());
    const ts::ChunkGrid grid({ts::AxisChunks::regular(width, 1)});
    sched::PlanNode node;
    node.label = "empty";
    node.counts = {width};
    if (before > 0) {
      sched::PlanInput input;
      input.slot = plan.nodes.back().outputs[0];
      input.access = reads(options.layout, width, before);
      node.inputs.push_back(std::move(input));
    }
    node.outputs = {plan.add_slot(number, 0, ts::kernels::BlockSize(grid, ts::DType::kFloat64))};
    plan.add_node(std::move(node));
    before = width;
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
    for (std::size_t k = 0; k < std::size(kLayouts); ++k) {
      if (i + 1 < argc && std::strcmp(argv[i], "--shape") == 0 &&
          std::strcmp(argv[i + 1], kLayouts[k]) == 0) {
        options.layout = static_cast<Layout>(k);
        found = true;
      }
    }
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
                 "usage: bench_tasks [--shape grid|chain|tree] [--layers N] [--width N (at least "
                 "2)] [--workers N] "
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
      "{\"benchmark\": \"tasks\", %s, \"shape\": \"%s\", \"tasks\": %lld, \"dependences\": %d, "
      "\"workers\": %lld, "
      "\"devices\": %lld, \"window\": %lld, \"planning_us_per_task\": %.4f, "
      "\"us_per_task\": %.4f, \"us_per_task_raw\": [%s], \"state_bytes\": %zu, "
      "\"state_bytes_per_waiting_task\": %.1f}\n",
      tessera::benchmarks::machine_facts().c_str(),
      kLayouts[static_cast<std::size_t>(options.layout)],
      static_cast<long long>(plan.total_tasks()), options.layout == Layout::kChain ? 1 : 2,
      static_cast<long long>(options.workers), static_cast<long long>(options.devices),
      static_cast<long long>(options.window),
      1e6 * planning.count() / static_cast<double>(plan.total_tasks()), times[times.size() / 2],
      raw.c_str(), state_bytes,
      static_cast<double>(all_bytes) / static_cast<double>(plan.total_tasks()));
  return 0;
}
