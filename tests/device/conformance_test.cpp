#include <filesystem>

#include "device/host_devices.hpp"
#include "disk_tier_suite.hpp"
#include "memory_pool_suite.hpp"

// The tiers of the host, made as a session makes them.

namespace tessera::device {
namespace {

std::shared_ptr<HostDevices> host_devices(std::size_t limit_bytes, bool fill_freed = false) {
  HostDevicesOptions options;
  options.device_budget_bytes = limit_bytes;
  options.host_budget_bytes = limit_bytes;
  options.disk_budget_bytes = limit_bytes;
  options.workers = 1;
  options.spill_folder = std::filesystem::temp_directory_path();
  options.fill_freed = fill_freed;
  return std::make_shared<HostDevices>(options);
}

std::shared_ptr<MemoryPool> device_pool(std::size_t limit_bytes) {
  const auto devices = host_devices(limit_bytes);
  return {devices, &devices->pool(0)};
}

std::shared_ptr<MemoryPool> filling_device_pool(std::size_t limit_bytes) {
  const auto devices = host_devices(limit_bytes, true);
  return {devices, &devices->pool(0)};
}

std::shared_ptr<MemoryPool> host_tier(std::size_t limit_bytes) {
  const auto devices = host_devices(limit_bytes);
  return {devices, &devices->host_tier()};
}

std::shared_ptr<DiskTier> disk_tier(std::size_t limit_bytes) {
  const auto devices = host_devices(limit_bytes);
  return {devices, &devices->disk_tier()};
}

INSTANTIATE_TEST_SUITE_P(Host, MemoryPoolConformance,
                         testing::Values(PoolCase{"device", device_pool},
                                         PoolCase{"device_that_fills", filling_device_pool},
                                         PoolCase{"host_tier", host_tier}),
                         pool_name);

INSTANTIATE_TEST_SUITE_P(Host, DiskTierConformance,
                         testing::Values(DiskCase{"spill_store", disk_tier}), disk_name);

}  // namespace
}  // namespace tessera::device
