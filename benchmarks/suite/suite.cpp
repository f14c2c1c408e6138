// Runs one workload in a process of its own, whenever it is told to, so that several libraries can
// be measured in turns: benchmarks/run.py starts one such program for each of them. Answers are
// JSON, one object a line.
//
// usage: bench_suite --list
//        bench_suite --ceilings [--quick] [--folder DIR]
//        bench_suite --serve NAME [--as floor|tessera] [--edge N] [--memory BYTES] [--quick]
//                    [--folder DIR]
//
// --serve makes the inputs, says that it is ready, and reads words: `run` runs the workload once
// and says how long that took, `end` says what came out and ends the program.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/machine.hpp"
#include "benchmarks/suite/ceilings.hpp"
#include "benchmarks/suite/workload.hpp"

namespace ts = tessera;
namespace bench = tessera::benchmarks;
using Json = nlohmann::ordered_json;

namespace {

constexpr std::int64_t kSamples = 64;  // elements of a result that are shown

struct Options {
  bool list = false;
  bool ceilings = false;
  bool floor = false;
  std::string serve;
  bench::Sizes sizes;
};

void respond(const Json& answer) {
  std::cout << answer.dump() << '\n';
  std::cout.flush();
}

const char* name_of(bench::Bound bound) {
  switch (bound) {
    case bench::Bound::kMemory:
      return "memory";
    case bench::Bound::kProducts:
      return "products";
    case bench::Bound::kCompute:
      return "compute";
    case bench::Bound::kLatency:
      return "latency";
    case bench::Bound::kFiles:
      return "files";
    case bench::Bound::kDisk:
      return "disk";
  }
  return "unknown";
}

/// Lets the kernel count the peak of resident memory anew, so that inputs as they were made do not
/// count.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

std::int64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::atoll(line.c_str() + 6) * 1024;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

/// Shape, and evenly spaced elements in C order, or mean and standard deviation of all.
Json sample_of(const double* data, const ts::Shape& shape, bool moments) {
  const std::int64_t size = ts::element_count(shape);
  std::vector<double> sample;
  if (moments) {
    double sum = 0.0, squares = 0.0;
    for (std::int64_t i = 0; i < size; ++i) sum += data[i];
    const double mean = sum / static_cast<double>(size);
    for (std::int64_t i = 0; i < size; ++i) squares += (data[i] - mean) * (data[i] - mean);
    sample = {mean, std::sqrt(squares / static_cast<double>(size))};
  } else {
    const std::int64_t count = std::min(size, kSamples);
    for (std::int64_t i = 0; i < count; ++i)
      sample.push_back(data[count > 1 ? i * (size - 1) / (count - 1) : 0]);
  }
  return {{"shape", shape}, {"sample", sample}};
}

class Server final : public bench::Measure {
 public:
  Server(bench::Sizes sizes, bool floor) : Measure(std::move(sizes)), floor_(floor) {}

  bool wants_floor() const override { return floor_; }
  bool wants_engine() const override { return !floor_; }

  void measure(const bench::Work& work, const Floor& floor, const Engine& engine) override {
    Json facts = Json::object();
    for (const auto& [name, value] : this->facts()) facts[name] = value;
    if (floor_ && !floor) {
      respond({{"skipped", "there is no hand-written loop"}});
      std::exit(0);
    }
    engine_ = engine;
    forget_peak();
    const std::int64_t before = peak_bytes();
    respond({{"ready", true},
             {"sizes", facts},
             {"bytes", work.bytes},
             {"operations", work.operations},
             {"bound", name_of(work.bound)},
             {"threads", bench::floors::thread_count()},
             {"resident_bytes", before}});
    for (std::string word; std::getline(std::cin, word);) {
      if (word == "end") break;
      if (word != "run") throw ts::InvalidArgument("[serve] words are run and end; got " + word);
      run(floor);
    }
    peak_ = peak_bytes();
  }

  void check(const double* expected, std::size_t k, bench::Tolerance tolerance) override {
    agree(k, tolerance);
    // The loop's memory goes when the workload returns.
    if (floor_) samples_.at(k) = sample_of(expected, engine_()[k].shape(), tolerance.moments);
  }

  void agree(std::size_t k, bench::Tolerance tolerance) override {
    if (tolerances_.size() <= k) tolerances_.resize(k + 1);
    samples_.resize(tolerances_.size());
    tolerances_[k] = tolerance;
  }

  /// What came out. Called last: results are gathered into this process.
  Json outcome() {
    Json answer = {{"end", true}, {"peak_bytes", peak_}, {"results", Json::array()}};
    if (!floor_) {
      const ts::RunReport& r = report_;
      answer["tasks"] = r.tasks;
      answer["spilled_bytes"] = r.to_host_bytes + r.to_disk_bytes;
      answer["disk_bytes"] = r.to_disk_bytes + r.from_disk_bytes;
    }
    for (std::size_t k = 0; k < tolerances_.size(); ++k) answer["results"].push_back(result(k));
    return answer;
  }

 private:
  void run(const Floor& floor) {
    result_.clear();
    const auto begin = std::chrono::steady_clock::now();
    if (floor_) {
      floor();
    } else {
      result_ = session().persist(engine_());
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (!floor_) report_ = session().last_run();
    respond({{"seconds", seconds.count()}});
  }

  Json result(std::size_t k) {
    const bench::Tolerance& tolerance = tolerances_[k];
    Json out = samples_[k];
    if (!floor_) {
      const ts::Array whole = ts::astype(result_.at(k), ts::float64);
      const ts::HostArray values = session().compute({whole})[0];
      out = sample_of(values.span<double>().data(), values.shape(), tolerance.moments);
    }
    if (out.is_null()) return out;
    out["relative"] = tolerance.relative;
    out["absolute"] = tolerance.absolute;
    out["moments"] = tolerance.moments;
    return out;
  }

  bool floor_;
  Engine engine_;
  std::vector<ts::Array> result_;
  std::vector<Json> samples_;  // of the loop's results
  std::vector<bench::Tolerance> tolerances_;
  ts::RunReport report_;
  std::int64_t peak_ = 0;
};

const bench::Workload* find(const std::string& name) {
  for (const bench::Family& family : bench::families()) {
    for (const bench::Workload& workload : family.workloads) {
      if (name == workload.name) return &workload;
    }
  }
  return nullptr;
}

Json listing() {
  Json all = Json::array();
  for (const bench::Family& family : bench::families()) {
    for (const bench::Workload& workload : family.workloads) {
      all.push_back(
          {{"name", workload.name}, {"family", family.name}, {"expression", workload.expression}});
    }
  }
  return {{"machine", Json::parse("{" + bench::machine_facts() + "}")}, {"workloads", all}};
}

int serve(const Options& options) {
  const bench::Workload* workload = find(options.serve);
  if (workload == nullptr) {
    std::fprintf(stderr, "bench_suite: no workload is called %s; --list names them\n",
                 options.serve.c_str());
    return 2;
  }
  Server server(options.sizes, options.floor);
  workload->run(server);
  respond(server.outcome());
  return 0;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool more = i + 1 < argc;
    if (flag == "--list") {
      options.list = true;
    } else if (flag == "--ceilings") {
      options.ceilings = true;
    } else if (flag == "--quick") {
      options.sizes.quick = true;
    } else if (flag == "--serve" && more) {
      options.serve = argv[++i];
    } else if (flag == "--as" && more) {
      const std::string role = argv[++i];
      if (role != "floor" && role != "tessera") return false;
      options.floor = role == "floor";
    } else if (flag == "--edge" && more) {
      options.sizes.edge = std::atoll(argv[++i]);
    } else if (flag == "--memory" && more) {
      options.sizes.memory_bytes =
          static_cast<std::int64_t>(ts::parse_bytes(argv[++i], "--memory"));
    } else if (flag == "--folder" && more) {
      options.sizes.folder = argv[++i];
    } else {
      return false;
    }
  }
  const std::int64_t edge = options.sizes.edge;
  const bool edge_fits = edge >= 1024 && edge <= (1 << 20) && edge % 1024 == 0;
  if (!edge_fits) std::fprintf(stderr, "bench_suite: --edge is a multiple of 1024\n");
  const bool memory_fits = options.sizes.memory_bytes >= std::int64_t{16} << 20;
  if (!memory_fits) std::fprintf(stderr, "bench_suite: --memory is at least 16 MiB\n");
  return edge_fits && memory_fits && (options.list || options.ceilings || !options.serve.empty());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  try {
    if (!parse(argc, argv, options)) {
      std::fprintf(stderr,
                   "usage: bench_suite --list | --ceilings | --serve NAME [--as floor|tessera] "
                   "[--edge N] [--memory BYTES] [--quick] [--folder DIR]\n");
      return 2;
    }
    if (options.sizes.folder.empty()) options.sizes.folder = ".";
    if (options.list) {
      respond(listing());
      return 0;
    }
    if (options.ceilings) {
      respond(bench::measure_ceilings(options.sizes.folder, options.sizes.quick));
      return 0;
    }
    return serve(options);
  } catch (const std::exception& error) {
    respond({{"error", error.what()}});
    return 1;
  }
}
