#include <algorithm>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/refuse.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::AffineRead;
using array::AxisRead;
using array::refuse;

struct Range {
  std::int64_t start = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
};

// Python's slice.indices(): bounds clipped to the axis, in the direction of the step.
Range range_of(const Slice& slice, std::int64_t extent) {
  if (slice.step == 0) refuse("index", "the step of a slice must not be 0; got 0");
  const bool forward = slice.step > 0;
  const std::int64_t low = forward ? 0 : -1;
  const std::int64_t high = forward ? extent : extent - 1;
  const auto bound = [&](const std::optional<std::int64_t>& given, std::int64_t missing) {
    if (!given) return missing;
    return std::clamp(*given < 0 ? *given + extent : *given, low, high);
  };
  const std::int64_t start = bound(slice.start, forward ? low : high);
  const std::int64_t stop = bound(slice.stop, forward ? high : low);
  Range out{start, slice.step, 0};
  if (forward && start < stop) out.count = (stop - start - 1) / slice.step + 1;
  if (!forward && stop < start) out.count = (stop - start + 1) / slice.step + 1;
  if (out.count == 0) out = {0, 1, 0};
  return out;
}

struct Indexed {
  AffineRead read;
  Shape shape;
};

void keep_axes(const Array& x, std::size_t count, Indexed& out) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = out.read.size();
    out.read.push_back({static_cast<int>(out.shape.size()), 0, 1});
    out.shape.push_back(x.shape()[axis]);
  }
}

void index_axis(const Array& x, const Index& entry, Indexed& out) {
  const std::size_t axis = out.read.size();
  const std::int64_t extent = x.shape()[axis];
  if (const auto* position = std::get_if<std::int64_t>(&entry.value())) {
    if (*position < -extent || *position >= extent) {
      refuse("index", "a position must lie on its axis; got ", *position, " for axis ", axis,
             " of ", to_string(x.shape()));
    }
    out.read.push_back({-1, *position < 0 ? *position + extent : *position, 1});
    return;
  }
  const Range range = range_of(std::get<Slice>(entry.value()), extent);
  out.read.push_back({static_cast<int>(out.shape.size()), range.start, range.step});
  out.shape.push_back(range.count);
}

// Positions along an axis, counted from its start.
std::vector<std::int64_t> checked_positions(const Array& x, const std::vector<std::int64_t>& given,
                                            std::size_t axis) {
  const std::int64_t extent = x.shape()[axis];
  std::vector<std::int64_t> out;
  out.reserve(given.size());
  for (const std::int64_t i : given) {
    if (i < -extent || i >= extent) {
      refuse("take", "a position must lie on its axis; got ", i, " for axis ", axis, " of ",
             to_string(x.shape()));
    }
    out.push_back(i < 0 ? i + extent : i);
  }
  return out;
}

bool evenly_spaced(const std::vector<std::int64_t>& positions) {
  if (positions.size() < 2) return true;
  const std::int64_t step = positions[1] - positions[0];
  for (std::size_t i = 2; i < positions.size(); ++i) {
    if (positions[i] - positions[i - 1] != step) return false;
  }
  return step != 0;
}

// For each chunk of the result, the chunks of x that hold its elements, ascending.
std::vector<std::vector<std::int32_t>> chunks_read(const AxisChunks& from, const AxisChunks& to,
                                                   const std::vector<std::int64_t>& positions) {
  std::vector<std::vector<std::int32_t>> lists(static_cast<std::size_t>(to.count()));
  for (std::int64_t c = 0; c < to.count(); ++c) {
    std::vector<std::int32_t>& list = lists[static_cast<std::size_t>(c)];
    for (std::int64_t i = to.begin(c); i < to.end(c); ++i) {
      const auto chunk = from.chunk_of(positions[static_cast<std::size_t>(i)]);
      if (list.empty() || list.back() != chunk) list.push_back(static_cast<std::int32_t>(chunk));
    }
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return lists;
}

}  // namespace

Array Array::operator[](const IndexList& index) const { return at(index.entries, index.where); }

Array Array::at(const std::vector<Index>& index, std::source_location where) const {
  std::size_t named = 0;
  std::size_t ellipses = 0;
  for (const Index& entry : index) {
    if (std::holds_alternative<Ellipsis>(entry.value()))
      ++ellipses;
    else if (!std::holds_alternative<NewAxis>(entry.value()))
      ++named;
  }
  if (ellipses > 1) refuse("index", "an index has at most one ellipsis; got ", ellipses);
  if (named > shape().size()) {
    refuse("index", "an index has at most one entry for each axis; got ", named, " for shape ",
           to_string(shape()));
  }
  Indexed out;
  for (const Index& entry : index) {
    if (std::holds_alternative<NewAxis>(entry.value())) {
      out.shape.push_back(1);
    } else if (std::holds_alternative<Ellipsis>(entry.value())) {
      keep_axes(*this, shape().size() - named, out);
    } else {
      index_axis(*this, entry, out);
    }
  }
  keep_axes(*this, shape().size() - out.read.size(), out);
  return array::make_view("index", *this, std::move(out.read), std::move(out.shape), where);
}

Array take(const Array& x, const std::vector<std::int64_t>& indices, int axis,
           std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "take");
  const auto i = static_cast<std::size_t>(at);
  std::vector<std::int64_t> positions = checked_positions(x, indices, i);
  const auto count = static_cast<std::int64_t>(positions.size());
  if (evenly_spaced(positions)) {
    AffineRead read = array::identity_read(x.ndim());
    Shape shape = x.shape();
    shape[i] = count;
    if (count > 0) read[i].offset = positions[0];
    if (count > 1) read[i].step = positions[1] - positions[0];
    return array::make_view("take", x, std::move(read), std::move(shape), where);
  }
  const AxisChunks& from = x.chunks().axis(at);
  std::vector<AxisChunks> axes = x.chunks().axes();
  axes[i] = AxisChunks::regular(count, from.max_size());
  auto attributes = std::make_shared<array::TakeAttributes>();
  std::vector<array::BlockAxis> reads = array::same_blocks(x.ndim());
  reads[i].kind = array::BlockAxis::Kind::kTable;
  reads[i].lists = chunks_read(from, axes[i], positions);
  attributes->axis = at;
  attributes->positions = std::move(positions);
  return array::make_block_array("take", std::move(attributes), {x}, {std::move(reads)}, x.dtype(),
                                 ChunkGrid(std::move(axes)), where);
}

Array take_along_axis(const Array& x, const Array& indices, int axis, std::source_location where) {
  const char* name = "take_along_axis";
  if (!is_integer(indices.dtype())) {
    refuse(name, "indices must be integers; got ", indices.dtype(), "; try astype(int64)");
  }
  if (x.ndim() != indices.ndim()) {
    refuse(name, "x and indices must have the same number of axes; got ", to_string(x.shape()),
           " and ", to_string(indices.shape()), "; try expand_dims()");
  }
  const int at = array::normalize_axis(axis, x.ndim(), name);
  const auto i = static_cast<std::size_t>(at);
  if (x.chunks().axis(at).count() != 1) {
    refuse(name, "the axis must lie in one chunk; got ", x.chunks().axis(at).count(),
           " chunks along axis ", at, " of ", to_string(x.shape()), "; try rechunk_axes(x, {{", at,
           ", -1}})");
  }
  Shape from = x.shape();
  Shape to = indices.shape();
  from[i] = to[i] = 1;
  from = to = broadcast_shapes(from, to, name);
  from[i] = x.shape()[i];
  to[i] = indices.shape()[i];
  const Array source = broadcast_to(x, from, where);
  const Array positions = broadcast_to(array::cast(indices, DType::kInt64, where), to, where);
  std::vector<AxisChunks> source_axes = source.chunks().axes();
  std::vector<AxisChunks> axes = positions.chunks().axes();
  for (std::size_t k = 0; k < axes.size(); ++k) {
    if (k != i) source_axes[k] = axes[k] = array::refine(source_axes[k], axes[k]);
  }
  const ChunkGrid grid(std::move(axes));
  auto attributes = std::make_shared<array::TakeAlongAxisAttributes>();
  attributes->axis = at;
  // The axis has one chunk in x, which tasks at every place along the axis read.
  std::vector<array::BlockAxis> reads = array::same_blocks(x.ndim());
  reads[i].kind = array::BlockAxis::Kind::kAll;
  return array::make_block_array(
      name, std::move(attributes),
      {array::rechunk_to(source, ChunkGrid(std::move(source_axes)), where),
       array::rechunk_to(positions, grid, where)},
      {std::move(reads), array::same_blocks(x.ndim())}, x.dtype(), grid, where);
}

}  // namespace tessera
