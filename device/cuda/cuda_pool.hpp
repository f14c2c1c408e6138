#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "device/cuda/cuda_module.h"
#include "device/device.hpp"

namespace tessera::device::cuda {

/// Memory of one CUDA device: the driver's stream-ordered pool behind our accounting. Buffers are given back
/// when their last work is done, so they may serve any stream at once, and are kept by size: asking the driver
/// takes as long as launching several kernels. What is kept goes back to the driver when it is in the way.
class CudaPool final : public MemoryPool {
 public:
  /// `stream` is the pool's own: no other work is put on it.
  CudaPool(const TesseraCudaApi& api, int device, std::string name, std::size_t limit_bytes);
  ~CudaPool() override;

  std::size_t bytes_in_use() const override;
  std::size_t bytes_held() const override;
  void trim(std::size_t keep_bytes) override;

  /// Memory beside the limit, for the vendor's libraries; freed with free_extra().
  void* allocate_extra(std::size_t size_bytes);
  void free_extra(void* data) noexcept;

  static constexpr std::size_t kAlignment = 256;

 private:
  Allocation take(std::size_t size_bytes) override;
  void give_back(Allocation allocation, std::size_t size_bytes) noexcept override;
  void* allocate_now(std::size_t size_bytes);
  void release_kept(std::size_t keep_bytes) noexcept;

  const TesseraCudaApi* api_;
  const int device_;
  const std::string name_;
  void* pool_ = nullptr;
  void* stream_ = nullptr;
  mutable std::mutex mutex_;
  std::size_t in_use_ = 0;  // as asked for
  std::size_t taken_ = 0;   // with rounding
  std::size_t kept_bytes_ = 0;
  std::map<std::size_t, std::vector<void*>> kept_;  // by capacity
};

}  // namespace tessera::device::cuda
