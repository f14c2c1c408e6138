#include "tessera/sorting.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::refuse;

Array sort_blocks(const char* name, const Array& x, const SortOptions& options, bool indices,
                  const std::source_location& where) {
  const int axis = array::normalize_axis(options.axis, x.ndim(), name);
  array::check_arithmetic(name, x.dtype());
  const AxisChunks& chunks = x.chunks().axis(axis);
  if (chunks.count() != 1) {
    refuse(name, "the axis must lie in one chunk; got ", chunks.count(), " chunks along axis ",
           axis, " of ", to_string(x.shape()), "; try rechunk_axes(x, {{", axis, ", -1}})");
  }
  auto attributes = std::make_shared<array::SortAttributes>();
  attributes->axis = axis;
  attributes->descending = options.descending;
  attributes->indices = indices;
  return array::make_block_array(name, std::move(attributes), {x}, {array::same_blocks(x.ndim())},
                                 indices ? DType::kInt64 : x.dtype(), x.chunks(), where);
}

// The best of every block along the axis, or with `positions` of results of an earlier call.
TopK best_of_blocks(const std::vector<Array>& inputs, std::int64_t k, int axis,
                    const std::source_location& where) {
  const Array& x = inputs.front();
  const auto i = static_cast<std::size_t>(axis);
  std::vector<AxisChunks> axes = x.chunks().axes();
  std::vector<std::int64_t> sizes = axes[i].extents();
  for (std::int64_t& size : sizes) size = std::min(size, std::abs(k));
  axes[i] = AxisChunks::of(std::move(sizes));
  const ChunkGrid grid(std::move(axes));
  auto attributes = std::make_shared<array::TopkAttributes>();
  attributes->axis = axis;
  attributes->k = k;
  attributes->merge = inputs.size() > 1;
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.reads.assign(inputs.size(), array::same_blocks(x.ndim()));
  std::vector<array::Output> outputs{{x.dtype(), grid, grid.shape(), std::nullopt},
                                     {DType::kInt64, grid, grid.shape(), std::nullopt}};
  const auto node =
      array::make_block_node("topk", std::move(op), inputs, std::move(outputs), where);
  return {Array(node, 0), Array(node, 1)};
}

// Tables of isin() hold at least so many values, so that few searches are made.
constexpr std::int64_t kTableElements = std::int64_t{1} << 16;

// One search in each chunk of `values`, sorted first to look for members; the results are added.
Array search_chunks(const char* name, const Array& values, const Array& x,
                    const std::shared_ptr<const array::SearchsortedAttributes>& attributes,
                    const std::source_location& where) {
  const AxisChunks& chunks = values.chunks().axis(0);
  std::optional<Array> total;
  for (std::int64_t i = 0; i < chunks.count(); ++i) {
    Array table = values.at({Slice{.start = chunks.begin(i), .stop = chunks.end(i)}}, where);
    if (attributes->member) table = sort(table, {.axis = 0}, where);
    array::BlockAxis all;
    all.kind = array::BlockAxis::Kind::kAll;
    const Array part = array::make_block_array(
        name, attributes, {x, table}, {array::same_blocks(x.ndim()), {all}},
        attributes->member ? DType::kBool : DType::kInt64, x.chunks(), where);
    total = total ? add(Operand(*total, where), Operand(part, where)) : part;
  }
  return *total;
}

void check_ascending(const char* name, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]) || (i != 0 && values[i] < values[i - 1])) {
      refuse(name, "values must ascend; got ", values[i], " at position ", i,
             i == 0 ? "" : " after a larger one or NaN", "; try sorting them");
    }
  }
}

}  // namespace

Array sort(const Array& x, const SortOptions& options, std::source_location where) {
  return sort_blocks("sort", x, options, false, where);
}

Array argsort(const Array& x, const SortOptions& options, std::source_location where) {
  return sort_blocks("argsort", x, options, true, where);
}

TopK topk(const Array& x, std::int64_t k, int axis, std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "topk");
  array::check_arithmetic("topk", x.dtype());
  if (k == 0) {
    refuse("topk", "k must not be 0; got 0; try a positive k for the largest elements");
  }
  const std::int64_t extent = std::max<std::int64_t>(1, x.shape()[static_cast<std::size_t>(at)]);
  k = std::clamp(k, -extent, extent);
  const TopK best = best_of_blocks({x}, k, at, where);
  if (x.chunks().axis(at).count() == 1) return best;
  const Array values = rechunk_axes(best.values, {{at, -1}}, where);
  const Array indices = rechunk_axes(best.indices, {{at, -1}}, where);
  return best_of_blocks({values, indices}, k, at, where);
}

Array searchsorted(const Array& values, const Array& x, const SearchsortedOptions& options,
                   std::source_location where) {
  if (values.ndim() != 1) {
    refuse("searchsorted", "values must have 1 axis; got shape ", to_string(values.shape()),
           "; try ravel()");
  }
  const DType dtype = result_type(values.dtype(), x.dtype());
  array::check_arithmetic("searchsorted", dtype);
  auto attributes = std::make_shared<array::SearchsortedAttributes>();
  attributes->right = options.right;
  // Ascending values may be searched chunk by chunk: what is before x in each adds up.
  return search_chunks("searchsorted", array::cast(values, dtype, where),
                       array::cast(x, dtype, where), attributes, where);
}

Array searchsorted(const std::vector<double>& values, const Array& x,
                   const SearchsortedOptions& options, std::source_location where) {
  check_ascending("searchsorted", values);
  if (is_complex(x.dtype())) {
    refuse("searchsorted", "the dtype must be real; got ", x.dtype(), "; try abs() of it");
  }
  const Array input = array::cast(x, DType::kFloat64, where);
  return searchsorted(asarray(values, {.chunks = {-1}}, where), input, options, where);
}

Array isin(const Array& x, const Array& values, const IsinOptions& options,
           std::source_location where) {
  const DType dtype = result_type(x.dtype(), values.dtype());
  array::check_arithmetic("isin", dtype);
  const Array flat = ravel(array::cast(values, dtype, where), where);
  const std::int64_t chunk = std::max(kTableElements, x.chunks().max_block_elements());
  const Array tables =
      array::rechunk_to(flat, ChunkGrid({AxisChunks::regular(flat.size(), chunk)}), where);
  auto attributes = std::make_shared<array::SearchsortedAttributes>();
  attributes->member = true;
  const Array found =
      search_chunks("isin", tables, array::cast(x, dtype, where), attributes, where);
  return options.invert ? logical_not(Operand(found, where)) : found;
}

}  // namespace tessera
