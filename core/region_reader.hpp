#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tessera::core {

/// Something outside that can read any region of one array: a file, a pile of files. Formats implement it;
/// tasks call it.
class RegionReader {
 public:
  virtual ~RegionReader() = default;
  /// Reads the elements from `start`, `count` of them along each axis, densely in C order, in the dtype of
  /// the array that the reader was made for. Called from several threads at once. \throws IoError
  virtual void read(const std::vector<std::int64_t>& start, const std::vector<std::int64_t>& count,
                    std::byte* out) const = 0;
  /// For plans and errors: the file's name and what is read from it.
  virtual std::string describe() const = 0;
};

}  // namespace tessera::core
