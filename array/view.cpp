#include <algorithm>

#include "array/node.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"

namespace tessera::array {
namespace {

bool is_identity(const AffineRead& read, const Shape& from, const Shape& shape) {
  return from == shape && read == identity_read(static_cast<int>(shape.size()));
}

void check_listed(std::int64_t chunks) {
  if (chunks <= core::kMaxListedChunks) return;
  refuse("chunks", "an axis that is joined or cut has at most ", core::kMaxListedChunks,
         " chunks; got ", chunks, "; try larger chunks");
}

// One element along an axis is read the same way for every step.
void normalize(AffineRead& read, const Shape& shape) {
  for (AxisRead& axis : read) {
    if (axis.axis < 0 || shape[static_cast<std::size_t>(axis.axis)] == 1) axis.step = 1;
  }
}

// How `extent` elements that read `base` at offset + step * i are cut by the blocks of `base`.
AxisChunks image(const AxisChunks& base, const AxisRead& read, std::int64_t extent) {
  if (extent == 0) return AxisChunks::regular(0, 1);
  if (read.offset == 0 && read.step == 1 && extent == base.extent()) return base;
  std::vector<std::int64_t> sizes;
  check_listed(std::min(base.count(), extent));
  for (std::int64_t i = 0; i < extent;) {
    const std::int64_t chunk = base.chunk_of(read.offset + read.step * i);
    const std::int64_t end = read.step > 0
                                 ? (base.end(chunk) - read.offset + read.step - 1) / read.step
                                 : (read.offset - base.begin(chunk)) / -read.step + 1;
    sizes.push_back(std::min(end, extent) - i);
    i = end;
  }
  return AxisChunks::of(std::move(sizes));
}

}  // namespace

AffineRead compose(const AffineRead& inner, const AffineRead& outer) {
  AffineRead out;
  out.reserve(inner.size());
  for (const AxisRead& axis : inner) {
    if (axis.axis < 0) {
      out.push_back({-1, axis.offset, 1});
      continue;
    }
    const AxisRead& via = outer[static_cast<std::size_t>(axis.axis)];
    out.push_back(
        {via.axis, axis.offset + axis.step * via.offset, via.axis < 0 ? 1 : axis.step * via.step});
  }
  return out;
}

AffineRead identity_read(int rank) {
  AffineRead read;
  for (int i = 0; i < rank; ++i) read.push_back({i, 0, 1});
  return read;
}

bool repeats_axis(const AffineRead& read) {
  for (std::size_t d = 0; d < read.size(); ++d) {
    for (std::size_t e = 0; e < d; ++e) {
      if (read[d].axis >= 0 && read[d].axis == read[e].axis) return true;
    }
  }
  return false;
}

void append_cuts(const AxisChunks& chunks, const AxisRead& read, std::int64_t begin,
                 std::int64_t end, std::vector<std::int64_t>& cuts) {
  while (begin < end) {
    const std::int64_t chunk = chunks.chunk_of(read.offset + read.step * begin);
    begin = read.step > 0 ? (chunks.end(chunk) - read.offset + read.step - 1) / read.step
                          : (read.offset - chunks.begin(chunk)) / -read.step + 1;
    if (begin < end) cuts.push_back(begin);
  }
}

AxisChunks refine(const AxisChunks& a, const AxisChunks& b) {
  if (a == b || b.count() == 1) return a;
  if (a.count() == 1) return b;
  check_listed(std::max(a.count(), b.count()));
  std::vector<std::int64_t> sizes;
  std::int64_t position = 0;
  for (std::int64_t i = 0, j = 0; i < a.count() && j < b.count();) {
    const std::int64_t end = std::min(a.end(i), b.end(j));
    sizes.push_back(end - position);
    position = end;
    i += a.end(i) == end ? 1 : 0;
    j += b.end(j) == end ? 1 : 0;
  }
  return AxisChunks::of(std::move(sizes));
}

ChunkGrid common_grid(const std::vector<Array>& inputs, const Shape& shape) {
  std::vector<std::optional<AxisChunks>> cuts(shape.size());
  for (const Array& input : inputs) {
    const std::size_t skipped = shape.size() - input.shape().size();
    for (std::size_t i = skipped; i < shape.size(); ++i) {
      const AxisChunks& axis = input.chunks().axis(static_cast<int>(i - skipped));
      if (axis.extent() == shape[i]) cuts[i] = cuts[i] ? refine(*cuts[i], axis) : axis;
    }
  }
  std::vector<AxisChunks> axes;
  for (std::optional<AxisChunks>& cut : cuts) axes.push_back(std::move(*cut));
  return ChunkGrid(std::move(axes));
}

ChunkGrid view_grid(const ChunkGrid& base, const AffineRead& read, const Shape& shape,
                    DType dtype) {
  std::vector<std::optional<AxisChunks>> axes(shape.size());
  for (std::size_t b = 0; b < read.size(); ++b) {
    if (read[b].axis < 0) continue;
    const auto axis = static_cast<std::size_t>(read[b].axis);
    AxisChunks cut = image(base.axis(static_cast<int>(b)), read[b], shape[axis]);
    axes[axis] = axes[axis] ? refine(*axes[axis], cut) : std::move(cut);
  }
  Shape free_shape;
  double bytes = static_cast<double>(itemsize(dtype));
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (!axes[i])
      free_shape.push_back(shape[i]);
    else
      bytes *= static_cast<double>(std::max<std::int64_t>(1, axes[i]->max_size()));
  }
  // What the followed axes leave of a block's bytes is shared out among the others.
  const double room = std::max(1.0, static_cast<double>(kBlockBytes) / bytes);
  const std::size_t room_bytes = static_cast<std::size_t>(room) * itemsize(dtype);
  const ChunkGrid free_grid = Chunks(std::to_string(room_bytes)).resolve(free_shape, dtype, "view");
  std::vector<AxisChunks> cuts;
  int next_free = 0;
  for (std::optional<AxisChunks>& axis : axes) {
    cuts.push_back(axis ? std::move(*axis) : free_grid.axis(next_free++));
  }
  return ChunkGrid(std::move(cuts));
}

Array make_view(std::string name, const Array& base, AffineRead read, Shape shape,
                const std::source_location& where) {
  Array source = base;
  if (const auto* view = std::get_if<View>(&base.node()->attributes)) {
    read = compose(view->read, read);
    source = base.node()->inputs[0];
  }
  normalize(read, shape);
  if (is_identity(read, source.shape(), shape)) return source;
  core::array_bytes(name, shape, source.dtype());
  ChunkGrid grid = view_grid(source.chunks(), read, shape, source.dtype());
  if (const auto* constant = std::get_if<Constant>(&source.node()->attributes)) {
    return make_array(std::move(name), *constant, {}, source.dtype(), std::move(grid), where);
  }
  return make_array(std::move(name), View{std::move(read)}, {source}, source.dtype(),
                    std::move(grid), where);
}

}  // namespace tessera::array
