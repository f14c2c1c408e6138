#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "io/netcdf/netcdf_pile.hpp"
#include "io/netcdf/netcdf_writer.hpp"
#include "io/writers.hpp"

// One variable written over one or many NetCDF files. Owned: which file an element belongs to,
// coordinates, when a file is complete. Not owned: the values' encoding, chunk grids.

namespace tessera::io {

struct NetcdfPileSpec {
  NetcdfVariableSpec variable;
  Shape shape;  ///< of all files together
  std::vector<PileCoordinate> coordinates;
  std::int64_t steps_per_file = 0;  ///< along the first axis; 0: one file
};

/// Thread safe. A file is open from its first region to its last and then gets its name; one that
/// is never completed does not appear.
class NetcdfPileWriter {
 public:
  /// With steps_per_file the path has one "*". A writer that is alone opens the first file, so that
  /// a folder that cannot be written shows now; of several, each writes whole files. \throws
  /// InvalidArgument for a path without its "*". \throws IoError when files match the pattern that
  /// are none of this pile's.
  NetcdfPileWriter(const core::FileSystem& file_system, const std::string& path,
                   NetcdfPileSpec spec, Writers writers);

  /// A dense C-order region, each element of the array once.
  void write(const Shape& start, const Shape& count, const std::byte* in);
  /// Creates the files of an array without elements. No other call may follow.
  void finish();

 private:
  struct Part {
    NetcdfWriter writer;
    std::int64_t left = 0;  // elements
  };
  std::int64_t files() const noexcept;
  std::int64_t begin_of(std::int64_t file) const noexcept;
  Shape shape_of(std::int64_t file) const;
  std::string path_of(std::int64_t file) const;
  void check_pattern() const;
  Part& open(std::int64_t file);
  void write_part(std::int64_t file, Shape start, const Shape& count, const std::byte* in);

  const core::FileSystem* file_system_;
  std::string path_;
  NetcdfPileSpec spec_;
  Writers writers_;
  std::mutex mutex_;
  std::map<std::int64_t, Part> open_;
};

}  // namespace tessera::io
