#pragma once

#include <cstdint>
#include <string>

#include "core/file_system.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"

// NumPy's .npy format, versions 1 to 3. Owned: the header, byte order and axis order on disk,
// rectangles of the array to and from dense C-order buffers. Not owned: chunking, conversion
// between dtypes, .npz archives, structured or object dtypes, appending. A file is read through one
// open handle and is never changed in place; it is written under a temporary name and appears
// complete or not at all.

namespace tessera::io {

/// What the header of an .npy file says.
struct NpyHeader {
  DType dtype = DType::kFloat64;
  Shape shape;
  bool fortran_order = false;
  /// Whether the values on disk have the other byte order than this machine.
  bool swapped = false;
  /// Byte of the file at which the values begin.
  std::uint64_t data_offset = 0;
};

/// An .npy file open for reading. Reads may come from several threads.
class NpyFile {
 public:
  /// \throws IoError naming the file and the header field that is malformed, truncated or
  /// unsupported.
  static NpyFile open(const core::FileSystem& file_system, const std::string& path);

  const std::string& path() const noexcept { return file_.path(); }
  const NpyHeader& header() const noexcept { return header_; }
  const Shape& shape() const noexcept { return header_.shape; }
  DType dtype() const noexcept { return header_.dtype; }

  /// The region in native byte order and C order into `out`, which holds product(count) elements.
  /// \throws InvalidArgument when the region leaves the array.
  /// \throws IoError when the file has changed since it was opened or cannot be read.
  void read_region(const Shape& start, const Shape& count, void* out) const;

 private:
  NpyFile(core::File file, core::FileStatus status, NpyHeader header);

  core::File file_;
  core::FileStatus status_;
  NpyHeader header_;
};

/// An .npy file being written. Regions may be written from several threads, in any order; regions
/// never written read as zero. Without finish() nothing appears under the final name.
class NpyWriter {
 public:
  /// Creates the file with its header and claims its disk space.
  /// \throws InvalidArgument for dtypes that NumPy lacks (bfloat16).
  /// \throws IoError when the folder is not writable or the disk is too full.
  static NpyWriter create(const core::FileSystem& file_system, const std::string& path,
                          const Shape& shape, DType dtype);
  /// The same by several processes: what only the first of them may do, the leader does.
  static NpyWriter create(const core::FileSystem& file_system, const std::string& path,
                          const Shape& shape, DType dtype, const core::AtomicFile::Shared& shared);

  const Shape& shape() const noexcept { return header_.shape; }
  DType dtype() const noexcept { return header_.dtype; }

  /// Writes a dense C-order region to its place. \throws as NpyFile::read_region.
  void write_region(const Shape& start, const Shape& count, const void* in) const;
  /// Makes the file durable and gives it its final name. No other call may follow.
  void finish();

 private:
  NpyWriter(core::AtomicFile file, NpyHeader header);
  static NpyWriter begin(core::AtomicFile file, const std::string& header, std::uint64_t size_bytes,
                         const Shape& shape, DType dtype);

  core::AtomicFile file_;
  NpyHeader header_;
};

/// The bytes of a version 1 (or, where it does not fit, 2) header, padded to 64 as NumPy does.
std::string npy_header_bytes(const Shape& shape, DType dtype);

}  // namespace tessera::io
