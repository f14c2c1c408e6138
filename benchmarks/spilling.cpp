// ((x + x.T) - x.mean(axis=0)).sum() of an array that cannot be computed again and is four times as
// large as the device's memory, beside the same run with plenty: once with a host tier to spill to,
// once with a disk. Bytes moved stand beside those of an ideal replay of the same order, the disk's
// time beside that of moving the same bytes and nothing else.
//
// usage: bench_spilling [--quick] [--only host|disk] [--repeat N]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/belady.hpp"
#include "benchmarks/floors.hpp"
#include "benchmarks/machine.hpp"
#include "core/file_system.hpp"
#include "device/host_devices.hpp"
#include "scheduler/plan/lower.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;
namespace floors = tessera::benchmarks::floors;

namespace {

using tessera::benchmarks::Replay;

struct Options {
  bool quick = false;
  std::string only;
  int repeat = 5;
  std::int64_t edge() const { return quick ? 4096 : 16384; }
  std::int64_t chunk() const { return edge() / 16; }
  std::size_t bytes() const { return static_cast<std::size_t>(edge() * edge()) * sizeof(double); }
  std::size_t budget() const { return bytes() / 4; }
};

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Blocks come from a function that the engine may call once only.
ts::Array expression(const Options& options) {
  const std::int64_t n = options.edge();
  ts::MapBlocksOptions made;
  made.dtype = ts::DType::kFloat64;
  made.shape = ts::Shape{n, n};
  made.chunks = ts::Chunks{options.chunk(), options.chunk()};
  made.name = "measured";
  const ts::Array x = ts::map_blocks(
      [](std::span<const ts::InputBlock>, const ts::OutputBlock& out) {
        double* to = out.as<double>();
        const double from = static_cast<double>(7 * out.index[0] + out.index[1]);
        for (std::int64_t i = 0; i < out.size(); ++i) to[i] = from + static_cast<double>(i & 1023);
      },
      {}, made);
  return ts::sum((x + x.T()) - ts::mean(x, {.axis = 0}));
}

struct Measured {
  std::vector<double> seconds;
  ts::RunReport report;
  double value = 0.0;
};

Measured measure(const ts::SessionOptions& session_options, const Options& options) {
  ts::Session session(session_options);
  Measured out;
  for (int i = 0; i <= options.repeat; ++i) {
    const double seconds =
        seconds_of([&] { out.value = session.compute({expression(options)})[0].item<double>(); });
    if (i > 0) out.seconds.push_back(seconds);  // the first one maps pages
  }
  out.report = session.last_run();
  return out;
}

Replay ideal(const Options& options) {
  ts::scheduler::LowerOptions lower;
  lower.registry = &ts::kernels::host_registry();
  const auto lowered = ts::scheduler::lower(
      {{expression(options), ts::scheduler::Goal::Kind::kKeep, nullptr}}, lower);
  return tessera::benchmarks::replay(ts::scheduler::TaskOrder(lowered.plan), options.budget());
}

/// Seconds that two threads take to write and read back so many bytes of one file, the way that
/// spilled blocks are.
double disk_seconds(std::size_t out_bytes, std::size_t in_bytes) {
  constexpr std::size_t kPiece = std::size_t{4} << 20;
  constexpr std::size_t kThreads = 2;
  const auto& files = ts::core::posix_file_system();
  const ts::core::File file = files.create_unnamed(ts::device::default_spill_folder());
  const floors::Buffer buffer = floors::make_buffer(kThreads * kPiece / sizeof(double));
  const auto move = [&](std::size_t bytes, const auto& call) {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        double* data = buffer.get() + t * kPiece / sizeof(double);
        for (std::size_t at = t * kPiece; at < bytes; at += kThreads * kPiece) call(data, at);
      });
    }
  };
  const auto write = [&](double* data, std::size_t at) { file.pwrite_all(data, kPiece, at); };
  const auto read = [&](double* data, std::size_t at) { file.pread_all(data, kPiece, at); };
  const double out_seconds = seconds_of([&] { move(out_bytes, write); });
  if (in_bytes > out_bytes) move(in_bytes, write);  // what is read must be there
  return out_seconds + seconds_of([&] { move(in_bytes, read); });
}

std::string to_json(const char* name, const Measured& run, const Measured& plenty,
                    const Replay& best, double disk) {
  const ts::RunReport& r = run.report;
  const std::size_t moved =
      r.to_host_bytes + r.from_host_bytes + r.to_disk_bytes + r.from_disk_bytes;
  const double rival = std::max(median(plenty.seconds), disk);
  char text[512];
  std::snprintf(
      text, sizeof text,
      "{\"name\": \"%s\", \"seconds\": %.4f, \"unconstrained_s\": %.4f, \"disk_alone_s\": %.4f, "
      "\"ratio\": %.3f, \"out_bytes\": %zu, \"in_bytes\": %zu, \"ideal_out_bytes\": %zu, "
      "\"ideal_in_bytes\": %zu, \"moved_ratio\": %.3f, \"checked\": %s}",
      name, median(run.seconds), median(plenty.seconds), disk, median(run.seconds) / rival,
      r.to_host_bytes + r.to_disk_bytes, r.from_host_bytes + r.from_disk_bytes, best.out_bytes,
      best.in_bytes,
      static_cast<double>(moved) / static_cast<double>(best.out_bytes + best.in_bytes),
      run.value == plenty.value ? "true" : "false");
  return text;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      options.quick = true;
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
    std::fprintf(stderr, "usage: bench_spilling [--quick] [--only host|disk] [--repeat N]\n");
    return 2;
  }
  const Measured plenty = measure({}, options);
  const Replay best = ideal(options);
  bool checked = true;
  std::string rows;
  for (const bool disk : {false, true}) {
    const char* name = disk ? "disk" : "host";
    if (!options.only.empty() && options.only != name) continue;
    ts::SessionOptions little;
    little.device_memory_bytes = options.budget();
    little.host_memory_bytes = disk ? 0 : 2 * options.bytes();
    if (!disk) little.disk_memory_bytes = 0;
    const Measured run = measure(little, options);
    const double alone =
        disk ? disk_seconds(run.report.to_disk_bytes, run.report.from_disk_bytes) : 0.0;
    checked = checked && run.value == plenty.value;
    rows += (rows.empty() ? "\n  " : ",\n  ") + to_json(name, run, plenty, best, alone);
  }
  std::printf(
      "{\"benchmark\": \"spilling\", %s, \"bytes\": %zu, \"budget_bytes\": %zu, "
      "\"checked\": %s, \"rows\": [%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), options.bytes(), options.budget(),
      checked ? "true" : "false", rows.c_str());
  return checked ? 0 : 1;
}
