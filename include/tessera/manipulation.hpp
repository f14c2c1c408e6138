#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "tessera/array.hpp"

// Changes of shape, order and chunks. What "a view" stands at copies nothing: it is folded into
// whatever reads it. Axes may be negative (counted from the end). Every function throws
// InvalidArgument for an axis out of range, a repeated axis and shapes that do not fit.

namespace tessera {

// Views.
/// Axes in the order of `axes`, or reversed when none are given. A view.
TESSERA_EXPORT Array transpose(const Array& x, const std::optional<std::vector<int>>& axes = {},
                               std::source_location where = std::source_location::current());
/// transpose() with all axes named, as the Array API calls it.
TESSERA_EXPORT Array permute_dims(const Array& x, const std::vector<int>& axes,
                                  std::source_location where = std::source_location::current());
/// The last two axes swapped. A view.
TESSERA_EXPORT Array matrix_transpose(const Array& x,
                                      std::source_location where = std::source_location::current());
/// Two axes swapped. A view.
TESSERA_EXPORT Array swapaxes(const Array& x, int axis1, int axis2,
                              std::source_location where = std::source_location::current());
/// Axes moved to new places, the others in their order. A view.
TESSERA_EXPORT Array moveaxis(const Array& x, const Axes& source, const Axes& destination,
                              std::source_location where = std::source_location::current());
/// New axes of extent 1 at the given places of the result. A view.
TESSERA_EXPORT Array expand_dims(const Array& x, const Axes& axis,
                                 std::source_location where = std::source_location::current());
/// The given axes of extent 1 dropped; without any, all of extent 1. A view.
/// \throws InvalidArgument for an axis of another extent.
TESSERA_EXPORT Array squeeze(const Array& x, const Axes& axis = {},
                             std::source_location where = std::source_location::current());
/// x repeated along new and extent-1 axes up to `shape`, by NumPy's rule. A view.
TESSERA_EXPORT Array broadcast_to(const Array& x, const Shape& shape,
                                  std::source_location where = std::source_location::current());
/// All arrays broadcast to their common shape. Views.
TESSERA_EXPORT std::vector<Array> broadcast_arrays(
    const std::vector<Array>& arrays, std::source_location where = std::source_location::current());
/// Order along the given axes (default: all) reversed. A view.
TESSERA_EXPORT Array flip(const Array& x, const Axes& axis = {},
                          std::source_location where = std::source_location::current());

/// The arrays along `axis`, each without it. Views.
TESSERA_EXPORT std::vector<Array> unstack(
    const Array& x, int axis = 0, std::source_location where = std::source_location::current());
/// `sections` equal parts along `axis`. Views. \throws InvalidArgument when they are not equal.
TESSERA_EXPORT std::vector<Array> split(
    const Array& x, std::int64_t sections, int axis = 0,
    std::source_location where = std::source_location::current());
/// Parts along `axis` that end at the given positions, and the rest. Views.
TESSERA_EXPORT std::vector<Array> split(
    const Array& x, const std::vector<std::int64_t>& positions, int axis = 0,
    std::source_location where = std::source_location::current());

// Joining and repeating.
/// The arrays one after the other along an existing axis; nullopt: all flattened first. The
/// promoted dtype; chunks along the axis are those of the arrays, other axes are cut as finely as
/// any array.
TESSERA_EXPORT Array concat(const std::vector<Array>& arrays, std::optional<int> axis = 0,
                            std::source_location where = std::source_location::current());
/// concat() by NumPy's name.
TESSERA_EXPORT Array concatenate(const std::vector<Array>& arrays, std::optional<int> axis = 0,
                                 std::source_location where = std::source_location::current());
/// The arrays side by side along a new axis, in chunks of 1 along it.
TESSERA_EXPORT Array stack(const std::vector<Array>& arrays, int axis = 0,
                           std::source_location where = std::source_location::current());
/// Elements moved by `shift` places along an axis, those that fall out at the end coming back at
/// the start. Without axes the array is rolled as if flat.
TESSERA_EXPORT Array roll(const Array& x, std::int64_t shift, const Axes& axis = {},
                          std::source_location where = std::source_location::current());
/// The same with a shift for each axis.
TESSERA_EXPORT Array roll(const Array& x, const std::vector<std::int64_t>& shifts, const Axes& axis,
                          std::source_location where = std::source_location::current());
/// Every element `count` times in a row along `axis`; nullopt: of the flattened array.
TESSERA_EXPORT Array repeat(const Array& x, std::int64_t count,
                            std::optional<int> axis = std::nullopt,
                            std::source_location where = std::source_location::current());
/// Element i `counts[i]` times.
TESSERA_EXPORT Array repeat(const Array& x, const std::vector<std::int64_t>& counts,
                            std::optional<int> axis = std::nullopt,
                            std::source_location where = std::source_location::current());
/// The whole array repeated along each axis; NumPy's rule for a different number of axes.
TESSERA_EXPORT Array tile(const Array& x, const std::vector<std::int64_t>& counts,
                          std::source_location where = std::source_location::current());

/// What pad() puts around an array.
enum class PadMode : std::uint8_t {
  kConstant,   ///< one value
  kEdge,       ///< the edge element
  kReflect,    ///< mirrored without repeating the edge: 3 2 | 1 2 3
  kSymmetric,  ///< mirrored with the edge: 2 1 | 1 2 3
  kWrap,       ///< from the other end: 2 3 | 1 2 3
};
/// Elements to add before and after, for each axis, or one pair for all axes.
using PadWidths = std::vector<std::pair<std::int64_t, std::int64_t>>;
struct PadOptions {
  PadMode mode = PadMode::kConstant;
  Scalar value = 0;  ///< of kConstant
};
/// x with elements added around it. Narrow margins join the outermost blocks.
TESSERA_EXPORT Array pad(const Array& x, const PadWidths& widths, const PadOptions& options = {},
                         std::source_location where = std::source_location::current());

struct DiagonalOptions {
  std::int64_t offset = 0;  ///< positive: above the main diagonal
  int axis1 = 0;
  int axis2 = 1;
};
/// The elements x[.., i, .., i + offset, ..], on a last axis of the result. Only blocks
/// that the diagonal crosses are read.
TESSERA_EXPORT Array diagonal(const Array& x, const DiagonalOptions& options = {},
                              std::source_location where = std::source_location::current());

// Shape and chunks.
/// The elements in C order in another shape; one extent may be -1. A view when only axes of extent
/// 1 come or go. Else, within every group of axes that are merged or split, the result is cut along
/// the first axis alone, into blocks of about the size of x's; only where such blocks would be far
/// longer, up to 64 rows of a group are copied one by one and cut as x is.
TESSERA_EXPORT Array reshape(const Array& x, const Shape& shape,
                             std::source_location where = std::source_location::current());
/// The elements in C order as a 1-d array.
TESSERA_EXPORT Array ravel(const Array& x,
                           std::source_location where = std::source_location::current());
/// ravel() by its other name.
TESSERA_EXPORT Array flatten(const Array& x,
                             std::source_location where = std::source_location::current());
/// The same array cut into other blocks; x itself when the grid is the same.
TESSERA_EXPORT Array rechunk(const Array& x, const Chunks& chunks,
                             std::source_location where = std::source_location::current());
/// The same array cut otherwise along some axes; -1: one chunk. rechunk_axes(x, {{0, -1}, {1,
/// 1'000}}).
TESSERA_EXPORT Array rechunk_axes(const Array& x, const std::map<int, std::int64_t>& chunks,
                                  std::source_location where = std::source_location::current());
/// The elements at the given positions along `axis`, in that order; negative ones count from the
/// end. The result's chunks along the axis are as long as x's longest. A view when the positions
/// are evenly spaced. \throws InvalidArgument for a position out of range.
TESSERA_EXPORT Array take(const Array& x, const std::vector<std::int64_t>& indices, int axis = 0,
                          std::source_location where = std::source_location::current());
/// out[.., j, ..] = x[.., indices[.., j, ..], ..] along `axis`: what argsort() says, done. Integer
/// indices, negative ones counting from the end; the other axes broadcast. The axis of x must lie
/// in one chunk, that of the indices need not. \throws InvalidArgument for an axis in several
/// chunks: rechunk_axes(x, {{axis, -1}}) first; when computed, for an index beyond the axis.
TESSERA_EXPORT Array take_along_axis(const Array& x, const Array& indices, int axis = -1,
                                     std::source_location where = std::source_location::current());

}  // namespace tessera
