#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/file_system.hpp"
#include "io/netcdf/variable_layout.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"
#include "tessera/scalar.hpp"

// One NetCDF file (classic, 64-bit, netCDF-4 and most HDF5 files). Owned: names, shapes and
// attributes as C++ values, and rectangles of variables in the dtype they are stored in. Not owned:
// CF decoding (cf_decode, cf_time), many files at once (netcdf_pile), text variables, compound and
// variable-length types. Metadata comes from the library, under its one lock; values are read and
// inflated in the calling thread without it, except where a type, layout or filter is one that only
// the library knows. A program that calls netCDF or HDF5 itself must not do so while another thread
// is in here.

namespace tessera::io {

struct NetcdfDimension {
  std::string name;
  std::int64_t length = 0;
  bool unlimited = false;
};

/// An attribute: text, or numbers of one dtype (integers and floats kept exactly).
struct NetcdfAttribute {
  std::string name;
  std::variant<std::string, std::vector<std::int64_t>, std::vector<std::uint64_t>,
               std::vector<double>>
      value;
  /// The dtype of the numbers in the file; nothing for text.
  std::optional<DType> dtype;

  static NetcdfAttribute text(std::string name, std::string value);
  static NetcdfAttribute number(std::string name, DType dtype, Scalar value);
  bool is_text() const noexcept { return std::holds_alternative<std::string>(value); }
  const std::string& as_text() const { return std::get<std::string>(value); }
  /// Number of numbers; 0 for text.
  std::size_t size() const noexcept;
  /// Number `i` exactly.
  Scalar at(std::size_t i) const;
  bool operator==(const NetcdfAttribute&) const = default;
};

struct NetcdfVariable {
  std::string name;
  /// Nothing where the type is no number: then `type_name` says what it is.
  std::optional<DType> dtype;
  std::string type_name;
  std::vector<std::string> dimensions;
  Shape shape;
  /// Extents of a chunk in the file; empty when the variable is not chunked.
  Shape chunk_shape;
  std::vector<NetcdfAttribute> attributes;
  /// The file it was read from.
  std::string path;

  /// The attribute of that name, or null.
  const NetcdfAttribute* find(std::string_view attribute) const noexcept;
  /// The text of an attribute, empty where it is missing or no text.
  std::string text(std::string_view attribute) const;
};

/// A NetCDF file open for reading. All calls may come from several threads.
class NetcdfFile {
 public:
  /// \throws IoError naming the file when it is missing, cut off or no NetCDF file.
  /// \throws LibraryError when the NetCDF module is not available.
  static NetcdfFile open(const core::FileSystem& file_system, const std::string& path);
  NetcdfFile(NetcdfFile&&) noexcept;
  NetcdfFile& operator=(NetcdfFile&&) noexcept;
  ~NetcdfFile();

  const std::string& path() const noexcept;
  /// Size and modification time when the file was opened.
  const core::FileStatus& status() const noexcept;
  const std::vector<NetcdfDimension>& dimensions() const noexcept;
  /// Names in the order of the file; variables in groups are "group/name".
  const std::vector<std::string>& variable_names() const noexcept;
  bool has_variable(std::string_view name) const noexcept;
  /// \throws InvalidArgument listing the variables when there is none of that name.
  const NetcdfVariable& variable(std::string_view name) const;
  /// The file's own attributes.
  const std::vector<NetcdfAttribute>& attributes() const;

  /// The region of a variable in its stored dtype, native byte order, C order.
  /// \throws InvalidArgument when the region leaves the variable or the variable holds no numbers.
  /// \throws IoError when the file has changed since it was opened, is damaged or cut off.
  void read(std::string_view variable, const Shape& start, const Shape& count, void* out) const;
  /// All values of a variable as doubles, without CF decoding.
  std::vector<double> read_doubles(std::string_view variable) const;
  /// Where a variable's values lie; stays valid after the file object is gone.
  std::shared_ptr<const VariableLayout> layout(std::string_view variable) const;

 private:
  struct State;
  explicit NetcdfFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// \throws IoError naming the file when its size or modification time is no longer `expected`.
void check_unchanged(const core::File& file, const core::FileStatus& expected);

/// `count` values of `dtype` as doubles.
std::vector<double> to_doubles(DType dtype, const void* values, std::size_t count);

}  // namespace tessera::io
