#include "scheduler/session_machine.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <system_error>
#include <vector>

#include "core/environment.hpp"
#include "core/job.hpp"
#include "core/text.hpp"
#include "device/device_spec.hpp"
#include "scheduler/plan/order.hpp"
#include "tessera/error.hpp"
#include "tessera/version.hpp"

namespace tessera::scheduler {

namespace {

// Shares of the free memory that the devices and the tier below them take by default: the rest is for the
// results that callers copy out and for everything else on the machine.
constexpr double kDeviceShare = 0.65;
constexpr double kHostShare = 0.10;
constexpr double kDiskShare = 0.50;
constexpr double kStagingShare = 0.10;  // pinned memory for copies to and from GPUs
constexpr double kMessageShare = 0.20;  // blocks between ranks

std::size_t share(double part, std::size_t bytes) { return static_cast<std::size_t>(part * static_cast<double>(bytes)); }

// Where blocks go that fit no memory, and how many bytes of them. A folder that was named must take files; without
// a usable one that nobody named there is no disk tier. Ranks of one machine share what is free.
void choose_disk(const SessionOptions& options, const core::Environment& env, const core::FileSystem& files, int ranks,
                 device::HostDevicesOptions& out) {
  const char* where = options.spill_dir.empty() ? "TESSERA_SPILL_DIR" : "SessionOptions::spill_dir";
  const std::optional<std::size_t> asked = options.disk_memory_bytes ? options.disk_memory_bytes : env.disk_memory;
  out.spill_folder = options.spill_dir.empty() ? env.spill_dir : options.spill_dir;
  out.disk_budget_bytes = asked.value_or(0);
  const bool named = !out.spill_folder.empty();
  if (!named) out.spill_folder = device::default_spill_folder();
  if (!named && asked == std::size_t{0}) return;
  try {
    files.create_unnamed(out.spill_folder, where);
  } catch (const IoError& e) {
    if (named || asked) throw;
    core::log(core::LogLevel::kWarning, core::text(e.what(), "\n  this session spills to no disk"));
    return;
  }
  if (asked) return;
  std::error_code error;
  const auto space = std::filesystem::space(out.spill_folder, error);
  if (!error) out.disk_budget_bytes = share(kDiskShare / ranks, space.available);
}

// Ranks of one machine share its cores, unless whoever started them has bound each to some.
int worker_count(const SessionOptions& options, const core::Environment& env, int ranks) {
  constexpr int kMost = 4096;
  if (options.workers < 0 || options.workers > kMost) {
    throw InvalidArgument(core::text("[session] workers are 1 to ", kMost, ", or 0 for the cores; got ", options.workers,
                                     "; try 0"));
  }
  if (options.workers > 0) return options.workers;
  const int cores = core::available_cores();
  const bool bound = cores < core::machine_cores();
  return env.workers.value_or(bound ? cores : std::max(1, cores / ranks));
}

// The ranks of its machine that are to use the same devices as one, and its place among them.
struct Neighbours {
  std::size_t count = 0;
  std::size_t place = 0;
};

Neighbours neighbours(const comm::World& world, comm::Rank of) {
  Neighbours out;
  for (std::int32_t r = 0; r < world.ranks(); ++r) {
    const comm::Rank rank{r};
    if (world.host(rank) != world.host(of) || world.devices(rank) != world.devices(of)) continue;
    if (rank == of) out.place = out.count;
    ++out.count;
  }
  return out;
}

// Each of several ranks takes its share of the GPUs that all of them are to use; where there are fewer GPUs than
// ranks, some share one and its memory, of which all take equal parts, so that they plan alike.
void share_out(const Neighbours& ranks, device::HostDevicesOptions& out) {
  const std::vector<int> all = out.cuda_devices;
  const std::size_t count = all.size();
  if (count >= ranks.count) {
    const auto at = [&](std::size_t place) { return all.begin() + static_cast<std::ptrdiff_t>(place * count / ranks.count); };
    out.cuda_devices.assign(at(ranks.place), at(ranks.place + 1));
  } else {
    out.cuda_devices = {all[ranks.place % count]};
    out.cuda_sharers = static_cast<int>((ranks.count + count - 1) / count);
  }
}

// CUDA's numbers of what a text asks for.
std::vector<int> cuda_numbers(const std::vector<device::DeviceId>& ids, const TesseraCudaApi& api) {
  std::vector<int> out;
  for (const device::DeviceId& id : ids) out.push_back(id.number);
  if (ids.front().number == device::kAllDevices) {
    out.resize(static_cast<std::size_t>(device::cuda_device_count(api)));
    std::iota(out.begin(), out.end(), 0);
  }
  return out;
}

// The GPUs that were asked for. Where there are none to be used, that is said and the host computes.
void choose_devices(const std::string& text, const Seams& seams, const comm::World& world, device::HostDevicesOptions& out) {
  const std::vector<device::DeviceId> ids = device::parse_devices(text);
  out.count = static_cast<int>(ids.size());
  if (ids.front().kind != device::DeviceKind::kCuda) return;
  out.count = 1;
  std::string problem;
  out.cuda = seams.cuda != nullptr ? seams.cuda : device::find_cuda(problem);
  if (out.cuda == nullptr) {
    core::log(core::LogLevel::kWarning, core::text("no CUDA devices (", problem, "): the host computes instead of ", text));
    return;
  }
  out.cuda_devices = cuda_numbers(ids, *out.cuda);
  share_out(neighbours(world, world.rank()), out);
}

int ranks_beside(const comm::World& world, comm::Rank rank) {
  int count = 0;
  for (std::int32_t other = 0; other < world.ranks(); ++other)
    count += world.host(comm::Rank{other}) == world.host(rank) ? 1 : 0;
  return count;
}

// Ranks whose results could differ in their bits do not compute together.
comm::RankCard rank_card() {
  const core::Environment& env = core::environment();
  comm::RankCard out;
  out.build = TESSERA_VERSION_STRING;
  if (!env.mixed_profile) out.build += core::text(" (", kernels::numeric_profile(), ")");
  if (core::job().recover) out.build += ", recovers";
  const std::vector<device::DeviceId> ids = device::parse_devices(env.devices);
  std::string problem;
  const TesseraCudaApi* cuda = ids.front().kind == device::DeviceKind::kCuda ? device::find_cuda(problem) : nullptr;
  if (cuda != nullptr) out.devices = device::cuda_addresses(*cuda, cuda_numbers(ids, *cuda));
  if (env.device_memory) {
    out.device_bytes = *env.device_memory;
  } else if (cuda != nullptr) {
    out.device_bytes = device::cuda_memory_bytes(*cuda, cuda_numbers(ids, *cuda));
  } else {
    out.device_bytes = share(kDeviceShare, core::available_memory_bytes()) / ids.size();
  }
  return out;
}

// What a rank's devices have together at least, of what all ranks know alike: what it told when it came, and what the
// program says. Of a rank without GPUs it is one device's memory, and free memory, or a budget, is shared by those
// beside it. 0: nobody knows.
double memory_of(const SessionOptions& options, const comm::World& world, comm::Rank rank) {
  const auto each = static_cast<double>(options.device_memory_bytes.value_or(world.device_bytes(rank)));
  const std::string& addresses = world.devices(rank);
  if (addresses.empty()) return options.device_memory_bytes ? each : each / ranks_beside(world, rank);
  const auto all = static_cast<double>(1 + std::count(addresses.begin(), addresses.end(), ' '));
  const auto ranks = static_cast<double>(neighbours(world, rank).count);
  return each * (all < ranks ? all / ranks : std::floor(all / ranks));
}

}  // namespace

device::HostDevicesOptions machine_options(const SessionOptions& options, const Seams& seams, const comm::World& world) {
  const core::Environment& env = core::environment();
  if (options.device_memory_bytes == std::size_t{0}) {
    throw InvalidArgument("[session] a device needs memory; got SessionOptions::device_memory_bytes of 0; try 256 MiB");
  }
  const int here = ranks_beside(world, world.rank());
  const std::size_t free = core::available_memory_bytes() / static_cast<std::size_t>(here);
  device::HostDevicesOptions out;
  choose_devices(options.devices.empty() ? env.devices : options.devices, seams, world, out);
  const bool cuda = !out.cuda_devices.empty();
  // A GPU's budget is the memory that is free on it, and what it spills to is all of the host's that is to spare.
  const std::size_t device_default = cuda ? 0 : share(kDeviceShare, free) / static_cast<std::size_t>(std::max(1, out.count));
  out.device_budget_bytes = options.device_memory_bytes.value_or(env.device_memory.value_or(device_default));
  out.host_budget_bytes = options.host_memory_bytes.value_or(env.host_memory.value_or(share(cuda ? kDeviceShare : kHostShare, free)));
  out.staging_budget_bytes = share(kStagingShare, free);
  out.message_budget_bytes = options.message_memory_bytes.value_or(env.message_memory.value_or(share(kMessageShare, free)));
  out.precision = options.product_precision.empty()
                      ? env.product_precision
                      : core::parse_product_precision("SessionOptions::product_precision", options.product_precision);
  out.workers = worker_count(options, env, here);
  out.file_system = seams.files;
  out.allocator = seams.allocator;
  choose_disk(options, env, *seams.files, here, out);
  return out;
}

std::size_t product_room(const SessionOptions& options, const comm::World& world) {
  double least = std::numeric_limits<double>::max();
  for (std::int32_t rank = 0; rank < world.ranks(); ++rank)
    least = std::min(least, memory_of(options, world, comm::Rank{rank}));
  return ProductRoom::of(least);
}

comm::World& process_world() { return comm::process_world(rank_card); }

}  // namespace tessera::scheduler
