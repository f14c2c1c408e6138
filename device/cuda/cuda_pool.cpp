#include "device/cuda/cuda_pool.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "device/cuda/cuda_system.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::device::cuda {

CudaPool::CudaPool(const TesseraCudaApi& api, int device, std::string name,
                   std::size_t limit_bytes)
    : MemoryPool(limit_bytes), api_(&api), device_(device), name_(std::move(name)) {
  check(api, TESSERA_CUDA_RUNTIME, api.pool_create(device, &pool_), "pool_create");
  const int status = api.stream_create(device, &stream_);
  if (status != TESSERA_CUDA_OK) api.pool_destroy(pool_);
  check(api, TESSERA_CUDA_RUNTIME, status, "stream_create");
}

CudaPool::~CudaPool() {
  release_kept(0);
  api_->stream_synchronize(stream_);
  api_->stream_destroy(stream_);
  api_->pool_destroy(pool_);
}

std::size_t CudaPool::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::size_t CudaPool::bytes_held() const {
  std::size_t held = 0;
  check(*api_, TESSERA_CUDA_RUNTIME, api_->pool_held_bytes(pool_, &held), "pool_held_bytes");
  return held;
}

void CudaPool::trim(std::size_t keep_bytes) {
  release_kept(keep_bytes);
  std::size_t taken = 0;
  {
    const std::lock_guard lock(mutex_);
    taken = taken_;
  }
  // The driver counts what is in use, too.
  check(*api_, TESSERA_CUDA_RUNTIME, api_->pool_trim(pool_, taken + keep_bytes), "pool_trim");
}

MemoryPool::Allocation CudaPool::take(std::size_t size_bytes) {
  const std::size_t capacity =
      std::max(kAlignment, (size_bytes + kAlignment - 1) / kAlignment * kAlignment);
  {
    const std::lock_guard lock(mutex_);
    if (size_bytes > limit_bytes() - std::min(in_use_, limit_bytes())) {
      throw OutOfMemory(
          core::text("[memory] blocks in use must fit the budget; got a request of ",
                     format_bytes(size_bytes), " with ", format_bytes(in_use_), " in use of the ",
                     format_bytes(limit_bytes()), " of ", name_,
                     "; try smaller chunks or another TESSERA_DEVICE_MEMORY"),
          size_bytes, limit_bytes() - std::min(in_use_, limit_bytes()), limit_bytes());
    }
    taken_ += capacity;
    in_use_ += size_bytes;
    if (const auto kept = kept_.find(capacity); kept != kept_.end() && !kept->second.empty()) {
      void* data = kept->second.back();
      kept->second.pop_back();
      kept_bytes_ -= capacity;
      return {static_cast<std::byte*>(data), capacity};
    }
  }
  try {
    return {static_cast<std::byte*>(allocate_now(capacity)), capacity};
  } catch (...) {
    const std::lock_guard lock(mutex_);
    taken_ -= capacity;
    in_use_ -= size_bytes;
    throw;
  }
}

// Freed memory is handed out by the driver in the order of the pool's stream, on which nothing waits.
void* CudaPool::allocate_now(std::size_t size_bytes) {
  void* data = nullptr;
  const KeptDevice before(*api_);
  check(*api_, TESSERA_CUDA_RUNTIME, api_->set_device(device_), "set_device");
  // What is kept and what is in use stay within the budget together.
  std::size_t room = 0;
  {
    const std::lock_guard lock(mutex_);
    room = limit_bytes() - std::min(taken_, limit_bytes());
  }
  release_kept(room);
  int status = api_->pool_allocate(&data, size_bytes, pool_, stream_);
  if (status == TESSERA_CUDA_OUT_OF_MEMORY) {
    release_kept(0);
    status = api_->pool_allocate(&data, size_bytes, pool_, stream_);
  }
  if (status == TESSERA_CUDA_OK) {
    status = api_->stream_synchronize(stream_);
    if (status == TESSERA_CUDA_OK) return data;
    api_->pool_free(data, stream_);
  }
  if (status == TESSERA_CUDA_OUT_OF_MEMORY) {
    throw OutOfMemory(
        core::text("[memory] the device must have the memory that a budget promises; got a request of ",
                   format_bytes(size_bytes), " that the driver refused within the ",
                   format_bytes(limit_bytes()), " of ", name_, "; try a smaller TESSERA_DEVICE_MEMORY"),
        size_bytes, 0, limit_bytes());
  }
  check(*api_, TESSERA_CUDA_RUNTIME, status, "pool_allocate");
  return nullptr;
}

void CudaPool::give_back(Allocation allocation, std::size_t size_bytes) noexcept {
  const std::lock_guard lock(mutex_);
  taken_ -= allocation.capacity;
  in_use_ -= size_bytes;
  try {
    kept_[allocation.capacity].push_back(allocation.data);
    kept_bytes_ += allocation.capacity;
  } catch (...) {
    api_->pool_free(allocation.data, stream_);
  }
}

// Largest first: they are fewest. After a sticky error the driver refuses, and the memory is gone with the
// device.
void CudaPool::release_kept(std::size_t keep_bytes) noexcept {
  const std::lock_guard lock(mutex_);
  for (auto kept = kept_.rbegin(); kept != kept_.rend() && kept_bytes_ > keep_bytes; ++kept) {
    while (!kept->second.empty() && kept_bytes_ > keep_bytes) {
      api_->pool_free(kept->second.back(), stream_);
      kept->second.pop_back();
      kept_bytes_ -= kept->first;
    }
  }
}

void* CudaPool::allocate_extra(std::size_t size_bytes) { return allocate_now(size_bytes); }

void CudaPool::free_extra(void* data) noexcept { api_->pool_free(data, stream_); }

}  // namespace tessera::device::cuda
