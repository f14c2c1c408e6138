#include <algorithm>

#include "array/node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"

namespace tessera {
namespace {

using array::refuse;
using core::ReduceOp;

Array scan(const char* name, ReduceOp op, const Array& x, const CumulativeOptions& options,
           const std::source_location& where) {
  if (!options.axis && x.ndim() != 1) {
    refuse(name, "an axis must be given unless the array has one; got shape ", to_string(x.shape()),
           "; try {.axis = ...} or ravel()");
  }
  const int axis = array::normalize_axis(options.axis.value_or(0), x.ndim(), name);
  array::check_arithmetic(name, options.dtype.value_or(x.dtype()));
  const DType dtype = options.dtype.value_or(core::reduced_dtype(op, x.dtype()));
  if (dtype == DType::kBool) {
    refuse(name, "the dtype must be numeric; got ", dtype, "; try int64");
  }
  core::reduced_dtype(op, dtype);
  // Refuses what does not convert; the scan converts as it reads.
  array::in_name_of(name, [&] { return astype(x, dtype, where); });
  const Array out = array::make_array(name, array::Scan{op, axis}, {x}, dtype, x.chunks(), where);
  if (!options.include_initial) return out;
  Shape first = x.shape();
  first[static_cast<std::size_t>(axis)] = 1;
  const bool product = op == ReduceOp::kProd || op == ReduceOp::kNanProd;
  const Array start = full(first, product ? 1 : 0,
                           {.chunks = Chunks(ChunkGrid::whole(first)), .dtype = dtype}, where);
  return concat({start, out}, axis, where);
}

// Each difference is a node of its own.
constexpr int kMaxDifferences = 1 << 16;

Array difference(const Array& x, const DiffOptions& options, int axis,
                 const std::source_location& where) {
  Array out = x;
  if (options.prepend) out = concat({*options.prepend, out}, axis, where);
  if (options.append) out = concat({out, *options.append}, axis, where);
  std::vector<Index> from(static_cast<std::size_t>(axis) + 1, Index(Slice{}));
  std::vector<Index> to = from;
  from.back() = Slice{.stop = -1};
  to.back() = Slice{.start = 1};
  const std::int64_t extent = out.shape()[static_cast<std::size_t>(axis)];
  for (std::int64_t i = 0; i < std::min<std::int64_t>(options.n, extent); ++i) {
    const Operand later(out.at(to, where), where);
    const Operand earlier(out.at(from, where), where);
    out = out.dtype() == DType::kBool ? not_equal(later, earlier) : subtract(later, earlier);
  }
  return out;
}

}  // namespace

Array cumulative_sum(const Array& x, const CumulativeOptions& options, std::source_location where) {
  return scan("cumulative_sum", ReduceOp::kSum, x, options, where);
}

Array cumulative_prod(const Array& x, const CumulativeOptions& options,
                      std::source_location where) {
  return scan("cumulative_prod", ReduceOp::kProd, x, options, where);
}

Array nancumsum(const Array& x, const CumulativeOptions& options, std::source_location where) {
  return scan("nancumsum", ReduceOp::kNanSum, x, options, where);
}

Array nancumprod(const Array& x, const CumulativeOptions& options, std::source_location where) {
  return scan("nancumprod", ReduceOp::kNanProd, x, options, where);
}

Array diff(const Array& x, const DiffOptions& options, std::source_location where) {
  if (options.n < 0) refuse("diff", "n must not be negative; got ", options.n);
  const int axis = array::normalize_axis(options.axis, x.ndim(), "diff");
  if (options.n > kMaxDifferences) {
    refuse("diff", "n must be at most ", kMaxDifferences, "; got ", options.n);
  }
  return array::in_name_of("diff", [&] { return difference(x, options, axis, where); });
}

}  // namespace tessera
