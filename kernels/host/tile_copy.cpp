#include "kernels/host/tile_copy.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/tile_copy.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

// GCC splits vectors wider than the target's registers into scalar moves.
#if HWY_CAP_GE512
constexpr std::int64_t kVectorBytes = 64;
#elif HWY_CAP_GE256
constexpr std::int64_t kVectorBytes = 32;
#else
constexpr std::int64_t kVectorBytes = 16;
#endif

struct Complex128 {
  double parts[2];
};

/// kSide x kSide elements in kSide vectors, transposed by log2(kSide) rounds of interleaving.
template <typename T>
struct Square {
  static constexpr int kSide = static_cast<int>(kVectorBytes / static_cast<int>(sizeof(T)));
  typedef T Vector __attribute__((vector_size(kVectorBytes)));

  template <int kHigh, int... kLane>
  static Vector interleave(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, (kLane % 2 * kSide + kHigh * kSide / 2 + kLane / 2)...);
  }

  static void transpose(T* dst, std::int64_t dst_row, const T* src, std::int64_t src_row) {
    constexpr auto kLanes = std::make_integer_sequence<int, kSide>{};
    Vector rows[kSide];
    for (int i = 0; i < kSide; ++i) std::memcpy(&rows[i], src + i * src_row, sizeof(Vector));
    for (int round = 1; round < kSide; round *= 2) {
      Vector next[kSide];
      for (int i = 0; i < kSide / 2; ++i) {
        next[2 * i] = interleave<0>(rows[i], rows[i + kSide / 2], kLanes);
        next[2 * i + 1] = interleave<1>(rows[i], rows[i + kSide / 2], kLanes);
      }
      for (int i = 0; i < kSide; ++i) rows[i] = next[i];
    }
    for (int i = 0; i < kSide; ++i) std::memcpy(dst + i * dst_row, &rows[i], sizeof(Vector));
  }
};

template <std::int64_t kCols, typename T>
void copy_pixels(T* dst, const T* src, const TileCopy& t) {
  for (std::int64_t r = 0; r < t.rows; ++r) {
    for (std::int64_t c = 0; c < kCols; ++c) {
      dst[r * kCols + c] = src[r * t.src_row + c * t.src_col];
    }
  }
}

template <typename T>
void copy_any(const TileCopy& t) {
  T* dst = reinterpret_cast<T*>(t.dst);
  const T* src = reinterpret_cast<const T*>(t.src);
  if (t.dst_col == 1 && t.dst_row == t.cols) {
    // Pixels and the like: loops of unknown length would cost more than their elements.
    if (t.cols == 2) return copy_pixels<2>(dst, src, t);
    if (t.cols == 3) return copy_pixels<3>(dst, src, t);
    if (t.cols == 4) return copy_pixels<4>(dst, src, t);
  }
  for (std::int64_t r = 0; r < t.rows; ++r) {
    T* to = dst + r * t.dst_row;
    const T* from = src + r * t.src_row;
    if (t.dst_col != 1) {
      for (std::int64_t c = 0; c < t.cols; ++c) to[c * t.dst_col] = from[c * t.src_col];
    } else if (t.src_col == 0) {
      const T value = *from;
      for (std::int64_t c = 0; c < t.cols; ++c) to[c] = value;
    } else {
      for (std::int64_t c = 0; c < t.cols; ++c) to[c] = from[c * t.src_col];
    }
  }
}

// Lines asked for too early are lost again, too late they are waited for: 2 KiB ahead.
constexpr std::int64_t kPrefetchColumns = 16;
constexpr std::int64_t kPrefetchRows = 4;

/// Where row `row + distance` of a tile of `rows` lies, counting on into the next tile.
std::int64_t rows_ahead(std::int64_t row, std::int64_t distance, std::int64_t rows,
                        std::int64_t row_stride, std::int64_t next_tile) {
  row += distance;
  return row < rows ? row * row_stride : next_tile + (row - rows) * row_stride;
}

/// Rows of dst and columns of src are contiguous.
template <typename T>
void transpose(const TileCopy& t) {
  if constexpr (sizeof(T) == 4 || sizeof(T) == 8) {
    constexpr std::int64_t kSide = Square<T>::kSide;
    T* dst = reinterpret_cast<T*>(t.dst);
    const T* src = reinterpret_cast<const T*>(t.src);
    const std::int64_t rows = t.rows / kSide * kSide;
    const std::int64_t cols = t.cols / kSide * kSide;
    for (std::int64_t c = 0; c < cols; c += kSide) {
      for (std::int64_t r = 0; r < rows; r += kSide) {
        // Rows of a tile are too short for the hardware prefetchers.
        if (t.ahead != 0 && r * static_cast<std::int64_t>(sizeof(T)) % 64 == 0) {
          const T* next = src + r + rows_ahead(c, kPrefetchColumns, t.cols, t.src_col, t.ahead);
          for (std::int64_t i = 0; i < kSide; ++i) __builtin_prefetch(next + i * t.src_col, 0, 2);
        }
        Square<T>::transpose(dst + r * t.dst_row + c, t.dst_row, src + r + c * t.src_col,
                             t.src_col);
      }
    }
    TileCopy right = t;
    right.rows = rows;
    right.cols = t.cols - cols;
    right.dst += cols * static_cast<std::int64_t>(sizeof(T));
    right.src += cols * t.src_col * static_cast<std::int64_t>(sizeof(T));
    if (right.cols > 0) copy_any<T>(right);
    TileCopy below = t;
    below.rows = t.rows - rows;
    below.dst += rows * t.dst_row * static_cast<std::int64_t>(sizeof(T));
    below.src += rows * static_cast<std::int64_t>(sizeof(T));
    if (below.rows > 0) copy_any<T>(below);
  } else {
    copy_any<T>(t);
  }
}

void copy_rows(std::size_t item_bytes, const TileCopy& t) {
  const auto item = static_cast<std::int64_t>(item_bytes);
  const std::size_t bytes = static_cast<std::size_t>(t.cols) * item_bytes;
#if HWY_TARGET != HWY_SCALAR
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<std::uint8_t> d;
  const bool lines = bytes % 64 == 0 && reinterpret_cast<std::uintptr_t>(t.dst) % 64 == 0 &&
                     (t.rows == 1 || t.dst_row * item % 64 == 0);
  if (t.streaming && lines) {
    for (std::int64_t r = 0; r < t.rows; ++r) {
      auto* to = reinterpret_cast<std::uint8_t*>(t.dst + r * t.dst_row * item);
      const auto* from = reinterpret_cast<const std::uint8_t*>(t.src + r * t.src_row * item);
      for (std::size_t i = 0; i < bytes; i += hn::Lanes(d)) {
        hn::Stream(hn::LoadU(d, from + i), d, to + i);
      }
    }
    return;
  }
#endif
  for (std::int64_t r = 0; r < t.rows; ++r) {
    if (t.ahead != 0) {
      const std::byte* next =
          t.src + rows_ahead(r, kPrefetchRows, t.rows, t.src_row, t.ahead) * item;
      for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(next + i, 0, 2);
    }
    std::memcpy(t.dst + r * t.dst_row * item, t.src + r * t.src_row * item, bytes);
  }
}

template <typename T>
void copy_strided(const TileCopy& t) {
  if (t.rows > 1 && t.src_row == 1 && t.dst_col == 1) return transpose<T>(t);
  if (t.rows > 1 && t.src_col == 1 && t.dst_row == 1) {
    TileCopy turned = t;
    std::swap(turned.rows, turned.cols);
    std::swap(turned.dst_row, turned.dst_col);
    std::swap(turned.src_row, turned.src_col);
    return transpose<T>(turned);
  }
  copy_any<T>(t);
}

void copy_tile_of(std::size_t item_bytes, const TileCopy& t) {
  if ((t.src_col == 1 && t.dst_col == 1) || t.cols == 1) {
    if (t.cols > 1 || t.rows == 1) return copy_rows(item_bytes, t);
  }
  switch (item_bytes) {
    case 1:
      return copy_strided<std::uint8_t>(t);
    case 2:
      return copy_strided<std::uint16_t>(t);
    case 4:
      return copy_strided<std::uint32_t>(t);
    case 8:
      return copy_strided<std::uint64_t>(t);
    default:
      return copy_strided<Complex128>(t);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {
HWY_EXPORT(copy_tile_of);
}

void copy_tile(std::size_t item_bytes, const TileCopy& tile) {
  HWY_DYNAMIC_DISPATCH(copy_tile_of)(item_bytes, tile);
}

void flush_streams() { hwy::FlushStream(); }

}  // namespace tessera::kernels::host
#endif
