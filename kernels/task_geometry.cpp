#include "kernels/task_geometry.hpp"

#include <algorithm>

namespace tessera::kernels {

std::int64_t TaskBox::elements() const noexcept { return extent_product(shape()); }

TaskBox task_box(const ChunkGrid& grid, std::span<const std::int64_t> coords) {
  TaskBox box;
  box.rank = grid.rank();
  for (int d = 0; d < box.rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    box.begin[i] = grid.axis(d).begin(coords[i]);
    box.extent[i] = grid.axis(d).end(coords[i]) - box.begin[i];
  }
  return box;
}

TaskBox largest_box(const ChunkGrid& grid) {
  TaskBox box;
  box.rank = grid.rank();
  for (int d = 0; d < box.rank; ++d)
    box.extent[static_cast<std::size_t>(d)] = grid.axis(d).max_size();
  return box;
}

void dense_strides(std::span<const std::int64_t> shape, std::int64_t* strides) noexcept {
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
}

std::int64_t block_at(const ArrayRead& from, const TaskBox& box) {
  std::int64_t block = 0;
  for (int d = 0; d < from.grid.rank(); ++d) {
    const AxisChunks& axis = from.grid.axis(d);
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    const std::int64_t index =
        read.axis < 0 ? read.offset
                      : read.offset + read.step * box.begin[static_cast<std::size_t>(read.axis)];
    block = block * axis.count() + axis.chunk_of(index);
  }
  return block;
}

const Piece& piece_at(const ArrayRead& from, const TaskBox& box, std::span<const Piece> pieces) {
  if (pieces.size() == 1) return pieces[0];
  const std::int64_t block = block_at(from, box);
  std::size_t i = 0;
  while (pieces[i].block != block) ++i;
  return pieces[i];
}

BoundRead bind(const ArrayRead& from, const TaskBox& box, const Piece& piece) {
  BoundRead out;
  const int rank = from.grid.rank();
  std::int64_t offset = 0;
  std::int64_t stride = 1;
  std::int64_t rest = piece.block;
  for (int d = rank; d-- > 0;) {
    const AxisChunks& axis = from.grid.axis(d);
    const std::int64_t coord = rest % axis.count();
    rest /= axis.count();
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    std::int64_t index = read.offset - axis.begin(coord);
    if (read.axis >= 0) {
      const auto a = static_cast<std::size_t>(read.axis);
      index += read.step * box.begin[a];
      out.strides[a] += read.step * stride;
    }
    offset += index * stride;
    stride *= axis.size(coord);
  }
  out.data = piece.data + offset * static_cast<std::int64_t>(itemsize(from.dtype));
  return out;
}

BoundRead bind_memory(const ArrayRead& from, const TaskBox& box, const std::byte* memory,
                      std::span<const std::int64_t> strides) {
  BoundRead out;
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < from.read.size(); ++d) {
    const array::AxisRead& read = from.read[d];
    offset += read.offset * strides[d];
    if (read.axis < 0) continue;
    const auto a = static_cast<std::size_t>(read.axis);
    offset += read.step * box.begin[a] * strides[d];
    out.strides[a] += read.step * strides[d];
  }
  out.data = memory + offset * static_cast<std::int64_t>(itemsize(from.dtype));
  return out;
}

TaskBox part_in_block(const ArrayRead& from, const TaskBox& box, std::int64_t block) {
  TaskBox part = box;
  std::int64_t rest = block;
  for (int d = from.grid.rank(); d-- > 0;) {
    const AxisChunks& axis = from.grid.axis(d);
    const std::int64_t coord = rest % axis.count();
    rest /= axis.count();
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    if (read.axis < 0) continue;
    const auto a = static_cast<std::size_t>(read.axis);
    // begin <= offset + step * i < end, for either sign of step.
    const std::int64_t step = read.step > 0 ? read.step : -read.step;
    const std::int64_t low =
        read.step > 0 ? axis.begin(coord) - read.offset : read.offset - axis.end(coord) + 1;
    const std::int64_t high =
        read.step > 0 ? axis.end(coord) - 1 - read.offset : read.offset - axis.begin(coord);
    const auto ceil_div = [&](std::int64_t v) {
      return v >= 0 ? (v + step - 1) / step : -(-v / step);
    };
    const auto floor_div = [&](std::int64_t v) {
      return v >= 0 ? v / step : -((-v + step - 1) / step);
    };
    const std::int64_t first = std::max(part.begin[a], ceil_div(low));
    const std::int64_t last = std::min(part.begin[a] + part.extent[a], floor_div(high) + 1);
    part.begin[a] = first;
    part.extent[a] = last - first;
  }
  return part;
}

bool spans_blocks(const ArrayRead& from, const ChunkGrid& tasks) {
  std::vector<std::int64_t> cuts;
  for (int d = 0; d < from.grid.rank(); ++d) {
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    if (read.axis < 0) continue;
    if (read.offset == 0 && read.step == 1 && from.grid.axis(d) == tasks.axis(read.axis)) continue;
    const AxisChunks& axis = tasks.axis(read.axis);
    for (std::int64_t c = 0; c < axis.count() && cuts.empty(); ++c) {
      array::append_cuts(from.grid.axis(d), read, axis.begin(c), axis.end(c), cuts);
    }
  }
  return !cuts.empty();
}

namespace {

// Where the parts of the box along an axis begin, and where the last one ends.
std::vector<std::int64_t> cuts_along(const TaskBox& box, std::size_t axis,
                                     std::span<const ArrayRead* const> reads) {
  std::vector<std::int64_t> cuts{box.begin[axis], box.begin[axis] + box.extent[axis]};
  for (const ArrayRead* from : reads) {
    for (std::size_t d = 0; d < from->read.size(); ++d) {
      if (from->read[d].axis != static_cast<int>(axis)) continue;
      array::append_cuts(from->grid.axis(static_cast<int>(d)), from->read[d], cuts[0], cuts[1],
                         cuts);
    }
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

}  // namespace

void for_each_part(const TaskBox& box, std::span<const ArrayRead* const> reads,
                   const std::function<bool(const TaskBox&)>& f) {
  const auto rank = static_cast<std::size_t>(box.rank);
  std::array<std::vector<std::int64_t>, kMaxRank> cuts;
  for (std::size_t a = 0; a < rank; ++a) cuts[a] = cuts_along(box, a, reads);
  Extents index{};
  for (bool more = true; more;) {
    TaskBox part = box;
    for (std::size_t a = 0; a < rank; ++a) {
      part.begin[a] = cuts[a][static_cast<std::size_t>(index[a])];
      part.extent[a] = cuts[a][static_cast<std::size_t>(index[a]) + 1] - part.begin[a];
    }
    if (!f(part)) return;
    more = false;
    for (std::size_t a = rank; a-- > 0 && !more;) {
      more = ++index[a] + 1 < std::ssize(cuts[a]);
      if (!more) index[a] = 0;
    }
  }
}

namespace {

bool follows(const array::AffineRead& read, std::size_t axis) {
  return std::any_of(read.begin(), read.end(),
                     [&](const array::AxisRead& r) { return r.axis == static_cast<int>(axis); });
}

}  // namespace

TaskBox gathered_box(const ArrayRead& from, const TaskBox& box) {
  TaskBox out = box;
  for (std::size_t a = 0; a < static_cast<std::size_t>(box.rank); ++a) {
    if (!follows(from.read, a)) out.extent[a] = 1;
  }
  return out;
}

std::size_t gathered_bytes(const ArrayRead& from, const TaskBox& box) {
  return (static_cast<std::size_t>(gathered_box(from, box).elements()) * itemsize(from.dtype) +
          255) /
         256 * 256;
}

Extents gathered_strides(const ArrayRead& from, const TaskBox& box) {
  Extents strides{};
  dense_strides(gathered_box(from, box).shape(), strides.data());
  for (std::size_t a = 0; a < static_cast<std::size_t>(box.rank); ++a) {
    if (!follows(from.read, a)) strides[a] = 0;
  }
  return strides;
}

std::byte* element_at(std::byte* block, DType dtype, const TaskBox& box, const TaskBox& part,
                      const Extents& strides) {
  std::int64_t offset = 0;
  for (std::size_t a = 0; a < static_cast<std::size_t>(box.rank); ++a)
    offset += (part.begin[a] - box.begin[a]) * strides[a];
  return block + offset * static_cast<std::int64_t>(itemsize(dtype));
}

}  // namespace tessera::kernels
