#pragma once

#include <cstdint>

#include "kernels/block_view.hpp"

// Elements of one block picked by the values of another: by positions or by a mask. All views are
// dense in C order, which is what blocks are.

namespace tessera::kernels::host {

/// Writes out[.., j, ..] = in[.., positions[.., j, ..], ..] along `axis`; positions are int64 and
/// have out's shape, negative ones count from the end. \throws InvalidArgument for a position
/// beyond the axis.
void take_along_axis(ConstBlockView in, ConstBlockView positions, int axis, BlockView out);

/// How many of `count` bools are true.
std::int64_t count_true(const bool* mask, std::int64_t count) noexcept;

/// Writes the elements of `in` along `axis` where `mask` (in.shape[axis] bools) is true.
/// \throws InvalidArgument when they are not as many as `out` has places.
void compress(ConstBlockView in, const bool* mask, int axis, BlockView out);

}  // namespace tessera::kernels::host
