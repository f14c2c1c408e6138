// Expressions on host devices beside hand-written loops for the same work (benchmarks/floors.hpp),
// measured in turns in one run. Inputs are resident before the clock starts; `cold` is the first
// run, whose results get fresh pages, `warm` the median of those after it, which reuse them.
//
// usage: bench_host_rows [--quick] [--only NAME] [--repeat N] [--list]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "benchmarks/floors.hpp"
#include "benchmarks/machine.hpp"
#include "benchmarks/suite/workload.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;
namespace bench = tessera::benchmarks;
namespace floors = tessera::benchmarks::floors;

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string list_of(const std::vector<double>& values) {
  std::string out;
  char text[32];
  for (const double value : values) {
    std::snprintf(text, sizeof text, "%s%.5f", out.empty() ? "" : ", ", value);
    out += text;
  }
  return "[" + out + "]";
}

/// Median, smallest and largest of repetitions, and all of them in the order in which they ran.
std::string times_of(const std::string& name, const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  char text[160];
  std::snprintf(text, sizeof text, "\"%s_s\": %.5f, \"%s_min_s\": %.5f, \"%s_max_s\": %.5f",
                name.c_str(), median(values), name.c_str(), *least, name.c_str(), *most);
  return std::string(text) + ", \"" + name + "_all_s\": " + list_of(values);
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Options {
  bench::Sizes sizes;
  bool list = false;
  std::string only;
  int repeat = 7;
};

/// One row: what is asked of the engine, the loop beside it, and how far apart their results are.
class Row final : public bench::Measure {
 public:
  Row(std::string name, const Options& options)
      : Measure(options.sizes), name_(std::move(name)), repeat_(options.repeat) {}

  bool wants_floor() const override { return true; }
  bool wants_engine() const override { return true; }

  void measure(const bench::Work& work, const Floor& floor, const Engine& engine) override {
    work_ = work;
    floor();
    cold_ = seconds_of([&] { result_ = session().persist(engine()); });
    for (int i = 0; i < repeat_; ++i) {
      floor_.push_back(seconds_of(floor));
      result_.clear();
      warm_.push_back(seconds_of([&] { result_ = session().persist(engine()); }));
    }
  }

  void check(const double* expected, std::size_t k, bench::Tolerance tolerance) override {
    const ts::HostArray got = session().compute({result_[k]})[0];
    const double far = floors::distance(got.span<double>().data(), expected, got.size());
    checked_ = checked_ && far <= tolerance.relative;
    distance_ = std::max(distance_, far);
  }
  void agree(std::size_t, bench::Tolerance) override {}

  std::string to_json() const {
    char text[512];
    std::snprintf(text, sizeof text,
                  "\"bytes\": %lld, \"operations\": %lld, \"cold_s\": %.5f, \"ratio\": %.3f, "
                  "\"cold_ratio\": %.3f, \"distance\": %.2e, \"checked\": %s",
                  static_cast<long long>(work_.bytes), static_cast<long long>(work_.operations),
                  cold_, median(warm_) / median(floor_), cold_ / median(floor_), distance_,
                  checked_ ? "true" : "false");
    return "{\"name\": \"" + name_ + "\", " + times_of("floor", floor_) + ", " +
           times_of("warm", warm_) + ", " + text + "}";
  }
  bool checked() const { return checked_; }

 private:
  std::string name_;
  int repeat_;
  std::vector<ts::Array> result_;
  bench::Work work_{};
  std::vector<double> floor_, warm_;
  double cold_ = 0.0;
  double distance_ = 0.0;
  bool checked_ = true;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      options.sizes.edge = 4096;
    } else if (flag == "--list") {
      options.list = true;
    } else if (flag == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (flag == "--repeat" && i + 1 < argc) {
      options.repeat = std::max(1, std::atoi(argv[++i]));
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: bench_host_rows [--quick] [--only NAME] [--repeat N] [--list]\n");
    return 2;
  }
  bool checked = true;
  std::string rows;
  // A virtual machine may have to get memory from its host first, which is not what `cold` is
  // about.
  if (!options.list) floors::make_buffer(5 * options.sizes.edge * options.sizes.edge);
  for (const bench::Workload& entry : bench::host_workloads()) {
    if (options.list) std::printf("%s\n", entry.name);
    if (options.list || (!options.only.empty() && options.only != entry.name)) continue;
    Row row(entry.name, options);
    entry.run(row);
    checked = checked && row.checked();
    rows += (rows.empty() ? "\n  " : ",\n  ") + row.to_json();
  }
  if (options.list) return 0;
  std::printf(
      "{\"benchmark\": \"host_rows\", %s, \"warm_ups\": 1, \"repetitions\": %d, "
      "\"edge\": %lld, \"chunk\": %lld, \"checked\": %s, \"rows\": [%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), options.repeat,
      static_cast<long long>(options.sizes.edge), static_cast<long long>(options.sizes.chunk()),
      checked ? "true" : "false", rows.c_str());
  return checked ? 0 : 1;
}
