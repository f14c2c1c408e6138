#include <algorithm>
#include <cmath>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"
#include "tessera/sorting.hpp"

namespace tessera {
namespace {

using array::refuse;

// The edges stand in the graph and in every task: half a GiB of them.
constexpr std::int64_t kMaxBins = std::int64_t{1} << 26;

std::vector<double> equal_edges(std::int64_t bins, std::pair<double, double> range) {
  auto [low, high] = range;
  if (bins < 1) refuse("histogram", "there must be at least one bin; got ", bins);
  if (bins > kMaxBins) {
    refuse("histogram", "there must be at most ", kMaxBins, " bins; got ", bins);
  }
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    refuse("histogram", "the range must be finite and ascend; got ", low, " to ", high);
  }
  if (low == high) {  // as NumPy does
    low -= 0.5;
    high += 0.5;
  }
  std::vector<double> edges;
  for (std::int64_t i = 0; i < bins; ++i) {
    edges.push_back(low + static_cast<double>(i) * ((high - low) / static_cast<double>(bins)));
  }
  edges.push_back(high);
  return edges;
}

std::vector<double> edges_of(const HistogramOptions& options) {
  if (options.edges.empty()) {
    if (!options.range) {
      refuse("histogram", "edges or a range must be given; got neither",
             "; try {.range = {{low, high}}}");
    }
    return equal_edges(options.bins, *options.range);
  }
  if (options.edges.size() < 2) {
    refuse("histogram", "there must be at least 2 edges; got ", options.edges.size());
  }
  for (std::size_t i = 1; i < options.edges.size(); ++i) {
    if (!(options.edges[i - 1] <= options.edges[i])) {
      refuse("histogram", "edges must ascend; got ", options.edges[i - 1], " before ",
             options.edges[i], " at position ", i, "; try sorting them");
    }
  }
  return options.edges;
}

// One row of counts for each block of x, along new axes in front of the bins.
Array counts_of_blocks(const Array& x, const std::optional<Array>& weights,
                       const std::vector<double>& edges, bool uniform,
                       const std::source_location& where) {
  auto attributes = std::make_shared<array::HistogramAttributes>();
  attributes->edges = edges;
  attributes->uniform = uniform;
  attributes->weighted = weights.has_value();
  std::vector<AxisChunks> axes;
  for (const std::int64_t count : x.chunks().counts())
    axes.push_back(AxisChunks::regular(count, 1));
  const auto bins = static_cast<std::int64_t>(edges.size()) - 1;
  axes.push_back(AxisChunks::regular(bins, bins));
  std::vector<Array> inputs{x};
  if (weights) {
    inputs.push_back(
        array::rechunk_to(astype(*weights, DType::kFloat64, where), x.chunks(), where));
  }
  std::vector<std::vector<array::BlockAxis>> reads(inputs.size(), array::same_blocks(x.ndim()));
  return array::make_block_array("histogram", std::move(attributes), std::move(inputs),
                                 std::move(reads), weights ? DType::kFloat64 : DType::kInt64,
                                 ChunkGrid(std::move(axes)), where);
}

Array as_density(const Array& counts, const std::vector<double>& edges,
                 const std::source_location& where) {
  std::vector<double> widths;
  for (std::size_t i = 1; i < edges.size(); ++i) widths.push_back(edges[i] - edges[i - 1]);
  const Array width = asarray(widths, {.chunks = Chunks(counts.chunks())}, where);
  const Array total = sum(counts, {}, where);
  const Array per_width = divide(Operand(counts, where), Operand(width, where));
  return divide(Operand(per_width, where), Operand(total, where));
}

}  // namespace

Histogram histogram(const Array& x, const HistogramOptions& options, std::source_location where) {
  if (is_complex(x.dtype())) {
    refuse("histogram", "the dtype must be real; got ", x.dtype(), "; try abs() of it");
  }
  array::check_arithmetic("histogram", x.dtype());
  if (options.weights && options.weights->shape() != x.shape()) {
    refuse("histogram", "weights must have the array's shape; got ",
           to_string(options.weights->shape()), " for ", to_string(x.shape()));
  }
  const std::vector<double> edges = edges_of(options);
  const bool uniform = options.edges.empty();
  const Array blocks = counts_of_blocks(x, options.weights, edges, uniform, where);
  std::vector<int> over;
  for (int axis = 0; axis < x.ndim(); ++axis) over.push_back(axis);
  const Array counts = sum(blocks, {.axis = over}, where);
  return {options.density ? as_density(counts, edges, where) : counts, edges};
}

}  // namespace tessera
