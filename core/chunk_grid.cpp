#include "tessera/chunk_grid.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "core/array_limits.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera {

std::string to_string(const Shape& shape) {
  std::string out = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    out += (i ? ", " : "") + std::to_string(shape[i]);
  }
  if (shape.size() == 1) out += ",";
  return out + ")";
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  bool overflow = false;
  bool empty = false;
  for (std::int64_t extent : shape) {
    if (extent < 0) {
      throw InvalidArgument(core::text("[shape] extents are not negative; got ", to_string(shape)));
    }
    if (extent == 0) empty = true;
    overflow = __builtin_mul_overflow(count, extent, &count) || overflow;
  }
  if (empty) return 0;
  if (overflow) {
    throw InvalidArgument(
        core::text("[shape] the number of elements must fit 63 bits; got ", to_string(shape)));
  }
  return count;
}

namespace core {

std::int64_t array_bytes(std::string_view where, const Shape& shape, DType dtype,
                         std::size_t element_bytes) {
  auto bytes = static_cast<std::int64_t>(element_bytes);
  bool overflow = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) {
      throw InvalidArgument(text("[", where, "] extents are not negative; got ", to_string(shape)));
    }
    overflow = __builtin_mul_overflow(bytes, std::max<std::int64_t>(1, extent), &bytes) || overflow;
  }
  if (overflow) {
    throw InvalidArgument(text("[", where, "] the bytes of an array must fit 63 bits; got shape ",
                               to_string(shape), " of ", dtype));
  }
  return bytes;
}

std::int64_t checked_extent(std::string_view where, std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw InvalidArgument(
        text("[", where, "] an extent must fit 63 bits; got ", a, " and ", b, " more"));
  }
  return sum;
}

}  // namespace core

Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view where) {
  Shape out(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t ea = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t eb = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (ea != eb && ea != 1 && eb != 1) {
      throw InvalidArgument(core::text("[", where, "] shapes must broadcast; got ", to_string(a),
                                       " and ", to_string(b), "; try reshape or expand_dims"));
    }
    out[out.size() - 1 - i] = ea == 1 ? eb : ea;
  }
  return out;
}

AxisChunks AxisChunks::regular(std::int64_t extent, std::int64_t chunk) {
  if (extent < 0 || chunk < 1) {
    throw InvalidArgument(
        core::text("[chunks] an axis needs extent >= 0 and chunk >= 1; got extent ", extent,
                   " and chunk ", chunk));
  }
  AxisChunks axis;
  axis.extent_ = extent;
  axis.chunk_ = std::max<std::int64_t>(1, std::min(chunk, extent));
  axis.count_ = extent == 0 ? 1 : (extent - 1) / axis.chunk_ + 1;
  return axis;
}

AxisChunks AxisChunks::of(std::vector<std::int64_t> extents) {
  if (extents.empty()) {
    throw InvalidArgument("[chunks] an axis needs at least one chunk; got none");
  }
  std::int64_t total = 0;
  for (std::int64_t e : extents) {
    if (e < 0 || (e == 0 && extents.size() > 1) || __builtin_add_overflow(total, e, &total)) {
      throw InvalidArgument(
          core::text("[chunks] chunk extents must be positive and fit 63 bits; got ",
                     to_string(Shape(extents.begin(), extents.end()))));
    }
  }
  bool equal = true;
  for (std::size_t i = 0; i + 1 < extents.size(); ++i) equal = equal && extents[i] == extents[0];
  if (equal && extents.back() <= extents[0])
    return regular(total, std::max<std::int64_t>(extents[0], 1));
  AxisChunks axis;
  axis.extent_ = total;
  axis.count_ = static_cast<std::int64_t>(extents.size());
  axis.bounds_.reserve(extents.size() + 1);
  std::int64_t offset = 0;
  axis.bounds_.push_back(0);
  for (std::int64_t e : extents) axis.bounds_.push_back(offset += e);
  return axis;
}

std::int64_t AxisChunks::chunk_of(std::int64_t position) const noexcept {
  if (bounds_.empty()) return position / chunk_;
  return std::upper_bound(bounds_.begin(), bounds_.end(), position) - bounds_.begin() - 1;
}

std::int64_t AxisChunks::max_size() const noexcept {
  if (bounds_.empty()) return std::min(chunk_, extent_);
  std::int64_t best = 0;
  for (std::int64_t i = 0; i < count_; ++i) best = std::max(best, size(i));
  return best;
}

std::vector<std::int64_t> AxisChunks::extents() const {
  if (count_ > core::kMaxListedChunks) {
    throw InvalidArgument(core::text("[chunks] an axis that is joined or cut has at most ",
                                     core::kMaxListedChunks, " chunks; got ", count_,
                                     "; try larger chunks"));
  }
  std::vector<std::int64_t> out(static_cast<std::size_t>(count_));
  for (std::int64_t i = 0; i < count_; ++i) out[static_cast<std::size_t>(i)] = size(i);
  return out;
}

bool AxisChunks::operator==(const AxisChunks& other) const noexcept {
  return extent_ == other.extent_ && count_ == other.count_ && bounds_ == other.bounds_ &&
         (count_ == 1 || !bounds_.empty() || chunk_ == other.chunk_);
}

ChunkGrid::ChunkGrid(std::vector<AxisChunks> axes) : axes_(std::move(axes)) {
  if (rank() > kMaxRank) {
    throw InvalidArgument(
        core::text("[chunks] an array has at most ", kMaxRank, " axes; got ", rank()));
  }
  for (const AxisChunks& axis : axes_) {
    if (__builtin_mul_overflow(block_count_, axis.count(), &block_count_)) {
      throw InvalidArgument("[chunks] the number of blocks must fit 63 bits; try larger chunks");
    }
  }
}

ChunkGrid ChunkGrid::whole(const Shape& shape) {
  std::vector<AxisChunks> axes;
  for (std::int64_t extent : shape)
    axes.push_back(AxisChunks::regular(extent, std::max<std::int64_t>(extent, 1)));
  return ChunkGrid(std::move(axes));
}

Shape ChunkGrid::shape() const {
  Shape out;
  for (const AxisChunks& axis : axes_) out.push_back(axis.extent());
  return out;
}

BlockIndex ChunkGrid::counts() const {
  BlockIndex out;
  for (const AxisChunks& axis : axes_) out.push_back(axis.count());
  return out;
}

std::int64_t ChunkGrid::linear(const BlockIndex& index) const noexcept {
  std::int64_t out = 0;
  for (std::size_t i = 0; i < axes_.size(); ++i) out = out * axes_[i].count() + index[i];
  return out;
}

BlockIndex ChunkGrid::unlinear(std::int64_t linear) const {
  BlockIndex out(axes_.size());
  for (std::size_t i = axes_.size(); i-- > 0;) {
    out[i] = linear % axes_[i].count();
    linear /= axes_[i].count();
  }
  return out;
}

Shape ChunkGrid::block_shape(const BlockIndex& index) const {
  Shape out(axes_.size());
  for (std::size_t i = 0; i < axes_.size(); ++i) out[i] = axes_[i].size(index[i]);
  return out;
}

std::int64_t ChunkGrid::block_elements(std::int64_t linear) const noexcept {
  std::int64_t count = 1;
  for (std::size_t i = axes_.size(); i-- > 0;) {
    count *= axes_[i].size(linear % axes_[i].count());
    linear /= axes_[i].count();
  }
  return count;
}

std::int64_t ChunkGrid::max_block_elements() const noexcept {
  std::int64_t count = 1;
  for (const AxisChunks& axis : axes_) count *= axis.max_size();
  return count;
}

std::string ChunkGrid::to_string() const {
  std::string out = "(";
  for (std::size_t i = 0; i < axes_.size(); ++i) {
    const AxisChunks& axis = axes_[i];
    if (i) out += ", ";
    if (axis.count() == 1) {
      out += std::to_string(axis.extent());
    } else if (axis.is_regular()) {
      const std::int64_t last = axis.size(axis.count() - 1);
      const bool even = last == axis.size(0);
      out += std::to_string(axis.size(0)) + " x " +
             std::to_string(even ? axis.count() : axis.count() - 1);
      if (!even) out += " + " + std::to_string(last);
    } else {
      out += "[";
      for (std::int64_t k = 0; k < axis.count(); ++k) {
        if (k == 4 && axis.count() > 6) {
          out += ", .. " + std::to_string(axis.count()) + " chunks";
          break;
        }
        out += (k ? ", " : "") + std::to_string(axis.size(k));
      }
      out += "]";
    }
  }
  if (axes_.size() == 1) out += ",";
  return out + ")";
}

std::ostream& operator<<(std::ostream& out, const ChunkGrid& grid) {
  return out << grid.to_string();
}

namespace {

constexpr double kAutoBytes = 128.0 * 1024 * 1024;

// Cuts all axes alike until a block has at most `bytes`: the side of a hypercube, with axes that
// are shorter than the side left whole and their room given to the others.
ChunkGrid grid_for_bytes(const Shape& shape, DType dtype, double bytes) {
  const auto rank = shape.size();
  std::vector<std::int64_t> chunk(shape.begin(), shape.end());
  double room = std::max(1.0, bytes / static_cast<double>(itemsize(dtype)));
  std::vector<bool> settled(rank, false);
  for (;;) {
    double open_axes = 0.0;
    for (std::size_t i = 0; i < rank; ++i) open_axes += settled[i] ? 0.0 : 1.0;
    if (open_axes == 0.0) break;
    const double side = std::max(1.0, std::floor(std::pow(room, 1.0 / open_axes) * (1.0 + 1e-12)));
    bool changed = false;
    for (std::size_t i = 0; i < rank; ++i) {
      if (!settled[i] && static_cast<double>(shape[i]) <= side) {
        settled[i] = changed = true;
        room /= std::max(1.0, static_cast<double>(shape[i]));
      }
    }
    if (changed) continue;
    for (std::size_t i = 0; i < rank; ++i) {
      if (!settled[i]) chunk[i] = static_cast<std::int64_t>(side);
    }
    break;
  }
  std::vector<AxisChunks> axes;
  for (std::size_t i = 0; i < rank; ++i) {
    axes.push_back(AxisChunks::regular(shape[i], std::max<std::int64_t>(1, chunk[i])));
  }
  return ChunkGrid(std::move(axes));
}

ChunkGrid grid_for_extents(const Shape& shape, const std::vector<std::int64_t>& per_axis,
                           std::string_view where) {
  if (per_axis.size() != shape.size()) {
    throw InvalidArgument(core::text("[", where, "] chunks need one extent for each axis; got ",
                                     per_axis.size(), " for shape ", to_string(shape)));
  }
  std::vector<AxisChunks> axes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (per_axis[i] != -1 && per_axis[i] < 1) {
      throw InvalidArgument(core::text(
          "[", where, "] a chunk extent must be positive, or -1 for the whole axis; got ",
          per_axis[i], " for axis ", i));
    }
    axes.push_back(AxisChunks::regular(
        shape[i], per_axis[i] == -1 ? std::max<std::int64_t>(1, shape[i]) : per_axis[i]));
  }
  return ChunkGrid(std::move(axes));
}

ChunkGrid grid_for_lists(const Shape& shape, const std::vector<std::vector<std::int64_t>>& lists,
                         std::string_view where) {
  if (lists.size() != shape.size()) {
    throw InvalidArgument(core::text("[", where, "] chunks need one list for each axis; got ",
                                     lists.size(), " for shape ", to_string(shape)));
  }
  std::vector<AxisChunks> axes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    axes.push_back(AxisChunks::of(lists[i]));
    if (axes.back().extent() != shape[i]) {
      throw InvalidArgument(core::text("[", where, "] chunk extents must add up to the axis; got ",
                                       axes.back().extent(), " for axis ", i, " of ",
                                       to_string(shape)));
    }
  }
  return ChunkGrid(std::move(axes));
}

}  // namespace

ChunkGrid Chunks::resolve(const Shape& shape, DType dtype, std::string_view where) const {
  core::array_bytes(where, shape, dtype);
  if (const auto* text = std::get_if<std::string>(&spec_)) {
    const double bytes =
        *text == "auto" ? kAutoBytes : static_cast<double>(parse_bytes(*text, where));
    if (bytes == 0.0) {
      throw InvalidArgument(core::text("[", where, "] a chunk must have a size; got \"", *text,
                                       "\"; try \"128 MiB\" or \"auto\""));
    }
    return grid_for_bytes(shape, dtype, bytes);
  }
  if (const auto* per_axis = std::get_if<std::vector<std::int64_t>>(&spec_)) {
    return grid_for_extents(shape, *per_axis, where);
  }
  if (const auto* lists = std::get_if<std::vector<std::vector<std::int64_t>>>(&spec_)) {
    return grid_for_lists(shape, *lists, where);
  }
  const ChunkGrid& grid = std::get<ChunkGrid>(spec_);
  if (grid.shape() != shape) {
    throw InvalidArgument(core::text("[", where,
                                     "] the chunk grid must have the array's shape; got ",
                                     to_string(grid.shape()), " for ", to_string(shape)));
  }
  return grid;
}

bool Chunks::is_auto() const noexcept {
  const auto* text = std::get_if<std::string>(&spec_);
  return text != nullptr && *text == "auto";
}

}  // namespace tessera
