#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Chunks to bytes and back, by the compressors that Zarr stores name. Knows no file and no shape.

namespace tessera::io {

enum class ZarrCodec : std::uint8_t { kNone, kZlib, kGzip, kZstd, kBlosc };

/// The codec of a name in a store's metadata. \throws IoError naming `path` and the codec when it
/// is none of these, or none that this build has.
ZarrCodec zarr_codec(std::string_view name, const std::string& path);

/// Fills `out`. \throws IoError naming `path` when the bytes are damaged or make up another size.
void zarr_decode(ZarrCodec codec, std::string_view in, std::span<std::byte> out,
                 const std::string& path);
/// By kNone, kZlib (levels 1 to 12) or kZstd (1 to 19).
std::vector<std::byte> zarr_encode(ZarrCodec codec, int level, std::span<const std::byte> in);

}  // namespace tessera::io
