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
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/belady.hpp"
#include "benchmarks/floors.hpp"
#include "benchmarks/machine.hpp"
#include "core/file_system.hpp"
#include "device/host/spill_store.hpp"
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

/// `"name": median, "name_min": ..., "name_max": ...`
std::string spread(const char* name, const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  char text[160];
  std::snprintf(text, sizeof text, "\"%s\": %.4f, \"%s_min\": %.4f, \"%s_max\": %.4f", name,
                median(values), name, *least, name, *most);
  return text;
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

/// One session that computes the expression again and again, each time from new blocks.
class Run {
 public:
  Run(const ts::SessionOptions& session_options, const Options& options)
      : options_(options), session_(session_options) {}
  double seconds() {
    return seconds_of([&] { value_ = session_.compute({expression(options_)})[0].item<double>(); });
  }
  double value() const { return value_; }
  ts::RunReport report() const { return session_.last_run(); }

 private:
  const Options& options_;
  ts::Session session_;
  double value_ = 0.0;
};

Replay ideal(const Options& options) {
  ts::scheduler::LowerOptions lower;
  lower.registry = &ts::kernels::host_registry();
  const auto lowered = ts::scheduler::lower(
      {{expression(options), ts::scheduler::Goal::Kind::kKeep, nullptr}}, lower);
  return tessera::benchmarks::replay(ts::scheduler::TaskOrder(lowered.plan), options.budget());
}

/// The disk and nothing else: as many threads as the engine has for it write the bytes of a run to
/// one file and read them back, in pieces of the same size and past the page cache. Like the
/// engine's, the file is used again by each repetition.
class DiskAlone {
 public:
  DiskAlone()
      : file_(ts::core::posix_file_system().create_unnamed(ts::device::default_spill_folder())),
        buffer_(floors::make_buffer(kThreads * kPiece / sizeof(double))) {}
  double write_seconds(std::size_t bytes) {
    written_ = bytes / kPiece * kPiece;
    return seconds_of([&] {
      move(bytes, [&](double* data, std::size_t at) { file_.pwrite_all(data, kPiece, at); });
    });
  }
  /// Of what was written last; the engine reads some blocks twice, too.
  double read_seconds(std::size_t bytes) {
    return seconds_of([&] {
      move(bytes, [&](double* data, std::size_t at) {
        file_.pread_all(data, kPiece, at % std::max(kPiece, written_));
      });
    });
  }

 private:
  static constexpr std::size_t kPiece = ts::device::SpillStore::kPieceBytes;
  static constexpr std::size_t kThreads = ts::device::SpillStore::kStreams;
  template <typename Call>
  void move(std::size_t bytes, const Call& call) {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        double* data = buffer_.get() + t * kPiece / sizeof(double);
        for (std::size_t at = t * kPiece; at < bytes; at += kThreads * kPiece) call(data, at);
      });
    }
  }
  ts::core::File file_;
  floors::Buffer buffer_;
  std::size_t written_ = 0;
};

struct Row {
  std::vector<double> seconds, unconstrained, disk, disk_write, disk_read, ratio;
  ts::RunReport report;
  bool checked = true;
};

/// Each repetition of ours stands beside one of what it is held to, so that a machine that is
/// slow for a while is slow for both.
Row measure(bool disk, const Options& options) {
  ts::SessionOptions little;
  little.device_memory_bytes = options.budget();
  little.host_memory_bytes = disk ? 0 : 2 * options.bytes();
  if (!disk) little.disk_memory_bytes = 0;
  Run plenty({}, options);
  Run tight(little, options);
  plenty.seconds();  // the first ones map pages and lay out files
  tight.seconds();
  Row row;
  row.report = tight.report();
  std::unique_ptr<DiskAlone> alone;
  if (disk) {
    alone = std::make_unique<DiskAlone>();
    alone->write_seconds(row.report.to_disk_bytes);
  }
  for (int i = 0; i < options.repeat; ++i) {
    row.unconstrained.push_back(plenty.seconds());
    row.seconds.push_back(tight.seconds());
    row.report = tight.report();
    row.checked = row.checked && tight.value() == plenty.value();
    double rival = row.unconstrained.back();
    if (alone) {
      row.disk_write.push_back(alone->write_seconds(row.report.to_disk_bytes));
      row.disk_read.push_back(alone->read_seconds(row.report.from_disk_bytes));
      row.disk.push_back(row.disk_write.back() + row.disk_read.back());
      rival = std::max(rival, row.disk.back());
    }
    row.ratio.push_back(row.seconds.back() / rival);
  }
  return row;
}

std::string to_json(const char* name, const Row& row, const Replay& best) {
  const ts::RunReport& r = row.report;
  const std::size_t out = r.to_host_bytes + r.to_disk_bytes;
  const std::size_t in = r.from_host_bytes + r.from_disk_bytes;
  std::string text = std::string("{\"name\": \"") + name + "\", " + spread("seconds", row.seconds) +
                     ", " + spread("unconstrained_s", row.unconstrained);
  if (!row.disk.empty()) {
    text += ", " + spread("disk_alone_s", row.disk) + ", " +
            spread("disk_write_s", row.disk_write) + ", " + spread("disk_read_s", row.disk_read);
  }
  char rest[320];
  std::snprintf(rest, sizeof rest,
                ", \"out_bytes\": %zu, \"in_bytes\": %zu, \"ideal_out_bytes\": %zu, "
                "\"ideal_in_bytes\": %zu, \"moved_ratio\": %.3f, \"checked\": %s}",
                out, in, best.out_bytes, best.in_bytes,
                static_cast<double>(out + in) / static_cast<double>(best.out_bytes + best.in_bytes),
                row.checked ? "true" : "false");
  return text + ", " + spread("ratio", row.ratio) + rest;
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
  const Replay best = ideal(options);
  bool checked = true;
  std::string rows;
  for (const bool disk : {false, true}) {
    const char* name = disk ? "disk" : "host";
    if (!options.only.empty() && options.only != name) continue;
    const Row row = measure(disk, options);
    checked = checked && row.checked;
    rows += (rows.empty() ? "\n  " : ",\n  ") + to_json(name, row, best);
  }
  std::printf(
      "{\"benchmark\": \"spilling\", %s, \"bytes\": %zu, \"budget_bytes\": %zu, "
      "\"repetitions\": %d, \"checked\": %s, \"rows\": [%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), options.bytes(), options.budget(),
      options.repeat, checked ? "true" : "false", rows.c_str());
  return checked ? 0 : 1;
}
