#include "io/netcdf/variable_layout.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/text.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

void fill_elements(std::byte* out, std::int64_t elements, const std::byte* value,
                   std::size_t width) {
  for (std::int64_t i = 0; i < elements; ++i)
    std::memcpy(out + static_cast<std::size_t>(i) * width, value, width);
}

/// Reads one variable's region; holds what all chunks share.
class LayoutReader {
 public:
  LayoutReader(const VariableLayout& layout, const core::File& file,
               const RawChunkSource& raw_chunks, const Shape& start, const Shape& count, void* out)
      : layout_(layout),
        file_(file),
        raw_chunks_(raw_chunks),
        start_(start),
        count_(count),
        out_(static_cast<std::byte*>(out)),
        width_(itemsize(layout.dtype)),
        rank_(start.size()) {}

  void read() {
    const std::int64_t elements = region_elements(count_);
    if (elements == 0) return;
    // The part of the region that is stored at all.
    Shape stored_count = count_;
    bool whole = true;
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      const std::int64_t end = std::min(start_[axis] + count_[axis], layout_.stored[axis]);
      stored_count[axis] = std::max<std::int64_t>(0, end - start_[axis]);
      whole = whole && stored_count[axis] == count_[axis];
    }
    if (!whole) fill_elements(out_, elements, layout_.beyond_fill.data(), width_);
    if (region_elements(stored_count) == 0) return;
    if (layout_.kind == VariableLayout::Kind::kFlat) {
      read_flat(stored_count, whole);
    } else {
      read_chunks(stored_count);
    }
  }

 private:
  void read_flat(const Shape& stored_count, bool whole) {
    const std::int64_t elements = region_elements(stored_count);
    std::vector<std::byte> scratch;
    std::byte* target = out_;
    if (!whole) {
      scratch.resize(static_cast<std::size_t>(elements) * width_);
      target = scratch.data();
    }
    if (layout_.never_written) {
      fill_elements(target, elements, layout_.hole_fill.data(), width_);
    } else if (layout_.record_stride == 0) {
      read_dense(file_, layout_.data_offset, layout_.stored, start_, stored_count, width_, target);
      if (layout_.swapped) swap_bytes(target, static_cast<std::size_t>(elements), width_);
    } else {
      read_records(stored_count, target);
      if (layout_.swapped) swap_bytes(target, static_cast<std::size_t>(elements), width_);
    }
    if (!whole) {
      const Shape origin(rank_, 0);
      copy_region(target, stored_count, origin, out_, count_, origin, stored_count, width_);
    }
  }

  void read_records(const Shape& stored_count, std::byte* target) {
    const Shape record_shape(layout_.stored.begin() + 1, layout_.stored.end());
    const Shape record_start(start_.begin() + 1, start_.end());
    const Shape record_count(stored_count.begin() + 1, stored_count.end());
    const std::size_t record_bytes =
        static_cast<std::size_t>(region_elements(record_count)) * width_;
    for (std::int64_t i = 0; i < stored_count[0]; ++i, target += record_bytes) {
      const auto record = static_cast<std::uint64_t>(start_[0] + i);
      read_dense(file_, layout_.data_offset + record * layout_.record_stride, record_shape,
                 record_start, record_count, width_, target);
    }
  }

  void read_chunks(const Shape& stored_count) {
    Shape first(rank_);
    Shape last(rank_);
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      first[axis] = start_[axis] / layout_.chunk_shape[axis];
      last[axis] = (start_[axis] + stored_count[axis] - 1) / layout_.chunk_shape[axis];
    }
    Shape index = first;
    while (true) {
      read_chunk(index, stored_count);
      std::size_t axis = rank_;
      while (axis > 0) {
        --axis;
        if (++index[axis] <= last[axis]) break;
        index[axis] = first[axis];
        if (axis == 0) return;
      }
      if (rank_ == 0) return;
    }
  }

  /// Copies the part of one chunk that lies in the region to its place.
  void read_chunk(const Shape& index, const Shape& stored_count) {
    Shape origin(rank_);
    Shape in_chunk(rank_);
    Shape in_out(rank_);
    Shape part(rank_);
    bool full = true;
    // The part is one run of `out` when, after its first axis longer than 1, it spans the whole of
    // `out`.
    bool contiguous = true;
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      origin[axis] = index[axis] * layout_.chunk_shape[axis];
      const std::int64_t begin = std::max(start_[axis], origin[axis]);
      const std::int64_t end =
          std::min(start_[axis] + stored_count[axis], origin[axis] + layout_.chunk_shape[axis]);
      in_chunk[axis] = begin - origin[axis];
      in_out[axis] = begin - start_[axis];
      part[axis] = end - begin;
      full = full && part[axis] == layout_.chunk_shape[axis];
    }
    for (std::size_t axis = 0, wide = 0; axis < rank_; ++axis) {
      if (wide > 0) contiguous = contiguous && part[axis] == count_[axis];
      wide += part[axis] > 1 ? 1 : 0;
    }
    std::byte* place = out_;
    std::size_t stride = width_;
    for (std::size_t axis = rank_; axis-- > 0;) {
      place += static_cast<std::size_t>(in_out[axis]) * stride;
      stride *= static_cast<std::size_t>(count_[axis]);
    }
    const std::size_t chunk_bytes =
        static_cast<std::size_t>(region_elements(layout_.chunk_shape)) * width_;
    const bool direct = full && contiguous;
    if (!direct && scratch_.chunk.size() < chunk_bytes) scratch_.chunk.resize(chunk_bytes);
    std::byte* target = direct ? place : scratch_.chunk.data();
    load_chunk(index, origin, {target, chunk_bytes});
    if (direct) return;
    copy_region(target, layout_.chunk_shape, in_chunk, out_, count_, in_out, part, width_);
  }

  /// The whole chunk, decoded, in native byte order.
  void load_chunk(const Shape& index, const Shape& origin, std::span<std::byte> chunk) {
    std::uint32_t mask = 0;
    std::span<const std::byte> raw;
    if (layout_.kind == VariableLayout::Kind::kRawChunks) {
      if (raw_chunks_(origin, scratch_.raw, mask)) raw = scratch_.raw;
    } else {
      std::int64_t linear = 0;
      for (std::size_t axis = 0; axis < rank_; ++axis) {
        const std::int64_t extent = layout_.chunk_shape[axis];
        linear = linear * ((layout_.stored[axis] + extent - 1) / extent) + index[axis];
      }
      const ChunkPlace& entry = layout_.chunks[static_cast<std::size_t>(linear)];
      mask = entry.filter_mask;
      raw = fetch(entry, chunk);
    }
    if (raw.empty()) {
      fill_elements(chunk.data(), region_elements(layout_.chunk_shape), layout_.hole_fill.data(),
                    width_);
      return;
    }
    if (const char* problem =
            decode_chunk(raw, layout_.filter_ids, mask, width_, chunk, scratch_)) {
      throw IoError(core::text("[netcdf] a chunk must be intact; got ", file_.path(), ": chunk ",
                               to_string(index), " of ", layout_.name, ": ", problem,
                               "; try copying the file again"));
    }
    if (layout_.swapped) swap_bytes(chunk.data(), chunk.size() / width_, width_);
  }

  /// The raw bytes; read straight into `chunk` when no filter was applied.
  std::span<const std::byte> fetch(const ChunkPlace& entry, std::span<std::byte> chunk) {
    if (entry.size_bytes == 0) return {};
    if (layout_.filter_ids.empty() && entry.size_bytes == chunk.size()) {
      file_.pread_all(chunk.data(), chunk.size(), entry.offset);
      return chunk;
    }
    if (scratch_.raw.size() < entry.size_bytes) scratch_.raw.resize(entry.size_bytes);
    file_.pread_all(scratch_.raw.data(), entry.size_bytes, entry.offset);
    return {scratch_.raw.data(), entry.size_bytes};
  }

  const VariableLayout& layout_;
  const core::File& file_;
  const RawChunkSource& raw_chunks_;
  const Shape& start_;
  const Shape& count_;
  std::byte* out_;
  std::size_t width_;
  std::size_t rank_;
  ChunkScratch scratch_;
};

}  // namespace

void read_layout(const VariableLayout& layout, const core::File& file,
                 const RawChunkSource& raw_chunks, const Shape& start, const Shape& count,
                 void* out) {
  LayoutReader(layout, file, raw_chunks, start, count, out).read();
}

}  // namespace tessera::io
