#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tessera/dtype.hpp"

namespace tessera {

/// Extents of an array, outermost axis first. A 0-d array has an empty shape.
using Shape = std::vector<std::int64_t>;
/// Coordinates of one block, one per axis.
using BlockIndex = std::vector<std::int64_t>;

/// The largest number of axes an array can have.
inline constexpr int kMaxRank = 64;

/// "(3, 4)", as NumPy prints shapes.
TESSERA_EXPORT std::string to_string(const Shape& shape);
/// Product of the extents. \throws InvalidArgument when it does not fit 64 bits or an extent is
/// negative.
TESSERA_EXPORT std::int64_t element_count(const Shape& shape);
/// The shape that both broadcast to (NumPy's rule). \throws InvalidArgument naming `where` and both
/// shapes.
TESSERA_EXPORT Shape broadcast_shapes(const Shape& a, const Shape& b,
                                      std::string_view where = "broadcast_shapes");

/// How one axis is cut: equal chunks with a shorter last one, or any list of extents.
class TESSERA_EXPORT AxisChunks {
 public:
  AxisChunks() = default;
  /// Chunks of `chunk` elements and a shorter last one; one empty chunk when `extent` is 0.
  static AxisChunks regular(std::int64_t extent, std::int64_t chunk);
  /// The given extents, which may be ragged and may contain 0 only where the axis is empty.
  static AxisChunks of(std::vector<std::int64_t> extents);

  std::int64_t extent() const noexcept { return extent_; }
  std::int64_t count() const noexcept { return count_; }
  std::int64_t begin(std::int64_t i) const noexcept {
    return bounds_.empty() ? (i * chunk_ < extent_ ? i * chunk_ : extent_)
                           : bounds_[static_cast<std::size_t>(i)];
  }
  std::int64_t end(std::int64_t i) const noexcept { return begin(i + 1); }
  std::int64_t size(std::int64_t i) const noexcept { return begin(i + 1) - begin(i); }
  /// Index of the chunk that holds element `position`, 0 <= position < extent().
  std::int64_t chunk_of(std::int64_t position) const noexcept;
  std::int64_t max_size() const noexcept;
  bool is_regular() const noexcept { return bounds_.empty(); }
  std::vector<std::int64_t> extents() const;
  bool operator==(const AxisChunks& other) const noexcept;

 private:
  std::int64_t extent_ = 0;
  std::int64_t chunk_ = 1;
  std::int64_t count_ = 1;
  std::vector<std::int64_t> bounds_;  // empty for regular chunks, else count_ + 1 offsets
};

/// How every axis of an array is cut. Blocks are numbered in C order.
class TESSERA_EXPORT ChunkGrid {
 public:
  ChunkGrid() = default;
  explicit ChunkGrid(std::vector<AxisChunks> axes);
  /// One block that holds everything.
  static ChunkGrid whole(const Shape& shape);

  int rank() const noexcept { return static_cast<int>(axes_.size()); }
  const AxisChunks& axis(int i) const noexcept { return axes_[static_cast<std::size_t>(i)]; }
  const std::vector<AxisChunks>& axes() const noexcept { return axes_; }
  Shape shape() const;
  /// Blocks along each axis.
  BlockIndex counts() const;
  std::int64_t block_count() const noexcept { return block_count_; }
  std::int64_t linear(const BlockIndex& index) const noexcept;
  BlockIndex unlinear(std::int64_t linear) const;
  Shape block_shape(const BlockIndex& index) const;
  std::int64_t block_elements(std::int64_t linear) const noexcept;
  /// Elements of the largest block.
  std::int64_t max_block_elements() const noexcept;
  bool operator==(const ChunkGrid& other) const noexcept { return axes_ == other.axes_; }
  /// Dask's form, shortened: "((2048 x 8), (1000, 24))".
  std::string to_string() const;

 private:
  std::vector<AxisChunks> axes_;
  std::int64_t block_count_ = 1;
};

/// What a caller says about chunks: extents for each axis (-1: the whole axis), a byte size such as
/// "128 MiB" or "auto", an explicit list of extents for each axis, or a ready grid.
class TESSERA_EXPORT Chunks {
 public:
  Chunks() : spec_(std::string("auto")) {}
  Chunks(const char* bytes_or_auto) : spec_(std::string(bytes_or_auto)) {}
  Chunks(std::string bytes_or_auto) : spec_(std::move(bytes_or_auto)) {}
  Chunks(std::initializer_list<std::int64_t> per_axis)
      : spec_(std::vector<std::int64_t>(per_axis)) {}
  Chunks(std::vector<std::int64_t> per_axis) : spec_(std::move(per_axis)) {}
  Chunks(std::vector<std::vector<std::int64_t>> extents) : spec_(std::move(extents)) {}
  Chunks(ChunkGrid grid) : spec_(std::move(grid)) {}

  /// The grid for an array. "auto" aims at blocks of 128 MiB, cut along all axes alike.
  /// \throws InvalidArgument naming `where` when the spec does not fit the shape.
  ChunkGrid resolve(const Shape& shape, DType dtype, std::string_view where) const;
  bool is_auto() const noexcept;

 private:
  std::variant<std::string, std::vector<std::int64_t>, std::vector<std::vector<std::int64_t>>,
               ChunkGrid>
      spec_;
};

/// Bytes of a size such as "128 MiB", "2GB", "4096". \throws InvalidArgument naming `where`.
TESSERA_EXPORT std::size_t parse_bytes(std::string_view text, std::string_view where);
/// "1.5 GiB": binary units, three digits.
TESSERA_EXPORT std::string format_bytes(std::size_t bytes);

TESSERA_EXPORT std::ostream& operator<<(std::ostream& out, const ChunkGrid& grid);

}  // namespace tessera
