#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "io/writers.hpp"
#include "io/zarr/zarr_codec.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"

// One array of a Zarr directory store, versions 2 and 3. Owned: metadata, chunk files, compression,
// byte order. Not owned: groups, stores other than folders, Fortran order, filters, sharding. A
// chunk that has no file holds the fill value. Chunks are read and written from several threads,
// each file by one.

namespace tessera::io {

struct ZarrMetadata {
  Shape shape;
  Shape chunks;  ///< extents; chunks at the ends are whole, too, in their files
  DType dtype = DType::kFloat64;
  bool swapped = false;  ///< the other byte order than this machine's
  ZarrCodec codec = ZarrCodec::kNone;
  std::vector<std::byte> fill;  ///< one element
  std::string prefix;           ///< of chunks' names: version 3 has "c"
  char separator = '.';
  std::vector<std::string> dimensions;  ///< empty when they have no names
};

/// An array that is there.
class ZarrArray {
 public:
  /// \throws IoError naming the file and the field that is missing, malformed or not supported.
  static ZarrArray open(const core::FileSystem& files, const std::string& path);

  const std::string& path() const noexcept { return path_; }
  const ZarrMetadata& metadata() const noexcept { return metadata_; }
  /// The region in native byte order and C order. \throws InvalidArgument when it leaves the array.
  /// \throws IoError naming a chunk that is damaged or cannot be read.
  void read_region(const Shape& start, const Shape& count, std::byte* out) const;

 private:
  ZarrArray(const core::FileSystem& files, std::string path, ZarrMetadata metadata);
  /// A chunk's values, or false where it has no file.
  bool read_chunk(const Shape& index, std::span<std::byte> out) const;

  const core::FileSystem* files_;
  std::string path_;
  ZarrMetadata metadata_;
};

/// An array in the making, of version 2. Its metadata come last: without finish() there is no
/// array.
class ZarrWriter {
 public:
  /// The leader creates the folder, before others write into it. \throws IoError when something is
  /// there already, unless another leader of this call has begun it.
  static ZarrWriter create(const core::FileSystem& files, const std::string& path,
                           ZarrMetadata metadata, int level, const WritersOfFolder& writers);
  ZarrWriter(ZarrWriter&& other) noexcept;
  /// Removes what the leader's folder holds, unless it was finished.
  ~ZarrWriter();

  /// One chunk, in C order; at the ends of axes, what lies inside the array. It gets its name when
  /// it is whole. \throws IoError, of several processes also where the others have gone on without
  /// this one: what it writes is of no use to them, and the folder may be another array's by now.
  void write_chunk(const Shape& start, const Shape& count, const std::byte* in) const;
  bool has_chunk(const Shape& start) const;
  /// \throws IoError as write_chunk().
  void finish();
  /// Leaves what is there, finished or not.
  void abandon() noexcept { pending_ = false; }

 private:
  ZarrWriter(const core::FileSystem& files, std::string path, ZarrMetadata metadata, int level,
             bool durable);
  std::size_t chunk_bytes() const noexcept;
  std::string chunk_file(const Shape& start) const;
  bool is_still_ours() const;
  void refuse_if_others_went_on() const;
  const core::FileSystem* files_;
  std::string path_;
  ZarrMetadata metadata_;
  int level_;
  bool pending_ = false;
  std::string mark_;  // a file that is there while several processes write; empty for one
  bool durable_;
};

}  // namespace tessera::io
