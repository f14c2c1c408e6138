#include "device/host_devices.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/text.hpp"
#include "device/host/host_pool.hpp"
#include "device/host/host_stream.hpp"
#include "device/host/spill_store.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

int worker_count(int asked) {
  if (asked > 0) return asked;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

std::string default_spill_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/var/tmp";
}

HostDevices::HostDevices(const HostDevicesOptions& options) {
  if (options.count < 1) {
    throw InvalidArgument(core::text("[session] at least one host device is needed; got ",
                                     options.count, "; try host or host:4"));
  }
  HostAllocator& allocator = options.allocator != nullptr ? *options.allocator : system_allocator();
  for (int i = 0; i < options.count; ++i) {
    const DeviceId id{DeviceKind::kHost, i};
    pools_.push_back(std::make_unique<HostPool>(to_string(id), "TESSERA_DEVICE_MEMORY",
                                                options.device_budget_bytes, allocator,
                                                options.fill_freed));
    devices_.push_back({id, pools_.back().get()});
  }
  host_tier_ = std::make_unique<HostPool>("the host tier", "TESSERA_HOST_MEMORY",
                                          options.host_budget_bytes, allocator, options.fill_freed);
  const core::FileSystem& files =
      options.file_system != nullptr ? *options.file_system : core::posix_file_system();
  disk_tier_ = std::make_unique<SpillStore>(
      files, options.spill_folder.empty() ? default_spill_folder() : options.spill_folder,
      options.disk_budget_bytes);
  for (int i = 0; i < SpillStore::kStreams; ++i)
    disk_streams_.push_back(std::make_unique<HostStream>());
  helpers_ = std::make_unique<WorkerPool>(worker_count(options.workers) - 1);
}

HostDevices::~HostDevices() = default;

std::size_t HostDevices::bytes_in_use() const {
  std::size_t total = host_tier_->bytes_in_use() + disk_tier_->bytes_in_use();
  for (const auto& pool : pools_) total += pool->bytes_in_use();
  return total;
}

}  // namespace tessera::device
