#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "io/netcdf/chunk_decode.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"

// Where the values of one variable lie in its file, and reading them from there without the
// library, so that several threads read and decode at once. Made once per file and variable under
// the library's lock.

namespace tessera::io {

/// One chunk in the file; a size of 0 means that it was never written.
struct ChunkPlace {
  std::uint64_t offset = 0;
  std::uint32_t size_bytes = 0;
  std::uint32_t filter_mask = 0;
};

/// Fetches the raw bytes of the chunk at `origin`; false for a chunk that was never written.
using RawChunkSource = std::function<bool(const Shape& origin, std::vector<std::byte>& raw,
                                          std::uint32_t& filter_mask)>;

struct VariableLayout {
  enum class Kind : std::uint8_t {
    kLibrary,    // only the library can read it: another type, layout or filter
    kFlat,       // C order from data_offset, or one record every record_stride bytes
    kChunks,     // `chunks` says where
    kRawChunks,  // chunked, but with too many chunks for a table: the library hands out raw bytes
  };
  Kind kind = Kind::kLibrary;
  DType dtype = DType::kFloat64;
  /// Whether the values have the other byte order than this machine.
  bool swapped = false;
  /// The variable's name, for error texts.
  std::string name;
  Shape shape;
  /// What is stored; shorter than `shape` where another variable made the unlimited dimension
  /// longer.
  Shape stored;
  Shape chunk_shape;
  std::uint64_t data_offset = 0;
  std::uint64_t record_stride = 0;
  bool never_written = false;
  std::vector<std::uint32_t> filter_ids;
  std::vector<ChunkPlace> chunks;
  std::array<std::byte, 8> hole_fill{};
  std::array<std::byte, 8> beyond_fill{};
};

/// Reads a region (which must lie in `layout.shape`) in native byte order. The kind is not
/// kLibrary; `raw_chunks` is called for kRawChunks only. \throws IoError naming the file, the
/// variable and the chunk that is damaged or cut off.
void read_layout(const VariableLayout& layout, const core::File& file,
                 const RawChunkSource& raw_chunks, const Shape& start, const Shape& count,
                 void* out);

}  // namespace tessera::io
