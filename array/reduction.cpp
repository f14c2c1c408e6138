#include "tessera/reduction.hpp"

#include <algorithm>

#include "array/assemble.hpp"
#include "array/node.hpp"
#include "array/refuse.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::refuse;
using core::ReduceOp;

const char* name_of(ReduceOp op) { return op == ReduceOp::kNorm2 ? "norm" : name(op).data(); }

void check_not_empty(ReduceOp op, const Array& x, const std::vector<bool>& axes) {
  if (core::has_identity(op)) return;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] && x.shape()[i] == 0) {
      refuse(name_of(op), "an axis to reduce must not be empty; got axis ", i, " of ",
             to_string(x.shape()));
    }
  }
}

// Blocks of which few elements become one have partial results about as large as they are
// themselves: neighbours are reduced together then, as many as a program reads at once and memory
// has room for.
Array in_larger_blocks(const Array& x, const std::vector<bool>& axes,
                       const std::source_location& where) {
  constexpr std::int64_t kFew = 8;
  constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;
  std::vector<AxisChunks> cuts = x.chunks().axes();
  std::int64_t elements = 1;
  // What is computed for the elements may be read as something wider.
  std::int64_t bytes = std::max<std::int64_t>(8, static_cast<std::int64_t>(itemsize(x.dtype())));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t extent = std::max<std::int64_t>(cuts[i].max_size(), 1);
    if (extent > kMostBytes / bytes) return x;
    if (axes[i]) elements *= extent;
    bytes *= extent;
  }
  if (elements >= kFew) return x;
  std::int64_t room = std::min(array::kMostGathered, kMostBytes / bytes);
  for (std::size_t i = axes.size(); i-- > 0;) {
    const std::int64_t together = axes[i] ? std::min(room, cuts[i].count()) : 1;
    if (together < 2) continue;
    room /= together;
    if (cuts[i].is_regular()) {
      cuts[i] = AxisChunks::regular(cuts[i].extent(), together * cuts[i].max_size());
      continue;
    }
    std::vector<std::int64_t> extents;
    for (std::int64_t c = 0; c < cuts[i].count(); c += together)
      extents.push_back(cuts[i].begin(std::min(c + together, cuts[i].count())) - cuts[i].begin(c));
    cuts[i] = AxisChunks::of(std::move(extents));
  }
  return array::rechunk_to(x, ChunkGrid(std::move(cuts)), where);
}

// Drops the reduced axes, which have extent 1, unless they are to stay.
Array finished(const char* name, const Array& x, const std::vector<bool>& axes, bool keepdims,
               const std::source_location& where) {
  if (keepdims) return x;
  array::AffineRead read;
  Shape shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    read.push_back({axes[i] ? -1 : static_cast<int>(shape.size()), 0, 1});
    if (!axes[i]) shape.push_back(x.shape()[i]);
  }
  return array::make_view(name, x, std::move(read), std::move(shape), where);
}

Array reduce(ReduceOp op, const Array& x, const Axes& axis, bool keepdims, double ddof,
             const std::source_location& where) {
  const std::vector<bool> axes = array::normalize_axes(axis, x.ndim(), name_of(op));
  const DType dtype = core::reduced_dtype(op, x.dtype());
  if (std::find(axes.begin(), axes.end(), true) == axes.end()) {
    // Over no axis at all every element is reduced alone: over an axis of its own.
    return reduce(op, expand_dims(x, -1, where), -1, false, ddof, where);
  }
  check_not_empty(op, x, axes);
  std::vector<AxisChunks> cuts = x.chunks().axes();
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i]) cuts[i] = AxisChunks::regular(1, 1);
  }
  const Array from = in_larger_blocks(x, axes, where);
  const Array kept = array::make_array(name_of(op), array::Reduce{op, axes, ddof}, {from}, dtype,
                                       ChunkGrid(std::move(cuts)), where);
  return finished(name_of(op), kept, axes, keepdims, where);
}

Array reduce_sum(ReduceOp op, const Array& x, const SumOptions& options,
                 const std::source_location& where) {
  if (!options.dtype) return reduce(op, x, options.axis, options.keepdims, 0.0, where);
  const Array input = astype(x, *options.dtype, where);
  // A narrow integer dtype is summed in 64 bits; both wrap around alike.
  const Array out = reduce(op, input, options.axis, options.keepdims, 0.0, where);
  return array::cast(out, *options.dtype, where);
}

Array reduce_arg(ReduceOp op, const Array& x, const ArgOptions& options,
                 const std::source_location& where) {
  const Axes axis = options.axis ? Axes(*options.axis) : Axes();
  return reduce(op, x, axis, options.keepdims, 0.0, where);
}

}  // namespace

Array sum(const Array& x, const SumOptions& options, std::source_location where) {
  return reduce_sum(ReduceOp::kSum, x, options, where);
}

Array prod(const Array& x, const SumOptions& options, std::source_location where) {
  return reduce_sum(ReduceOp::kProd, x, options, where);
}

Array min(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kMin, x, options.axis, options.keepdims, 0.0, where);
}

Array max(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kMax, x, options.axis, options.keepdims, 0.0, where);
}

Array mean(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kMean, x, options.axis, options.keepdims, 0.0, where);
}

Array var(const Array& x, const VarianceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kVar, x, options.axis, options.keepdims, options.correction, where);
}

Array std(const Array& x, const VarianceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kStd, x, options.axis, options.keepdims, options.correction, where);
}

Array any(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kAny, x, options.axis, options.keepdims, 0.0, where);
}

Array all(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kAll, x, options.axis, options.keepdims, 0.0, where);
}

Array count_nonzero(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kCountNonzero, x, options.axis, options.keepdims, 0.0, where);
}

Array argmin(const Array& x, const ArgOptions& options, std::source_location where) {
  return reduce_arg(ReduceOp::kArgMin, x, options, where);
}

Array argmax(const Array& x, const ArgOptions& options, std::source_location where) {
  return reduce_arg(ReduceOp::kArgMax, x, options, where);
}

Array ptp(const Array& x, const ReduceOptions& options, std::source_location where) {
  return subtract(Operand(max(x, options, where), where), Operand(min(x, options, where), where));
}

Array norm(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNorm2, x, options.axis, options.keepdims, 0.0, where);
}

Array allclose(const Operand& a, const Operand& b, double rtol, double atol, bool equal_nan) {
  const IscloseOptions options{.rtol = rtol, .atol = atol, .equal_nan = equal_nan};
  return array::in_name_of("allclose", [&] { return all(isclose(a, b, options), {}, a.where()); });
}

Array nansum(const Array& x, const SumOptions& options, std::source_location where) {
  return reduce_sum(ReduceOp::kNanSum, x, options, where);
}

Array nanprod(const Array& x, const SumOptions& options, std::source_location where) {
  return reduce_sum(ReduceOp::kNanProd, x, options, where);
}

Array nanmin(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNanMin, x, options.axis, options.keepdims, 0.0, where);
}

Array nanmax(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNanMax, x, options.axis, options.keepdims, 0.0, where);
}

Array nanmean(const Array& x, const ReduceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNanMean, x, options.axis, options.keepdims, 0.0, where);
}

Array nanvar(const Array& x, const VarianceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNanVar, x, options.axis, options.keepdims, options.correction, where);
}

Array nanstd(const Array& x, const VarianceOptions& options, std::source_location where) {
  return reduce(ReduceOp::kNanStd, x, options.axis, options.keepdims, options.correction, where);
}

Array nanargmin(const Array& x, const ArgOptions& options, std::source_location where) {
  return reduce_arg(ReduceOp::kNanArgMin, x, options, where);
}

Array nanargmax(const Array& x, const ArgOptions& options, std::source_location where) {
  return reduce_arg(ReduceOp::kNanArgMax, x, options, where);
}

}  // namespace tessera
