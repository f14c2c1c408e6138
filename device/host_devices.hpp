#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "device/device.hpp"
#include "device/worker_pool.hpp"

// The host devices of one session: any number of virtual devices, each with a pool under its own
// budget, that share the machine's cores; a host tier and a disk tier below them; the threads that
// compute and those that move blocks to and from disk.

namespace tessera::device {

/// Where pools take memory from and return it to: the seam at which tests make the n-th allocation
/// fail. Thread safe.
class HostAllocator {
 public:
  virtual ~HostAllocator() = default;
  /// `bytes` is a multiple of 256, and so is the address; null when there is no memory.
  virtual std::byte* allocate(std::size_t bytes) noexcept = 0;
  virtual void deallocate(std::byte* data, std::size_t bytes) noexcept = 0;
};

/// The memory of this machine: large blocks are mapped, on huge pages where the system grants them.
HostAllocator& system_allocator();

/// The folder for spilled blocks when TESSERA_SPILL_DIR does not name one: TMPDIR, which clusters
/// point to a node's own disk, else /var/tmp, which unlike /tmp is rarely memory.
std::string default_spill_folder();

struct HostDevicesOptions {
  int count = 1;                        ///< virtual devices
  std::size_t device_budget_bytes = 0;  ///< of each device
  std::size_t host_budget_bytes = 0;    ///< of the host tier, into which devices spill first
  std::size_t disk_budget_bytes = 0;    ///< of the disk tier, 0: never spills to disk
  int workers = 0;                      ///< threads that compute, 0: one for each core
  std::string spill_folder;             ///< empty: default_spill_folder()
  const core::FileSystem* file_system = nullptr;  ///< null: the real one
  HostAllocator* allocator = nullptr;             ///< null: system_allocator()
  bool fill_freed = false;  ///< overwrites freed memory with 0xCD, so that stale reads show
};

class HostDevices {
 public:
  /// \throws InvalidArgument for a device count below 1; Error when a thread is refused.
  explicit HostDevices(const HostDevicesOptions& options);
  ~HostDevices();

  const std::vector<Device>& devices() const noexcept { return devices_; }
  MemoryPool& pool(std::size_t device) const noexcept { return *devices_[device].pool; }
  MemoryPool& host_tier() const noexcept { return *host_tier_; }
  DiskTier& disk_tier() const noexcept { return *disk_tier_; }
  /// Streams for transfers to and from disk, beside the workers.
  const std::vector<std::unique_ptr<Stream>>& disk_streams() const noexcept {
    return disk_streams_;
  }
  /// Threads beside the one that calls: together they are `workers()`.
  WorkerPool& helpers() const noexcept { return *helpers_; }
  int workers() const noexcept { return helpers_->threads() + 1; }
  /// Bytes in use in all tiers together: 0 at rest, but for blocks that are kept.
  std::size_t bytes_in_use() const;

 private:
  std::vector<std::unique_ptr<MemoryPool>> pools_;
  std::vector<Device> devices_;
  std::unique_ptr<MemoryPool> host_tier_;
  std::unique_ptr<DiskTier> disk_tier_;
  std::vector<std::unique_ptr<Stream>> disk_streams_;
  std::unique_ptr<WorkerPool> helpers_;
};

}  // namespace tessera::device
