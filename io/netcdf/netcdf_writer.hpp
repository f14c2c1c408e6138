#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_system.hpp"
#include "io/netcdf/netcdf_file.hpp"
#include "io/netcdf/netcdf_library.hpp"

namespace tessera::io {

/// File formats that can be written; kNetcdf4 is the one with compression.
enum class NetcdfFormat : std::uint8_t { kNetcdf4, kClassic, k64BitOffset, k64BitData };

/// A variable to create. Chunks, compression and byte order exist in kNetcdf4 only.
struct NetcdfVariableSpec {
  std::string name = {};
  DType dtype = DType::kFloat64;
  std::vector<std::string> dimensions = {};
  /// Extents of a chunk; empty leaves the choice to the library (contiguous without compression).
  Shape chunk_shape = {};
  /// 0: not compressed, 1 (fast) to 9.
  int deflate_level = 0;
  /// Groups the bytes of equal significance before compression.
  bool shuffle = false;
  bool fletcher32 = false;
  bool big_endian = false;
  /// The value of elements never written, recorded as _FillValue.
  std::optional<Scalar> fill_value = {};
  std::vector<NetcdfAttribute> attributes = {};
};

/// A NetCDF file being written by one thread: first dimensions, variables and attributes, then
/// values. Without finish() nothing appears under the final name. \throws IoError from every call
/// that the library or the disk refuses.
class NetcdfWriter {
 public:
  static NetcdfWriter create(const core::FileSystem& file_system, const std::string& path,
                             NetcdfFormat format = NetcdfFormat::kNetcdf4);

  /// A dimension; an unlimited one has length 0 and grows as values are written.
  void add_dimension(const std::string& name, std::int64_t length, bool unlimited = false);
  /// \throws InvalidArgument for dtypes that NetCDF lacks and dimensions that were not added.
  void add_variable(const NetcdfVariableSpec& spec);
  /// An attribute of the file.
  void add_attribute(const NetcdfAttribute& attribute);
  /// Writes a region from a dense buffer in the variable's dtype. No definition may follow.
  void write(std::string_view variable, const Shape& start, const Shape& count, const void* in);
  /// Closes the file, makes it durable and gives it its final name. No other call may follow.
  void finish();

 private:
  NetcdfWriter(core::AtomicFile file, NetcdfHandle handle);
  void put_attribute(int variable, const NetcdfAttribute& attribute);

  // Before the handle: the library must close the file before it is removed.
  core::AtomicFile file_;
  NetcdfHandle handle_;
  std::map<std::string, int, std::less<>> dimensions_;
  std::map<std::string, std::pair<int, std::size_t>, std::less<>> variables_;  // index and rank
  bool defining_ = true;
};

}  // namespace tessera::io
