#pragma once

#include <cstdint>
#include <map>

namespace tessera::device {

/// Which ranges of a file are taken. Ranges are whole pages; a freed one joins its neighbours and
/// is taken again by what fits it best.
class Extents {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;

  /// Offset of a free range of at least `size_bytes`, at the end when none lies before it.
  std::uint64_t take(std::uint64_t size_bytes);
  void give_back(std::uint64_t offset, std::uint64_t size_bytes);
  /// Bytes up to the last range that is taken.
  std::uint64_t end() const noexcept { return end_; }

  static std::uint64_t rounded(std::uint64_t size_bytes) noexcept {
    return size_bytes == 0 ? kPageBytes : (size_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  }

 private:
  using BySize = std::multimap<std::uint64_t, std::uint64_t>;  // size -> offset
  void forget(std::map<std::uint64_t, BySize::iterator>::iterator range);
  void remember(std::uint64_t offset, std::uint64_t size);
  BySize by_size_;
  std::map<std::uint64_t, BySize::iterator> by_offset_;
  std::uint64_t end_ = 0;
};

}  // namespace tessera::device
