#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::kernels::host {

/// A small rectangle of elements to be moved between two memories; strides in elements.
struct TileCopy {
  std::byte* dst = nullptr;
  const std::byte* src = nullptr;
  std::int64_t rows = 1;
  std::int64_t cols = 0;
  std::int64_t dst_row = 0;
  std::int64_t dst_col = 1;
  std::int64_t src_row = 0;
  std::int64_t src_col = 1;
  std::int64_t ahead = 0;  ///< distance in src of what is copied next, 0 if unknown
  bool streaming = false;  ///< whether full lines of dst may bypass the cache; see flush_streams()
};

/// Writes src[r, c] to dst[r, c]: rows, packed transposes, repeated elements, or any strides.
void copy_tile(std::size_t item_bytes, const TileCopy& tile);

/// Makes streamed lines visible to other threads; once after the last streaming copy.
void flush_streams();

}  // namespace tessera::kernels::host
