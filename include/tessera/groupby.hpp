#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "tessera/array.hpp"

namespace tessera {

struct GroupbyOptions {
  int axis = 0;
  std::optional<std::int64_t> group_count = std::nullopt;  ///< default: the largest label plus 1
  double correction = 0.0;  ///< of var and std, as in VarianceOptions
};
/// x reduced group by group along an axis: element i of the axis belongs to group labels[i], or to
/// none where that is negative. The result has x's shape with extent group_count along the axis,
/// and the dtype of the reduction; in one chunk along the axis, or in chunks of neighbouring groups
/// where no block of x has elements of two chunks' groups and these are large enough (a few MiB),
/// as with a block for each month. Blocks are reduced one by one and then merged in a tree; nothing
/// is sorted or moved, whatever the order of the labels. `function` is "sum", "prod", "min", "max",
/// "mean", "var", "std", one of these behind "nan" ("nanmean"), or "count" (elements that are not
/// NaN, int64). Groups without elements give 0 (sum, count), 1 (prod) or NaN. Without any label at
/// or above 0 and without group_count there is no group: extent 0. \throws InvalidArgument for
/// another function, labels that are not as many as the axis has elements or not below group_count,
/// and for the "min" or "max" of integers when a group has no elements.
TESSERA_EXPORT Array groupby_reduce(const Array& x, std::span<const std::int64_t> labels,
                                    std::string_view function, const GroupbyOptions& options = {},
                                    std::source_location where = std::source_location::current());

}  // namespace tessera
