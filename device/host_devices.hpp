#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/environment.hpp"
#include "core/file_system.hpp"
#include "device/device.hpp"
#include "device/worker_pool.hpp"

// The devices of one session, all of one kind: any number of virtual host devices, each with a pool under
// its own budget, that share the machine's cores; or CUDA devices with streams of their own. A host tier
// and a disk tier below them; the threads that compute and those that move blocks to and from disk.

struct TesseraCudaApi;

namespace tessera::device {

namespace cuda {
class CudaSystem;
}

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
  int count = 1;                        ///< virtual host devices, where `cuda_devices` is empty
  std::vector<int> cuda_devices;        ///< CUDA's numbers of the session's devices
  const TesseraCudaApi* cuda = nullptr;  ///< CUDA's functions; must be set where `cuda_devices` is not empty
  std::size_t device_budget_bytes = 0;  ///< of each device; 0 on CUDA: its free memory less a margin
  int cuda_sharers = 1;                 ///< sessions that a CUDA device's free memory is for
  core::ProductPrecision precision = core::ProductPrecision::kFull;  ///< of products on CUDA devices
  std::size_t host_budget_bytes = 0;    ///< of the host tier, into which devices spill first
  std::size_t disk_budget_bytes = 0;    ///< of the disk tier, 0: never spills to disk
  std::size_t message_budget_bytes = std::size_t{1} << 30;  ///< of blocks between ranks, half for each direction
  std::size_t staging_budget_bytes = std::size_t{1} << 30;  ///< pinned memory for copies to and from CUDA devices
  int workers = 0;                      ///< threads that compute, 0: one for each core
  std::string spill_folder;             ///< empty: default_spill_folder()
  const core::FileSystem* file_system = nullptr;  ///< null: the real one
  HostAllocator* allocator = nullptr;             ///< null: system_allocator()
  bool fill_freed = false;  ///< overwrites freed memory with 0xCD, so that stale reads show
};

/// The CUDA module's functions where a driver and devices are there; else null and why.
const TesseraCudaApi* find_cuda(std::string& problem);
/// \throws DeviceError.
int cuda_device_count(const TesseraCudaApi& api);
/// The addresses on this machine of some devices, by CUDA's numbers here; "?" for one
/// that is not there.
std::string cuda_addresses(const TesseraCudaApi& api, const std::vector<int>& devices);
/// The memory that each of them has at least; 0 where one is not there.
std::size_t cuda_memory_bytes(const TesseraCudaApi& api, const std::vector<int>& devices);

/// The device whose memory an address lies in, by CUDA's number; nothing for the host's. \throws
/// DeviceError.
std::optional<int> cuda_memory_device(const TesseraCudaApi& api, const void* data);
/// An event behind what is on a stream of the caller's now (null: the device's default stream), for
/// as long as it is held. \throws DeviceError.
std::shared_ptr<void> cuda_event_behind(const TesseraCudaApi& api, int device, void* stream);

class HostDevices {
 public:
  /// \throws InvalidArgument for a device count below 1 or a CUDA device that is not there; DeviceError
  /// when one does not start; Error when a thread is refused.
  explicit HostDevices(const HostDevicesOptions& options);
  ~HostDevices();

  const std::vector<Device>& devices() const noexcept { return devices_; }
  MemoryPool& pool(std::size_t device) const noexcept { return *devices_[device].pool; }
  MemoryPool& host_tier() const noexcept { return *host_tier_; }
  /// Host memory of blocks on their way to other ranks or from them, where they do not lie in it.
  MemoryPool& outgoing() const noexcept { return *outgoing_; }
  MemoryPool& incoming() const noexcept { return *incoming_; }
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
  /// The CUDA devices; null for host devices.
  cuda::CudaSystem* cuda() const noexcept { return cuda_.get(); }
  /// "NVIDIA H200, sm_90, 132 multiprocessors"; empty for host devices.
  std::string model(std::size_t device) const;
  /// What the bits of results depend on beside the host: the devices' kind and compiler.
  std::string profile() const;
  /// Does `work` with a queue of its own for the device, null on host devices, and waits for what it put there.
  void with_queue(std::size_t device, const std::function<void(Queue*)>& work) const;
  /// Whose memory a buffer is; nothing for the host tier's.
  std::optional<std::size_t> device_of(const Buffer& buffer) const noexcept;
  /// Makes a block the caller's: it counts as the device's memory in use until the last owner lets
  /// go of it, from any thread. `self` is this.
  static std::shared_ptr<void> lend(std::shared_ptr<const HostDevices> self, std::size_t device,
                                    Buffer block);
  /// Bytes that are lent of a device, which no run may use.
  std::size_t lent_bytes(std::size_t device) const noexcept { return lent_[device].load(); }
  /// Gives all memory back that is kept for what will be allocated next.
  void trim();
  /// Copies a block out of any tier but the disk.
  void copy_to_host(const Buffer& from, std::byte* out) const;

 private:
  void make_host_pools(const HostDevicesOptions& options, HostAllocator& allocator);
  void make_cuda_pools(const HostDevicesOptions& options);
  std::unique_ptr<cuda::CudaSystem> cuda_;  // first: pools and tiers are its memory
  std::vector<std::unique_ptr<MemoryPool>> pools_;
  std::vector<Device> devices_;
  mutable std::vector<std::atomic<std::size_t>> lent_;
  std::unique_ptr<MemoryPool> host_tier_;
  std::unique_ptr<MemoryPool> outgoing_;
  std::unique_ptr<MemoryPool> incoming_;
  std::unique_ptr<DiskTier> disk_tier_;
  std::vector<std::unique_ptr<Stream>> disk_streams_;
  std::unique_ptr<WorkerPool> helpers_;
};

}  // namespace tessera::device
