// What an empty task costs other task libraries of C++, in the grids, chains and trees of
// bench_tasks: graphs are built and run anew each time. Built where oneTBB or Taskflow is
// installed.
//
// usage: bench_task_libraries [--shape grid|chain|tree] [--layers N] [--width N] [--repeat N]

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/machine.hpp"
#include "core/environment.hpp"

#if defined(TESSERA_BENCH_TBB)
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/version.h>
#endif
#if defined(TESSERA_BENCH_TASKFLOW)
#include <taskflow/taskflow.hpp>
#endif

namespace {

struct Options {
  std::string shape = "grid";
  std::int64_t layers = 1000;
  std::int64_t width = 1000;
  std::int64_t repeat = 5;
};

/// Tasks numbered layer by layer, and which must come before which.
struct Graph {
  std::size_t tasks = 0;
  std::vector<std::pair<std::size_t, std::size_t>> edges;
};

Graph make_graph(const Options& options) {
  Graph graph;
  std::vector<std::int64_t> widths(static_cast<std::size_t>(options.layers), options.width);
  if (options.shape == "tree") {
    widths = {1};
    while (4 * widths.front() <= options.layers * options.width)
      widths.insert(widths.begin(), 2 * widths.front());
  }
  std::int64_t before = 0;
  for (const std::int64_t width : widths) {
    const auto first = static_cast<std::int64_t>(graph.tasks) - before;
    for (std::int64_t i = 0; i < width && before > 0; ++i) {
      const std::int64_t low = options.shape == "grid"    ? std::min(i, before - 2)
                               : options.shape == "chain" ? i
                                                          : 2 * i;
      for (std::int64_t k = 0; k < (options.shape == "chain" ? 1 : 2); ++k) {
        graph.edges.emplace_back(static_cast<std::size_t>(first + low + k),
                                 graph.tasks + static_cast<std::size_t>(i));
      }
    }
    graph.tasks += static_cast<std::size_t>(width);
    before = width;
  }
  return graph;
}

/// Median and all microseconds a task.
std::string measured(const char* name, const Graph& graph, std::int64_t repeat,
                     const std::function<void()>& run) {
  std::vector<double> times;
  std::string raw;
  for (std::int64_t r = 0; r < repeat; ++r) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    times.push_back(time.count() / static_cast<double>(graph.tasks));
    raw += (r > 0 ? ", " : "") + std::to_string(times.back());
  }
  std::sort(times.begin(), times.end());
  return std::string(", \"") + name +
         "\": {\"us_per_task\": " + std::to_string(times[times.size() / 2]) +
         ", \"us_per_task_raw\": [" + raw + "]}";
}

#if defined(TESSERA_BENCH_TBB)
void run_tbb(const Graph& graph) {
  namespace flow = oneapi::tbb::flow;
  using Node = flow::continue_node<flow::continue_msg>;
  flow::graph g;
  std::deque<Node> nodes;
  std::vector<char> waits(graph.tasks, 0);
  for (std::size_t i = 0; i < graph.tasks; ++i)
    nodes.emplace_back(g, [](const flow::continue_msg&) { return flow::continue_msg(); });
  for (const auto& [from, to] : graph.edges) {
    flow::make_edge(nodes[from], nodes[to]);
    waits[to] = 1;
  }
  for (std::size_t i = 0; i < graph.tasks; ++i) {
    if (waits[i] == 0) nodes[i].try_put(flow::continue_msg());
  }
  g.wait_for_all();
}
#endif

#if defined(TESSERA_BENCH_TASKFLOW)
void run_taskflow(tf::Executor& executor, const Graph& graph) {
  tf::Taskflow flow;
  std::vector<tf::Task> tasks;
  tasks.reserve(graph.tasks);
  for (std::size_t i = 0; i < graph.tasks; ++i) tasks.push_back(flow.emplace([] {}));
  for (const auto& [from, to] : graph.edges) tasks[from].precede(tasks[to]);
  executor.run(flow).wait();
}
#endif

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    std::int64_t* number = flag == "--layers"   ? &options.layers
                           : flag == "--width"  ? &options.width
                           : flag == "--repeat" ? &options.repeat
                                                : nullptr;
    if (flag == "--shape") {
      options.shape = argv[i + 1];
    } else if (number == nullptr || (*number = std::atoll(argv[i + 1])) <= 0) {
      return false;
    }
  }
  const bool known = options.shape == "grid" || options.shape == "chain" || options.shape == "tree";
  return argc % 2 == 1 && known && options.width >= 2;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: bench_task_libraries [--shape grid|chain|tree] [--layers N] [--width N "
                 "(at least 2)] [--repeat N]\n");
    return 2;
  }
  const Graph graph = make_graph(options);
  const int threads = tessera::core::available_cores();
  std::string results;
#if defined(TESSERA_BENCH_TBB)
  const oneapi::tbb::global_control limit(oneapi::tbb::global_control::max_allowed_parallelism,
                                          static_cast<std::size_t>(threads));
  results += std::string(", \"onetbb_version\": \"") + TBB_runtime_version() + "\"";
  results += measured("onetbb", graph, options.repeat, [&] { run_tbb(graph); });
#endif
#if defined(TESSERA_BENCH_TASKFLOW)
  tf::Executor executor(static_cast<std::size_t>(threads));
  results += std::string(", \"taskflow_version\": \"") + tf::version() + "\"";
  results += measured("taskflow", graph, options.repeat, [&] { run_taskflow(executor, graph); });
#endif
  std::printf(
      "{\"benchmark\": \"task_libraries\", %s, \"shape\": \"%s\", \"tasks\": %zu, \"edges\": %zu, "
      "\"workers\": %d%s}\n",
      tessera::benchmarks::machine_facts().c_str(), options.shape.c_str(), graph.tasks,
      graph.edges.size(), threads, results.c_str());
  return 0;
}
