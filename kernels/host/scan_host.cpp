#include "kernels/host/scan_host.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/loop_nest.hpp"
#include "kernels/host/loops.hpp"
#include "kernels/host/scan_tiles.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

using core::ReduceOp;

constexpr std::int64_t kTileLanes = 2048;  // running values of 16 KiB stay in L1
constexpr std::int64_t kPackedLanes = 64;
constexpr std::int64_t kPackedElements = 4096;
constexpr std::int64_t kFewLanes = 8;
constexpr std::size_t kPackedBytes = kPackedElements * 16 + kLanePadBytes;
static_assert(kPackedElements % (kSegments * kSegmentLength) == 0);

ScanOp scan_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return ScanOp::kSum;
    case ReduceOp::kProd:
      return ScanOp::kProd;
    case ReduceOp::kNanSum:
      return ScanOp::kNanSum;
    case ReduceOp::kNanProd:
      return ScanOp::kNanProd;
    default:
      throw InvalidArgument(core::text("[scan] the operation must be a sum or a product; got ",
                                       core::name(op), "; try a reduction"));
  }
}

bool is_product(ScanOp op) { return op == ScanOp::kProd || op == ScanOp::kNanProd; }

// The product of a segment alone may overflow or vanish where the running one does not.
bool is_inexact(DType dtype) { return is_floating(dtype) || is_complex(dtype); }

void check_operands(const ConstBlockView& in, int axis, const BlockView& out) {
  const auto shape_text = [](std::span<const std::int64_t> shape) {
    return to_string(Shape(shape.begin(), shape.end()));
  };
  if (axis < 0 || axis >= static_cast<int>(in.shape.size())) {
    throw InvalidArgument(core::text("[scan] the axis must exist; got axis ", axis, " of shape ",
                                     shape_text(in.shape), "; try one in [0, rank)"));
  }
  if (!std::ranges::equal(in.shape, out.shape)) {
    throw InvalidArgument(core::text("[scan] both shapes must be equal; got ", shape_text(in.shape),
                                     " and ", shape_text(out.shape),
                                     "; try an output of the input's shape"));
  }
  if (out.dtype == DType::kBool) {
    throw InvalidArgument(
        "[scan] the output must be a number; got dtype bool; try int64, as NumPy does");
  }
}

/// One scan call: all that stays the same from run to run, and tiles that fit L1.
class Scan {
 public:
  Scan(ScanOp op, const ConstBlockView& in, int axis, const BlockView& out,
       const ScanOptions& options)
      : op_(op),
        in_(in),
        out_(out),
        options_(options),
        wide_(scan_accumulator_dtype(out.dtype)),
        length_(in.shape[static_cast<std::size_t>(axis)]),
        in_step_(in.strides[static_cast<std::size_t>(axis)]) {
    std::array<std::array<std::int64_t, 3>, kMaxRank> strides;
    std::int64_t out_stride = 1;
    for (std::size_t i = in.shape.size(); i-- > 0;) {
      if (static_cast<int>(i) == axis) {
        out_step_ = out_stride;
      } else {
        strides[i] = {in.strides[i], out_stride, lane_count_};
        lane_count_ *= in.shape[i];
      }
      out_stride *= in.shape[i];
    }
    for (std::size_t i = 0; i < in.shape.size(); ++i) {
      if (static_cast<int>(i) != axis) lanes_.add_axis(in.shape[i], strides[i]);
    }
    lanes_.merge();
    const int last = lanes_.rank() - 1;
    if (last >= 0) {
      run_lanes_ = lanes_.extent(last);
      in_lane_ = lanes_.stride(0, last);
      out_lane_ = lanes_.stride(1, last);
    }
    // Depends on the shape alone, never on the input's strides: a view that was stored in between
    // gives the bits that it gave before.
    const bool segments = lane_count_ < kFewLanes && !(is_product(op) && is_inexact(wide_));
    layout_ = out_step_ != 1 ? ScanLayout::kRows
              : segments     ? ScanLayout::kSegments
                             : ScanLayout::kLanes;
    const bool strided = layout_ == ScanLayout::kRows ? in_lane_ != 1 && run_lanes_ > 1
                                                      : in_step_ != 1 && length_ > 1;
    packed_ = in.dtype != out.dtype || strided;
    tile_lanes_ = layout_ == ScanLayout::kSegments ? 1 : (packed_ ? kPackedLanes : kTileLanes);
  }

  void run() {
    if (lane_count_ == 0) return;
    lanes_.for_each(1, [&](const std::array<std::int64_t, 3>& at) {
      for (std::int64_t lane = 0; lane < run_lanes_; lane += tile_lanes_) {
        scan_some(at[0] + lane * in_lane_, at[1] + lane * out_lane_, at[2] + lane,
                  std::min(tile_lanes_, run_lanes_ - lane));
      }
    });
  }

 private:
  void scan_some(std::int64_t in_at, std::int64_t out_at, std::int64_t lane, std::int64_t lanes) {
    const std::size_t wide_bytes = itemsize(wide_);
    const std::size_t state_bytes = static_cast<std::size_t>(lanes) * wide_bytes;
    const std::size_t state_at = static_cast<std::size_t>(lane) * wide_bytes;
    if (options_.carry_in != nullptr) {
      std::memcpy(state_, options_.carry_in + state_at, state_bytes);
    } else {
      const std::array<std::int64_t, 1> shape{lanes};
      const std::array<std::int64_t, 1> strides{1};
      fill_region({state_, wide_, shape, strides}, is_product(op_) ? 1 : 0);
    }
    // A whole number of pieces, so that packing does not move the bounds of segments.
    const std::int64_t tile_length = packed_                ? kPackedElements / tile_lanes_
                                     : out_.data == nullptr ? kPackedElements
                                                            : length_;
    const bool rows = layout_ == ScanLayout::kRows;
    for (std::int64_t i = 0; i < length_; i += tile_length) {
      ScanTile tile{};
      tile.in = in_.data + (in_at + i * in_step_) * static_cast<std::int64_t>(itemsize(in_.dtype));
      tile.out =
          out_.data + (out_at + i * out_step_) * static_cast<std::int64_t>(itemsize(out_.dtype));
      tile.state = state_;
      tile.lanes = lanes;
      tile.length = std::min(tile_length, length_ - i);
      tile.in_stride = rows ? in_step_ : in_lane_;
      tile.out_stride = rows ? out_step_ : out_lane_;
      tile.exclusive = options_.exclusive;
      if (out_.data == nullptr) {
        // Results that nobody wants fall on one row.
        tile.out = discard_tile_;
        tile.out_stride = 0;
      }
      if (packed_) pack(tile);
      scan_one_tile(op_, out_.dtype, layout_, tile);
    }
    if (options_.carry_out != nullptr) {
      std::memcpy(options_.carry_out + state_at, state_, state_bytes);
    }
  }

  /// Replaces the tile's input by a dense one of the output's dtype, in the order that it is read.
  void pack(ScanTile& tile) {
    const bool rows = layout_ == ScanLayout::kRows;
    const std::array<std::int64_t, 2> shape{rows ? tile.length : tile.lanes,
                                            rows ? tile.lanes : tile.length};
    const std::array<std::int64_t, 2> from{rows ? in_step_ : in_lane_, rows ? in_lane_ : in_step_};
    const std::array<std::int64_t, 2> to{shape[1], 1};
    copy_region({packed_tile_, in_.dtype, shape, to}, {tile.in, in_.dtype, shape, from});
    tile.in = packed_tile_;
    tile.in_stride = shape[1];
    if (in_.dtype == out_.dtype) return;
    const void* args[] = {packed_tile_};
    find_cast(in_.dtype, out_.dtype)(args, cast_tile_, shape[0] * shape[1]);
    tile.in = cast_tile_;
  }

  ScanOp op_;
  ConstBlockView in_;
  BlockView out_;
  ScanOptions options_;
  DType wide_;
  std::int64_t length_;
  std::int64_t in_step_;
  std::int64_t out_step_ = 1;
  std::int64_t lane_count_ = 1;
  std::int64_t run_lanes_ = 1;
  std::int64_t in_lane_ = 0;
  std::int64_t out_lane_ = 0;
  LoopNest<3> lanes_;  // strides in the input, in the output, and of the lane number
  std::int64_t tile_lanes_;
  ScanLayout layout_;
  bool packed_;
  alignas(64) std::byte state_[kTileLanes * 16];
  alignas(64) std::byte packed_tile_[kPackedBytes];
  alignas(64) std::byte cast_tile_[kPackedBytes];
  alignas(64) std::byte discard_tile_[kPackedBytes];
};

}  // namespace

DType scan_accumulator_dtype(DType out) noexcept {
  switch (kind(out)) {
    case DTypeKind::kFloating:
      return DType::kFloat64;
    case DTypeKind::kComplex:
      return DType::kComplex128;
    case DTypeKind::kUnsignedInteger:
      return DType::kUInt64;
    default:
      return DType::kInt64;
  }
}

void scan(ReduceOp op, ConstBlockView in, int axis, BlockView out, const ScanOptions& options) {
  check_operands(in, axis, out);
  Scan(scan_op(op), in, axis, out, options).run();
}

void scan_totals(ReduceOp op, ConstBlockView in, int axis, DType dtype, std::byte* totals) {
  const BlockView nowhere{nullptr, dtype, in.shape, in.strides};
  check_operands(in, axis, nowhere);
  Scan(scan_op(op), in, axis, nowhere, {.carry_in = nullptr, .carry_out = totals}).run();
}

}  // namespace tessera::kernels::host
