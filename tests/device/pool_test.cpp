#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "device/host/host_pool.hpp"
#include "failing_allocator.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

HostPool make_pool(std::size_t limit, HostAllocator& allocator, bool fill = false) {
  return HostPool("host:0", "TESSERA_DEVICE_MEMORY", limit, allocator, fill);
}

TEST(HostPool, BlocksAreAlignedPaddedAndApart) {
  FailingAllocator allocator;
  HostPool pool = make_pool(64 * kMiB, allocator);
  std::mt19937_64 random(1);
  std::vector<Buffer> buffers;
  std::size_t total = 0;
  for (int i = 0; i < 200; ++i) {
    const std::size_t size =
        std::uniform_int_distribution<std::size_t>(0, std::size_t{1} << (i % 19))(random);
    buffers.push_back(pool.allocate(size));
    total += size;
    ASSERT_NE(buffers.back().data(), nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffers.back().data()) % 256, 0u);
    EXPECT_EQ(buffers.back().size_bytes(), size);
    std::memset(buffers.back().data(), i, (size + 63) / 64 * 64);
  }
  for (int i = 0; i < 200; ++i) {
    const Buffer& buffer = buffers[static_cast<std::size_t>(i)];
    for (std::size_t b = 0; b < buffer.size_bytes(); ++b)
      ASSERT_EQ(buffer.data()[b], static_cast<std::byte>(i));
  }
  EXPECT_EQ(pool.bytes_in_use(), total);
  EXPECT_EQ(pool.bytes_held(), allocator.held());
  buffers.clear();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  pool.trim(0);
  EXPECT_EQ(pool.bytes_held(), 0u);
  EXPECT_EQ(allocator.held(), 0u);
}

TEST(HostPool, CapacityWastesLittle) {
  for (std::size_t size : {0ul, 1ul, 255ul, 256ul, 257ul, 1024ul, 1025ul, 2048ul, 4097ul, 65537ul,
                           262143ul, 262144ul, 262145ul, 5000001ul}) {
    const std::size_t capacity = HostPool::capacity_for(size);
    EXPECT_GE(capacity, (std::max<std::size_t>(size, 1) + 63) / 64 * 64) << size;
    EXPECT_LE(capacity, size + std::max<std::size_t>(256, size / 8 + 256)) << size;
    EXPECT_EQ(capacity % 256, 0u);
  }
}

TEST(HostPool, FreedBlocksAreHandedOutAgain) {
  FailingAllocator allocator;
  HostPool pool = make_pool(64 * kMiB, allocator);
  for (std::size_t size : {std::size_t{8}, std::size_t{5000}, kMiB, 4 * kMiB + 17}) {
    Buffer first = pool.allocate(size);
    const std::byte* address = first.data();
    first = Buffer();
    const std::uint64_t requests = allocator.requests();
    Buffer second = pool.allocate(size);
    EXPECT_EQ(second.data(), address);
    EXPECT_EQ(allocator.requests(), requests);
  }
  // Nearly the same size will do for a large block, half of it will not.
  { Buffer large = pool.allocate(8 * kMiB); }
  const std::uint64_t requests = allocator.requests();
  { Buffer near = pool.allocate(8 * kMiB - 200'000); }
  EXPECT_EQ(allocator.requests(), requests);
  { Buffer half = pool.allocate(5 * kMiB); }
  EXPECT_EQ(allocator.requests(), requests + 1);
}

TEST(HostPool, KeepsNoMoreThanTheLimit) {
  FailingAllocator allocator;
  HostPool pool = make_pool(10 * kMiB, allocator);
  std::mt19937_64 random(2);
  std::vector<Buffer> buffers;
  for (int i = 0; i < 2000; ++i) {
    const std::size_t size = std::uniform_int_distribution<std::size_t>(256, 1024)(random) * 4096;
    while (pool.bytes_in_use() + size > 10 * kMiB) {
      buffers.erase(buffers.begin() +
                    std::uniform_int_distribution<std::ptrdiff_t>(
                        0, static_cast<std::ptrdiff_t>(buffers.size()) - 1)(random));
    }
    buffers.push_back(pool.allocate(size));
    // What a nearly equal block has more than was asked for comes on top.
    ASSERT_LE(pool.bytes_held(), 10 * kMiB + kMiB);
  }
}

TEST(HostPool, RefusesMoreThanTheLimit) {
  FailingAllocator allocator;
  HostPool pool = make_pool(kMiB, allocator);
  Buffer most = pool.allocate(kMiB - 100);
  try {
    pool.allocate(101);
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_STREQ(e.what(),
                 "[memory] blocks in use must fit the budget; got a request of 101 B with 1024 KiB "
                 "in use of the 1.00 MiB of host:0; "
                 "try smaller chunks or another TESSERA_DEVICE_MEMORY");
    EXPECT_EQ(e.requested_bytes, 101u);
    EXPECT_EQ(e.free_bytes, 100u);
    EXPECT_EQ(e.budget_bytes, kMiB);
  }
  EXPECT_NO_THROW(pool.allocate(100));
  EXPECT_EQ(pool.bytes_in_use(), kMiB - 100);
}

TEST(HostPool, ReturnsWhatItKeepsBeforeItGivesUp) {
  FailingAllocator allocator(2);
  HostPool pool = make_pool(64 * kMiB, allocator);
  { Buffer kept = pool.allocate(kMiB); }
  // The second request is refused, the one after trimming is not.
  Buffer buffer = pool.allocate(8 * kMiB);
  EXPECT_EQ(allocator.held(), 8 * kMiB);
  FailingAllocator none(1, true);
  HostPool empty = make_pool(kMiB, none);
  for (std::size_t size : {std::size_t{100}, kMiB}) {
    try {
      empty.allocate(size);
      FAIL();
    } catch (const OutOfMemory& e) {
      EXPECT_EQ(std::string(e.what()).find("[memory] the machine must have the memory that a "
                                           "budget promises; got a request of "),
                0u)
          << e.what();
      EXPECT_EQ(e.requested_bytes, size);
    }
    EXPECT_EQ(empty.bytes_in_use() + empty.bytes_held(), 0u);
  }
  none.heal();
  EXPECT_NO_THROW(empty.allocate(kMiB));
}

TEST(HostPool, FreedMemoryIsOverwrittenWhenAsked) {
  FailingAllocator allocator;
  HostPool pool = make_pool(kMiB, allocator, true);
  Buffer buffer = pool.allocate(1000);
  std::memset(buffer.data(), 1, 1000);
  buffer = Buffer();
  buffer = pool.allocate(1000);
  // The first bytes held the pool's list.
  for (std::size_t i = 8; i < 1000; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0xCD});
}

#if defined(__SANITIZE_ADDRESS__)
TEST(HostPoolDeathTest, UseAfterFreeAndOverrunsAreSeen) {
  FailingAllocator allocator;
  HostPool pool = make_pool(64 * kMiB, allocator);
  for (std::size_t size : {std::size_t{1000}, kMiB + 1}) {
    Buffer buffer = pool.allocate(size);
    volatile std::byte* data = buffer.data();
    EXPECT_DEATH(data[(size + 63) / 64 * 64] = std::byte{1}, "AddressSanitizer");
    buffer = Buffer();
    EXPECT_DEATH(data[500] = std::byte{1}, "AddressSanitizer");
  }
}
#endif

TEST(HostPool, ServesManyThreads) {
  FailingAllocator allocator;
  HostPool pool = make_pool(256 * kMiB, allocator);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t));
      std::vector<Buffer> buffers(16);
      for (int i = 0; i < 3000; ++i) {
        Buffer& buffer = buffers[random() % 16];
        if (buffer) {
          const std::byte first = buffer.data()[0];
          EXPECT_EQ(buffer.data()[buffer.size_bytes() - 1], first);
        }
        buffer = pool.allocate(1 + random() % (i % 8 == 0 ? 600'000 : 3000));
        buffer.data()[0] = buffer.data()[buffer.size_bytes() - 1] = static_cast<std::byte>(t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  EXPECT_EQ(pool.bytes_held(), allocator.held());
}

}  // namespace
}  // namespace tessera::device
