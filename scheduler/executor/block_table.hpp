#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "device/place.hpp"
#include "scheduler/plan/order.hpp"

namespace tessera::scheduler {

using device::DeviceIndex;
using device::kNoDevice;
using device::Place;
using device::Tier;
using BufferId = std::uint32_t;

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
  Position next_use = kNever;      ///< beyond the window; inside it, of the earliest task or before
  std::uint32_t readers_left = 0;  ///< tasks that still have to read it
  BufferId buffer = 0;
  BufferId disk_copy = 0;     ///< a clean copy on disk, kept when the block came back from there
  std::uint32_t waiters = 0;  ///< head of the list of tasks that wait for it
  std::uint32_t window_refs = 0;   ///< tasks of the window that read it and have not run
  std::uint32_t replicas = 0;      ///< head of the list of its copies on other devices
  DeviceIndex device = kNoDevice;  ///< where it is (kDevice), or where it was made (other tiers)
  std::uint16_t pins = 0;          ///< admitted tasks that read the primary copy
  Status status = Status::kAbsent;
  Tier tier = Tier::kDevice;
  bool moving : 1 = false;
  bool retained : 1 = false;
  bool offered : 1 = false;  ///< up for eviction where it is, at next_use
  bool stale : 1 = false;    ///< the task that next_use stands for has run
  bool remote : 1 = false;   ///< another rank makes it, and keeps it until this one has fetched it
  bool shared : 1 = false;   ///< other ranks read it, too: each counts as one reader
};
static_assert(sizeof(BlockState) == 40);

/// Names a block that is not absent; shorter than its key, and faster to follow.
using BlockRef = std::uint32_t;

/// Block states by (slot, block), in pages that exist only while a block on them is alive.
class BlockTable {
 public:
  explicit BlockTable(const Plan& plan);
  /// The state of a block that becomes alive: the caller gives it a status.
  BlockState& at(BlockKey key);
  /// The state, or null while the block is absent.
  BlockState* find(BlockKey key) noexcept;
  /// The same by name, which another block may have by now.
  BlockState* find(BlockRef ref) noexcept;
  /// The name of a block that is alive.
  BlockRef ref(BlockKey key) const noexcept;
  BlockState& at(BlockRef ref) noexcept {
    return slabs_[ref / kSlabBlocks].get()[ref % kSlabBlocks];
  }
  BlockKey key(BlockRef ref) const noexcept {
    const Page& page = pages_[ref / kPageBlocks];
    return {page.slot, page.first + static_cast<std::int64_t>(ref % kPageBlocks)};
  }
  /// Forgets a block; its page goes with the last one.
  void erase(BlockKey key) noexcept;
  std::int64_t live_blocks() const noexcept { return live_; }
  std::size_t bytes() const noexcept;
  /// Calls f(key, state) for every block that is not absent.
  template <typename F>
  void for_each(F&& f);

 private:
  static constexpr std::uint32_t kPageBlocks = 256;
  static constexpr std::uint32_t kNoPage = 0xffffffff;
  // Pages lie in slabs of whole huge pages: readers jump from block to block, and a table of the
  // usual pages would miss at each step.
  static constexpr std::uint32_t kSlabBlocks = 1024 * kPageBlocks;
  static constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
  static_assert(kSlabBlocks * sizeof(BlockState) % kHugePageBytes == 0);
  static_assert(kPageBlocks * sizeof(BlockState) % alignof(std::max_align_t) == 0);
  // So many pages are a small plan's, which would wait for a huge page to be cleared.
  static constexpr std::size_t kSmallPages = 64;
  struct Page {
    SlotIndex slot = -1;
    std::int32_t live = 0;
    std::int64_t first = 0;  // number of its first block
  };
  struct FreeSlab {
    void operator()(BlockState* slab) const noexcept { std::free(slab); }
  };
  std::uint32_t& page_number(BlockKey key);
  std::uint32_t new_page();

  std::vector<std::vector<std::uint32_t>> numbers_;  // by slot and page of the slot
  std::vector<std::int64_t> counts_;
  std::vector<Page> pages_;          // by page number
  std::vector<std::uint32_t> free_;  // page numbers
  std::vector<std::unique_ptr<BlockState, FreeSlab>> slabs_;
  std::size_t most_pages_ = 0;  // when all blocks of all slots are alive
  std::int64_t live_ = 0;
};

inline BlockTable::BlockTable(const Plan& plan) : numbers_(plan.slots.size()) {
  for (const Slot& slot : plan.slots) {
    counts_.push_back(slot.size.grid().block_count());
    most_pages_ += (static_cast<std::size_t>(counts_.back()) + kPageBlocks - 1) / kPageBlocks;
  }
}

inline std::uint32_t& BlockTable::page_number(BlockKey key) {
  return numbers_[static_cast<std::size_t>(key.slot)]
                 [static_cast<std::size_t>(key.block) / kPageBlocks];
}

inline BlockState& BlockTable::at(BlockKey key) {
  auto& numbers = numbers_[static_cast<std::size_t>(key.slot)];
  if (numbers.empty()) {
    const auto blocks = static_cast<std::size_t>(counts_[static_cast<std::size_t>(key.slot)]);
    numbers.resize((blocks - 1) / kPageBlocks + 1, kNoPage);
  }
  std::uint32_t& number = page_number(key);
  if (number == kNoPage) {
    number = new_page();
    pages_[number] = {key.slot, 0, key.block - key.block % std::int64_t{kPageBlocks}};
  }
  BlockState& state = at(ref(key));
  if (state.status == BlockState::Status::kAbsent) {
    state = BlockState{};
    ++pages_[number].live;
    ++live_;
  }
  return state;
}

// A page whose blocks are all absent.
inline std::uint32_t BlockTable::new_page() {
  if (!free_.empty()) {
    const std::uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  const std::size_t number = pages_.size();
  const bool small = most_pages_ <= kSmallPages;
  const std::size_t slab_bytes =
      (small ? most_pages_ * kPageBlocks : kSlabBlocks) * sizeof(BlockState);
  if (number * kPageBlocks == slabs_.size() * kSlabBlocks) {
    slabs_.emplace_back(static_cast<BlockState*>(
        std::aligned_alloc(small ? alignof(std::max_align_t) : kHugePageBytes, slab_bytes)));
    if (slabs_.back() == nullptr) {
      slabs_.pop_back();
      throw std::bad_alloc();
    }
  }
  pages_.emplace_back();
  // Room for all, so that giving one back cannot fail.
  free_.reserve(pages_.capacity());
  const std::size_t in_slab = number % (kSlabBlocks / kPageBlocks);
  if (number == kSmallPages || (number > kSmallPages && in_slab == 0))
    madvise(slabs_.back().get(), slab_bytes, MADV_HUGEPAGE);
  std::uninitialized_default_construct_n(slabs_.back().get() + in_slab * kPageBlocks, kPageBlocks);
  return static_cast<std::uint32_t>(number);
}

inline BlockState* BlockTable::find(BlockKey key) noexcept {
  if (numbers_[static_cast<std::size_t>(key.slot)].empty()) return nullptr;
  const std::uint32_t number = page_number(key);
  if (number == kNoPage) return nullptr;
  BlockState& state = at(ref(key));
  return state.status == BlockState::Status::kAbsent ? nullptr : &state;
}

inline BlockState* BlockTable::find(BlockRef ref) noexcept {
  BlockState& state = at(ref);
  return state.status == BlockState::Status::kAbsent ? nullptr : &state;
}

inline BlockRef BlockTable::ref(BlockKey key) const noexcept {
  return numbers_[static_cast<std::size_t>(key.slot)]
                 [static_cast<std::size_t>(key.block) / kPageBlocks] *
             kPageBlocks +
         static_cast<std::uint32_t>(static_cast<std::size_t>(key.block) % kPageBlocks);
}

inline void BlockTable::erase(BlockKey key) noexcept {
  std::uint32_t& number = page_number(key);
  at(ref(key)).status = BlockState::Status::kAbsent;
  --live_;
  if (--pages_[number].live > 0) return;
  free_.push_back(number);
  number = kNoPage;
}

inline std::size_t BlockTable::bytes() const noexcept {
  std::size_t total = pages_.size() * kPageBlocks * sizeof(BlockState) +
                      pages_.capacity() * (sizeof(Page) + sizeof(std::uint32_t));
  for (const auto& numbers : numbers_) total += numbers.capacity() * sizeof(std::uint32_t);
  return total;
}

template <typename F>
void BlockTable::for_each(F&& f) {
  for (std::size_t slot = 0; slot < numbers_.size(); ++slot) {
    for (const std::uint32_t number : numbers_[slot]) {
      for (std::size_t i = 0; number != kNoPage && i < kPageBlocks; ++i) {
        const auto block = static_cast<BlockRef>(number * kPageBlocks + i);
        if (at(block).status != BlockState::Status::kAbsent) f(key(block), at(block));
      }
    }
  }
}

}  // namespace tessera::scheduler
