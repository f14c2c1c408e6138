#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tessera/array.hpp"

// Arrays from files and to files. Opening reads what describes the data; values are read block by
// block while a result is computed. Files must not change in between: one that did is an error.

namespace tessera {

/// A date and time of day in the calendar of the file it comes from.
struct Date {
  std::int64_t year = 0;
  int month = 1;        ///< 1 to 12
  int day = 1;          ///< 1 to 31; some calendars have a 30 February
  int day_of_year = 1;  ///< 1 to 366
  int hour = 0;
  int minute = 0;
  int second = 0;
  /// "2015-01-16 00:00:00"
  std::string text;
};

/// The 1-d coordinate of one dimension.
struct Coordinate {
  std::string name = {};
  std::string dimension = {};
  std::string units = {};           ///< empty when the file gives none
  std::vector<double> values = {};  ///< as they stand in the file
  std::vector<Date> dates = {};     ///< of the values where the units are "<unit> since <date>"
  /// Why such values have no dates: an error's text; empty: they have.
  std::string dates_problem = {};
  std::string calendar = {};  ///< of dates, empty when the file gives none
};

/// What a NetCDF variable is.
struct VariableInfo {
  std::string name;
  std::vector<std::string> dimensions;
  Shape shape;
  DType dtype = DType::kFloat64;  ///< of the array that open() gives, after decoding
  std::string units;              ///< empty when the file gives none, as the next two
  std::string long_name;
  std::string standard_name;
  std::vector<Coordinate> coordinates;  ///< of the dimensions that have one, in their order
  int time_axis = -1;                   ///< the axis with units "<unit> since <date>"; -1: none
};

struct OpenOptions {
  /// Default: whole slices along the dimension that joins the files, cut where their chunks or the
  /// files end, in blocks of at most 128 MiB and about 64 of them where that leaves 4 MiB each.
  std::optional<Chunks> chunks = std::nullopt;
  /// The dimension along which files follow one another. Empty: the unlimited one, else the one
  /// with dates, else the first.
  std::string dimension = {};
};
/// A variable of a NetCDF file, of all *.nc files of a folder, or of the files that match a pattern
/// ("ocean/*.nc"), joined along one dimension. Missing values become NaN, packed ones are scaled
/// while they are read. \throws IoError when no file matches, or files do not agree (naming them).
/// \throws InvalidArgument when there is no such variable or dimension.
/// \throws LibraryError when the NetCDF module is missing.
TESSERA_EXPORT Array open(const std::string& path, const std::string& variable,
                          const OpenOptions& options = {},
                          std::source_location where = std::source_location::current());
/// Dimensions, units, coordinates and dates of what open() gives. \throws as open().
TESSERA_EXPORT VariableInfo describe(const std::string& path, const std::string& variable,
                                     const OpenOptions& options = {});
/// The numeric variables of a NetCDF file, or of the first file of a folder or pattern, with that
/// file's shapes and without coordinates. \throws IoError, LibraryError as open().
TESSERA_EXPORT std::vector<VariableInfo> list_variables(const std::string& path);

/// Floats as integers in a file: stored = rint((value - add_offset) / scale_factor).
struct NetcdfPacking {
  DType dtype = DType::kInt16;  ///< a signed integer; its smallest number stands for NaN
  double scale_factor = 1.0;    ///< not 0
  double add_offset = 0.0;
};

struct SaveNetcdfOptions {
  std::string variable = "data";
  /// One name for each axis; default: "dim_0", "dim_1", ..
  std::vector<std::string> dimensions = {};
  std::string units = {};  ///< left out when empty, as the next two
  std::string long_name = {};
  std::string standard_name = {};
  std::vector<Coordinate> coordinates = {};  ///< of some of the dimensions; dates are not looked at
  /// A file for every so many steps along the first axis, which is unlimited in each; 0: one file.
  std::int64_t steps_per_file = 0;
  /// Extents of a chunk in the files. Default: a block, cut to 4 MiB at most, where the values are
  /// compressed or an axis is unlimited; else none.
  Shape chunks = {};
  int deflate_level = 0;  ///< 0: not compressed, 1 (fast) to 9
  bool shuffle = true;    ///< groups the bytes of equal significance before compression
  std::optional<NetcdfPacking> packing = std::nullopt;
};
/// Options to save what was computed from what `info` describes: its names and units, and the
/// coordinates of those of its dimensions that are left. Default: all of them.
TESSERA_EXPORT SaveNetcdfOptions save_as(const VariableInfo& info,
                                         std::vector<std::string> dimensions = {});
/// Computes a real array and writes it as a variable of a netCDF-4 file, block by block as they get
/// ready; float values have NaN as _FillValue. With steps_per_file the path has one *, for which
/// each file has its number, and open() of the same path reads them all. A file appears when it is
/// complete; of a computation that fails, those stay that were. Several ranks write whole files
/// each, which must then fit their memory.
/// \throws InvalidArgument for dtypes that NetCDF lacks (bool, complex, float16, bfloat16), options
/// that do not fit the array, and values that do not fit the packing.
/// \throws IoError when a file cannot be written, or other files match the path's pattern.
/// \throws LibraryError when the NetCDF module is missing; what the computation throws.
TESSERA_EXPORT void save_netcdf(const Array& array, const std::string& path,
                                const SaveNetcdfOptions& options = {},
                                std::source_location where = std::source_location::current());

struct OpenZarrOptions {
  /// Default: whole chunks of the store, joined into blocks of about a 64th of the array, of 4 MiB
  /// at least and 128 MiB at most.
  std::optional<Chunks> chunks = std::nullopt;
};
/// An array of a Zarr store in a folder, version 2 or 3: numbers in C order, not compressed or by
/// zlib, gzip, zstd or blosc, without filters and shards. Values that no chunk holds are the fill
/// value. \throws IoError naming the file and the field that is missing, malformed or not
/// supported.
TESSERA_EXPORT Array open_zarr(const std::string& path, const OpenZarrOptions& options = {},
                               std::source_location where = std::source_location::current());

enum class ZarrCompressor : std::uint8_t { kNone, kZlib, kZstd };
struct SaveZarrOptions {
  ZarrCompressor compressor = ZarrCompressor::kZstd;
  int level = 1;                             ///< 1 (fast) to 9
  std::vector<std::string> dimensions = {};  ///< names, as xarray looks for them; one for each axis
};
/// Computes the array and writes it as a Zarr array, version 2, into a new folder: each block is a
/// chunk of it, compressed by the worker that made it. Without metadata, which come last, the
/// folder is no array; of a computation that fails nothing is left. \throws InvalidArgument for
/// chunks of several sizes (rechunk first) and dtypes that NumPy lacks. \throws IoError when
/// something is there already or the folder cannot be written; what the computation throws.
TESSERA_EXPORT void save_zarr(const Array& array, const std::string& path,
                              const SaveZarrOptions& options = {},
                              std::source_location where = std::source_location::current());

struct NpyOptions {
  Chunks chunks = {};
};
/// The array of a NumPy .npy file. \throws IoError when the file is missing, cut off or holds no
/// numbers.
TESSERA_EXPORT Array load_npy(const std::string& path, const NpyOptions& options = {},
                              std::source_location where = std::source_location::current());
/// Computes the array and writes it as a NumPy .npy file: every block goes to its place in the file
/// when it is ready, and is held no longer than that. The file appears complete or not at all.
/// \throws IoError when the file cannot be written; what the computation throws.
TESSERA_EXPORT void save_npy(const Array& array, const std::string& path,
                             std::source_location where = std::source_location::current());

/// One axis of a picture.
struct PlotAxis {
  std::string name = {};
  std::string units = {};           ///< "degrees_north" and "degrees_east" give ticks such as 30°N
  std::vector<double> values = {};  ///< centres of the cells; empty: cells are counted
  bool downward = false;            ///< larger values lie lower (depth); rows only
};
struct PngOptions {
  std::string title = {};
  std::string units = {};
  /// What the colours span. Default: the values from the 2nd to the 98th percentile.
  std::optional<std::pair<double, double>> range = std::nullopt;
  bool diverging = false;  ///< colours for values around a centre
  PlotAxis y = {};         ///< rows
  PlotAxis x = {};         ///< columns
};
/// Computes a 2-d array and draws it as a heat map with axes and a colour bar. NaN is grey.
/// \throws InvalidArgument for complex arrays and other numbers of axes. \throws IoError when the
/// file cannot be written.
TESSERA_EXPORT void save_png(const Array& array, const std::string& path,
                             const PngOptions& options = {},
                             std::source_location where = std::source_location::current());

}  // namespace tessera
