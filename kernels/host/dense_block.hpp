#pragma once

#include "kernels/task_geometry.hpp"
#include "tessera/blocks.hpp"

namespace tessera::kernels::host {

/// Extents, place and strides of one dense block, for views that borrow them: the object must outlive them.
struct Dense {
  Dense(const ChunkGrid& grid, std::int64_t block) : coords(grid.unlinear(block)), box(task_box(grid, coords)) {
    dense_strides(box.shape(), strides.data());
  }
  ConstBlockView view(const std::byte* data, DType dtype) const {
    return {data, dtype, box.shape(), {strides.data(), static_cast<std::size_t>(box.rank)}};
  }
  BlockView view(std::byte* data, DType dtype) const {
    return {data, dtype, box.shape(), {strides.data(), static_cast<std::size_t>(box.rank)}};
  }
  /// The block as a user's function sees it.
  template <typename Byte>
  BasicBlock<Byte> public_block(Byte* data, DType dtype) const {
    const auto rank = static_cast<std::size_t>(box.rank);
    return {data, dtype, box.shape(), {strides.data(), rank}, coords, {box.begin.data(), rank}};
  }
  BlockIndex coords;
  TaskBox box;
  Extents strides{};
};

}  // namespace tessera::kernels::host
