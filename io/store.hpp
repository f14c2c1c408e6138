#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "core/region_reader.hpp"
#include "io/writers.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/io.hpp"

// The formats as the engine above them sees them: what is opened gives a reader of regions and what
// there is to know about shape and chunks; what is written takes regions from several threads.
// Owned: which format does what, decoding while reading. Not owned: the formats, which have a
// folder each, chunk grids and arrays.

namespace tessera::io {

/// A variable ready to be read.
struct Source {
  std::shared_ptr<const core::RegionReader> reader;  ///< gives values of info.dtype
  VariableInfo info;
  /// Extents of a chunk in the files; empty when values are not chunked.
  Shape stored_chunks;
  /// The axis along which files follow one another, -1: none, and how far each reaches along it.
  int joined_axis = -1;
  std::vector<std::int64_t> file_extents;
};

/// `files` must outlive the source's reader. \throws as tessera::open().
Source open_netcdf(const core::FileSystem& files, const std::string& path,
                   const std::string& variable, const std::string& dimension);
/// \throws as tessera::list_variables().
std::vector<VariableInfo> list_netcdf(const core::FileSystem& files, const std::string& path);
/// `files` must outlive the source's reader. \throws as tessera::load_npy(). Of `info`, only name,
/// shape and dtype say anything.
Source open_npy(const core::FileSystem& files, const std::string& path);

/// `files` must outlive the source's reader. \throws as tessera::open_zarr(). Of `info`, only name,
/// dimensions, shape and dtype say anything.
Source open_zarr(const core::FileSystem& files, const std::string& path);

/// A file being written region by region, from several threads, in any order.
class RegionWriter {
 public:
  virtual ~RegionWriter() = default;
  /// Writes a dense C-order region. \throws IoError
  virtual void write(const Shape& start, const Shape& count, const std::byte* in) const = 0;
  /// Gives the file its name; without it nothing appears. No other call may follow.
  virtual void finish() = 0;
  /// Whether the region that begins there is written for good, whoever did it; false where that
  /// cannot be seen.
  virtual bool has(const Shape&) const { return false; }
  /// Others may go on with what is there: nothing of it is removed.
  virtual void abandon() noexcept {}
};
std::unique_ptr<RegionWriter> create_npy(const core::FileSystem& files, const std::string& path,
                                         const Shape& shape, DType dtype);
/// One that several processes write: the leader creates the file before the others open it, and
/// finishes it after them.
std::unique_ptr<RegionWriter> create_shared_npy(const core::FileSystem& files,
                                                const std::string& path, const Shape& shape,
                                                DType dtype,
                                                const core::AtomicFile::Shared& shared);

/// One or many NetCDF files, as tessera::save_netcdf() says. Regions come in the array's `dtype`;
/// `block` is the array's usual block. Of several processes, each of which writes whole files, one
/// leads. \throws as tessera::save_netcdf().
std::unique_ptr<RegionWriter> create_netcdf(const core::FileSystem& files, const std::string& path,
                                            const SaveNetcdfOptions& options, const Shape& shape,
                                            DType dtype, const Shape& block, Writers writers);

/// A Zarr array, each region of which is one of its chunks: of extents `chunks`, or less at the
/// ends. Of several processes the leader creates it before the others, and finishes it after them.
/// \throws as tessera::save_zarr().
std::unique_ptr<RegionWriter> create_zarr(const core::FileSystem& files, const std::string& path,
                                          const SaveZarrOptions& options, const Shape& shape,
                                          DType dtype, const Shape& chunks,
                                          const WritersOfFolder& writers);

/// Draws rows * columns values, in C order. \throws as tessera::save_png().
void write_picture(const core::FileSystem& files, const std::string& path,
                   std::span<const double> values, std::int64_t rows, std::int64_t columns,
                   const PngOptions& options);

/// Whether NetCDF files can be read here, in words.
std::string netcdf_support();

}  // namespace tessera::io
