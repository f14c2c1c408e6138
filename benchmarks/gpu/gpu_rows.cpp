// Expressions on a GPU beside what the device reaches (a device-to-device copy, one cuBLAS product,
// the link), all in one run. Inputs lie on the device before the clock starts; `first` is the first
// run, which also compiles kernels, `seconds` the median of those after it. The host computes the
// same values, or some of them, for itself.
//
// usage: bench_gpu_rows [--output FILE] [--resume] [--devices cuda:0] [--quick] [--only NAME]
//                       [--dtype NAME] [--repeat N] [--budget SECONDS] [--row-limit SECONDS]
//                       [--list]
//
// FILE is written anew after every row. A row that takes more than --row-limit seconds ends the
// program;
// --resume goes on behind the row at which it ended or crashed. After --budget seconds no more rows
// are begun. Exits with 0 when every result is right, 1 when one is not, 3 without a device.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/gpu/ceilings.hpp"
#include "benchmarks/gpu/record.hpp"
#include "benchmarks/gpu/rows.hpp"
#include "benchmarks/machine.hpp"
#include "core/text.hpp"
#include "device/cuda/cuda_module.h"
#include "device/host_devices.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;
namespace gpu = tessera::benchmarks::gpu;

namespace {

using gpu::Json;
using tessera::core::text;

constexpr int kNoDevice = 3;

struct Options {
  std::string output;
  std::string devices = "cuda:0";
  std::string only;
  std::string dtype;
  bool resume = false;
  bool quick = false;
  bool list = false;
  int repeat = 0;
  double budget_s = 1e9;
  double row_limit_s = 60;
};

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename T>
double largest_difference(const ts::HostArray& got, const ts::HostArray& expected) {
  const std::span<const T> a = got.span<T>();
  const std::span<const T> b = expected.span<T>();
  double scale = 0.0;
  double far = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(difference)) return INFINITY;
    far = std::max(far, difference);
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return scale > 0.0 ? far / scale : far;
}

double distance(const std::vector<ts::HostArray>& got, const std::vector<ts::HostArray>& expected) {
  double far = got.size() == expected.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    if (got[i].shape() != expected[i].shape() || got[i].dtype() != expected[i].dtype())
      return INFINITY;
    far = std::max(far, got[i].dtype() == ts::DType::kFloat32
                            ? largest_difference<float>(got[i], expected[i])
                            : largest_difference<double>(got[i], expected[i]));
  }
  return far;
}

/// One run over all rows.
class Benchmark {
 public:
  Benchmark(const Options& options, const TesseraCudaApi* api)
      : options_(options),
        api_(api),
        begin_s_(now_s()),
        record_(options.output, options.resume, options.row_limit_s),
        right_(!record_.failed_before()) {}

  int run() {
    Json& document = record_.document();
    if (document.empty()) {
      document["benchmark"] = "gpu_rows";
      document.update(Json::parse("{" + tessera::benchmarks::machine_facts() + "}"));
      describe_device(document);
      document["quick"] = options_.quick;
      document["rows"] = Json::array();
    }
    measure_ceilings();
    for (const ts::DType dtype : {ts::DType::kFloat64, ts::DType::kFloat32}) {
      if (!options_.dtype.empty() && options_.dtype != ts::name(dtype)) continue;
      for (const gpu::Group& group : gpu::make_groups(dtype, options_.quick)) run_group(group);
    }
    document["seconds"] = now_s() - begin_s_;
    record_.end();
    if (options_.output.empty()) std::printf("%s\n", document.dump(1).c_str());
    return right_ ? 0 : 1;
  }

 private:
  void describe_device(Json& out) const {
    out["devices"] = options_.devices;
    if (api_ == nullptr) return;
    TesseraCudaDeviceInfo info{};
    if (api_->device_info(device_number(), &info) == TESSERA_CUDA_OK) {
      out["device"] = info.name;
      out["architecture"] = text("sm_", info.major, info.minor);
      out["multiprocessors"] = info.multiprocessors;
      out["l2_bytes"] = info.l2_bytes;
      out["device_memory_bytes"] = info.memory_bytes;
      out["device_free_bytes"] = info.free_bytes;
    }
    out["cuda"] = api_->versions();
  }
  int device_number() const {
    const std::size_t colon = options_.devices.find(':');
    return colon == std::string::npos ? 0 : std::atoi(options_.devices.c_str() + colon + 1);
  }

  void measure_ceilings() {
    if (api_ == nullptr) return;
    Json& document = record_.document();
    if (!document.contains("ceilings")) {
      if (record_.has("ceilings")) return;
      record_.begin("ceilings");
      ceilings_ = gpu::measure_ceilings(*api_, device_number(), options_.quick,
                                        gpu::product_extents(options_.quick));
      Json all = Json::object();
      for (const auto& [what, timed] : ceilings_.timed) all[what] = timed.seconds;
      document["ceilings"] = {{"copy_bytes_per_s", ceilings_.copy_bytes_per_s},
                              {"to_device_bytes_per_s", ceilings_.to_device_bytes_per_s},
                              {"to_host_bytes_per_s", ceilings_.to_host_bytes_per_s},
                              {"product_flops_per_s", ceilings_.product_flops_per_s},
                              {"all_s", all},
                              {"failed", ceilings_.failed}};
      record_.end();
      return;
    }
    const Json& c = document["ceilings"];
    ceilings_.copy_bytes_per_s = c.at("copy_bytes_per_s");
    ceilings_.to_device_bytes_per_s = c.at("to_device_bytes_per_s");
    ceilings_.to_host_bytes_per_s = c.at("to_host_bytes_per_s");
    ceilings_.product_flops_per_s =
        c.at("product_flops_per_s").get<std::map<std::string, double>>();
  }

  static std::string key_of(const gpu::Group& group, const std::string& row) {
    return text(row, "/", ts::name(group.dtype), "/", group.chunk_bytes);
  }
  bool wanted(const gpu::Group& group, const gpu::Row& row) const {
    return (options_.only.empty() || options_.only == row.name) &&
           !record_.has(key_of(group, row.name));
  }

  void run_group(const gpu::Group& group) {
    const std::string input = key_of(group, "input of " + group.name);
    if (record_.has(input)) return;  // it failed before
    if (std::none_of(group.rows.begin(), group.rows.end(),
                     [&](const gpu::Row& row) { return wanted(group, row); }))
      return;
    if (options_.list) {
      for (const gpu::Row& row : group.rows) std::printf("%s\n", key_of(group, row.name).c_str());
      return;
    }
    if (now_s() - begin_s_ > options_.budget_s) return skip(group);
    record_.begin(input);
    std::fprintf(stderr, "bench_gpu_rows: %s, %s\n", group.name.c_str(),
                 std::string(ts::name(group.dtype)).c_str());
    try {
      ts::SessionOptions session{.devices = options_.devices};
      if (group.device_budget_bytes > 0) session.device_memory_bytes = group.device_budget_bytes;
      if (group.host_budget_bytes > 0) session.host_memory_bytes = group.host_budget_bytes;
      ts::Session device(session);
      const gpu::Arrays arrays = device.persist(group.source);
      for (const gpu::Row& row : group.rows) {
        if (wanted(group, row)) run_row(group, row, device, arrays);
      }
    } catch (const std::exception& error) {
      right_ = false;
      record_.add(input, {{"error", error.what()}});
    }
  }

  void skip(const gpu::Group& group) {
    for (const gpu::Row& row : group.rows) {
      if (!wanted(group, row)) continue;
      Json out = describe(group, row);
      out["skipped"] = text("no time was left after ", options_.budget_s, " s");
      record_.add(key_of(group, row.name), std::move(out));
    }
  }

  Json describe(const gpu::Group& group, const gpu::Row& row) const {
    return {{"name", row.name},     {"dtype", ts::name(group.dtype)},
            {"shape", group.shape}, {"chunk_bytes", group.chunk_bytes},
            {"bytes", row.bytes},   {"operations", row.operations},
            {"kept", row.keep}};
  }

  void run_row(const gpu::Group& group, const gpu::Row& row, ts::Session& device,
               const gpu::Arrays& arrays) {
    const std::string key = key_of(group, row.name);
    record_.begin(key);
    Json out = describe(group, row);
    try {
      gpu::Arrays results = measure(group, row, device, arrays, out);
      check(group, row, device, results, out);
    } catch (const std::exception& error) {
      right_ = false;
      out["error"] = error.what();
    }
    record_.add(key, std::move(out));
  }

  /// The results, as arrays that are kept.
  gpu::Arrays measure(const gpu::Group& group, const gpu::Row& row, ts::Session& device,
                      const gpu::Arrays& arrays, Json& out) const {
    gpu::Arrays results;
    const auto once = [&] {
      results.clear();
      const double begin = now_s();
      if (row.keep) {
        results = device.persist(row.build(arrays));
      } else {
        for (const ts::HostArray& value : device.compute(row.build(arrays)))
          results.push_back(ts::asarray(value));
      }
      return now_s() - begin;
    };
    out["first_seconds"] = once();
    gpu::Timed timed;
    const int repeat = options_.repeat > 0 ? options_.repeat : row.repeat;
    for (int i = 0; i < repeat; ++i) timed.seconds.push_back(once());
    const double median = timed.median();
    out["seconds"] = median;
    out["min_seconds"] = *std::min_element(timed.seconds.begin(), timed.seconds.end());
    out["max_seconds"] = *std::max_element(timed.seconds.begin(), timed.seconds.end());
    out["all_seconds"] = timed.seconds;
    const double work = row.bound == gpu::Bound::kProduct ? row.operations : row.bytes;
    out[row.bound == gpu::Bound::kProduct ? "flops_per_s" : "bytes_per_s"] = work / median;
    if (const double ceiling = ceiling_of(group, row, out); ceiling > 0.0)
      out["ratio"] = work / median / ceiling;
    const ts::RunReport report = device.last_run();
    out["run"] = {{"tasks", report.tasks},
                  {"to_host_bytes", report.to_host_bytes},
                  {"from_host_bytes", report.from_host_bytes},
                  {"to_disk_bytes", report.to_disk_bytes},
                  {"recomputed_tasks", report.recomputed_tasks},
                  {"peak_device_bytes", report.peak_device_bytes}};
    return results;
  }

  double ceiling_of(const gpu::Group& group, const gpu::Row& row, Json& out) const {
    switch (row.bound) {
      case gpu::Bound::kProduct:
        out["ceiling"] = "product";
        return ceilings_.product(group.dtype, row.extent);
      case gpu::Bound::kLink:
        out["ceiling"] = "to_device";
        return ceilings_.to_device_bytes_per_s;
      case gpu::Bound::kMemory:
        break;
    }
    out["ceiling"] = "copy";
    return ceilings_.copy_bytes_per_s;
  }

  void check(const gpu::Group& group, const gpu::Row& row, ts::Session& device,
             const gpu::Arrays& results, Json& out) {
    const auto sample = [&](const gpu::Arrays& from) {
      return row.sample ? row.sample(from) : from;
    };
    std::vector<ts::HostArray> got;
    std::vector<ts::HostArray> expected;
    const double begin = now_s();
    if (!row.small.empty()) {
      got = device.compute(row.build(row.small));
      expected = host().compute(row.build(row.small));
      out["checked_at"] = row.small[0].shape();
    } else {
      got = device.compute(sample(results));
      expected = values_of(group, row);
    }
    const double far = distance(got, expected);
    out["distance"] = std::isinf(far) ? Json("not comparable") : Json(far);
    out["checked"] = far <= row.tolerance;
    out["check_seconds"] = now_s() - begin;
    right_ = right_ && far <= row.tolerance;
  }

  /// What the host finds, once for all ways to cut the same array.
  const std::vector<ts::HostArray>& values_of(const gpu::Group& group, const gpu::Row& row) {
    const std::string key =
        text(row.name, "/", ts::name(group.dtype), "/", row.sample ? group.name : "");
    const auto known = values_.find(key);
    if (known != values_.end()) return known->second;
    return values_[key] =
               host().compute(row.expected ? row.expected(group.source) : row.build(group.source));
  }

  ts::Session& host() {
    if (!host_) host_.emplace(ts::SessionOptions{.devices = "host"});
    return *host_;
  }

  Options options_;
  const TesseraCudaApi* api_;
  double begin_s_;
  gpu::Record record_;
  gpu::Ceilings ceilings_;
  std::optional<ts::Session> host_;
  std::map<std::string, std::vector<ts::HostArray>> values_;
  bool right_;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto value = [&](const char* name) { return flag == name && i + 1 < argc; };
    if (flag == "--quick") {
      options.quick = true;
    } else if (flag == "--list") {
      options.list = true;
    } else if (flag == "--resume") {
      options.resume = true;
    } else if (value("--output")) {
      options.output = argv[++i];
    } else if (value("--devices")) {
      options.devices = argv[++i];
    } else if (value("--only")) {
      options.only = argv[++i];
    } else if (value("--dtype")) {
      options.dtype = argv[++i];
    } else if (value("--repeat")) {
      options.repeat = std::max(1, std::atoi(argv[++i]));
    } else if (value("--budget")) {
      options.budget_s = std::atof(argv[++i]);
    } else if (value("--row-limit")) {
      options.row_limit_s = std::atof(argv[++i]);
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
    std::fprintf(stderr,
                 "usage: bench_gpu_rows [--output FILE] [--resume] [--devices cuda:0] [--quick] "
                 "[--only NAME] [--dtype NAME] [--repeat N] [--budget SECONDS] "
                 "[--row-limit SECONDS] [--list]\n");
    return 2;
  }
  const TesseraCudaApi* api = nullptr;
  if (options.devices.starts_with("cuda") && !options.list) {
    std::string problem;
    api = tessera::device::find_cuda(problem);
    if (api == nullptr) {
      std::fprintf(stderr, "bench_gpu_rows: no CUDA device: %s\n", problem.c_str());
      return kNoDevice;
    }
  }
  return Benchmark(options, api).run();
}
