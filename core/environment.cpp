#include "core/environment.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string_view>
#include <thread>

#include "core/parse_number.hpp"
#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::core {

namespace {

bool parse_switch(const char* name, std::string_view text) {
  if (text == "1" || text == "on" || text == "true") return true;
  if (text == "0" || text == "off" || text == "false") return false;
  throw InvalidArgument(core::text("[", name, "] the value is on or off; got \"", text, "\""));
}

bool parse_permission(const char* name, std::string_view text) {
  if (text == "allow") return true;
  if (text == "refuse") return false;
  throw InvalidArgument(
      core::text("[", name, "] the value is allow or refuse; got \"", text, "\""));
}

LogLevel parse_level(const char* name, std::string_view text) {
  static constexpr std::string_view kNames[] = {"off", "error", "warning", "info", "debug"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (text == kNames[i]) return static_cast<LogLevel>(i);
  }
  throw InvalidArgument(core::text(
      "[", name, "] the level is off, error, warning, info or debug; got \"", text, "\""));
}

std::vector<std::string> parse_folders(const char* name, std::string_view text) {
  std::vector<std::string> folders;
  for (std::size_t begin = 0; begin <= text.size() && !text.empty();) {
    const std::size_t end = std::min(text.find(':', begin), text.size());
    if (end == begin) {
      throw InvalidArgument(core::text(
          "[", name, "] the value is folders with a \":\" between them; got \"", text, "\""));
    }
    folders.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

void write_line(LogLevel level, const std::string& text) {
  static constexpr const char* kNames[] = {"off", "error", "warning", "info", "debug"};
  std::fprintf(stderr, "tessera: %s: %s\n", kNames[static_cast<std::size_t>(level)], text.c_str());
}

Environment read_process() {
  Environment out =
      parse_environment([](const char* name) -> const char* { return std::getenv(name); });
  if (out.log < LogLevel::kWarning) return out;
  for (const std::string& name : unknown_variables(environ)) {
    write_line(
        LogLevel::kWarning,
        core::text(name,
                   " is no variable of this library and is ignored; `tessera info` lists them"));
  }
  return out;
}

std::optional<std::size_t> read_size(const char* path) {
  std::ifstream in(path);
  std::string word;
  if (!(in >> word) || word == "max") return std::nullopt;
  std::size_t value = 0;
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

}  // namespace

ProductPrecision parse_product_precision(const char* name, std::string_view text) {
  const auto* found = std::find(std::begin(kProductPrecisions), std::end(kProductPrecisions), text);
  if (found != std::end(kProductPrecisions))
    return static_cast<ProductPrecision>(found - std::begin(kProductPrecisions));
  throw InvalidArgument(core::text(
      "[", name, "] the value is full, tf32, bf16x9 or fixed_point; got \"", text, "\""));
}

const std::vector<VariableInfo>& environment_variables() {
  static const std::vector<VariableInfo> kTable = {
      {"TESSERA_DEVICES",
       "devices to use: host, host:N for N virtual devices, or GPUs: cuda:0, cuda:0-3, cuda:*; "
       "default host"},
      {"TESSERA_DEVICE_MEMORY",
       "memory budget of each device, such as 256MiB; default: most of what is free"},
      {"TESSERA_HOST_MEMORY", "budget of the host memory that devices spill to"},
      {"TESSERA_MESSAGE_MEMORY",
       "host memory of blocks on their way between processes that lie on GPUs or on disk"},
      {"TESSERA_SPILL_DIR",
       "folder for blocks that fit no memory; default: the system's temporary folder"},
      {"TESSERA_SPILL_LIMIT",
       "budget of the disk tier; default: most of what is free in the folder, 0: none"},
      {"TESSERA_WORKERS", "worker threads of all host devices together; default: the cores"},
      {"TESSERA_LAPACK_THREADS",
       "threads of a single-block factorisation; part of the numeric profile"},
      {"TESSERA_SEED", "seed of random arrays that are given none"},
      {"TESSERA_TRACE", "file for a Chrome/Perfetto trace of tasks, copies and spills"},
      {"TESSERA_LOG", "off, error, warning, info or debug; default warning"},
      {"TESSERA_FUSE", "on or off: fuse elementwise chains; default on"},
      {"TESSERA_PRODUCT_PRECISION",
       "of products on GPUs: full, or faster: tf32 or bf16x9 (float32), fixed_point (float64); "
       "default full"},
      {"TESSERA_WINDOW", "tasks looked ahead of the first unfinished one; default 4096"},
      {"TESSERA_MODULE_PATH",
       "folders of the run-time modules (NetCDF), with a \":\" between them"},
      {"TESSERA_RANK", "number of this process among those that compute together, from 0"},
      {"TESSERA_WORLD_SIZE", "how many processes compute together"},
      {"TESSERA_RENDEZVOUS", "host:port where the first process listens for the others"},
      {"TESSERA_JOB_TOKEN", "secret of the job, 64 hexadecimal digits; needed beyond one machine"},
      {"TESSERA_JOB_TOKEN_FILE", "file that holds the token and that only its owner may read"},
      {"TESSERA_JOIN_TIMEOUT", "seconds in which all processes must come; default 60"},
      {"TESSERA_TRANSPORT",
       "auto, tcp or ucx: what carries blocks between processes; default auto"},
      {"TESSERA_INTERFACE",
       "network interface over which processes reach each other; default: that of the rendezvous"},
      {"TESSERA_RANK_TIMEOUT",
       "seconds after which a process that says nothing is lost; default 10"},
      {"TESSERA_ON_RANK_LOSS",
       "fail or recover: what the other processes do when one is lost; default fail"},
      {"TESSERA_MIXED_PROFILE",
       "allow or refuse: processes whose results may differ in their bits; default refuse"},
      {"TESSERA_CACHE_DIR",
       "folder for compiled CUDA kernels; default: tessera in the user's cache folder"},
  };
  return kTable;
}

Environment parse_environment(const char* (*get)(const char*)) {
  Environment out;
  if (const char* v = get("TESSERA_DEVICES")) out.devices = v;
  if (const char* v = get("TESSERA_DEVICE_MEMORY")) {
    out.device_memory = parse_bytes(v, "TESSERA_DEVICE_MEMORY");
    if (*out.device_memory == 0) {
      throw InvalidArgument(
          core::text("[TESSERA_DEVICE_MEMORY] a device needs memory; got \"", v, "\"; try 256MiB"));
    }
  }
  if (const char* v = get("TESSERA_HOST_MEMORY"))
    out.host_memory = parse_bytes(v, "TESSERA_HOST_MEMORY");
  if (const char* v = get("TESSERA_MESSAGE_MEMORY"))
    out.message_memory = parse_bytes(v, "TESSERA_MESSAGE_MEMORY");
  if (const char* v = get("TESSERA_SPILL_LIMIT"))
    out.disk_memory = parse_bytes(v, "TESSERA_SPILL_LIMIT");
  if (const char* v = get("TESSERA_SPILL_DIR")) out.spill_dir = v;
  if (const char* v = get("TESSERA_WORKERS"))
    out.workers = parse_number<int>("TESSERA_WORKERS", v, 1, 4096);
  if (const char* v = get("TESSERA_LAPACK_THREADS"))
    out.lapack_threads = parse_number<int>("TESSERA_LAPACK_THREADS", v, 1, 4096);
  if (const char* v = get("TESSERA_SEED")) {
    out.seed = parse_number<std::uint64_t>("TESSERA_SEED", v, 0,
                                           std::numeric_limits<std::uint64_t>::max());
  }
  if (const char* v = get("TESSERA_TRACE")) out.trace = v;
  if (const char* v = get("TESSERA_LOG")) out.log = parse_level("TESSERA_LOG", v);
  if (const char* v = get("TESSERA_FUSE")) out.fuse = parse_switch("TESSERA_FUSE", v);
  if (const char* v = get("TESSERA_PRODUCT_PRECISION"))
    out.product_precision = parse_product_precision("TESSERA_PRODUCT_PRECISION", v);
  if (const char* v = get("TESSERA_WINDOW"))
    out.window = parse_number<std::uint32_t>("TESSERA_WINDOW", v, 1, 1u << 24);
  if (const char* v = get("TESSERA_MODULE_PATH"))
    out.module_path = parse_folders("TESSERA_MODULE_PATH", v);
  if (const char* v = get("TESSERA_CACHE_DIR")) out.cache_dir = v;
  if (const char* v = get("TESSERA_MIXED_PROFILE"))
    out.mixed_profile = parse_permission("TESSERA_MIXED_PROFILE", v);
  return out;
}

const Environment& environment() {
  static const Environment kEnvironment = read_process();
  return kEnvironment;
}

std::vector<std::string> unknown_variables(const char* const* entries) {
  std::vector<std::string> out;
  for (; *entries != nullptr; ++entries) {
    const std::string_view entry = *entries;
    const std::string_view name = entry.substr(0, entry.find('='));
    if (!name.starts_with("TESSERA_") || name.starts_with("TESSERA_TEST_")) continue;
    const auto& known = environment_variables();
    if (std::none_of(known.begin(), known.end(),
                     [&](const VariableInfo& v) { return v.name == name; }))
      out.emplace_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool logs(LogLevel level) { return level <= environment().log && level != LogLevel::kOff; }

void log(LogLevel level, const std::string& text) {
  if (logs(level)) write_line(level, text);
}

std::size_t available_memory_bytes() {
  std::size_t free = 0;
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  std::size_t kib = 0;
  while (in >> key >> kib && std::getline(in, unit)) {
    if (key == "MemAvailable:") free = kib * 1024;
  }
  const auto limit = read_size("/sys/fs/cgroup/memory.max");
  const auto used = read_size("/sys/fs/cgroup/memory.current");
  if (limit && used && *limit > *used)
    free = free == 0 ? *limit - *used : std::min(free, *limit - *used);
  return free == 0 ? std::size_t{1} << 30 : free;
}

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int machine_cores() {
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return static_cast<int>(std::max(1L, cores));
}

}  // namespace tessera::core
