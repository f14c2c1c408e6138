#include "device/host/host_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr int kFreedFill = 0xCD;

std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

void poison([[maybe_unused]] const std::byte* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}
void unpoison([[maybe_unused]] const std::byte* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

class SystemAllocator final : public HostAllocator {
 public:
  std::byte* allocate(std::size_t bytes) noexcept override {
    if (bytes < HostPool::kLargeBytes)
      return static_cast<std::byte*>(std::aligned_alloc(HostPool::kAlignment, bytes));
    // Huge pages need aligned addresses: map more and give the ends back.
    const std::size_t slack = bytes >= kHugePage ? kHugePage - kPage : 0;
    void* raw =
        ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    auto* begin = static_cast<std::byte*>(raw);
    if (slack == 0) return begin;
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::size_t head = round_up(address, kHugePage) - address;
    if (head > 0) ::munmap(begin, head);
    if (slack > head) ::munmap(begin + head + bytes, slack - head);
    ::madvise(begin + head, bytes, MADV_HUGEPAGE);
    return begin + head;
  }
  void deallocate(std::byte* data, std::size_t bytes) noexcept override {
    if (bytes < HostPool::kLargeBytes) {
      std::free(data);
    } else {
      ::munmap(data, bytes);
    }
  }
};

std::byte* next_of(std::byte* block) noexcept {
  std::byte* next = nullptr;
  std::memcpy(&next, block, sizeof next);
  return next;
}

}  // namespace

HostAllocator& system_allocator() {
  // Never destroyed: a result may live in a static object that goes after everything here.
  static SystemAllocator* const allocator = std::make_unique<SystemAllocator>().release();
  return *allocator;
}

HostPool::HostPool(std::string name, std::string setting, std::size_t limit_bytes,
                   HostAllocator& allocator, bool fill_freed)
    : MemoryPool(limit_bytes),
      name_(std::move(name)),
      setting_(std::move(setting)),
      allocator_(&allocator),
      fill_freed_(fill_freed) {}

HostPool::~HostPool() {
  assert(blocks_ == 0 && "a buffer outlives its pool");
  unmap(pick_kept(0));
}

std::size_t HostPool::capacity_for(std::size_t size_bytes) noexcept {
  const std::size_t least = std::max(size_bytes, kAlignment);
  if (least >= kLargeBytes) return round_up(least, kPage);
  return round_up(least, std::max(kAlignment, std::bit_floor(least - 1) / 8));
}

std::size_t HostPool::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::size_t HostPool::bytes_held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

void HostPool::fail(const char* rule, std::size_t size_bytes) const {
  const std::size_t used = bytes_in_use();
  const std::size_t limit = limit_bytes();
  const std::size_t free_bytes = used < limit ? limit - used : 0;
  throw OutOfMemory(core::text("[memory] ", rule, "; got a request of ", format_bytes(size_bytes),
                               " with ", format_bytes(used), " in use of the ", format_bytes(limit),
                               " of ", name_, "; try smaller chunks or another ", setting_),
                    size_bytes, free_bytes, limit);
}

HostPool::Allocation HostPool::pop_kept(std::size_t capacity) noexcept {
  Kept* kept = nullptr;
  if (capacity < kLargeBytes) {
    kept = &small_[capacity / kAlignment];
  } else {
    // A sixteenth more is less than what mapping anew would cost.
    const std::size_t most = capacity + capacity / 16;
    auto it = large_.lower_bound(capacity);
    while (it != large_.end() && it->first <= most && it->second.head == nullptr) ++it;
    if (it == large_.end() || it->first > most) return {nullptr, 0};
    kept = &it->second;
    capacity = it->first;
  }
  if (kept->head == nullptr) return {nullptr, 0};
  std::byte* block = kept->head;
  kept->head = next_of(block);
  kept_ -= capacity;
  return {block, capacity};
}

HostPool::Allocation HostPool::take(std::size_t size_bytes) {
  std::unique_lock lock(mutex_);
  if (size_bytes > limit_bytes() - std::min(limit_bytes(), in_use_)) {
    lock.unlock();
    fail("blocks in use must fit the budget", size_bytes);
  }
  const std::size_t capacity = capacity_for(size_bytes);
  Allocation got = pop_kept(capacity);
  std::vector<Allocation> picked;
  if (got.data == nullptr) {
    if (capacity >= kLargeBytes) ++large_[capacity].blocks;
    held_ += capacity;
    if (held_ > limit_bytes()) picked = pick_kept(kept_ - std::min(kept_, held_ - limit_bytes()));
  }
  in_use_ += size_bytes;
  ++blocks_;
  lock.unlock();
  if (got.data == nullptr) {
    // System calls come outside the lock: unmapping a large block takes a millisecond.
    unmap(picked);
    got = {map_new(capacity), capacity};
    if (got.data == nullptr) {
      lock.lock();
      in_use_ -= size_bytes;
      --blocks_;
      held_ -= capacity;
      if (capacity >= kLargeBytes && --large_[capacity].blocks == 0) large_.erase(capacity);
      lock.unlock();
      fail("the machine must have the memory that a budget promises", size_bytes);
    }
  }
  poison(got.data, got.capacity);
  unpoison(got.data, round_up(std::max<std::size_t>(size_bytes, 1), kPadding));
  return got;
}

std::byte* HostPool::map_new(std::size_t capacity) {
  std::byte* data = allocator_->allocate(capacity);
  if (data != nullptr) return data;
  trim(0);
  return allocator_->allocate(capacity);
}

void HostPool::give_back(Allocation allocation, std::size_t size_bytes) noexcept {
  if (fill_freed_) {
    unpoison(allocation.data, allocation.capacity);
    std::memset(allocation.data, kFreedFill, allocation.capacity);
  }
  poison(allocation.data, allocation.capacity);
  unpoison(allocation.data, sizeof(std::byte*));
  const std::lock_guard lock(mutex_);
  Kept& kept = allocation.capacity < kLargeBytes ? small_[allocation.capacity / kAlignment]
                                                 : large_.find(allocation.capacity)->second;
  std::memcpy(allocation.data, &kept.head, sizeof kept.head);
  kept.head = allocation.data;
  in_use_ -= size_bytes;
  --blocks_;
  kept_ += allocation.capacity;
}

void HostPool::trim(std::size_t keep_bytes) {
  std::unique_lock lock(mutex_);
  const std::vector<Allocation> picked = pick_kept(keep_bytes);
  lock.unlock();
  unmap(picked);
}

void HostPool::pick_from(Kept& kept, std::size_t capacity, std::size_t keep_bytes,
                         std::vector<Allocation>& picked) {
  while (kept.head != nullptr && kept_ > keep_bytes) {
    picked.push_back({kept.head, capacity});
    kept.head = next_of(kept.head);
    kept_ -= capacity;
    held_ -= capacity;
    if (capacity >= kLargeBytes) --kept.blocks;
  }
}

std::vector<HostPool::Allocation> HostPool::pick_kept(std::size_t keep_bytes) {
  std::vector<Allocation> picked;
  for (auto it = large_.end(); it != large_.begin() && kept_ > keep_bytes;) {
    --it;
    pick_from(it->second, it->first, keep_bytes, picked);
    if (it->second.blocks == 0) it = large_.erase(it);
  }
  for (std::size_t i = small_.size(); i-- > 0 && kept_ > keep_bytes;)
    pick_from(small_[i], i * kAlignment, keep_bytes, picked);
  return picked;
}

void HostPool::unmap(const std::vector<Allocation>& picked) noexcept {
  for (const Allocation& block : picked) {
    unpoison(block.data, block.capacity);
    allocator_->deallocate(block.data, block.capacity);
  }
}

}  // namespace tessera::device
