#include <algorithm>
#include <cstdlib>

#include "array/assemble.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::AxisRead;
using array::refuse;
using array::Stretch;

// One stretch that takes the whole of an axis to where it is.
std::vector<Stretch> whole(std::size_t axis, std::int64_t extent) {
  return {{0, extent, {static_cast<int>(axis), 0, 1}}};
}

void append(std::vector<std::int64_t>& sizes, const AxisChunks& chunks) {
  if (chunks.extent() == 0) return;
  for (const std::int64_t size : chunks.extents()) sizes.push_back(size);
}

AxisChunks chunks_of(std::vector<std::int64_t> sizes) {
  if (sizes.empty()) return AxisChunks::regular(0, 1);
  return AxisChunks::of(std::move(sizes));
}

void check_joined(const std::vector<Array>& arrays, int axis) {
  const Shape& first = arrays.front().shape();
  for (const Array& x : arrays) {
    bool fits = x.shape().size() == first.size();
    for (std::size_t i = 0; i < first.size() && fits; ++i) {
      fits = static_cast<int>(i) == axis || x.shape()[i] == first[i];
    }
    if (!fits) {
      refuse("concat", "shapes must agree except along axis ", axis, "; got ", to_string(first),
             " and ", to_string(x.shape()), "; try broadcast_to or pad");
    }
  }
}

// The grid of arrays one after the other: their chunks along the axis, the others refined.
ChunkGrid joined_grid(const std::vector<Array>& arrays, int axis) {
  std::vector<AxisChunks> axes = arrays.front().chunks().axes();
  std::vector<std::int64_t> sizes;
  for (const Array& x : arrays) {
    append(sizes, x.chunks().axis(axis));
    for (int i = 0; i < x.ndim(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (i != axis) axes[at] = array::refine(axes[at], x.chunks().axis(i));
    }
  }
  axes[static_cast<std::size_t>(axis)] = chunks_of(std::move(sizes));
  return ChunkGrid(std::move(axes));
}

// The arrays, of one rank and of shapes that agree except along the axis, one after the other.
Array join(const char* name, std::vector<Array> arrays, int axis,
           const std::source_location& where) {
  const auto at = static_cast<std::size_t>(axis);
  Shape shape = arrays.front().shape();
  for (std::size_t i = 1; i < arrays.size(); ++i) {
    shape[at] = core::checked_extent(name, shape[at], arrays[i].shape()[at]);
  }
  core::array_bytes(name, shape, arrays.front().dtype());
  ChunkGrid grid = joined_grid(arrays, axis);
  std::vector<array::Assemble::Part> parts;
  std::int64_t position = 0;
  for (const Array& x : arrays) {
    array::Assemble::Part part{array::identity_read(x.ndim()), Shape(x.shape().size(), 0),
                               x.shape()};
    part.read[at].offset = -position;
    part.lo[at] = position;
    part.hi[at] = position += x.shape()[at];
    parts.push_back(std::move(part));
  }
  const DType dtype = arrays.front().dtype();
  return array::make_assemble(name, std::move(parts), std::move(arrays), std::nullopt, dtype,
                              std::move(grid), where);
}

std::vector<Array> promoted(const char* name, const std::vector<Array>& arrays,
                            const std::source_location& where) {
  if (arrays.empty()) refuse(name, "there must be at least one array; got none");
  DType dtype = arrays.front().dtype();
  for (const Array& x : arrays) dtype = result_type(dtype, x.dtype());
  std::vector<Array> out;
  for (const Array& x : arrays) out.push_back(array::cast(x, dtype, where));
  return out;
}

// How pad() continues an axis: from output position `lo`, the run of positions that one AxisRead
// gives.
Stretch beyond(PadMode mode, std::size_t axis, std::int64_t lo, std::int64_t hi,
               std::int64_t before, std::int64_t extent) {
  const int own = static_cast<int>(axis);
  const std::int64_t t = lo - before;  // position on the axis of x
  if (mode == PadMode::kEdge || extent == 1) {
    return {lo, hi, {-1, t < 0 ? 0 : extent - 1, 1}};
  }
  const std::int64_t period = mode == PadMode::kWrap        ? extent
                              : mode == PadMode::kSymmetric ? 2 * extent
                                                            : 2 * (extent - 1);
  const std::int64_t inside = (t % period + period) % period;
  const std::int64_t turn = mode == PadMode::kReflect ? extent - 1 : extent;
  const bool forward = inside < turn;
  const std::int64_t index =
      forward ? inside : (mode == PadMode::kSymmetric ? period - 1 : period) - inside;
  const std::int64_t end = std::min(hi, lo + (forward ? turn : period) - inside);
  const std::int64_t step = forward ? 1 : -1;
  return {lo, end, {own, index - step * lo, step}};
}

std::vector<Stretch> padded_axis(PadMode mode, std::size_t axis, std::int64_t before,
                                 std::int64_t extent, std::int64_t after) {
  const AxisRead shifted{static_cast<int>(axis), -before, 1};
  std::vector<Stretch> out;
  const auto continue_over = [&](std::int64_t lo, std::int64_t hi) {
    if (mode == PadMode::kConstant) return;
    while (lo < hi) {
      out.push_back(beyond(mode, axis, lo, hi, before, extent));
      lo = out.back().hi;
    }
  };
  continue_over(0, before);
  out.push_back({before, before + extent, shifted});
  continue_over(before + extent, before + extent + after);
  return out;
}

// A margin narrower than a quarter of the outermost block joins it, so that no tiny blocks arise.
AxisChunks padded_chunks(const AxisChunks& axis, std::int64_t before, std::int64_t after) {
  std::vector<std::int64_t> sizes;
  append(sizes, axis);
  const std::int64_t chunk = std::max<std::int64_t>(1, axis.max_size());
  const auto margin = [&](std::int64_t width, bool front) {
    const auto place = [&] { return front ? sizes.begin() : sizes.end(); };
    if (width == 0) return;
    if (!sizes.empty()) {
      std::int64_t& outermost = front ? sizes.front() : sizes.back();
      if (width <= outermost / 4) {
        outermost += width;
        return;
      }
    }
    const std::vector<std::int64_t> cut = AxisChunks::regular(width, chunk).extents();
    sizes.insert(place(), cut.begin(), cut.end());
  };
  margin(before, true);
  margin(after, false);
  return chunks_of(std::move(sizes));
}

// Most parts that a result is put together from; each takes memory in the graph.
constexpr std::int64_t kMaxParts = std::int64_t{1} << 20;

void check_tiles(const Array& y, const std::vector<std::int64_t>& counts) {
  Shape shape = y.shape();
  const std::size_t given = shape.size() - counts.size();
  __int128 parts = 1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    std::int64_t& extent = shape[given + i];
    if (counts[i] < 0) {
      refuse("tile", "a count must not be negative; got ", array::list_text(counts));
    }
    if (__builtin_mul_overflow(extent, counts[i], &extent)) {
      refuse("tile", "the extent must fit 63 bits; got ", y.shape()[given + i], " times ",
             counts[i]);
    }
    if (parts <= kMaxParts) parts *= std::max<std::int64_t>(1, counts[i]);
  }
  core::array_bytes("tile", shape, y.dtype());
  if (parts > kMaxParts) {
    refuse("tile", "a result is put together from at most ", kMaxParts, " copies; got counts ",
           array::list_text(counts), "; try broadcast_to() and reshape()");
  }
}

// The extent of an axis with its margins.
std::int64_t padded_extent(PadMode mode, std::size_t axis, const Shape& shape, std::int64_t before,
                           std::int64_t after) {
  if (before < 0 || after < 0) {
    refuse("pad", "widths must not be negative; got (", before, ", ", after, ") for axis ", axis);
  }
  const std::int64_t extent = shape[axis];
  const std::int64_t margins = core::checked_extent("pad", before, after);
  if (extent == 0 && margins > 0 && mode != PadMode::kConstant) {
    refuse("pad", "an empty axis has nothing to continue; got axis ", axis, " of ",
           to_string(shape), "; try PadMode::kConstant");
  }
  const bool copies = mode != PadMode::kConstant && mode != PadMode::kEdge && extent > 1;
  if (copies && margins / extent > kMaxParts) {
    refuse("pad", "margins continue an axis at most ", kMaxParts, " times; got (", before, ", ",
           after, ") for axis ", axis, " of ", to_string(shape));
  }
  return core::checked_extent("pad", extent, margins);
}

}  // namespace

Array concat(const std::vector<Array>& arrays, std::optional<int> axis,
             std::source_location where) {
  std::vector<Array> inputs = promoted("concat", arrays, where);
  if (!axis) {
    for (Array& x : inputs) x = ravel(x, where);
  }
  const int at = array::normalize_axis(axis.value_or(0), inputs.front().ndim(), "concat");
  check_joined(inputs, at);
  if (inputs.size() == 1) return inputs.front();
  return join("concat", std::move(inputs), at, where);
}

Array concatenate(const std::vector<Array>& arrays, std::optional<int> axis,
                  std::source_location where) {
  return concat(arrays, axis, where);
}

Array stack(const std::vector<Array>& arrays, int axis, std::source_location where) {
  std::vector<Array> inputs = promoted("stack", arrays, where);
  for (const Array& x : inputs) {
    if (x.shape() != inputs.front().shape()) {
      refuse("stack", "shapes must be equal; got ", to_string(inputs.front().shape()), " and ",
             to_string(x.shape()), "; try broadcast_to or concat");
    }
  }
  const int at = array::normalize_axis(axis, inputs.front().ndim() + 1, "stack");
  for (Array& x : inputs) x = expand_dims(x, at, where);
  if (inputs.size() == 1) return inputs.front();
  return join("stack", std::move(inputs), at, where);
}

Array roll(const Array& x, std::int64_t shift, const Axes& axis, std::source_location where) {
  if (!axis.given()) {
    return reshape(roll(ravel(x, where), std::vector{shift}, 0, where), x.shape(), where);
  }
  return roll(x, std::vector<std::int64_t>(axis.values().size(), shift), axis, where);
}

Array roll(const Array& x, const std::vector<std::int64_t>& shifts, const Axes& axis,
           std::source_location where) {
  if (shifts.size() != axis.values().size()) {
    refuse("roll", "there must be one shift for each axis; got ", array::list_text(shifts),
           " for axes ", array::list_text(axis.values()));
  }
  std::vector<std::int64_t> total(x.shape().size(), 0);
  for (std::size_t i = 0; i < shifts.size(); ++i) {
    const int at = array::normalize_axis(axis.values()[i], x.ndim(), "roll");
    const std::int64_t extent = std::max<std::int64_t>(1, x.shape()[static_cast<std::size_t>(at)]);
    std::int64_t& sum = total[static_cast<std::size_t>(at)];
    sum = (sum + shifts[i] % extent + extent) % extent;
  }
  std::vector<std::vector<Stretch>> stretches;
  std::vector<AxisChunks> axes;
  bool moved = false;
  for (std::size_t i = 0; i < total.size(); ++i) {
    const std::int64_t extent = x.shape()[i];
    const std::int64_t shift = total[i];
    const AxisChunks& chunks = x.chunks().axis(static_cast<int>(i));
    if (shift == 0) {
      stretches.push_back(whole(i, extent));
      axes.push_back(chunks);
      continue;
    }
    moved = true;
    const int own = static_cast<int>(i);
    stretches.push_back({{0, shift, {own, extent - shift, 1}}, {shift, extent, {own, -shift, 1}}});
    const auto part = [&](std::int64_t offset, std::int64_t count) {
      return array::view_grid(ChunkGrid({chunks}), {{0, offset, 1}}, {count}, x.dtype()).axis(0);
    };
    std::vector<std::int64_t> sizes;
    append(sizes, part(extent - shift, shift));
    append(sizes, part(0, extent - shift));
    axes.push_back(chunks_of(std::move(sizes)));
  }
  if (!moved) return x;
  return array::assemble_stretches("roll", x, stretches, std::nullopt, ChunkGrid(std::move(axes)),
                                   where);
}

Array repeat(const Array& x, std::int64_t count, std::optional<int> axis,
             std::source_location where) {
  if (count < 0) refuse("repeat", "a count must not be negative; got ", count);
  if (!axis) return repeat(ravel(x, where), count, 0, where);
  const int at = array::normalize_axis(*axis, x.ndim(), "repeat");
  const auto i = static_cast<std::size_t>(at);
  Shape wide = x.shape();
  wide.insert(wide.begin() + at + 1, count);
  Shape out = x.shape();
  if (__builtin_mul_overflow(out[i], count, &out[i])) {
    refuse("repeat", "the extent must fit 63 bits; got ", x.shape()[i], " times ", count);
  }
  return reshape(broadcast_to(expand_dims(x, at + 1, where), wide, where), out, where);
}

Array repeat(const Array& x, const std::vector<std::int64_t>& counts, std::optional<int> axis,
             std::source_location where) {
  if (!axis) return repeat(ravel(x, where), counts, 0, where);
  const int at = array::normalize_axis(*axis, x.ndim(), "repeat");
  const std::int64_t extent = x.shape()[static_cast<std::size_t>(at)];
  if (static_cast<std::int64_t>(counts.size()) != extent) {
    refuse("repeat", "there must be one count for each element of the axis; got ", counts.size(),
           " for axis ", at, " of ", to_string(x.shape()));
  }
  std::vector<std::int64_t> positions;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0) refuse("repeat", "a count must not be negative; got ", counts[i]);
    positions.insert(positions.end(), static_cast<std::size_t>(counts[i]),
                     static_cast<std::int64_t>(i));
  }
  return take(x, positions, at, where);
}

Array tile(const Array& x, const std::vector<std::int64_t>& counts, std::source_location where) {
  const std::size_t rank = std::max(counts.size(), x.shape().size());
  std::vector<int> added;
  for (std::size_t i = x.shape().size(); i < rank; ++i) {
    added.push_back(static_cast<int>(added.size()));
  }
  const Array y = expand_dims(x, added, where);
  check_tiles(y, counts);
  std::vector<std::vector<Stretch>> stretches(rank);
  std::vector<AxisChunks> axes;
  bool copied = false;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::size_t given = rank - counts.size();
    const std::int64_t count = i < given ? 1 : counts[i - given];
    copied = copied || count != 1;
    const std::int64_t extent = y.shape()[i];
    std::vector<std::int64_t> sizes;
    for (std::int64_t c = 0; c < count; ++c) {
      stretches[i].push_back({c * extent, (c + 1) * extent, {static_cast<int>(i), -c * extent, 1}});
      append(sizes, y.chunks().axis(static_cast<int>(i)));
    }
    axes.push_back(chunks_of(std::move(sizes)));
  }
  if (!copied) return y;
  return array::assemble_stretches("tile", y, stretches, std::nullopt, ChunkGrid(std::move(axes)),
                                   where);
}

Array pad(const Array& x, const PadWidths& widths, const PadOptions& options,
          std::source_location where) {
  if (widths.size() != 1 && widths.size() != x.shape().size()) {
    refuse("pad", "there must be one pair of widths, or one for each axis; got ", widths.size(),
           " for shape ", to_string(x.shape()));
  }
  Shape shape;
  for (std::size_t i = 0; i < x.shape().size(); ++i) {
    const auto [before, after] = widths[widths.size() == 1 ? 0 : i];
    shape.push_back(padded_extent(options.mode, i, x.shape(), before, after));
  }
  core::array_bytes("pad", shape, x.dtype());
  std::vector<std::vector<Stretch>> stretches;
  std::vector<AxisChunks> axes;
  bool wider = false;
  for (std::size_t i = 0; i < x.shape().size(); ++i) {
    const auto [before, after] = widths[widths.size() == 1 ? 0 : i];
    const std::int64_t extent = x.shape()[i];
    wider = wider || before + after > 0;
    stretches.push_back(padded_axis(options.mode, i, before, extent, after));
    axes.push_back(padded_chunks(x.chunks().axis(static_cast<int>(i)), before, after));
  }
  if (options.mode == PadMode::kConstant) array::check_fits("pad", options.value, x.dtype());
  if (!wider) return x;
  const std::optional<Scalar> fill =
      options.mode == PadMode::kConstant ? std::optional(options.value) : std::nullopt;
  return array::assemble_stretches("pad", x, stretches, fill, ChunkGrid(std::move(axes)), where);
}

}  // namespace tessera
