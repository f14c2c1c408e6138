#pragma once

#include "kernels/task_geometry.hpp"

namespace tessera::kernels::host {

/// Copies what `piece` holds of the box's elements to where they lie in memory whose element `out`
/// is the box's first one.
void copy_piece(const ArrayRead& from, const TaskBox& box, const Piece& piece, std::byte* out,
                const Extents& strides);

}  // namespace tessera::kernels::host
