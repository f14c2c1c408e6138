#pragma once

#include <optional>

#include "tessera/array.hpp"

// Reductions and running totals. Without axes a reduction takes all of them. Axes that are reduced
// are dropped, or kept with extent 1 with .keepdims; the other axes keep their chunks. Float sums
// are accumulated in float64 whatever the dtype, block by block in an order that follows from the
// chunk grid alone: runs of at most 128 elements, whose sums are added in trees. A sum of n < 2^40
// float32 values is at most half an ulp and 2^-44 times the sum of their magnitudes from the exact
// one. Squares of float64 deviations that overflow (from 1e154 on) make a variance infinite; an
// infinite element makes it NaN. The nan-versions leave NaN out. Every function throws
// InvalidArgument for an axis out of range and for a dtype that it does not take.

namespace tessera {

struct ReduceOptions {
  Axes axis = {};
  bool keepdims = false;
};
struct SumOptions {
  Axes axis = {};
  bool keepdims = false;
  /// Dtype of the result, to which x is converted first. Default: int64 for bool and signed
  /// integers, uint64 for unsigned ones, else that of x.
  std::optional<DType> dtype = std::nullopt;
};
struct VarianceOptions {
  Axes axis = {};
  bool keepdims = false;
  double correction = 0.0;  ///< the sum of squares is divided by n - correction
};
struct ArgOptions {
  std::optional<int> axis = std::nullopt;  ///< none: the position in the flattened array
  bool keepdims = false;
};

/// Sum; 0 of nothing.
TESSERA_EXPORT Array sum(const Array& x, const SumOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Product; 1 of nothing.
TESSERA_EXPORT Array prod(const Array& x, const SumOptions& options = {},
                          std::source_location where = std::source_location::current());
/// Smallest element, NaN if there is one; not for complex.
/// \throws InvalidArgument when an axis to reduce is empty.
TESSERA_EXPORT Array min(const Array& x, const ReduceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Largest element, NaN if there is one; not for complex.
/// \throws InvalidArgument when an axis to reduce is empty.
TESSERA_EXPORT Array max(const Array& x, const ReduceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Arithmetic mean, of x's dtype, float64 for integers; NaN of nothing.
TESSERA_EXPORT Array mean(const Array& x, const ReduceOptions& options = {},
                          std::source_location where = std::source_location::current());
/// Mean squared distance from the mean; real, float64 for integers.
TESSERA_EXPORT Array var(const Array& x, const VarianceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Square root of var().
TESSERA_EXPORT Array std(const Array& x, const VarianceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Whether any element is not 0 (NaN is not); false of nothing.
TESSERA_EXPORT Array any(const Array& x, const ReduceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Whether every element is not 0; true of nothing.
TESSERA_EXPORT Array all(const Array& x, const ReduceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Number of elements that are not 0 (int64).
TESSERA_EXPORT Array count_nonzero(const Array& x, const ReduceOptions& options = {},
                                   std::source_location where = std::source_location::current());
/// Position of the smallest element (int64), the first of several; of the first NaN if there is
/// one. \throws InvalidArgument when an axis to reduce is empty.
TESSERA_EXPORT Array argmin(const Array& x, const ArgOptions& options = {},
                            std::source_location where = std::source_location::current());
/// As argmin(), of the largest element.
TESSERA_EXPORT Array argmax(const Array& x, const ArgOptions& options = {},
                            std::source_location where = std::source_location::current());
/// Largest minus smallest element.
TESSERA_EXPORT Array ptp(const Array& x, const ReduceOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Square root of the sum of squared magnitudes: the 2-norm of a vector, Frobenius' of a matrix.
/// Real.
TESSERA_EXPORT Array norm(const Array& x, const ReduceOptions& options = {},
                          std::source_location where = std::source_location::current());
/// A 0-d bool array: whether all elements are close, as isclose() says.
TESSERA_EXPORT Array allclose(const Operand& a, const Operand& b, double rtol = 1e-5,
                              double atol = 1e-8, bool equal_nan = false);

/// sum() without NaN.
TESSERA_EXPORT Array nansum(const Array& x, const SumOptions& options = {},
                            std::source_location where = std::source_location::current());
/// prod() without NaN.
TESSERA_EXPORT Array nanprod(const Array& x, const SumOptions& options = {},
                             std::source_location where = std::source_location::current());
/// min() without NaN; NaN where all are.
TESSERA_EXPORT Array nanmin(const Array& x, const ReduceOptions& options = {},
                            std::source_location where = std::source_location::current());
/// max() without NaN; NaN where all are.
TESSERA_EXPORT Array nanmax(const Array& x, const ReduceOptions& options = {},
                            std::source_location where = std::source_location::current());
/// mean() without NaN; NaN where all are.
TESSERA_EXPORT Array nanmean(const Array& x, const ReduceOptions& options = {},
                             std::source_location where = std::source_location::current());
/// var() without NaN; NaN where no more than `correction` are left.
TESSERA_EXPORT Array nanvar(const Array& x, const VarianceOptions& options = {},
                            std::source_location where = std::source_location::current());
/// std() without NaN.
TESSERA_EXPORT Array nanstd(const Array& x, const VarianceOptions& options = {},
                            std::source_location where = std::source_location::current());
/// argmin() without NaN; computing it throws InvalidArgument where all are NaN.
TESSERA_EXPORT Array nanargmin(const Array& x, const ArgOptions& options = {},
                               std::source_location where = std::source_location::current());
/// argmax() without NaN; computing it throws InvalidArgument where all are NaN.
TESSERA_EXPORT Array nanargmax(const Array& x, const ArgOptions& options = {},
                               std::source_location where = std::source_location::current());

struct CumulativeOptions {
  std::optional<int> axis = std::nullopt;     ///< may be left out for 1-d arrays
  std::optional<DType> dtype = std::nullopt;  ///< default: as for sum()
  bool include_initial = false;               ///< start with the 0 or 1 of no elements
};
/// Running sums along an axis; accumulated in float64 for floats. The chunks stay as they are.
TESSERA_EXPORT Array cumulative_sum(const Array& x, const CumulativeOptions& options = {},
                                    std::source_location where = std::source_location::current());
/// Running products along an axis.
TESSERA_EXPORT Array cumulative_prod(const Array& x, const CumulativeOptions& options = {},
                                     std::source_location where = std::source_location::current());
/// cumulative_sum() in which NaN counts as 0.
TESSERA_EXPORT Array nancumsum(const Array& x, const CumulativeOptions& options = {},
                               std::source_location where = std::source_location::current());
/// cumulative_prod() in which NaN counts as 1.
TESSERA_EXPORT Array nancumprod(const Array& x, const CumulativeOptions& options = {},
                                std::source_location where = std::source_location::current());

struct DiffOptions {
  int axis = -1;
  int n = 1;  ///< how often differences are taken
  std::optional<Array> prepend = std::nullopt;
  std::optional<Array> append = std::nullopt;
};
/// Differences of neighbours along an axis: x[i + 1] - x[i]; of bools, whether they differ.
TESSERA_EXPORT Array diff(const Array& x, const DiffOptions& options = {},
                          std::source_location where = std::source_location::current());

}  // namespace tessera
