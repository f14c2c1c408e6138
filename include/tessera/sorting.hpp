#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "tessera/array.hpp"

// Order along an axis, and counts per bin. Order is NumPy's: NaN last, complex numbers by real part
// and then imaginary part, -0.0 equal to 0.0. Sorts are stable in both directions.

namespace tessera {

struct SortOptions {
  int axis = -1;
  bool descending = false;
};
/// The elements sorted along an axis. The axis must lie in one chunk.
/// \throws InvalidArgument for an axis in several chunks: rechunk_axes(x, {{axis, -1}}) first.
TESSERA_EXPORT Array sort(const Array& x, const SortOptions& options = {},
                          std::source_location where = std::source_location::current());
/// The positions (int64) along an axis that would sort it. The axis must lie in one chunk.
/// \throws InvalidArgument for an axis in several chunks: rechunk_axes(x, {{axis, -1}}) first.
TESSERA_EXPORT Array argsort(const Array& x, const SortOptions& options = {},
                             std::source_location where = std::source_location::current());

/// The largest or smallest elements and where they are.
struct TopK {
  Array values;
  Array indices;  ///< int64 positions along the axis
};
/// The k largest elements along an axis, largest first, or for negative k the -k smallest, smallest
/// first; all of them where there are fewer. NaN counts as largest; of equal elements the first
/// comes first. The axis may lie in any number of chunks. \throws InvalidArgument for k == 0.
TESSERA_EXPORT TopK topk(const Array& x, std::int64_t k, int axis = -1,
                         std::source_location where = std::source_location::current());

struct SearchsortedOptions {
  bool right = false;  ///< positions behind equal values instead of before them
};
/// For each element of x, the position (int64) among ascending `values` where it would keep their
/// order. Compared in float64; NaN belongs at the end. \throws InvalidArgument for values that
/// descend.
TESSERA_EXPORT Array searchsorted(const std::vector<double>& values, const Array& x,
                                  const SearchsortedOptions& options = {},
                                  std::source_location where = std::source_location::current());

/// The same among the ascending elements of a 1-d array, in the promoted dtype and in sort()'s
/// order. Chunks of `values` are searched one after the other: x is read once for each of them.
/// Values that do not ascend give positions that mean nothing.
TESSERA_EXPORT Array searchsorted(const Array& values, const Array& x,
                                  const SearchsortedOptions& options = {},
                                  std::source_location where = std::source_location::current());

struct IsinOptions {
  bool invert = false;  ///< whether each element is none of the values
};
/// For each element of x, whether it equals one of the values (of any shape); bool, in x's chunks.
/// NaN equals nothing. Values are sorted in pieces of a block's length or 65,536, and x is read
/// once for each piece.
TESSERA_EXPORT Array isin(const Array& x, const Array& values, const IsinOptions& options = {},
                          std::source_location where = std::source_location::current());

struct HistogramOptions {
  std::int64_t bins = 10;
  /// First and last edge of equal bins. This or `edges` must be given: the data is not looked at.
  std::optional<std::pair<double, double>> range = std::nullopt;
  std::vector<double> edges = {};               ///< ascending; instead of `bins` and `range`
  std::optional<Array> weights = std::nullopt;  ///< of x's shape; added up instead of counting
  bool density = false;                         ///< divide by the total and the bins' widths
};
/// How many elements fall into each bin.
struct Histogram {
  Array counts;               ///< int64, float64 with weights or density; one chunk
  std::vector<double> edges;  ///< one more than there are bins
};
/// Counts of elements with edges[i] <= x < edges[i + 1]; the last bin holds its upper edge too.
/// Elements outside and NaN are left out. Not for complex. \throws InvalidArgument for edges that
/// do not ascend, no bins, or weights of another shape.
TESSERA_EXPORT Histogram histogram(const Array& x, const HistogramOptions& options,
                                   std::source_location where = std::source_location::current());

}  // namespace tessera
