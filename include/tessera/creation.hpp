#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/array.hpp"

// Arrays made from nothing or from host memory. Values that follow from an element's index
// (constants, ranges, identity matrices) are never stored: they are computed where they are used.
// Every function throws InvalidArgument for a negative extent, for chunks that do not fit the
// shape, for arrays of 2^63 bytes or more and for numbers that an integer dtype does not hold.

namespace tessera {

struct CreateOptions {
  Chunks chunks = {};
  DType dtype = DType::kFloat64;
};
/// Chunks and dtype where the default follows from the other arguments.
struct LikeOptions {
  std::optional<Chunks> chunks = std::nullopt;
  std::optional<DType> dtype = std::nullopt;
};

/// An array of zeros.
TESSERA_EXPORT Array zeros(const Shape& shape, const CreateOptions& options = {},
                           std::source_location where = std::source_location::current());
/// An array of ones.
TESSERA_EXPORT Array ones(const Shape& shape, const CreateOptions& options = {},
                          std::source_location where = std::source_location::current());
/// The same as zeros(): there is no memory whose contents could be left as they are.
TESSERA_EXPORT Array empty(const Shape& shape, const CreateOptions& options = {},
                           std::source_location where = std::source_location::current());
/// An array whose elements are all `value`; its default dtype is that of the number (int64, float64
/// ...).
TESSERA_EXPORT Array full(const Shape& shape, const Scalar& value, const LikeOptions& options = {},
                          std::source_location where = std::source_location::current());
/// An array of zeros with the shape and, unless given, the dtype and chunks of `x`.
TESSERA_EXPORT Array zeros_like(const Array& x, const LikeOptions& options = {},
                                std::source_location where = std::source_location::current());
/// As zeros_like(), of ones.
TESSERA_EXPORT Array ones_like(const Array& x, const LikeOptions& options = {},
                               std::source_location where = std::source_location::current());
/// As zeros_like().
TESSERA_EXPORT Array empty_like(const Array& x, const LikeOptions& options = {},
                                std::source_location where = std::source_location::current());
/// As zeros_like(), of `value`.
TESSERA_EXPORT Array full_like(const Array& x, const Scalar& value, const LikeOptions& options = {},
                               std::source_location where = std::source_location::current());

struct RangeOptions {
  Chunks chunks = {};
  std::optional<DType> dtype =
      std::nullopt;  ///< default: int64 (or uint64 where needed) for whole numbers, else float64
};
/// 0, 1, ... below `stop`.
TESSERA_EXPORT Array arange(const Scalar& stop, const RangeOptions& options = {},
                            std::source_location where = std::source_location::current());
/// start, start + 1, ... below `stop`.
TESSERA_EXPORT Array arange(const Scalar& start, const Scalar& stop,
                            const RangeOptions& options = {},
                            std::source_location where = std::source_location::current());
/// start + i * step for 0 <= i < ceil((stop - start) / step), and none when that is negative.
/// \throws InvalidArgument for a step of 0, complex numbers, or an integer dtype that does
/// not hold every element.
TESSERA_EXPORT Array arange(const Scalar& start, const Scalar& stop, const Scalar& step,
                            const RangeOptions& options = {},
                            std::source_location where = std::source_location::current());

struct LinspaceOptions {
  bool endpoint = true;  ///< whether `stop` is the last element
  Chunks chunks = {};
  DType dtype = DType::kFloat64;
};
/// `count` numbers at equal distances from `start` to `stop`.
/// \throws InvalidArgument for a negative count, complex bounds or a dtype that is not floating.
TESSERA_EXPORT Array linspace(const Scalar& start, const Scalar& stop, std::int64_t count = 50,
                              const LinspaceOptions& options = {},
                              std::source_location where = std::source_location::current());

struct EyeOptions {
  std::int64_t k = 0;  ///< the diagonal that holds ones; positive above the main one
  Chunks chunks = {};
  DType dtype = DType::kFloat64;
};
/// A square matrix with ones on a diagonal and zeros elsewhere.
TESSERA_EXPORT Array eye(std::int64_t rows, const EyeOptions& options = {},
                         std::source_location where = std::source_location::current());
/// The same with `columns` columns.
TESSERA_EXPORT Array eye(std::int64_t rows, std::int64_t columns, const EyeOptions& options = {},
                         std::source_location where = std::source_location::current());
/// Ones at and below diagonal `options.k`, zeros above.
TESSERA_EXPORT Array tri(std::int64_t rows, std::int64_t columns, const EyeOptions& options = {},
                         std::source_location where = std::source_location::current());
/// x with zeros above diagonal k of its last two axes. \throws InvalidArgument below 2 axes.
TESSERA_EXPORT Array tril(const Array& x, std::int64_t k = 0,
                          std::source_location where = std::source_location::current());
/// x with zeros below diagonal k of its last two axes. \throws InvalidArgument below 2 axes.
TESSERA_EXPORT Array triu(const Array& x, std::int64_t k = 0,
                          std::source_location where = std::source_location::current());
/// A square matrix with the 1-d array `x` on diagonal k; for a 2-d array, its diagonal k.
TESSERA_EXPORT Array diag(const Array& x, std::int64_t k = 0,
                          std::source_location where = std::source_location::current());
/// Coordinate arrays of the grid that 1-d arrays span, as views. "xy" swaps the first two axes.
/// \throws InvalidArgument for arrays of more than one axis or another indexing than "xy" and "ij".
TESSERA_EXPORT std::vector<Array> meshgrid(
    const std::vector<Array>& arrays, std::string_view indexing = "xy",
    std::source_location where = std::source_location::current());

struct MemoryOptions {
  Chunks chunks = {};
  /// Elements to step along each axis, 0 and negative ones allowed. Default: dense, C order.
  std::optional<std::vector<std::int64_t>> strides = std::nullopt;
  /// Kept alive as long as an array reads the memory. Without it the caller keeps the memory alive
  /// until what reads it is computed; persist() of it cannot make up for blocks that are lost with
  /// a process then.
  std::shared_ptr<const void> owner = nullptr;
};
/// An array that reads existing host memory without copying it when it is made. `data` is the
/// element at index (0, 0, ...). The memory must not change while an array made from it may still
/// be computed. \throws InvalidArgument when strides and shape differ in length.
TESSERA_EXPORT Array from_memory(const void* data, DType dtype, const Shape& shape,
                                 const MemoryOptions& options = {},
                                 std::source_location where = std::source_location::current());
/// The same for typed memory.
template <Element T>
Array from_memory(const T* data, const Shape& shape, const MemoryOptions& options = {},
                  std::source_location where = std::source_location::current()) {
  return from_memory(static_cast<const void*>(data), dtype_of<T>, shape, options, where);
}
/// The elements of a span as a 1-d array.
template <Element T>
Array from_memory(std::span<const T> data, const MemoryOptions& options = {},
                  std::source_location where = std::source_location::current()) {
  return from_memory(static_cast<const void*>(data.data()), dtype_of<T>,
                     {static_cast<std::int64_t>(data.size())}, options, where);
}

struct AsarrayOptions {
  Chunks chunks = {};
  std::optional<DType> dtype = std::nullopt;  ///< default: that of the elements
};
/// A 0-d array of a number; its default dtype is that of the number (bool, int64, float64 ...).
TESSERA_EXPORT Array asarray(const Scalar& value, const AsarrayOptions& options = {},
                             std::source_location where = std::source_location::current());
/// A computed result as an array; shares its memory.
TESSERA_EXPORT Array asarray(const HostArray& values, const AsarrayOptions& options = {},
                             std::source_location where = std::source_location::current());
/// A copy of dense C-order elements in host memory.
TESSERA_EXPORT Array copy_memory(const void* data, DType dtype, const Shape& shape,
                                 const AsarrayOptions& options = {},
                                 std::source_location where = std::source_location::current());
/// A 1-d array of a copy of the values.
template <Element T>
Array asarray(const std::vector<T>& values, const AsarrayOptions& options = {},
              std::source_location where = std::source_location::current()) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  if constexpr (std::is_same_v<T, bool>) {
    const std::vector<unsigned char> bytes(values.begin(), values.end());
    return copy_memory(bytes.data(), DType::kBool, shape, options, where);
  } else {
    return copy_memory(values.data(), dtype_of<T>, shape, options, where);
  }
}
/// asarray({1.0, 2.0}): a 1-d array.
template <Element T>
Array asarray(std::initializer_list<T> values, const AsarrayOptions& options = {},
              std::source_location where = std::source_location::current()) {
  return asarray(std::vector<T>(values), options, where);
}
/// asarray({{1.0, 2.0}, {3.0, 4.0}}): a 2-d array. \throws InvalidArgument for rows of unequal
/// length.
template <Element T>
Array asarray(std::initializer_list<std::initializer_list<T>> rows,
              const AsarrayOptions& options = {},
              std::source_location where = std::source_location::current()) {
  const std::size_t columns = rows.size() == 0 ? 0 : rows.begin()->size();
  const auto elements = std::make_unique<T[]>(rows.size() * columns);
  std::size_t count = 0;
  for (const std::initializer_list<T>& row : rows) {
    if (row.size() != columns) {
      throw InvalidArgument("[asarray] rows must have one length; got " + std::to_string(columns) +
                            " and " + std::to_string(row.size()));
    }
    for (const T& value : row) elements[count++] = value;
  }
  const Shape shape{static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(columns)};
  return copy_memory(elements.get(), dtype_of<T>, shape, options, where);
}

}  // namespace tessera
