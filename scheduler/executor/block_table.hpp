#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "scheduler/plan/order.hpp"

namespace tessera::scheduler {

using BufferId = std::uint32_t;
using DeviceIndex = std::uint16_t;
inline constexpr DeviceIndex kNoDevice = 0xffff;

enum class Tier : std::uint8_t { kDevice, kHost, kDisk };

struct BlockKey {
  SlotIndex slot = -1;
  std::int64_t block = 0;
  bool operator==(const BlockKey&) const = default;
};

/// What is known of one block while it is in flight or still needed: 40 bytes.
struct BlockState {
  enum class Status : std::uint8_t {
    kAbsent,   ///< not computed yet, or not needed any more
    kPending,  ///< its task is in the window
    kPresent,  ///< in memory or on disk, see tier and device
    kDropped,  ///< was there, can be made again
  };
  Position next_use = kNever;  ///< of the tasks beyond the window; inside it, of the earliest one
  std::uint32_t readers_left = 0;  ///< tasks that still have to read it
  BufferId buffer = 0;
  BufferId disk_copy = 0;     ///< a clean copy on disk, kept when the block came back from there
  std::uint32_t waiters = 0;  ///< head of the list of tasks that wait for it
  DeviceIndex device = kNoDevice;  ///< where it is (kDevice), or where it was made (other tiers)
  std::uint16_t pins = 0;          ///< admitted tasks that read the primary copy
  std::uint16_t window_refs = 0;   ///< tasks of the window that read it and have not run
  std::uint16_t replicas = 0;      ///< copies on other devices
  Status status = Status::kAbsent;
  Tier tier = Tier::kDevice;
  bool moving = false;
  bool retained = false;
};

/// Block states by (slot, block), in pages that exist only while a block on them is alive.
class BlockTable {
 public:
  explicit BlockTable(const Plan& plan);
  /// The state, made absent if it was not there.
  BlockState& at(BlockKey key);
  BlockState* find(BlockKey key) noexcept;
  /// Forgets a block; its page goes with the last one.
  void erase(BlockKey key) noexcept;
  std::int64_t live_blocks() const noexcept { return live_; }
  std::size_t bytes() const noexcept;
  /// Calls f(key, state) for every block that is not absent.
  template <typename F>
  void for_each(F&& f);

 private:
  static constexpr std::int64_t kPageBlocks = 256;
  struct Page {
    std::array<BlockState, kPageBlocks> states;
    std::array<bool, kPageBlocks> alive{};
    std::int32_t live = 0;
  };
  std::vector<std::vector<std::unique_ptr<Page>>> pages_;
  std::vector<std::int64_t> counts_;
  std::vector<std::unique_ptr<Page>> spare_;
  std::int64_t live_ = 0;
  std::int64_t live_pages_ = 0;
};

inline BlockTable::BlockTable(const Plan& plan) : pages_(plan.slots.size()) {
  for (const Slot& slot : plan.slots) counts_.push_back(slot.size.grid().block_count());
}

inline BlockState& BlockTable::at(BlockKey key) {
  auto& pages = pages_[static_cast<std::size_t>(key.slot)];
  if (pages.empty()) {
    pages.resize(static_cast<std::size_t>(
        (counts_[static_cast<std::size_t>(key.slot)] - 1) / kPageBlocks + 1));
  }
  auto& page = pages[static_cast<std::size_t>(key.block / kPageBlocks)];
  if (!page) {
    if (spare_.empty()) {
      page = std::make_unique<Page>();
    } else {
      page = std::move(spare_.back());
      spare_.pop_back();
    }
    ++live_pages_;
  }
  const auto i = static_cast<std::size_t>(key.block % kPageBlocks);
  if (!page->alive[i]) {
    page->alive[i] = true;
    page->states[i] = BlockState{};
    ++page->live;
    ++live_;
  }
  return page->states[i];
}

inline BlockState* BlockTable::find(BlockKey key) noexcept {
  auto& pages = pages_[static_cast<std::size_t>(key.slot)];
  if (pages.empty()) return nullptr;
  auto& page = pages[static_cast<std::size_t>(key.block / kPageBlocks)];
  const auto i = static_cast<std::size_t>(key.block % kPageBlocks);
  return page && page->alive[i] ? &page->states[i] : nullptr;
}

inline void BlockTable::erase(BlockKey key) noexcept {
  auto& page =
      pages_[static_cast<std::size_t>(key.slot)][static_cast<std::size_t>(key.block / kPageBlocks)];
  page->alive[static_cast<std::size_t>(key.block % kPageBlocks)] = false;
  --live_;
  if (--page->live == 0) {
    --live_pages_;
    if (spare_.size() < 64) {
      spare_.push_back(std::move(page));
    } else {
      page.reset();
    }
  }
}

inline std::size_t BlockTable::bytes() const noexcept {
  std::size_t total = static_cast<std::size_t>(live_pages_) * sizeof(Page);
  for (const auto& pages : pages_) total += pages.capacity() * sizeof(void*);
  return total;
}

template <typename F>
void BlockTable::for_each(F&& f) {
  for (std::size_t slot = 0; slot < pages_.size(); ++slot) {
    for (std::size_t p = 0; p < pages_[slot].size(); ++p) {
      for (std::size_t i = 0; pages_[slot][p] && i < kPageBlocks; ++i) {
        if (!pages_[slot][p]->alive[i]) continue;
        f(BlockKey{static_cast<SlotIndex>(slot),
                   static_cast<std::int64_t>(p) * kPageBlocks + static_cast<std::int64_t>(i)},
          pages_[slot][p]->states[i]);
      }
    }
  }
}

}  // namespace tessera::scheduler
