#pragma once

#include <atomic>
#include <cstdint>

#include "device/host_devices.hpp"

namespace tessera::device {

/// The system's memory, of which the n-th request (from 1) is refused, or it and all later ones.
class FailingAllocator final : public HostAllocator {
 public:
  explicit FailingAllocator(std::uint64_t nth = 0, bool persistent = false)
      : nth_(nth), persistent_(persistent) {}

  std::byte* allocate(std::size_t bytes) noexcept override {
    const std::uint64_t number = ++requests_;
    if (nth_ != 0 && (number == nth_ || (persistent_ && number > nth_))) return nullptr;
    held_ += bytes;
    return system_allocator().allocate(bytes);
  }
  void deallocate(std::byte* data, std::size_t bytes) noexcept override {
    held_ -= bytes;
    system_allocator().deallocate(data, bytes);
  }
  void heal() { nth_ = 0; }
  /// The n-th request from now on is refused.
  void fail_at(std::uint64_t nth) {
    requests_ = 0;
    nth_ = nth;
  }
  std::uint64_t requests() const { return requests_; }
  std::size_t held() const { return held_; }

 private:
  std::atomic<std::uint64_t> nth_;
  const bool persistent_;
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::size_t> held_{0};
};

}  // namespace tessera::device
