#include "tessera/counted.hpp"

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/session.hpp"

namespace tessera {
namespace {

using array::refuse;

void check_mask(const char* name, const Array& mask, const Shape& shape) {
  if (mask.dtype() != DType::kBool) {
    refuse(name, "the mask must be bool; got ", mask.dtype(), "; try mask != 0");
  }
  if (mask.shape() != shape) {
    refuse(name, "the mask must have one element for each of the array's; got ",
           to_string(mask.shape()), " for ", to_string(shape));
  }
}

/// A mask in the session, and how many elements of each of its blocks are true.
struct CountedMask {
  Array mask;
  std::vector<std::int64_t> counts;
};

CountedMask count_mask(const Array& mask, const std::source_location& where) {
  const Array counted = array::make_block_array(
      "count_true", std::make_shared<array::CountTrueAttributes>(), {mask}, {array::same_blocks(1)},
      DType::kInt64, ChunkGrid({AxisChunks::regular(mask.chunks().axis(0).count(), 1)}), where);
  const std::vector<Array> kept = persist({mask, counted});
  const HostArray counts = kept[1].compute();
  const auto values = counts.span<std::int64_t>();
  return {kept[0], {values.begin(), values.end()}};
}

// Along `axis`, where the mask, cut as x is, is true.
Array compress_counted(const char* name, const CountedMask& counted, const Array& x, int axis,
                       const std::source_location& where) {
  const auto i = static_cast<std::size_t>(axis);
  std::vector<std::int64_t> extents;
  std::vector<std::vector<std::int32_t>> blocks;
  for (std::size_t b = 0; b < counted.counts.size(); ++b) {
    if (counted.counts[b] == 0) continue;
    extents.push_back(counted.counts[b]);
    blocks.push_back({static_cast<std::int32_t>(b)});
  }
  std::vector<AxisChunks> axes = x.chunks().axes();
  axes[i] = extents.empty() ? AxisChunks::regular(0, 1) : AxisChunks::of(std::move(extents));
  const ChunkGrid grid(std::move(axes));
  if (blocks.empty()) {
    return array::make_array(name, array::Constant{Scalar(0)}, {}, x.dtype(), grid, where);
  }
  auto attributes = std::make_shared<array::CompressAttributes>();
  attributes->axis = axis;
  array::BlockAxis chosen;
  chosen.kind = array::BlockAxis::Kind::kTable;
  chosen.task_axis = axis;
  chosen.lists = std::move(blocks);
  std::vector<array::BlockAxis> reads = array::same_blocks(x.ndim());
  reads[i] = chosen;
  return array::make_block_array(name, std::move(attributes), {x, counted.mask},
                                 {std::move(reads), {std::move(chosen)}}, x.dtype(), grid, where);
}

}  // namespace

Array compress(const Array& mask, const Array& x, int axis, std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "compress");
  check_mask("compress", mask, {x.shape()[static_cast<std::size_t>(at)]});
  const Array cut = array::rechunk_to(mask, ChunkGrid({x.chunks().axis(at)}), where);
  return compress_counted("compress", count_mask(cut, where), x, at, where);
}

Array masked_select(const Array& x, const Array& mask, std::source_location where) {
  check_mask("masked_select", mask, x.shape());
  const Array flat = ravel(x, where);
  const Array cut = array::rechunk_to(ravel(mask, where), flat.chunks(), where);
  return compress_counted("masked_select", count_mask(cut, where), flat, 0, where);
}

std::vector<Array> nonzero(const Array& x, std::source_location where) {
  if (x.ndim() == 0) {
    refuse("nonzero", "the array must have at least 1 axis; got a 0-d array; try ravel()");
  }
  const Array mask = ravel(array::cast(x, DType::kBool, where), where);
  const Array places = arange(mask.size(), {.chunks = Chunks(mask.chunks())}, where);
  const Array flat = compress_counted("nonzero", count_mask(mask, where), places, 0, where);
  if (x.ndim() == 1) return {flat};
  std::vector<Array> out;
  std::int64_t stride = x.size();
  for (const std::int64_t extent : x.shape()) {
    stride = extent == 0 ? 0 : stride / extent;
    const Array above = floor_divide(Operand(flat, where), Operand(stride, where));
    out.push_back(remainder(Operand(above, where), Operand(extent, where)));
  }
  return out;
}

Array take(const Array& x, const Array& indices, int axis, std::source_location where) {
  if (indices.ndim() != 1 || !is_integer(indices.dtype())) {
    refuse("take", "indices must be integers along 1 axis; got shape ", to_string(indices.shape()),
           ", dtype ", indices.dtype(), "; try ravel() or take_along_axis()");
  }
  const HostArray positions = array::cast(indices, DType::kInt64, where).compute();
  const auto values = positions.span<std::int64_t>();
  return take(x, std::vector<std::int64_t>(values.begin(), values.end()), axis, where);
}

}  // namespace tessera
