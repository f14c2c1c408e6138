#pragma once

#include <array>
#include <cstdint>

#include "kernels/block_view.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

// Where the elements of one task lie in the blocks it was given: pointers and strides over the task's own
// iteration space, by arithmetic on grids and affine reads.

namespace tessera::kernels::host {

using Extents = std::array<std::int64_t, kMaxRank + 1>;

/// First element and extents of a task's block in its grid.
struct TaskBox {
  int rank = 0;
  Extents begin{};
  Extents extent{};
  std::int64_t elements() const noexcept;
  std::span<const std::int64_t> shape() const noexcept { return {extent.data(), static_cast<std::size_t>(rank)}; }
};
TaskBox task_box(const ChunkGrid& grid, std::span<const std::int64_t> coords);

/// An operand bound to a block: what lies at the box's first element, and how to step from there.
struct BoundRead {
  const std::byte* data = nullptr;
  Extents strides{};
};
/// The one of `pieces` that holds the box's first element.
const Piece& piece_at(const ArrayRead& from, const TaskBox& box, std::span<const Piece> pieces);
/// `piece` must hold every element that the box reads.
BoundRead bind(const ArrayRead& from, const TaskBox& box, const Piece& piece);

/// Copies what `piece` holds of the box's elements to where they lie in memory whose element `out` is the box's
/// first one.
void copy_piece(const ArrayRead& from, const TaskBox& box, const Piece& piece, std::byte* out, const Extents& strides);
/// The first element of `part` in a block that holds `box`.
std::byte* element_at(std::byte* block, DType dtype, const TaskBox& box, const TaskBox& part, const Extents& strides);

/// Strides in elements of a dense C-order block.
void dense_strides(std::span<const std::int64_t> shape, std::int64_t* strides) noexcept;

}  // namespace tessera::kernels::host
