#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "device/device.hpp"
#include "device/host/extents.hpp"

// The disk tier of a host: one file for a session, opened with the first block, without a name and
// readable by its owner only, so that nothing is left behind however the process ends. What a block
// is checked against (length, checksum over contents, array, block and generation) stays in memory,
// so that no change of the file can forge it. Transfers go past the page cache where the file
// system allows it: spilled data would push out the very memory that spilling is to free.

namespace tessera::device {

class SpillStore final : public DiskTier {
 public:
  /// Nothing is touched before the first block is written. `files` must outlive the store.
  SpillStore(const core::FileSystem& files, std::string folder, std::size_t limit_bytes);
  ~SpillStore() override;

  std::size_t bytes_in_use() const override;
  /// Size of the file's used part, gaps included.
  std::uint64_t file_bytes() const;

  /// Bytes that one call to the system moves.
  static constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
  /// Transfers at a time that keep a disk busy while one of them computes a checksum and another
  /// waits for its thread.
  static constexpr int kStreams = 3;

 private:
  class Bounce;
  void store(Record& record, const std::byte* data) override;
  void load(const Record& record, std::byte* out) override;
  void release(const Record& record) noexcept override;

  void claim(Record& record);
  void write_pieces(Record& record, const std::byte* data);

  const core::FileSystem* files_;
  const std::string folder_;
  mutable std::mutex mutex_;
  core::File file_;
  Extents extents_;
  std::uint64_t file_end_ = 0;  // how far the file was written since it was last truncated
  std::vector<std::unique_ptr<Bounce>> bounces_;
  std::size_t in_use_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace tessera::device
