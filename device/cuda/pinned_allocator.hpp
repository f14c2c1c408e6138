#pragma once

#include "device/cuda/cuda_module.h"
#include "device/host_devices.hpp"

namespace tessera::device::cuda {

/// Host memory that devices copy to and from at full speed and beside other work. Small blocks are the
/// system's: pinning one costs more than a slower copy of it.
class PinnedAllocator final : public HostAllocator {
 public:
  explicit PinnedAllocator(const TesseraCudaApi& api) : api_(&api) {}
  std::byte* allocate(std::size_t bytes) noexcept override {
    if (bytes < kLeastBytes) return system_allocator().allocate(bytes);
    void* data = nullptr;
    return api_->host_allocate(&data, bytes) == TESSERA_CUDA_OK ? static_cast<std::byte*>(data)
                                                                : nullptr;
  }
  void deallocate(std::byte* data, std::size_t bytes) noexcept override {
    if (bytes < kLeastBytes) {
      system_allocator().deallocate(data, bytes);
    } else {
      api_->host_free(data);
    }
  }

 private:
  static constexpr std::size_t kLeastBytes = std::size_t{64} << 10;
  const TesseraCudaApi* api_;
};

}  // namespace tessera::device::cuda
