#include "io/npy/npy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "core/text.hpp"
#include "io/npy/npy_header.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr std::int64_t kTransposePieceBytes = 1024 * 1024;

Shape reversed(const Shape& shape) { return Shape(shape.rbegin(), shape.rend()); }

/// Calls visit(start, count) for pieces of a region of at most `max_elements`, cut along the first
/// axes.
template <typename Visit>
void for_each_piece(const Shape& start, const Shape& count, std::int64_t max_elements,
                    const Visit& visit) {
  const std::int64_t elements = region_elements(count);
  std::size_t axis = 0;
  while (axis < count.size() && count[axis] <= 1) ++axis;
  if (elements <= max_elements || axis == count.size()) return visit(start, count);
  const std::int64_t row = elements / count[axis];
  const std::int64_t step = std::max<std::int64_t>(1, max_elements / row);
  for (std::int64_t i = 0; i < count[axis]; i += step) {
    Shape piece_start = start;
    Shape piece_count = count;
    piece_start[axis] += i;
    piece_count[axis] = std::min(step, count[axis] - i);
    for_each_piece(piece_start, piece_count, max_elements, visit);
  }
}

/// Writes `piece`, dense with reversed axes, into the C-order array `out` at `origin` (both in disk
/// order).
template <typename Word>
void scatter_transposed(const Word* piece, const Shape& piece_count, const Shape& origin, Word* out,
                        const Shape& out_shape) {
  const std::size_t rank = out_shape.size();
  // Axis `a` of `out` is axis `rank - 1 - a` of the piece; the innermost loop writes contiguously.
  const Shape extents = reversed(piece_count);
  std::array<std::int64_t, kMaxRank> piece_strides{};
  std::array<std::int64_t, kMaxRank> out_strides{};
  std::int64_t piece_stride = 1;
  std::int64_t out_stride = 1;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    piece_strides[axis] = piece_stride;
    piece_stride *= extents[axis];
    out_strides[rank - 1 - axis] = out_stride;
    out_stride *= out_shape[rank - 1 - axis];
    out += origin[axis] * out_strides[rank - 1 - axis];
  }
  const std::int64_t run = extents[rank - 1];
  const std::int64_t step = piece_strides[rank - 1];
  std::array<std::int64_t, kMaxRank> index{};
  for (std::int64_t runs = piece_stride / run; runs > 0; --runs) {
    const Word* source = piece;
    Word* target = out;
    for (std::size_t axis = 0; axis + 1 < rank; ++axis) {
      source += index[axis] * piece_strides[axis];
      target += index[axis] * out_strides[axis];
    }
    for (std::int64_t i = 0; i < run; ++i) target[i] = source[i * step];
    for (std::size_t axis = rank - 1; axis-- > 0;) {
      if (++index[axis] < extents[axis]) break;
      index[axis] = 0;
    }
  }
}

struct Bytes16 {
  std::uint64_t words[2];
};

void scatter_transposed(const void* piece, const Shape& piece_count, const Shape& origin, void* out,
                        const Shape& out_shape, std::size_t width) {
  auto scatter = [&]<typename Word>(Word) {
    scatter_transposed(static_cast<const Word*>(piece), piece_count, origin,
                       static_cast<Word*>(out), out_shape);
  };
  switch (width) {
    case 1:
      return scatter(std::uint8_t{});
    case 2:
      return scatter(std::uint16_t{});
    case 4:
      return scatter(std::uint32_t{});
    case 8:
      return scatter(std::uint64_t{});
    default:
      return scatter(Bytes16{});
  }
}

}  // namespace

NpyFile::NpyFile(core::File file, core::FileStatus status, NpyHeader header)
    : file_(std::move(file)), status_(status), header_(std::move(header)) {}

NpyFile NpyFile::open(const core::FileSystem& file_system, const std::string& path) {
  core::File file = file_system.open(path, "npy");
  const core::FileStatus status = file.status();
  NpyHeader header = read_npy_header(file, status);
  return NpyFile(std::move(file), status, std::move(header));
}

void NpyFile::read_region(const Shape& start, const Shape& count, void* out) const {
  check_region("npy", path(), shape(), start, count);
  if (file_.status() != status_) {
    throw IoError(
        core::text("[npy] a file must not change while it is open; got ", path(),
                   ": another size or modification time than before; try opening it again"));
  }
  const std::size_t width = itemsize(dtype());
  const std::int64_t elements = region_elements(count);
  if (elements == 0) return;
  if (!header_.fortran_order || shape().size() < 2) {
    read_dense(file_, header_.data_offset, shape(), start, count, width, out);
  } else {
    const Shape disk_shape = reversed(shape());
    const Shape disk_start = reversed(start);
    std::vector<std::byte> piece;
    for_each_piece(disk_start, reversed(count),
                   kTransposePieceBytes / static_cast<std::int64_t>(width),
                   [&](const Shape& piece_start, const Shape& piece_count) {
                     piece.resize(static_cast<std::size_t>(region_elements(piece_count)) * width);
                     read_dense(file_, header_.data_offset, disk_shape, piece_start, piece_count,
                                width, piece.data());
                     Shape origin = piece_start;
                     for (std::size_t axis = 0; axis < origin.size(); ++axis)
                       origin[axis] -= disk_start[axis];
                     scatter_transposed(piece.data(), piece_count, origin,
                                        static_cast<std::byte*>(out), count, width);
                   });
  }
  if (header_.swapped) {
    const std::size_t part = component_width(dtype());
    swap_bytes(out, static_cast<std::size_t>(elements) * (width / part), part);
  }
}

NpyWriter::NpyWriter(core::AtomicFile file, NpyHeader header)
    : file_(std::move(file)), header_(std::move(header)) {}

namespace {

// The header's bytes, and the size of the whole file.
std::string checked_header(const std::string& path, const Shape& shape, DType dtype,
                           std::uint64_t& size_bytes) {
  std::string bytes = npy_header_bytes(shape, dtype);
  const auto elements = static_cast<std::uint64_t>(element_count(shape));
  if (__builtin_mul_overflow(elements, std::uint64_t{itemsize(dtype)}, &size_bytes) ||
      __builtin_add_overflow(size_bytes, bytes.size(), &size_bytes) || size_bytes > INT64_MAX) {
    throw InvalidArgument(core::text("[npy] an array must fit a file; got shape ", to_string(shape),
                                     " of ", dtype, " for ", path, "; try a smaller array"));
  }
  return bytes;
}

}  // namespace

NpyWriter NpyWriter::create(const core::FileSystem& file_system, const std::string& path,
                            const Shape& shape, DType dtype) {
  std::uint64_t size_bytes = 0;
  const std::string header = checked_header(path, shape, dtype, size_bytes);
  return begin(core::AtomicFile(file_system, path, "npy"), header, size_bytes, shape, dtype);
}

NpyWriter NpyWriter::create(const core::FileSystem& file_system, const std::string& path,
                            const Shape& shape, DType dtype,
                            const core::AtomicFile::Shared& shared) {
  std::uint64_t size_bytes = 0;
  const std::string header = checked_header(path, shape, dtype, size_bytes);
  core::AtomicFile file(file_system, path, "npy", shared);
  if (shared.leader) return begin(std::move(file), header, size_bytes, shape, dtype);
  return NpyWriter(std::move(file), {.dtype = dtype, .shape = shape, .data_offset = header.size()});
}

NpyWriter NpyWriter::begin(core::AtomicFile file, const std::string& header,
                           std::uint64_t size_bytes, const Shape& shape, DType dtype) {
  file.file().reserve(size_bytes);
  file.file().pwrite_all(header.data(), header.size(), 0);
  return NpyWriter(std::move(file), {.dtype = dtype, .shape = shape, .data_offset = header.size()});
}

void NpyWriter::write_region(const Shape& start, const Shape& count, const void* in) const {
  check_region("npy", file_.final_path(), shape(), start, count);
  const std::size_t width = itemsize(dtype());
  const auto* dense = static_cast<const std::byte*>(in);
  for_each_run(shape(), start, count,
               [&](std::int64_t offset, std::int64_t dense_offset, std::int64_t length) {
                 file_.file().pwrite_all(
                     dense + static_cast<std::size_t>(dense_offset) * width,
                     static_cast<std::size_t>(length) * width,
                     header_.data_offset + static_cast<std::uint64_t>(offset) * width);
               });
}

void NpyWriter::finish() { file_.commit(); }

}  // namespace tessera::io
