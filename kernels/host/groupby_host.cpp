#include "kernels/host/groupby_host.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/groupby_passes.hpp"
#include "kernels/host/loop_nest.hpp"
#include "kernels/host/reduce_host.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

using core::ReduceOp;

constexpr std::int64_t kTileLanes = 1024;  // a row of accumulators of 8 KiB
constexpr std::int64_t kPackedLanes = 64;
constexpr std::int64_t kPackedElements = 4096;

void check_call(const ConstBlockView& in, int axis, const std::int64_t* labels,
                std::int64_t group_count) {
  if (axis < 0 || axis >= static_cast<int>(in.shape.size())) {
    throw InvalidArgument(core::text("[groupby_bins] the axis must exist; got axis ", axis,
                                     " of a block with ", in.shape.size(),
                                     " axes; try one in [0, rank)"));
  }
  for (std::int64_t i = 0; i < in.shape[static_cast<std::size_t>(axis)]; ++i) {
    if (labels[i] < -1 || labels[i] >= group_count) {
      throw InvalidArgument(core::text("[groupby_bins] labels must be in [-1, ", group_count,
                                       "); got ", labels[i], " at position ", i,
                                       "; try more groups, or -1 for elements to leave out"));
    }
  }
}

/// Walks a block tile by tile, in an order that depends on its shape alone for each accumulator.
class GroupWalk {
 public:
  GroupWalk(const ConstBlockView& in, int axis, const std::int64_t* labels,
            std::int64_t group_count)
      : in_(in),
        labels_(labels),
        rows_(in.shape[static_cast<std::size_t>(axis)]),
        in_row_(in.strides[static_cast<std::size_t>(axis)]) {
    std::array<std::int64_t, kMaxRank> out_strides;
    std::int64_t out_stride = 1;
    for (std::size_t i = in.shape.size(); i-- > 0;) {
      out_strides[i] = out_stride;
      out_stride *= static_cast<int>(i) == axis ? group_count : in.shape[i];
    }
    out_group_ = out_strides[static_cast<std::size_t>(axis)];
    for (std::size_t i = 0; i < in.shape.size(); ++i) {
      if (static_cast<int>(i) != axis)
        lanes_.add_axis(in.shape[i], {in.strides[i], out_strides[i]});
    }
    lanes_.merge();
    const int last = lanes_.rank() - 1;
    if (last >= 0) {
      run_lanes_ = lanes_.extent(last);
      in_lane_ = lanes_.stride(0, last);
      out_lane_ = lanes_.stride(1, last);
    }
    by_rows_ = out_lane_ == 1 && run_lanes_ > 1;
    packed_ = by_rows_ ? in_lane_ != 1 : in_row_ != 1 && rows_ > 1;
  }

  /// Runs a pass whose planes begin at `planes` and hold elements of `plane_bytes`.
  void run(GroupPass pass, bool skip_nan, std::array<std::byte*, 2> planes,
           std::array<std::size_t, 2> plane_bytes) {
    const std::int64_t tile_lanes = packed_ ? kPackedLanes : kTileLanes;
    const std::int64_t tile_rows = packed_ ? kPackedElements / kPackedLanes : rows_;
    const auto item = static_cast<std::int64_t>(itemsize(in_.dtype));
    lanes_.for_each(1, [&](const std::array<std::int64_t, 2>& at) {
      for (std::int64_t lane = 0; lane < run_lanes_; lane += tile_lanes) {
        const std::int64_t out_at = at[1] + lane * out_lane_;
        for (std::int64_t row = 0; row < rows_; row += tile_rows) {
          GroupTile tile{};
          tile.in = in_.data + (at[0] + lane * in_lane_ + row * in_row_) * item;
          for (std::size_t k = 0; k < 2; ++k) {
            tile.planes[k] = planes[k] + out_at * static_cast<std::int64_t>(plane_bytes[k]);
          }
          tile.labels = labels_ + row;
          tile.rows = std::min(tile_rows, rows_ - row);
          tile.lanes = std::min(tile_lanes, run_lanes_ - lane);
          tile.in_row = in_row_;
          tile.in_lane = by_rows_ ? 1 : in_lane_;
          tile.out_group = out_group_;
          tile.out_lane = out_lane_;
          tile.skip_nan = skip_nan;
          if (packed_) pack(tile);
          add_group_tile(pass, in_.dtype, tile);
        }
      }
    });
  }

 private:
  void pack(GroupTile& tile) {
    const std::array<std::int64_t, 2> shape{tile.rows, tile.lanes};
    const std::array<std::int64_t, 2> from{in_row_, in_lane_};
    const std::array<std::int64_t, 2> to =
        by_rows_ ? std::array{tile.lanes, std::int64_t{1}} : std::array{std::int64_t{1}, tile.rows};
    copy_region({packed_tile_, in_.dtype, shape, to}, {tile.in, in_.dtype, shape, from});
    tile.in = packed_tile_;
    tile.in_row = to[0];
    tile.in_lane = to[1];
  }

  ConstBlockView in_;
  const std::int64_t* labels_;
  std::int64_t rows_;
  std::int64_t in_row_;
  std::int64_t out_group_ = 1;
  std::int64_t run_lanes_ = 1;
  std::int64_t in_lane_ = 0;
  std::int64_t out_lane_ = 0;
  LoopNest<2> lanes_;  // strides in the block and in the accumulators
  bool by_rows_;
  bool packed_;
  alignas(64) std::byte packed_tile_[kPackedElements * 16];
};

/// The accumulators of one call and their shape: outer axes, groups, inner axes.
struct Accumulators {
  ReduceOp op;
  DType dtype;
  std::int64_t outer;
  std::int64_t groups;
  std::int64_t inner;
  std::byte* data;

  std::int64_t count() const { return outer * groups * inner; }
  std::byte* plane(int component) const {
    return data + accumulator_offset(op, dtype, count(), component);
  }
  void fill(int component, DType plane_dtype, const Scalar& value) const {
    const std::array<std::int64_t, 1> shape{count()};
    const std::array<std::int64_t, 1> strides{1};
    fill_region({plane(component), plane_dtype, shape, strides}, value);
  }
  /// Sets plane element [o, g, i] = value of group g.
  template <typename T>
  void set_by_group(int component, const std::vector<T>& values) const {
    T* to = reinterpret_cast<T*>(plane(component));
    for (std::int64_t o = 0; o < outer; ++o) {
      for (const T& value : values) to = std::fill_n(to, inner, value);
    }
  }
};

std::vector<std::int64_t> group_sizes(const std::int64_t* labels, std::int64_t n,
                                      std::int64_t groups) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(groups), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    if (labels[i] >= 0) ++sizes[static_cast<std::size_t>(labels[i])];
  }
  return sizes;
}

/// The value that every element improves on, or NaN where NaN means "nothing yet".
Scalar empty_extreme(DType dtype, bool is_max, bool skip_nan) {
  return visit_real_dtype(dtype, "groupby_bins", [&]<typename T>(std::type_identity<T>) -> Scalar {
    using Limits = std::numeric_limits<T>;
    if constexpr (Limits::has_infinity) {
      if (skip_nan) return Limits::quiet_NaN();
      return is_max ? -Limits::infinity() : Limits::infinity();
    } else {
      return is_max ? Limits::lowest() : Limits::max();
    }
  });
}

struct GroupOp {
  enum class Kind : std::uint8_t { kSum, kProd, kMin, kMax, kCount, kMean, kVariance };
  Kind kind;
  bool skip_nan;
};

GroupOp group_op(ReduceOp op) {
  using Kind = GroupOp::Kind;
  switch (op) {
    case ReduceOp::kSum:
      return {Kind::kSum, false};
    case ReduceOp::kNanSum:
      return {Kind::kSum, true};
    case ReduceOp::kProd:
      return {Kind::kProd, false};
    case ReduceOp::kNanProd:
      return {Kind::kProd, true};
    case ReduceOp::kMin:
      return {Kind::kMin, false};
    case ReduceOp::kNanMin:
      return {Kind::kMin, true};
    case ReduceOp::kMax:
      return {Kind::kMax, false};
    case ReduceOp::kNanMax:
      return {Kind::kMax, true};
    case ReduceOp::kCountNonzero:
      return {Kind::kCount, true};
    case ReduceOp::kMean:
      return {Kind::kMean, false};
    case ReduceOp::kNanMean:
      return {Kind::kMean, true};
    case ReduceOp::kVar:
    case ReduceOp::kStd:
      return {Kind::kVariance, false};
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd:
      return {Kind::kVariance, true};
    default:
      throw InvalidArgument(core::text("[groupby_bins] the operation must be a sum, product, ",
                                       "minimum, maximum, count, mean or variance; got ",
                                       core::name(op), "; try one of those"));
  }
}

/// One call: initialises the planes, runs the passes that the operation needs.
class GroupBy {
 public:
  GroupBy(const Accumulators& acc, GroupWalk& walk, GroupOp op, std::vector<std::int64_t> sizes)
      : acc_(acc),
        walk_(walk),
        kind_(op.kind),
        has_nan_(is_floating(acc.dtype) || is_complex(acc.dtype)),
        skip_nan_(op.skip_nan && has_nan_),
        sizes_(std::move(sizes)) {}

  void run() {
    using Kind = GroupOp::Kind;
    const DType first = accumulator_dtypes(acc_.op, acc_.dtype)[0];
    switch (kind_) {
      case Kind::kSum:
        acc_.fill(0, first, 0);
        return pass(GroupPass::kSum, 0);
      case Kind::kProd:
        acc_.fill(0, first, 1);
        return pass(GroupPass::kProd, 0);
      case Kind::kMin:
        return find_extremes(GroupPass::kMin);
      case Kind::kMax:
        return find_extremes(GroupPass::kMax);
      case Kind::kCount:
        return set_counts();
      default:
        return find_moments();
    }
  }

 private:
  /// Runs a pass over one plane, or over two of which it reads the first.
  void pass(GroupPass pass, int plane, int second = -1) {
    const std::vector<DType> dtypes = accumulator_dtypes(acc_.op, acc_.dtype);
    const int other = second < 0 ? plane : second;
    walk_.run(pass, skip_nan_, {acc_.plane(plane), acc_.plane(other)},
              {itemsize(dtypes[static_cast<std::size_t>(plane)]),
               itemsize(dtypes[static_cast<std::size_t>(other)])});
  }

  void set_counts() {
    if (!skip_nan_) return acc_.set_by_group(0, sizes_);
    acc_.fill(0, DType::kInt64, 0);
    pass(GroupPass::kCount, 0);
  }

  void find_extremes(GroupPass which) {
    acc_.fill(0, acc_.dtype, empty_extreme(acc_.dtype, which == GroupPass::kMax, skip_nan_));
    pass(which, 0);
    if (!skip_nan_) {
      std::vector<std::uint8_t> has(sizes_.size());
      std::ranges::transform(sizes_, has.begin(),
                             [](std::int64_t n) { return std::uint8_t{n > 0}; });
      return acc_.set_by_group(1, has);
    }
    acc_.dtype == DType::kFloat32 ? mark_numbers<float>() : mark_numbers<double>();
  }

  template <typename T>
  void mark_numbers() {
    const T* value = reinterpret_cast<const T*>(acc_.plane(0));
    auto* has = reinterpret_cast<std::uint8_t*>(acc_.plane(1));
    for (std::int64_t i = 0; i < acc_.count(); ++i) has[i] = value[i] == value[i] ? 1 : 0;
  }

  void find_moments() {
    const bool complex = is_complex(acc_.dtype);
    set_counts();
    acc_.fill(1, complex ? DType::kComplex128 : DType::kFloat64, 0);
    pass(GroupPass::kMeanSum, 1);
    if (kind_ == GroupOp::Kind::kMean) return;
    complex ? divide_by_counts<std::complex<double>>() : divide_by_counts<double>();
    acc_.fill(2, DType::kFloat64, 0);
    pass(GroupPass::kDeviations, 1, 2);
  }

  template <typename A>
  void divide_by_counts() {
    const auto* count = reinterpret_cast<const std::int64_t*>(acc_.plane(0));
    A* mean = reinterpret_cast<A*>(acc_.plane(1));
    for (std::int64_t i = 0; i < acc_.count(); ++i) {
      mean[i] = count[i] > 0 ? mean[i] / static_cast<double>(count[i]) : A(0);
    }
  }

  const Accumulators& acc_;
  GroupWalk& walk_;
  GroupOp::Kind kind_;
  bool has_nan_;
  bool skip_nan_;
  std::vector<std::int64_t> sizes_;
};

}  // namespace

void groupby_bins(ReduceOp op, ConstBlockView in, int axis, const std::int64_t* labels,
                  std::int64_t group_count, std::byte* accumulators) {
  const GroupOp parsed = group_op(op);
  check_call(in, axis, labels, group_count);
  const auto at = static_cast<std::size_t>(axis);
  const Accumulators acc{op,
                         in.dtype,
                         extent_product(in.shape.first(at)),
                         group_count,
                         extent_product(in.shape.subspan(at + 1)),
                         accumulators};
  GroupWalk walk(in, axis, labels, group_count);
  GroupBy(acc, walk, parsed, group_sizes(labels, in.shape[at], group_count)).run();
}

void clear_accumulators(ReduceOp op, DType dtype, std::int64_t count, std::byte* accumulators) {
  const ReduceKernels kernels = find_reduce_kernels(op, dtype);
  kernels.identity(accumulator_planes(kernels, count, accumulators), count);
}

void merge_groups(ReduceOp op, DType dtype, std::int64_t outer, std::int64_t inner,
                  const GroupAccumulators<std::byte>& into,
                  const GroupAccumulators<const std::byte>& part) {
  const ReduceKernels kernels = find_reduce_kernels(op, dtype);
  const std::int64_t all = into.count;
  const std::int64_t some = part.count;
  const Planes to = accumulator_planes(kernels, outer * all * inner, into.data);
  // Only read: the loops take planes of one type.
  const Planes from =
      accumulator_planes(kernels, outer * some * inner, const_cast<std::byte*>(part.data));
  const auto group_at = [&](std::int64_t at) {
    return into.groups ? into.groups[at] : into.first + at;
  };
  // Neighbouring groups of both lie side by side and are merged at once.
  for (std::int64_t begin = 0; begin < some;) {
    const std::int64_t first = part.groups[begin];
    const std::int64_t at =
        into.groups ? std::lower_bound(into.groups, into.groups + all, first) - into.groups
                    : first - into.first;
    std::int64_t count = 1;
    while (begin + count < some && at + count < all &&
           part.groups[begin + count] == group_at(at + count))
      ++count;
    const bool whole = count == some && count == all;
    const std::int64_t stretches = whole ? 1 : outer;
    const std::int64_t length = (whole ? outer : 1) * count * inner;
    for (std::int64_t o = 0; o < stretches; ++o) {
      kernels.merge(advance(to, kernels, (o * all + at) * inner),
                    advance(from, kernels, (o * some + begin) * inner), length);
    }
    begin += count;
  }
}

void divide_sums(DType dtype, std::int64_t outer, std::int64_t inner,
                 std::span<const std::int64_t> counts, const std::byte* sums, std::byte* out) {
  visit_dtype(dtype, "groupby_reduce", [&]<typename T>(std::type_identity<T>) {
    using Sum = std::conditional_t<kIsComplex<T>, std::complex<double>, double>;
    if constexpr (kIsComplex<T> || std::is_floating_point_v<T>) {
      const Sum* from = reinterpret_cast<const Sum*>(sums);
      T* to = reinterpret_cast<T*>(out);
      for (std::int64_t o = 0; o < outer; ++o) {
        for (const std::int64_t count : counts) {
          const auto n = static_cast<double>(count);
          for (std::int64_t i = 0; i < inner; ++i) *to++ = static_cast<T>(*from++ / n);
        }
      }
    }
  });
}

}  // namespace tessera::kernels::host
