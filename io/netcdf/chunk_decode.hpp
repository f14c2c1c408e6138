#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// Undoes HDF5's filters on one chunk: deflate, shuffle, fletcher32. No library lock, no file, no
// thread of its own; every thread uses its own ChunkScratch.

namespace tessera::io {

/// The filters decoded here, with HDF5's numbers.
enum class ChunkFilter : std::uint32_t { kDeflate = 1, kShuffle = 2, kFletcher32 = 3 };

/// Buffers kept from chunk to chunk.
struct ChunkScratch {
  std::vector<std::byte> raw;
  std::vector<std::byte> chunk;
  std::vector<std::byte> first;
  std::vector<std::byte> second;
};

/// Whether decode_chunk can undo these filters (in the order in which they were applied).
bool can_decode(std::span<const std::uint32_t> filter_ids);

/// Decodes `raw` into `out`, which has the exact size of a chunk. Bit i of `filter_mask` says that
/// filter i was not applied. Returns null, or what is wrong with the chunk; `out` is then
/// undefined.
const char* decode_chunk(std::span<const std::byte> raw, std::span<const std::uint32_t> filter_ids,
                         std::uint32_t filter_mask, std::size_t itemsize, std::span<std::byte> out,
                         ChunkScratch& scratch);

/// HDF5's variant of Fletcher's checksum (big-endian 16-bit words).
std::uint32_t fletcher32(std::span<const std::byte> data) noexcept;

}  // namespace tessera::io
