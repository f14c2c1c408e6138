#include "kernels/host/task_geometry.hpp"

namespace tessera::kernels::host {

std::int64_t TaskBox::elements() const noexcept { return extent_product(shape()); }

TaskBox task_box(const ChunkGrid& grid, std::span<const std::int64_t> coords) {
  TaskBox box;
  box.rank = grid.rank();
  for (int d = 0; d < box.rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    box.begin[i] = grid.axis(d).begin(coords[i]);
    box.extent[i] = grid.axis(d).end(coords[i]) - box.begin[i];
  }
  return box;
}

void dense_strides(std::span<const std::int64_t> shape, std::int64_t* strides) noexcept {
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
}

BoundRead bind(const ArrayRead& from, const TaskBox& box, const Piece& piece) {
  BoundRead out;
  const int rank = from.grid.rank();
  std::int64_t offset = 0;
  std::int64_t stride = 1;
  std::int64_t rest = piece.block;
  for (int d = rank; d-- > 0;) {
    const AxisChunks& axis = from.grid.axis(d);
    const std::int64_t coord = rest % axis.count();
    rest /= axis.count();
    const array::AxisRead& read = from.read[static_cast<std::size_t>(d)];
    std::int64_t index = read.offset - axis.begin(coord);
    if (read.axis >= 0) {
      const auto a = static_cast<std::size_t>(read.axis);
      index += read.step * box.begin[a];
      out.strides[a] += read.step * stride;
    }
    offset += index * stride;
    stride *= axis.size(coord);
  }
  out.data = piece.data + offset * static_cast<std::int64_t>(itemsize(from.dtype));
  return out;
}

}  // namespace tessera::kernels::host
