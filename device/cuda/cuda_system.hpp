#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "device/cuda/cuda_module.h"
#include "device/device.hpp"

// The CUDA devices of one session: for each a pool under its budget and streams that compute and copy,
// and for all of them pinned host memory. Every call to CUDA goes through the module's table of
// functions (cuda_module.h). Owned here: handles of the vendor's libraries and their lives, and what a
// failed call means. Not owned: kernels (kernels/cuda) and which block lies where.

namespace tessera::device {
class HostAllocator;
}

namespace tessera::device::cuda {

class CudaPool;

/// A failed call as an error. \throws OutOfMemory when the device or the machine has no memory, DeviceError
/// naming the call otherwise, where the text says what the library said.
void check(const TesseraCudaApi& api, TesseraCudaLibrary library, int status, const char* call);

class CudaSystem;

/// A stream of one device and what the vendor's libraries need to put work on it. As a Queue it belongs to
/// one thread at a time, and so do its library handles.
class CudaQueue final : public Queue {
 public:
  /// `device` counts the session's devices.
  CudaQueue(CudaSystem& system, std::size_t device);
  ~CudaQueue() override;

  void copy(std::byte* to, const std::byte* from, std::size_t size_bytes) override;
  void copy_from(std::size_t device, std::byte* to, const std::byte* from,
                 std::size_t size_bytes) override;
  /// The same from memory of any device of the machine, by CUDA's number.
  void copy_peer(int number, std::byte* to, const std::byte* from, std::size_t size_bytes);
  void wait() override;
  void keep(Buffer buffer) override { kept_.push_back(std::move(buffer)); }
  MemoryPool& memory() noexcept override;
  MemoryPool& staging() noexcept override;

  CudaSystem& system() const noexcept { return *system_; }
  const TesseraCudaApi& api() const noexcept;
  /// Makes this queue's device the calling thread's current one.
  void enter();
  std::size_t device() const noexcept { return device_; }
  const TesseraCudaDeviceInfo& info() const noexcept;
  void* stream() const noexcept { return stream_; }
  /// Sets every byte.
  void fill(std::byte* data, int byte, std::size_t size_bytes);
  /// `arguments` points to one pointer for each parameter. \throws DeviceError naming `name`.
  void launch(void* kernel, const char* name, const unsigned (&grid)[3], const unsigned (&block)[3],
              std::size_t shared_bytes, void** arguments);
  /// Library handles on this stream, made at first use; cuBLAS has a workspace of its own for each, taken
  /// from the device's memory beside its budget.
  void* blas();
  void* solver();

  /// Buffers kept since the last call; for the stream, which lets go of them when its event has fired.
  std::vector<Buffer> take_kept() noexcept {
    busy_ = false;
    return std::exchange(kept_, {});
  }
  /// Whether something may have been queued since the last wait().
  bool busy() const noexcept { return busy_ || !kept_.empty(); }
  /// wait() for the end of what has failed: says nothing of how it went.
  void settle() noexcept;

 private:
  CudaPool& pool() const noexcept;

  CudaSystem* system_;
  std::size_t device_;
  bool busy_ = false;
  void* stream_ = nullptr;
  void* event_ = nullptr;
  void* blas_ = nullptr;
  void* blas_workspace_ = nullptr;
  void* solver_ = nullptr;
  std::vector<Buffer> kept_;
};

/// While it lives, its thread may make another device the current one; at its end, that is the one
/// it was. Around what is done on a thread of the program's.
class KeptDevice {
 public:
  explicit KeptDevice(const TesseraCudaApi& api) noexcept;
  ~KeptDevice();
  KeptDevice(const KeptDevice&) = delete;
  KeptDevice& operator=(const KeptDevice&) = delete;

 private:
  const TesseraCudaApi* api_;
  int number_ = -1;
};

/// A queue borrowed for a while by a thread.
class BorrowedQueue {
 public:
  BorrowedQueue(CudaSystem& system, std::size_t device);
  ~BorrowedQueue();
  BorrowedQueue(const BorrowedQueue&) = delete;
  BorrowedQueue& operator=(const BorrowedQueue&) = delete;
  CudaQueue& operator*() const noexcept { return *queue_; }
  CudaQueue* operator->() const noexcept { return queue_.get(); }

 private:
  const KeptDevice before_;
  CudaSystem* system_;
  std::unique_ptr<CudaQueue> queue_;
};

struct CudaSystemOptions {
  std::vector<int> devices;             ///< CUDA's numbers
  std::size_t device_budget_bytes = 0;  ///< of each; 0: the free memory less a margin
  std::size_t staging_budget_bytes = 0;  ///< pinned memory for copies
  int sharers = 1;                       ///< systems that a device's free memory is for
  TesseraCudaPrecision precision = TESSERA_CUDA_FULL;  ///< of products
};

class CudaSystem {
 public:
  /// The module's table, loaded once, or null and the reason why there is none.
  static const TesseraCudaApi* find_api(std::string& problem);

  /// \throws InvalidArgument for a device that is not there; DeviceError when one does not start.
  CudaSystem(const TesseraCudaApi& api, const CudaSystemOptions& options);
  ~CudaSystem();
  CudaSystem(const CudaSystem&) = delete;
  CudaSystem& operator=(const CudaSystem&) = delete;

  const TesseraCudaApi& api() const noexcept { return *api_; }
  TesseraCudaPrecision precision() const noexcept { return precision_; }
  const std::vector<Device>& devices() const noexcept { return devices_; }
  const TesseraCudaDeviceInfo& info(std::size_t device) const noexcept;
  /// "sm_90", for the compiler, of a device.
  std::string architecture(std::size_t device) const;
  MemoryPool& staging() const noexcept { return *staging_; }
  /// Host memory that every device copies to and from at full speed.
  HostAllocator& pinned() const noexcept;
  /// What the calling thread's CUDA calls work on.
  void enter(std::size_t device) const;

 private:
  friend class BorrowedQueue;
  friend class CudaQueue;
  struct PerDevice;
  std::unique_ptr<CudaQueue> borrow(std::size_t device);
  void give_back(std::unique_ptr<CudaQueue> queue) noexcept;

  const TesseraCudaApi* api_;
  TesseraCudaPrecision precision_;
  std::unique_ptr<HostAllocator> pinned_;
  std::unique_ptr<MemoryPool> staging_;
  std::vector<std::unique_ptr<PerDevice>> per_device_;
  std::vector<Device> devices_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<CudaQueue>> idle_queues_;
};

}  // namespace tessera::device::cuda
