#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "device/device.hpp"
#include "tessera/error.hpp"

// What every DiskTier promises. Another one includes this and adds one line:
// INSTANTIATE_TEST_SUITE_P(Name, DiskTierConformance, testing::Values(DiskCase{...}), disk_name);

namespace tessera::device {

struct DiskCase {
  std::string name;
  /// A tier with this limit; what it points to keeps alive all that it needs.
  std::function<std::shared_ptr<DiskTier>(std::size_t limit_bytes)> make;
};

inline void PrintTo(const DiskCase& value, std::ostream* out) { *out << value.name; }

inline std::string disk_name(const testing::TestParamInfo<DiskCase>& info) {
  return info.param.name;
}

class DiskTierConformance : public testing::TestWithParam<DiskCase> {
 protected:
  static constexpr std::size_t kMiB = std::size_t{1} << 20;
  static std::vector<std::byte> random_block(std::size_t size, std::mt19937_64& random) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
  }
  static std::vector<std::byte> contents(const DiskBlock& block) {
    std::vector<std::byte> bytes(block.size_bytes());
    block.read(bytes.data());
    return bytes;
  }
};

TEST_P(DiskTierConformance, BlocksOfAnySizeComeBackAsOftenAsAsked) {
  const auto tier = GetParam().make(256 * kMiB);
  EXPECT_EQ(tier->limit_bytes(), 256 * kMiB);
  std::mt19937_64 random(3);
  std::vector<std::pair<std::vector<std::byte>, DiskBlock>> blocks;
  std::size_t total = 0;
  for (const std::size_t size : {0ul, 1ul, 511ul, 4095ul, 4096ul, 4097ul, 100'000ul, 5ul << 20}) {
    std::vector<std::byte> bytes = random_block(size, random);
    DiskBlock block = tier->write(7, static_cast<std::int64_t>(size), bytes.data(), size);
    EXPECT_TRUE(block);
    EXPECT_EQ(block.size_bytes(), size);
    blocks.emplace_back(std::move(bytes), std::move(block));
    total += size;
  }
  EXPECT_EQ(tier->bytes_in_use(), total);
  for (int round = 0; round < 2; ++round) {
    for (const auto& [bytes, block] : blocks) EXPECT_EQ(contents(block), bytes);
  }
}

TEST_P(DiskTierConformance, ABlockIsGivenBackOnce) {
  const auto tier = GetParam().make(kMiB);
  std::mt19937_64 random(4);
  const std::vector<std::byte> bytes = random_block(5000, random);
  DiskBlock first = tier->write(1, 2, bytes.data(), bytes.size());
  DiskBlock second(std::move(first));
  EXPECT_FALSE(first);
  EXPECT_EQ(tier->bytes_in_use(), 5000u);
  DiskBlock third = tier->write(1, 3, bytes.data(), 100);
  third = std::move(second);
  EXPECT_EQ(tier->bytes_in_use(), 5000u);
  EXPECT_EQ(contents(third), bytes);
  third = DiskBlock();
  EXPECT_EQ(tier->bytes_in_use(), 0u);
}

TEST_P(DiskTierConformance, RefusesMoreThanItsLimitAndGoesOn) {
  const auto tier = GetParam().make(kMiB);
  std::mt19937_64 random(5);
  const std::vector<std::byte> bytes = random_block(kMiB + 1, random);
  DiskBlock most = tier->write(1, 1, bytes.data(), kMiB - 5000);
  try {
    tier->write(1, 2, bytes.data(), kMiB);
    ADD_FAILURE();
  } catch (const OutOfMemory& error) {
    EXPECT_EQ(error.requested_bytes, kMiB);
    EXPECT_EQ(error.budget_bytes, kMiB);
  }
  EXPECT_EQ(tier->bytes_in_use(), kMiB - 5000);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end() - 5001, contents(most).begin()));
  most = DiskBlock();
  const DiskBlock whole = tier->write(1, 3, bytes.data(), kMiB);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end() - 1, contents(whole).begin()));
}

TEST_P(DiskTierConformance, ServesSeveralThreads) {
  const auto tier = GetParam().make(256 * kMiB);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<std::pair<std::vector<std::byte>, DiskBlock>> blocks(4);
      for (int i = 0; i < 60; ++i) {
        auto& [bytes, block] = blocks[random() % 4];
        if (block) wrong[t] += contents(block) != bytes;
        bytes = random_block(1 + random() % 40'000, random);
        block = tier->write(static_cast<std::int64_t>(t), i, bytes.data(), bytes.size());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
  EXPECT_EQ(tier->bytes_in_use(), 0u);
}

}  // namespace tessera::device
