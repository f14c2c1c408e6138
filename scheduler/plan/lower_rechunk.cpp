#include <algorithm>
#include <cmath>

#include "array/node.hpp"
#include "scheduler/plan/lowering.hpp"

// Cutting an array anew. A new block is one task that reads the old blocks it takes something of,
// whole. That is the least work where these are few, or stay at hand until all that share them are
// done. From whole columns to whole rows each new block would read the entire array; there every
// old block is cut into pieces as soon as it is made, and new blocks are put together from pieces:
// all is written and read once more, and only what is needed moves.

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// What stays at hand may take this much of the memory: the rest is for what is made of it.
constexpr double kMostAtHand = 0.8;
// Smaller pieces are not worth a message each.
constexpr double kLeastPieceBytes = 16 << 10;
// Old blocks that are looked at to see how far their readers lie apart.
constexpr std::int64_t kSamples = 1024;

// One axis of the new blocks: which old ones along an axis of the source each of them reads.
struct Axis {
  const AxisChunks* old = nullptr;
  AxisMap reads;
  std::int64_t pieces = 1;
  // Whether an old block is read by several new ones.
  bool shares() const { return pieces > reads.to_count(); }
};

// Elements along an axis of the old blocks from the one that coordinate `first` reads first to the
// one that `last` reads last, or the other way round where the axis is read backwards.
std::int64_t elements_read(const Axis& axis, std::int64_t first, std::int64_t last) {
  const CoordSet a = axis.reads.of(first);
  const CoordSet b = axis.reads.of(last);
  if (a.count == 0 || b.count == 0) return 0;
  const std::int64_t lo = std::min(a[0], b[0]);
  const std::int64_t hi = std::max(a[a.count - 1], b[b.count - 1]);
  return axis.old->end(hi) - axis.old->begin(lo);
}

struct Reads {
  double of_one_task = 0.0;  ///< bytes of old blocks, at most
  /// The same by tasks in C order, until the last one that shares a block with the first is
  /// reached: what must stay at hand for nothing to be read twice.
  double between_uses = 0.0;
};

Reads bytes_read(const std::vector<Axis>& axes, double item_bytes) {
  Reads out;
  double outer = item_bytes;  // of what one coordinate along each axis up to here reads
  for (std::size_t d = 0; d < axes.size(); ++d) {
    std::int64_t span = 0;
    for (std::int64_t c = 0; c < axes[d].reads.from_count(); ++c)
      span = std::max(span, elements_read(axes[d], c, c));
    outer *= static_cast<double>(span);
    double bytes = outer;
    for (std::size_t k = d + 1; k < axes.size(); ++k)
      bytes *= static_cast<double>(elements_read(axes[k], 0, axes[k].reads.from_count() - 1));
    if (axes[d].shares()) out.between_uses = std::max(out.between_uses, bytes);
  }
  out.of_one_task = outer;
  return out;
}

// Devices that read an old block, on average, when each makes one run of the new ones.
double devices_per_block(const std::vector<Axis>& axes, std::int64_t devices) {
  std::vector<AxisMap> readers;
  double total = 1.0;
  std::int64_t blocks = 1;
  for (const Axis& axis : axes) {
    readers.push_back(axis.reads.reversed(nullptr));
    total *= static_cast<double>(axis.reads.from_count());
    blocks *= axis.reads.to_count();
  }
  const std::int64_t step = std::max<std::int64_t>(1, blocks / kSamples);
  double sum = 0.0;
  double seen = 0.0;
  for (std::int64_t block = 0; block < blocks; block += step, seen += 1.0) {
    std::int64_t rest = block;
    double first = 0.0;
    double last = 0.0;
    double count = 1.0;
    double stride = 1.0;
    for (std::size_t d = axes.size(); d-- > 0;) {
      const CoordSet set = readers[d].of(rest % readers[d].from_count());
      rest /= readers[d].from_count();
      count *= static_cast<double>(set.count);
      if (set.count == 0) break;
      first += stride * static_cast<double>(set[0]);
      last += stride * static_cast<double>(set[set.count - 1]);
      stride *= static_cast<double>(readers[d].to_count());
    }
    const auto device_of = [&](double number) {
      return std::floor(number * static_cast<double>(devices) / total);
    };
    sum += std::min(count, device_of(last) - device_of(first) + 1.0);
  }
  return sum / std::max(seen, 1.0);
}

}  // namespace

StoredValue Lowering::in_pieces(const array::Node& node, const StoredValue& value,
                                const array::AffineRead& read, const ChunkGrid& grid) {
  if (element_count(grid.shape()) == 0 || array::repeats_axis(read)) return value;
  std::vector<AxisChunks> cut = grid.axes();
  std::vector<Axis> axes(cut.size());
  for (std::size_t d = 0; d < read.size(); ++d) {
    if (read[d].axis < 0) return value;
    const std::size_t to = at(read[d].axis);
    const AxisChunks& old = value.grid.axis(static_cast<int>(d));
    cut[to] = axis_within_blocks(old, read[d], grid.axis(read[d].axis));
    axes[to] = {&old, blocks_read(old, read[d], grid.axis(read[d].axis), 0, cut[to].extent()),
                cut[to].count()};
  }
  for (const Axis& axis : axes) {
    if (axis.old == nullptr) return value;
  }
  const ChunkGrid pieces(std::move(cut));
  const auto bytes = static_cast<double>(itemsize(value.dtype));
  const double total = bytes * static_cast<double>(element_count(grid.shape()));
  const Reads reads = bytes_read(axes, bytes);
  const bool read_again = reads.between_uses > kMostAtHand * options_.memory_bytes;
  const bool too_large =
      reads.of_one_task > kMostAtHand * static_cast<double>(options_.budget_bytes);
  const bool travels = options_.devices > 1 &&
                       total / static_cast<double>(pieces.block_count()) >= kLeastPieceBytes &&
                       devices_per_block(axes, options_.devices) >= 2.0;
  if (!read_again && !too_large && !travels) return value;
  auto spec = std::make_shared<kernels::AssembleSpec>();
  spec->grid = pieces;
  spec->dtype = value.dtype;
  spec->parts.push_back(
      {{read, value.grid, value.dtype}, Shape(grid.shape().size(), 0), grid.shape()});
  PlanNode task = new_node(node, pieces == grid ? node.name : node.name + " pieces", pieces);
  task.inputs.push_back(make_input(value, read, pieces));
  task.spec = std::move(spec);
  task.follows_input = true;
  const SlotIndex slot =
      append_with_output(std::move(task), kernels::BlockSize(pieces, value.dtype));
  return {slot, pieces, value.dtype, -1};
}

}  // namespace tessera::scheduler
