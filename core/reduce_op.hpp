#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tessera/dtype.hpp"

// Reductions as monoids: a declared accumulator (one or more component planes), add, merge and finish.

namespace tessera::core {

enum class ReduceOp : std::uint8_t {
  kSum,
  kProd,
  kMin,  ///< NaN propagates
  kMax,
  kAny,
  kAll,
  kCountNonzero,
  kArgMin,  ///< first NaN wins, else the smallest value, ties to the smaller index
  kArgMax,
  kMean,
  kVar,
  kStd,
  kNanSum,
  kNanProd,
  kNanMin,  ///< NaN only where every element is NaN
  kNanMax,
  kNanArgMin,  ///< an all-NaN slice is an error at finish
  kNanArgMax,
  kNanMean,
  kNanVar,
  kNanStd,
  kNorm2,  ///< square root of the sum of squared magnitudes
};

std::string_view name(ReduceOp op) noexcept;

/// Dtypes of the accumulator's component planes for elements of `dtype`:
///   sum, nansum: {float64 | complex128 | int64 | uint64 (bool counts as int64)}; the same for prod
///   min, max and nan-versions: {dtype, bool "has a value"}; any, all: {bool}; count_nonzero: {int64}
///   argmin, argmax and nan-versions: {dtype, int64 index}, index -1 while empty
///   mean, nanmean: {int64 count, float64 | complex128 sum}
///   var, std and nan-versions: {int64 count, float64 | complex128 mean, float64 m2}; norm2: {float64}
/// Float32 data is accumulated in float64, so that the error of a float32 sum does not grow with length.
std::vector<DType> accumulator_dtypes(ReduceOp op, DType dtype);

/// Dtype of the finished value when the caller asks for none: sums of ints are int64/uint64, float32 sums
/// are float32, means and variances of ints float64, var of complex is real, arg-reductions int64.
DType reduced_dtype(ReduceOp op, DType dtype);

/// Bytes of an accumulator buffer for `count` kept elements: every plane starts on a 256-byte boundary.
std::size_t accumulator_bytes(ReduceOp op, DType dtype, std::int64_t count);
/// Byte offset of component plane `component`.
std::size_t accumulator_offset(ReduceOp op, DType dtype, std::int64_t count, int component);

/// Whether an empty slice has a value (sum, prod, any, all, count; not min, max or the arg-reductions).
bool has_identity(ReduceOp op) noexcept;

}  // namespace tessera::core
