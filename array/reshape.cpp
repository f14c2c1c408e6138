#include <algorithm>
#include <cmath>
#include <numeric>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/refuse.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::refuse;

// Axes [from_begin, from_end) of the input hold the same elements as axes [to_begin, to_end) of the
// output.
struct Group {
  std::size_t from_begin, from_end;
  std::size_t to_begin, to_end;
  bool same() const { return from_end - from_begin == 1 && to_end - to_begin == 1; }
};

std::int64_t product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t out = 1;
  for (std::size_t i = begin; i < end; ++i) out *= shape[i];
  return out;
}

Shape without_ones(const Shape& shape) {
  Shape out;
  for (const std::int64_t extent : shape) {
    if (extent != 1) out.push_back(extent);
  }
  return out;
}

// The smallest groups of axes with equal products. Extents are at least 2.
std::vector<Group> groups_of(const Shape& from, const Shape& to) {
  std::vector<Group> groups;
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < from.size()) {
    Group group{i, i + 1, j, j + 1};
    std::int64_t a = from[i];
    std::int64_t b = to[j];
    while (a != b) {
      if (a < b)
        a *= from[group.from_end++];
      else
        b *= to[group.to_end++];
    }
    groups.push_back(group);
    i = group.from_end;
    j = group.to_end;
  }
  return groups;
}

// How a group is cut along its first axes, on both sides at the same elements.
struct Cut {
  AxisChunks from;
  AxisChunks to;
};

Cut cut_group(const Array& x, const Shape& to, const Group& group) {
  const ChunkGrid& grid = x.chunks();
  const int first = static_cast<int>(group.from_begin);
  if (group.same()) return {grid.axis(first), grid.axis(first)};
  const std::int64_t from_inner = product(x.shape(), group.from_begin + 1, group.from_end);
  const std::int64_t to_inner = product(to, group.to_begin + 1, group.to_end);
  // Rows of both sides end together every `unit` elements.
  const std::int64_t unit = std::lcm(from_inner, to_inner);
  const std::int64_t from_rows = unit / from_inner;
  const std::int64_t to_rows = unit / to_inner;
  bool keeps = true;
  std::int64_t block = 1;
  for (std::size_t i = group.from_begin; i < group.from_end; ++i) {
    const AxisChunks& axis = grid.axis(static_cast<int>(i));
    block *= axis.max_size();
    keeps = keeps && (i == group.from_begin || axis.count() == 1);
  }
  const AxisChunks& leading = grid.axis(first);
  for (std::int64_t c = 0; c < leading.count() && keeps; ++c) {
    keeps = leading.size(c) % from_rows == 0;
  }
  if (keeps) {
    std::vector<std::int64_t> sizes = leading.extents();
    for (std::int64_t& size : sizes) size = size / from_rows * to_rows;
    return {leading, AxisChunks::of(std::move(sizes))};
  }
  const std::int64_t units = std::max<std::int64_t>(1, (block + unit / 2) / unit);
  return {AxisChunks::regular(x.shape()[group.from_begin], units * from_rows),
          AxisChunks::regular(to[group.to_begin], units * to_rows)};
}

// Every group cut along its first axes, one output block from each input block.
Array reshape_blocks(const Array& x, const Shape& shape, const std::source_location& where) {
  std::vector<AxisChunks> from_axes;
  std::vector<AxisChunks> to_axes;
  std::vector<array::BlockAxis> reads;
  for (const Group& group : groups_of(x.shape(), shape)) {
    Cut cut = cut_group(x, shape, group);
    reads.push_back({array::BlockAxis::Kind::kSame, static_cast<int>(group.to_begin), {}});
    from_axes.push_back(std::move(cut.from));
    to_axes.push_back(std::move(cut.to));
    for (std::size_t i = group.from_begin + 1; i < group.from_end; ++i) {
      from_axes.push_back(AxisChunks::regular(x.shape()[i], x.shape()[i]));
      reads.push_back({array::BlockAxis::Kind::kAll, -1, {}});
    }
    for (std::size_t i = group.to_begin + 1; i < group.to_end; ++i) {
      to_axes.push_back(AxisChunks::regular(shape[i], shape[i]));
    }
  }
  const Array input = array::rechunk_to(x, ChunkGrid(std::move(from_axes)), where);
  return array::make_block_array("reshape", std::make_shared<array::ReshapeAttributes>(), {input},
                                 {std::move(reads)}, x.dtype(), ChunkGrid(std::move(to_axes)),
                                 where);
}

// The group is at most this many rows where they are copied one by one.
constexpr std::int64_t kRows = 64;

// Whether blocks of whole rows of a group would be far larger than x's own.
bool too_long(const Array& x, const Shape& to, const Group& group) {
  if (group.same()) return false;
  const std::int64_t unit = std::lcm(product(x.shape(), group.from_begin + 1, group.from_end),
                                     product(to, group.to_begin + 1, group.to_end));
  std::int64_t block = 1;
  for (std::size_t i = group.from_begin; i < group.from_end; ++i) {
    block *= x.chunks().axis(static_cast<int>(i)).max_size();
  }
  return unit > 2 * block &&
         unit > static_cast<std::int64_t>(array::kBlockBytes / itemsize(x.dtype()));
}

// Axes `axis` and `axis + 1` of x joined into one, row by row, cut as x's rows are.
Array joined_rows(const Array& x, std::size_t axis, const std::source_location& where) {
  const std::int64_t rows = x.shape()[axis];
  const std::int64_t inner = x.shape()[axis + 1];
  const int own = static_cast<int>(axis);
  Shape shape = x.shape();
  shape.erase(shape.begin() + own);
  shape[axis] = rows * inner;
  std::vector<AxisChunks> cuts = x.chunks().axes();
  std::vector<std::int64_t> sizes;
  std::vector<array::Assemble::Part> parts;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (const std::int64_t size : cuts[axis + 1].extents()) sizes.push_back(size);
    array::Assemble::Part part{array::identity_read(x.ndim()), Shape(shape.size(), 0), shape};
    for (array::AxisRead& read : part.read) read.axis -= read.axis > own ? 1 : 0;
    part.read[axis] = {-1, r, 1};
    part.read[axis + 1].offset = -r * inner;
    part.lo[axis] = r * inner;
    part.hi[axis] = (r + 1) * inner;
    parts.push_back(std::move(part));
  }
  cuts.erase(cuts.begin() + own);
  cuts[axis] = AxisChunks::of(std::move(sizes));
  std::vector<Array> inputs(parts.size(), x);
  return array::make_assemble("reshape", std::move(parts), std::move(inputs), std::nullopt,
                              x.dtype(), ChunkGrid(std::move(cuts)), where);
}

// Axis `axis` of x cut into `rows` rows, each in chunks as long as x's longest.
Array split_rows(const Array& x, std::size_t axis, std::int64_t rows,
                 const std::source_location& where) {
  const std::int64_t inner = x.shape()[axis] / rows;
  const int own = static_cast<int>(axis);
  Shape shape = x.shape();
  shape[axis] = rows;
  shape.insert(shape.begin() + own + 1, inner);
  std::vector<AxisChunks> cuts = x.chunks().axes();
  const std::int64_t chunk = cuts[axis].max_size();
  cuts[axis] = AxisChunks::regular(rows, 1);
  cuts.insert(cuts.begin() + own + 1, AxisChunks::regular(inner, chunk));
  std::vector<array::Assemble::Part> parts;
  for (std::int64_t r = 0; r < rows; ++r) {
    array::Assemble::Part part{array::identity_read(x.ndim()), Shape(shape.size(), 0), shape};
    for (array::AxisRead& read : part.read) read.axis += read.axis >= own ? 1 : 0;
    part.read[axis].offset = r * inner;
    part.lo[axis] = r;
    part.hi[axis] = r + 1;
    parts.push_back(std::move(part));
  }
  std::vector<Array> inputs(parts.size(), x);
  return array::make_assemble("reshape", std::move(parts), std::move(inputs), std::nullopt,
                              x.dtype(), ChunkGrid(std::move(cuts)), where);
}

// The shape with axes [begin, end) replaced by one.
Shape merged(const Shape& shape, std::size_t begin, std::size_t end) {
  Shape out(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(begin));
  out.push_back(product(shape, begin, end));
  out.insert(out.end(), shape.begin() + static_cast<std::ptrdiff_t>(end), shape.end());
  return out;
}

// Both shapes without extents of 0 and 1. Groups whose rows would make blocks too long go through
// the flat axis and, where they are few, row by row.
Array reshape_dense(const Array& x, const Shape& to, const std::source_location& where) {
  if (x.shape() == to) return x;
  for (const Group& group : groups_of(x.shape(), to)) {
    if (!too_long(x, to, group)) continue;
    const std::size_t from_rank = group.from_end - group.from_begin;
    const std::size_t to_rank = group.to_end - group.to_begin;
    if (from_rank > 1 && to_rank > 1) {
      const Shape flat = merged(x.shape(), group.from_begin, group.from_end);
      return reshape_dense(reshape_dense(x, flat, where), to, where);
    }
    if (to_rank == 1 && x.shape()[group.from_begin] <= kRows) {
      const Shape rows = merged(x.shape(), group.from_begin + 1, group.from_end);
      const Array y = reshape_dense(x, rows, where);
      return reshape_dense(joined_rows(y, group.from_begin, where), to, where);
    }
    if (from_rank == 1 && to[group.to_begin] <= kRows) {
      return reshape_dense(split_rows(x, group.from_begin, to[group.to_begin], where), to, where);
    }
  }
  return reshape_blocks(x, to, where);
}

// A shape that differs from x's by axes of extent 1 alone.
Array with_ones(const Array& x, const Shape& shape, const std::source_location& where) {
  array::AffineRead read;
  std::size_t axis = 0;
  for (const std::int64_t extent : x.shape()) {
    if (extent == 1) {
      read.push_back({-1, 0, 1});
      continue;
    }
    while (shape[axis] == 1) ++axis;
    read.push_back({static_cast<int>(axis++), 0, 1});
  }
  return array::make_view("reshape", x, std::move(read), shape, where);
}

Shape resolved_shape(const Array& x, const Shape& shape) {
  Shape out = shape;
  std::int64_t* open = nullptr;
  std::int64_t known = 1;
  bool fits = true;
  for (std::int64_t& extent : out) {
    if (extent == -1 && open == nullptr) {
      open = &extent;
    } else {
      fits = fits && extent >= 0 && !__builtin_mul_overflow(known, extent, &known);
    }
  }
  if (fits && open != nullptr) {
    fits = known != 0 && x.size() % known == 0;
    if (fits) *open = x.size() / known;
  }
  if (!fits || element_count(out) != x.size()) {
    refuse("reshape", "the number of elements must stay the same; got ", to_string(x.shape()),
           " with ", x.size(), " elements and ", to_string(shape));
  }
  return out;
}

}  // namespace

Array reshape(const Array& x, const Shape& shape, std::source_location where) {
  const Shape wanted = resolved_shape(x, shape);
  if (wanted == x.shape()) return x;
  const auto* constant = std::get_if<array::Constant>(&x.node()->attributes);
  if (constant != nullptr || x.size() == 0) {
    return array::make_array("reshape", constant != nullptr ? *constant : array::Constant{0}, {},
                             x.dtype(), Chunks().resolve(wanted, x.dtype(), "reshape"), where);
  }
  const Shape from = without_ones(x.shape());
  const Shape to = without_ones(wanted);
  const Array dense = with_ones(x, from, where);
  return with_ones(reshape_dense(dense, to, where), wanted, where);
}

Array ravel(const Array& x, std::source_location where) { return reshape(x, {-1}, where); }

Array flatten(const Array& x, std::source_location where) { return reshape(x, {-1}, where); }

Array rechunk(const Array& x, const Chunks& chunks, std::source_location where) {
  return array::rechunk_to(x, chunks.resolve(x.shape(), x.dtype(), "rechunk"), where);
}

Array rechunk_axes(const Array& x, const std::map<int, std::int64_t>& chunks,
                   std::source_location where) {
  std::vector<AxisChunks> axes = x.chunks().axes();
  for (const auto& [axis, chunk] : chunks) {
    const auto i = static_cast<std::size_t>(array::normalize_axis(axis, x.ndim(), "rechunk_axes"));
    const std::int64_t extent = x.shape()[i];
    if (chunk != -1 && chunk < 1) {
      refuse("rechunk_axes", "a chunk extent must be positive, or -1 for the whole axis; got ",
             chunk, " for axis ", axis);
    }
    axes[i] = AxisChunks::regular(extent, chunk == -1 ? std::max<std::int64_t>(1, extent) : chunk);
  }
  return array::rechunk_to(x, ChunkGrid(std::move(axes)), where);
}

}  // namespace tessera
