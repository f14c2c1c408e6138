#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_system.hpp"
#include "io/netcdf/netcdf_file.hpp"

// One variable over many NetCDF files, joined along one dimension. Owned: which files belong
// together and in which order, that they agree, coordinates, rectangles across files. Not owned: CF
// decoding of values, chunk grids, alignment by interpolation. Files are opened once to be checked
// and stay closed until they are read; a file that changed since then is an error, never a wrong
// value.

namespace tessera::io {

struct PileOptions {
  /// The dimension along which files follow one another. Empty: the unlimited dimension of the
  /// variable, else the one whose coordinate has time units, else the first; a single file needs
  /// none.
  std::string concat_dimension = {};
  /// Compare the 1-d coordinates of the other dimensions with the first file's.
  bool compare_coordinates = true;
};

/// A 1-d coordinate of a pile: of a dimension's name, or named in the variable's `coordinates`
/// attribute.
struct PileCoordinate {
  std::string name;
  std::string dimension;
  /// Undecoded values. Times of files with other epochs are converted to the first file's units.
  std::vector<double> values;
  std::vector<NetcdfAttribute> attributes;

  /// The text of an attribute, empty where it is missing.
  std::string text(std::string_view attribute) const;
};

/// The files that a path names, in the order in which they are found: the file itself, the *.nc files of a
/// folder, or the files that match a pattern. \throws IoError naming `where` when there is none.
std::vector<std::string> find_netcdf_files(const core::FileSystem& file_system,
                                           const std::string& path, std::string_view where);

class NetcdfPile {
 public:
  /// Opens a file, the *.nc files of a folder, or the files that match a pattern. Files come in
  /// natural order of their names ("t2.nc" before "t10.nc"), or by time where names and times
  /// disagree. \throws IoError when no file matches, files do not agree (naming every one that does
  /// not agree with
  ///   the first), or their times overlap.
  /// \throws InvalidArgument when the first file lacks the variable or the dimension.
  static NetcdfPile open(const core::FileSystem& file_system, const std::string& path,
                         const std::string& variable, const PileOptions& options = {});
  NetcdfPile(NetcdfPile&&) noexcept;
  NetcdfPile& operator=(NetcdfPile&&) noexcept;
  ~NetcdfPile();

  /// The variable as the first file has it, but with the shape of the pile.
  const NetcdfVariable& variable() const noexcept;
  const Shape& shape() const noexcept { return variable().shape; }
  DType dtype() const noexcept { return *variable().dtype; }
  /// The axis along which files follow one another; -1 for a single file whose variable has no
  /// dimension.
  int concat_axis() const noexcept;
  const std::vector<std::string>& paths() const noexcept;
  /// Length of each file along the concatenated axis.
  const std::vector<std::int64_t>& extents() const noexcept;
  /// The 1-d coordinates of all dimensions, in the order of the dimensions.
  const std::vector<PileCoordinate>& coordinates() const noexcept;
  /// The coordinate of that name, or null.
  const PileCoordinate* coordinate(std::string_view name) const noexcept;
  /// The coordinate of a dimension: the one of its name, but one with time units before one without
  /// units.
  const PileCoordinate* coordinate_of(std::string_view dimension) const noexcept;

  /// The region in stored dtype, native byte order, C order. May be called from several threads,
  /// which then read and decode at once. \throws InvalidArgument when the region leaves the pile.
  /// \throws IoError naming the file that has changed, is damaged or cut off.
  void read_region(const Shape& start, const Shape& count, void* out) const;

 private:
  struct State;
  explicit NetcdfPile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tessera::io
