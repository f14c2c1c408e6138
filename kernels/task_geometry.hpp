#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "kernels/block_view.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

// Where the elements of one task lie in the blocks it was given: pointers and strides over the
// task's own iteration space, by arithmetic on grids and affine reads. Nothing here touches memory.

namespace tessera::kernels {

using Extents = std::array<std::int64_t, kMaxRank + 1>;

/// First element and extents of a task's block in its grid.
struct TaskBox {
  int rank = 0;
  Extents begin{};
  Extents extent{};
  std::int64_t elements() const noexcept;
  std::span<const std::int64_t> shape() const noexcept {
    return {extent.data(), static_cast<std::size_t>(rank)};
  }
};
TaskBox task_box(const ChunkGrid& grid, std::span<const std::int64_t> coords);
/// At the origin, with the largest extent of each axis.
TaskBox largest_box(const ChunkGrid& grid);

/// An operand bound to a block: what lies at the box's first element, and how to step from there.
struct BoundRead {
  const std::byte* data = nullptr;
  Extents strides{};
};
/// The number of the block that holds the box's first element.
std::int64_t block_at(const ArrayRead& from, const TaskBox& box);
/// The one of `pieces` that is that block; any single piece is taken for it.
const Piece& piece_at(const ArrayRead& from, const TaskBox& box, std::span<const Piece> pieces);
/// `piece` must hold every element that the box reads.
BoundRead bind(const ArrayRead& from, const TaskBox& box, const Piece& piece);
/// The same of existing memory, which holds the whole array from `memory` on, at any strides.
BoundRead bind_memory(const ArrayRead& from, const TaskBox& box, const std::byte* memory,
                      std::span<const std::int64_t> strides);
/// The part of the box whose elements lie in block `block`; some extents are 0 or less where there
/// is none.
TaskBox part_in_block(const ArrayRead& from, const TaskBox& box, std::int64_t block);

/// Whether some block of a task reads several blocks of the array.
bool spans_blocks(const ArrayRead& from, const ChunkGrid& tasks);
/// Calls f with the parts of the box that each read one block of every one of these arrays, in C order, until
/// it returns false.
void for_each_part(const TaskBox& box, std::span<const ArrayRead* const> reads,
                   const std::function<bool(const TaskBox&)>& f);
/// The dense array that gathers what a box reads: extents of the axes that the read follows, 1
/// elsewhere.
TaskBox gathered_box(const ArrayRead& from, const TaskBox& box);
/// Its bytes, rounded up to 256.
std::size_t gathered_bytes(const ArrayRead& from, const TaskBox& box);
/// Strides over the box that read it, 0 along axes that the read does not follow.
Extents gathered_strides(const ArrayRead& from, const TaskBox& box);

/// The first element of `part` in a block that holds `box`.
std::byte* element_at(std::byte* block, DType dtype, const TaskBox& box, const TaskBox& part,
                      const Extents& strides);

/// Strides in elements of a dense C-order block.
void dense_strides(std::span<const std::int64_t> shape, std::int64_t* strides) noexcept;

}  // namespace tessera::kernels
