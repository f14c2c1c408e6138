#include "kernels/host/piece_copy.hpp"

#include "kernels/host/copy_host.hpp"

namespace tessera::kernels::host {

void copy_piece(const ArrayRead& from, const TaskBox& box, const Piece& piece, std::byte* out,
                const Extents& strides) {
  const auto rank = static_cast<std::size_t>(box.rank);
  const TaskBox part = part_in_block(from, box, piece.block);
  for (std::size_t a = 0; a < rank; ++a) {
    if (part.extent[a] <= 0) return;
  }
  const BoundRead bound = bind(from, part, piece);
  copy_region({element_at(out, from.dtype, box, part, strides),
               from.dtype,
               part.shape(),
               {strides.data(), rank}},
              {bound.data, from.dtype, part.shape(), {bound.strides.data(), rank}});
}

}  // namespace tessera::kernels::host
