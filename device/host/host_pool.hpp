#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.hpp"
#include "device/host_devices.hpp"

// Memory of one host tier. Freshly mapped pages cost eight times a resident write, so freed blocks
// are kept and handed out again: small ones (below kLargeBytes) by size class, large ones by exact
// or nearly equal size. What is kept and what is in use together stay within the limit; beyond it,
// kept blocks go back to the machine, largest first.

namespace tessera::device {

class HostPool final : public MemoryPool {
 public:
  /// `name` says in errors whose memory it is; `setting` is the variable that enlarges it.
  HostPool(std::string name, std::string setting, std::size_t limit_bytes, HostAllocator& allocator,
           bool fill_freed);
  ~HostPool() override;

  std::size_t bytes_in_use() const override;
  std::size_t bytes_held() const override;
  void trim(std::size_t keep_bytes) override;

  static constexpr std::size_t kAlignment = 256;
  static constexpr std::size_t kPadding = 64;
  static constexpr std::size_t kLargeBytes = std::size_t{256} << 10;
  /// Bytes that a request really takes.
  static std::size_t capacity_for(std::size_t size_bytes) noexcept;

 private:
  // Freed blocks of one capacity: a list through their own first bytes, so that freeing never
  // allocates.
  struct Kept {
    std::byte* head = nullptr;
    std::size_t blocks = 0;  // of this capacity, kept or in use (large ones only)
  };
  Allocation take(std::size_t size_bytes) override;
  void give_back(Allocation allocation, std::size_t size_bytes) noexcept override;
  Allocation pop_kept(std::size_t capacity) noexcept;
  std::byte* map_new(std::size_t capacity);
  std::vector<Allocation> pick_kept(std::size_t keep_bytes);
  void pick_from(Kept& kept, std::size_t capacity, std::size_t keep_bytes,
                 std::vector<Allocation>& picked);
  void unmap(const std::vector<Allocation>& picked) noexcept;
  [[noreturn]] void fail(const char* rule, std::size_t size_bytes) const;

  const std::string name_;
  const std::string setting_;
  HostAllocator* allocator_;
  const bool fill_freed_;
  mutable std::mutex mutex_;
  std::array<Kept, kLargeBytes / kAlignment + 1> small_{};  // by capacity / kAlignment
  std::map<std::size_t, Kept> large_;                       // by capacity
  std::size_t in_use_ = 0;
  std::size_t blocks_ = 0;
  std::size_t held_ = 0;
  std::size_t kept_ = 0;
};

}  // namespace tessera::device
