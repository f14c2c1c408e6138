#include "device/host/spill_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "faulty_file_system.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr std::size_t kLimit = std::size_t{1} << 40;

// A folder of its own, removed with what is left in it.
class SpillFolder {
 public:
  SpillFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "tessera-spill-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~SpillFolder() { std::filesystem::remove_all(path); }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path),
                                                  std::filesystem::directory_iterator()));
  }
  std::string path;
};

std::vector<std::byte> random_bytes(std::size_t size, std::mt19937_64& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

std::vector<std::byte> read_back(const DiskBlock& block) {
  std::vector<std::byte> out(block.size_bytes());
  block.read(out.data());
  return out;
}

TEST(SpillStore, BlocksOfAnySizeComeBack) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path + "/made/when/needed", kLimit);
  std::mt19937_64 random(3);
  std::vector<std::pair<std::vector<std::byte>, DiskBlock>> blocks;
  std::size_t total = 0;
  for (std::size_t size : {0ul, 1ul, 4095ul, 4096ul, 4097ul, 100'000ul, SpillStore::kPieceBytes,
                           SpillStore::kPieceBytes + 1, 2 * SpillStore::kPieceBytes - 8}) {
    std::vector<std::byte> bytes = random_bytes(size, random);
    DiskBlock block = store.write(7, static_cast<std::int64_t>(size), bytes.data(), size);
    blocks.emplace_back(std::move(bytes), std::move(block));
    total += size;
  }
  EXPECT_EQ(store.bytes_in_use(), total);
  for (const auto& [bytes, block] : blocks) EXPECT_EQ(read_back(block), bytes);
  // Memory that lies on pages goes to the disk as it is.
  const std::size_t size = SpillStore::kPieceBytes + 8192;
  auto* aligned = static_cast<std::byte*>(std::aligned_alloc(4096, size));
  std::memcpy(aligned, random_bytes(size, random).data(), size);
  const DiskBlock block = store.write(1, 1, aligned, size);
  const std::vector<std::byte> back = read_back(block);
  EXPECT_EQ(std::memcmp(back.data(), aligned, size), 0);
  block.read(aligned);
  EXPECT_EQ(std::memcmp(back.data(), aligned, size), 0);
  std::free(aligned);
  blocks.clear();
  EXPECT_EQ(store.bytes_in_use(), size);
}

TEST(SpillStore, LeavesNothingInTheFolder) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path, kLimit);
  const DiskBlock block =
      store.write(0, 0, random_bytes(1000, *std::make_unique<std::mt19937_64>(1)).data(), 1000);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(SpillStore, FreedSpaceIsUsedAgain) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path, kLimit);
  std::mt19937_64 random(4);
  std::vector<std::pair<std::vector<std::byte>, DiskBlock>> blocks;
  std::size_t most = 0;
  for (int i = 0; i < 600; ++i) {
    if (blocks.size() > 20) {
      const std::size_t victim = random() % blocks.size();
      ASSERT_EQ(read_back(blocks[victim].second), blocks[victim].first);
      blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(victim));
    }
    std::vector<std::byte> bytes = random_bytes(1 + random() % 60'000, random);
    DiskBlock block = store.write(i, i, bytes.data(), bytes.size());
    blocks.emplace_back(std::move(bytes), std::move(block));
    most = std::max(most, store.bytes_in_use());
  }
  EXPECT_LE(store.file_bytes(), 2 * most);
  blocks.clear();
  EXPECT_EQ(store.bytes_in_use(), 0u);
  EXPECT_EQ(store.file_bytes(), 0u);
}

// Size of the file without a name that this process has open in a folder.
std::uint64_t unnamed_file_bytes(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with(folder))
      return core::posix_file_system().status(entry.path()).size_bytes;
  }
  ADD_FAILURE() << "no file is open in " << folder;
  return 0;
}

TEST(SpillStore, AnEmptyFileGoesBackToTheDiskWhereItIsLargeBesideTheLimit) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path, 8 * 100'000);
  const std::vector<std::byte> bytes(40'000);
  std::vector<DiskBlock> blocks;
  const auto write = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      blocks.push_back(store.write(0, static_cast<std::int64_t>(i), bytes.data(), bytes.size()));
  };
  write(2);
  blocks.clear();
  EXPECT_EQ(unnamed_file_bytes(folder.path), 2 * Extents::rounded(bytes.size()));
  // From its end, block by block: what counts is how far it was written.
  write(3);
  EXPECT_EQ(unnamed_file_bytes(folder.path), 3 * Extents::rounded(bytes.size()));
  while (!blocks.empty()) blocks.pop_back();
  EXPECT_EQ(unnamed_file_bytes(folder.path), 0u);
  write(1);
  EXPECT_EQ(read_back(blocks[0]), bytes);
}

TEST(SpillStore, KeepsItsBudget) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path, 5000);
  const std::vector<std::byte> bytes(4000);
  const DiskBlock first = store.write(0, 0, bytes.data(), bytes.size());
  try {
    store.write(0, 1, bytes.data(), bytes.size());
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_STREQ(e.what(),
                 "[spill] blocks on disk must fit the budget; got 3.91 KiB to write with 3.91 KiB "
                 "in use of 4.88 KiB; try a larger TESSERA_SPILL_LIMIT");
    EXPECT_EQ(e.free_bytes, 1000u);
  }
  EXPECT_EQ(store.bytes_in_use(), 4000u);
}

TEST(SpillStore, EverySystemCallMayFail) {
  std::mt19937_64 random(5);
  std::vector<std::vector<std::byte>> contents;
  for (int i = 0; i < 6; ++i)
    contents.push_back(random_bytes(5000 + 3000 * static_cast<std::size_t>(i), random));
  for (int error : {EIO, ENOSPC, 0}) {
    for (bool persistent : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message()
                     << "error " << error << " call " << nth << " persistent " << persistent);
        SpillFolder folder;
        core::FaultyFileSystem files({nth, error, persistent});
        SpillStore store(files, folder.path, kLimit);
        std::map<int, DiskBlock> blocks;
        int failures = 0;
        for (int i = 0; i < 6; ++i) {
          try {
            blocks[i] = store.write(9, i, contents[static_cast<std::size_t>(i)].data(),
                                    contents[static_cast<std::size_t>(i)].size());
          } catch (const IoError& e) {
            ++failures;
            EXPECT_EQ(std::string(e.what()).find("[spill] a "), 0u) << e.what();
            EXPECT_NE(std::string(e.what()).find("; got /"), std::string::npos) << e.what();
          }
        }
        for (const auto& [i, block] : blocks) {
          if (!block) continue;
          try {
            ASSERT_EQ(read_back(block), contents[static_cast<std::size_t>(i)]);
          } catch (const IoError& e) {
            ++failures;
            EXPECT_NE(std::string(e.what()).find("reading back block " + std::to_string(i) +
                                                 " of array 9"),
                      std::string::npos)
                << e.what();
          }
        }
        blocks.clear();
        EXPECT_EQ(store.bytes_in_use(), 0u);
        EXPECT_EQ(folder.entries(), 0u);
        if (!files.fired()) break;
        // A short transfer can be completed unless the file wants whole pages.
        if (error != 0) {
          EXPECT_GT(failures, 0);
        }
      }
    }
  }
}

TEST(SpillStore, AFullDiskIsNamedWithNeedAndRoom) {
  SpillFolder folder;
  std::string text;
  for (std::uint64_t nth = 1; text.empty(); ++nth) {
    core::FaultyFileSystem files({nth, ENOSPC, false});
    SpillStore store(files, folder.path, kLimit);
    const std::vector<std::byte> bytes(100'000);
    try {
      store.write(3, 17, bytes.data(), bytes.size());
    } catch (const IoError& e) {
      if (std::string(e.what()).find("a write must reach the disk") != std::string::npos)
        text = e.what();
    }
    ASSERT_LT(nth, 100u);
  }
  EXPECT_EQ(text.find("[spill] a write must reach the disk; got " + folder.path +
                      ": No space left on device (102400 bytes to write, "),
            0u)
      << text;
  EXPECT_NE(text.find(" free)"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  spilling block 17 of array 3, 97.7 KiB"), std::string::npos) << text;
}

// Reads what was written, with one bit flipped, a page zeroed, or from another place in the file.
class Corruption final : public core::FaultyCalls {
 public:
  Corruption() : FaultyCalls({}) {}
  ssize_t pread(int handle, void* out, std::size_t size, std::int64_t offset) override {
    const ssize_t count = FaultyCalls::pread(handle, out, size, kind == 2 ? other_offset : offset);
    if (count <= 0 || count < static_cast<ssize_t>(size)) return count;
    auto* bytes = static_cast<unsigned char*>(out);
    if (kind == 0) bytes[where % payload] ^= static_cast<unsigned char>(1u << (where % 8));
    if (kind == 1) std::memset(bytes + where % payload / 512 * 512, 0, 512);
    return count;
  }
  int kind = -1;
  std::size_t where = 0;
  std::size_t payload = 1;
  std::int64_t other_offset = 0;
};

TEST(SpillStore, EveryCorruptionIsDetected) {
  SpillFolder folder;
  Corruption calls;
  const core::FileSystem files(calls);
  SpillStore store(files, folder.path, kLimit);
  std::mt19937_64 random(6);
  std::vector<DiskBlock> blocks;
  constexpr std::size_t kSize = 4096;
  for (int i = 0; i < 16; ++i)
    blocks.push_back(store.write(2, i, random_bytes(kSize, random).data(), kSize));
  std::vector<std::byte> out(kSize);
  int detected = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t which = random() % blocks.size();
    calls.kind = i % 3;
    calls.where = random();
    calls.payload = kSize;
    calls.other_offset = static_cast<std::int64_t>((which + 1 + random() % 15) % 16 * kSize);
    try {
      blocks[which].read(out.data());
      ADD_FAILURE() << "not seen: " << calls.kind;
    } catch (const IoError& e) {
      ++detected;
      if (i == 0) {
        EXPECT_EQ(
            std::string(e.what()),
            "[spill] a block must read back as it was written; got block " + std::to_string(which) +
                " of array 2, 4.00 KiB at byte " + std::to_string(which * kSize) +
                " of the spill file in " + folder.path +
                ": its checksum differs; try checking that disk, or another TESSERA_SPILL_DIR");
      }
    }
    calls.kind = -1;
  }
  EXPECT_EQ(detected, 10'000);
  for (const DiskBlock& block : blocks) EXPECT_NO_THROW(block.read(out.data()));
}

TEST(SpillStore, AWriteThatNeverReachedTheDiskIsDetected) {
  SpillFolder folder;
  Corruption calls;
  const core::FileSystem files(calls);
  SpillStore store(files, folder.path, kLimit);
  std::mt19937_64 random(7);
  const DiskBlock older = store.write(2, 5, random_bytes(4096, random).data(), 4096);
  const DiskBlock newer = store.write(2, 5, random_bytes(4096, random).data(), 4096);
  std::vector<std::byte> out(4096);
  calls.kind = 2;
  calls.other_offset = 0;
  EXPECT_THROW(newer.read(out.data()), IoError);
  EXPECT_NO_THROW(older.read(out.data()));
}

TEST(SpillStore, ServesSeveralThreads) {
  SpillFolder folder;
  SpillStore store(core::posix_file_system(), folder.path, kLimit);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&store, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t));
      for (int i = 0; i < 60; ++i) {
        const std::vector<std::byte> bytes = random_bytes(1 + random() % 50'000, random);
        const DiskBlock block = store.write(t, i, bytes.data(), bytes.size());
        EXPECT_EQ(read_back(block), bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store.bytes_in_use(), 0u);
}

}  // namespace
}  // namespace tessera::device
