#pragma once

#include <cstddef>

namespace tessera::kernels::host {

inline constexpr std::size_t kScratchAlignment = 64;

constexpr std::size_t round_up(std::size_t bytes, std::size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

/// Cuts scratch memory into aligned parts; with no memory it only counts.
class ScratchCutter {
 public:
  explicit ScratchCutter(std::byte* memory = nullptr) : memory_(memory) {}

  std::byte* take(std::size_t bytes) {
    std::byte* part = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(bytes, kScratchAlignment);
    return part;
  }
  template <typename T>
  T* take_array(std::size_t count) {
    return reinterpret_cast<T*>(take(count * sizeof(T)));
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace tessera::kernels::host
