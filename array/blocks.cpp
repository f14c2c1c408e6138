#include "tessera/blocks.hpp"

#include <algorithm>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"

namespace tessera {
namespace {

using array::refuse;

// x cut as `grid` is along the axes that it has, and how a task reads it.
struct Aligned {
  Array array;
  std::vector<array::BlockAxis> reads;
};
Aligned align(const Array& x, const ChunkGrid& grid, const std::source_location& where) {
  std::vector<AxisChunks> axes;
  std::vector<array::BlockAxis> reads;
  const int skipped = grid.rank() - x.ndim();
  for (int i = 0; i < x.ndim(); ++i) {
    const bool whole = x.chunks().axis(i).extent() != grid.axis(i + skipped).extent();
    axes.push_back(whole ? AxisChunks::regular(1, 1) : grid.axis(i + skipped));
    if (whole)
      reads.push_back({array::BlockAxis::Kind::kAll, -1, {}});
    else
      reads.push_back({array::BlockAxis::Kind::kSame, i + skipped, {}});
  }
  return {array::rechunk_to(x, ChunkGrid(std::move(axes)), where), std::move(reads)};
}

// For each block along an axis, the blocks that hold the elements within `depth` of it.
std::vector<std::vector<std::int32_t>> neighbours(const AxisChunks& axis, std::int64_t depth,
                                                  Boundary boundary) {
  std::vector<std::vector<std::int32_t>> lists;
  for (std::int64_t c = 0; c < axis.count(); ++c) {
    std::vector<std::int32_t> list;
    const auto add_range = [&](std::int64_t lo, std::int64_t hi) {
      for (std::int64_t p = lo; p < hi;) {
        const std::int64_t chunk = axis.chunk_of(p);
        list.push_back(static_cast<std::int32_t>(chunk));
        p = axis.end(chunk);
      }
    };
    const std::int64_t lo = axis.begin(c) - depth;
    const std::int64_t hi = axis.end(c) + depth;
    add_range(std::max<std::int64_t>(lo, 0), std::min(hi, axis.extent()));
    const auto add_beyond = [&](std::int64_t first, std::int64_t last) {
      if (boundary == Boundary::kNone || boundary == Boundary::kConstant) return;
      const auto place = [&](std::int64_t p) {
        return array::boundary_position(boundary, p, axis.extent());
      };
      // After two extents every boundary repeats itself.
      last = std::min(last, first + 2 * axis.extent());
      for (std::int64_t p = first; p < last;) {
        const std::int64_t from = place(p);
        const std::int64_t chunk = axis.chunk_of(from);
        list.push_back(static_cast<std::int32_t>(chunk));
        const bool backward = place(p + 1) == from - 1;
        p += backward ? from - axis.begin(chunk) + 1 : axis.end(chunk) - from;
      }
    };
    if (axis.extent() > 0) {
      add_beyond(lo, std::min<std::int64_t>(hi, 0));
      add_beyond(std::max(lo, axis.extent()), hi);
    }
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    lists.push_back(std::move(list));
  }
  return lists;
}

// One value for each axis from a list that has one for each or one for all.
template <typename T>
std::vector<T> per_axis(const std::vector<T>& given, const Array& x, const char* what) {
  if (given.size() == 1) return std::vector<T>(x.shape().size(), given.front());
  if (given.size() != x.shape().size()) {
    refuse("map_overlap", "there must be one ", what, " for all axes, or one for each; got ",
           given.size(), " for shape ", to_string(x.shape()));
  }
  return given;
}

constexpr std::int64_t kMaxDepth = std::int64_t{1} << 48;

// Depths as the tasks take them, whose pieces have a size that can be counted.
std::vector<std::int64_t> checked_depths(const std::vector<std::int64_t>& given,
                                         const std::vector<Boundary>& boundaries, const Array& x) {
  std::vector<std::int64_t> depths = per_axis(given, x, "depth");
  Shape piece;
  for (std::size_t i = 0; i < depths.size(); ++i) {
    if (depths[i] < 0) {
      refuse("map_overlap", "a depth must not be negative; got ", array::list_text(given));
    }
    // Pieces end with the axis where nothing continues it.
    if (boundaries[i] == Boundary::kNone) depths[i] = std::min(depths[i], x.shape()[i]);
    if (depths[i] > kMaxDepth) {
      refuse("map_overlap", "a depth must be at most ", kMaxDepth, "; got ",
             array::list_text(given));
    }
    piece.push_back(x.chunks().axis(static_cast<int>(i)).max_size() + 2 * depths[i]);
  }
  core::array_bytes("map_overlap", piece, x.dtype());
  return depths;
}

}  // namespace

Array map_blocks(BlockFunction function, const std::vector<Array>& inputs,
                 const MapBlocksOptions& options, std::source_location where) {
  if (!function) refuse("map_blocks", "the function must be callable; got an empty one");
  if (inputs.empty() && (!options.shape || !options.dtype)) {
    refuse("map_blocks", "without inputs the result's shape and dtype must be given; got ",
           options.shape ? "no dtype" : "no shape");
  }
  const DType dtype = options.dtype ? *options.dtype : inputs.front().dtype();
  Shape broadcast;
  for (const Array& x : inputs) broadcast = broadcast_shapes(broadcast, x.shape(), "map_blocks");
  const Shape shape = options.shape.value_or(broadcast);
  const ChunkGrid tasks = array::common_grid(inputs, broadcast);
  ChunkGrid grid = tasks;
  if (options.chunks || inputs.empty() || shape != broadcast) {
    grid = options.chunks.value_or(Chunks()).resolve(shape, dtype, "map_blocks");
  }
  if (!inputs.empty() && grid.counts() != tasks.counts()) {
    refuse("map_blocks", "the result must have as many blocks along every axis as the inputs; got ",
           grid.to_string(), " for ", tasks.to_string(), "; try {.chunks = ...}");
  }
  auto attributes = std::make_shared<array::MapBlocksAttributes>();
  attributes->function = std::move(function);
  attributes->name = options.name;
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.pure = options.pure;
  std::vector<Array> sources;
  for (const Array& x : inputs) {
    Aligned aligned = align(x, tasks, where);
    sources.push_back(std::move(aligned.array));
    op.reads.push_back(std::move(aligned.reads));
  }
  std::vector<array::Output> outputs{{dtype, grid, grid.shape(), std::nullopt}};
  return Array(array::make_block_node(options.name, std::move(op), std::move(sources),
                                      std::move(outputs), where),
               0);
}

Array map_overlap(const Array& x, OverlapFunction function, const MapOverlapOptions& options,
                  std::source_location where) {
  if (!function) refuse("map_overlap", "the function must be callable; got an empty one");
  auto attributes = std::make_shared<array::OverlapAttributes>();
  attributes->boundary = per_axis(options.boundary, x, "boundary");
  attributes->depth = checked_depths(options.depth, attributes->boundary, x);
  array::check_fits("map_overlap", options.value, x.dtype());
  attributes->value = options.value;
  attributes->name = options.name;
  attributes->function = std::move(function);
  std::vector<array::BlockAxis> reads = array::same_blocks(x.ndim());
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const std::int64_t depth = attributes->depth[i];
    if (depth == 0) continue;
    reads[i].kind = array::BlockAxis::Kind::kTable;
    reads[i].lists =
        neighbours(x.chunks().axis(static_cast<int>(i)), depth, attributes->boundary[i]);
  }
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.reads = {std::move(reads)};
  op.pure = options.pure;
  std::vector<array::Output> outputs{
      {options.dtype.value_or(x.dtype()), x.chunks(), x.shape(), std::nullopt}};
  return Array(array::make_block_node(options.name, std::move(op), {x}, std::move(outputs), where),
               0);
}

}  // namespace tessera
