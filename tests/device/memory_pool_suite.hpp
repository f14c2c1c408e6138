#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/device.hpp"
#include "tessera/error.hpp"

// What every MemoryPool promises. A pool of another kind of device includes this and adds one line:
// INSTANTIATE_TEST_SUITE_P(Cuda, MemoryPoolConformance, testing::Values(PoolCase{...}), pool_name);

namespace tessera::device {

struct PoolCase {
  std::string name;
  /// A pool with this limit; what it points to keeps alive all that it needs.
  std::function<std::shared_ptr<MemoryPool>(std::size_t limit_bytes)> make;
  /// Copies to and from a buffer; they return when the copy is done.
  std::function<void(std::byte* device, const std::byte* host, std::size_t)> copy_in =
      [](std::byte* device, const std::byte* host, std::size_t bytes) {
        if (bytes > 0) std::memcpy(device, host, bytes);
      };
  std::function<void(std::byte* host, const std::byte* device, std::size_t)> copy_out =
      [](std::byte* host, const std::byte* device, std::size_t bytes) {
        if (bytes > 0) std::memcpy(host, device, bytes);
      };
};

inline void PrintTo(const PoolCase& value, std::ostream* out) { *out << value.name; }

inline std::string pool_name(const testing::TestParamInfo<PoolCase>& info) {
  return info.param.name;
}

class MemoryPoolConformance : public testing::TestWithParam<PoolCase> {
 protected:
  static constexpr std::size_t kMiB = std::size_t{1} << 20;
  static void fill(const Buffer& buffer, int value) {
    if (buffer.size_bytes() == 0) return;
    // The padding may be written, too.
    const std::vector<std::byte> bytes((buffer.size_bytes() + 63) / 64 * 64,
                                       static_cast<std::byte>(value));
    GetParam().copy_in(buffer.data(), bytes.data(), bytes.size());
  }
  static bool holds(const Buffer& buffer, int value) {
    std::vector<std::byte> bytes(buffer.size_bytes());
    GetParam().copy_out(bytes.data(), buffer.data(), bytes.size());
    return bytes == std::vector<std::byte>(bytes.size(), static_cast<std::byte>(value));
  }
};

TEST_P(MemoryPoolConformance, BlocksAreAlignedPaddedAndApart) {
  const auto pool = GetParam().make(64 * kMiB);
  EXPECT_EQ(pool->limit_bytes(), 64 * kMiB);
  std::mt19937_64 random(1);
  std::vector<Buffer> buffers;
  std::size_t total = 0;
  for (int i = 0; i < 150; ++i) {
    const std::size_t size =
        std::uniform_int_distribution<std::size_t>(0, std::size_t{1} << (i % 20))(random);
    buffers.push_back(pool->allocate(size));
    total += size;
    ASSERT_NE(buffers.back().data(), nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffers.back().data()) % 256, 0u);
    EXPECT_EQ(buffers.back().size_bytes(), size);
    EXPECT_EQ(buffers.back().pool(), pool.get());
    fill(buffers.back(), i);
  }
  for (int i = 0; i < 150; ++i) EXPECT_TRUE(holds(buffers[static_cast<std::size_t>(i)], i)) << i;
  EXPECT_EQ(pool->bytes_in_use(), total);
  EXPECT_GE(pool->bytes_held(), total);
}

TEST_P(MemoryPoolConformance, ABufferIsGivenBackOnce) {
  const auto pool = GetParam().make(kMiB);
  Buffer first = pool->allocate(1000);
  Buffer second(std::move(first));
  EXPECT_FALSE(first);
  EXPECT_EQ(pool->bytes_in_use(), 1000u);
  Buffer third = pool->allocate(500);
  third = std::move(second);
  EXPECT_EQ(pool->bytes_in_use(), 1000u);
  third = Buffer();
  EXPECT_EQ(pool->bytes_in_use(), 0u);
  const Buffer none = pool->allocate(0);
  const Buffer other = pool->allocate(0);
  EXPECT_NE(none.data(), other.data());
  EXPECT_EQ(pool->bytes_in_use(), 0u);
}

TEST_P(MemoryPoolConformance, RefusesMoreThanItsLimitAndGoesOn) {
  const auto pool = GetParam().make(kMiB);
  const Buffer most = pool->allocate(kMiB - 1000);
  fill(most, 5);
  for (const std::size_t size : {std::size_t{1001}, 2 * kMiB, SIZE_MAX - 100}) {
    try {
      pool->allocate(size);
      ADD_FAILURE() << size;
    } catch (const OutOfMemory& error) {
      EXPECT_EQ(error.requested_bytes, size);
      EXPECT_EQ(error.free_bytes, 1000u);
      EXPECT_EQ(error.budget_bytes, kMiB);
    }
  }
  EXPECT_NO_THROW(pool->allocate(1000));
  EXPECT_TRUE(holds(most, 5));
  EXPECT_EQ(pool->bytes_in_use(), kMiB - 1000);
}

TEST_P(MemoryPoolConformance, WhatItKeepsStandsInNobodysWay) {
  const auto pool = GetParam().make(8 * kMiB);
  for (int round = 0; round < 3; ++round) {
    std::vector<Buffer> small;
    for (int i = 0; i < 7; ++i) small.push_back(pool->allocate(kMiB));
    small.clear();
    const Buffer whole = pool->allocate(8 * kMiB);
    fill(whole, round);
    EXPECT_TRUE(holds(whole, round));
  }
  pool->trim(kMiB);
  EXPECT_LE(pool->bytes_held(), kMiB);
  pool->trim(0);
  EXPECT_EQ(pool->bytes_held(), 0u);
  EXPECT_NO_THROW(pool->allocate(8 * kMiB));
}

TEST_P(MemoryPoolConformance, ServesSeveralThreads) {
  const auto pool = GetParam().make(256 * kMiB);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t));
      std::vector<Buffer> buffers(16);
      std::vector<int> values(16, 0);
      for (int i = 0; i < 500; ++i) {
        const std::size_t place = random() % 16;
        if (buffers[place]) {
          wrong[static_cast<std::size_t>(t)] += !holds(buffers[place], values[place]);
        }
        buffers[place] = pool->allocate(1 + random() % (i % 8 == 0 ? 600'000 : 3000));
        values[place] = (i + 64 * t) % 251;
        fill(buffers[place], values[place]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
  EXPECT_EQ(pool->bytes_in_use(), 0u);
}

}  // namespace tessera::device
