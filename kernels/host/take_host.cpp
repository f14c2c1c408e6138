#include "kernels/host/take_host.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {
namespace {

constexpr std::int64_t kTileIndices = 256;

void check_call(const BlockView& dst, int axis, std::span<const TakePiece> pieces,
                std::span<const std::int64_t> indices) {
  const auto at = static_cast<std::size_t>(axis);
  if (axis < 0 || at >= dst.shape.size()) {
    throw InvalidArgument(core::text("[take] the axis must exist; got axis ", axis, " of ",
                                     dst.shape.size(), " axes; try one in [0, rank)"));
  }
  if (dst.shape[at] != static_cast<std::int64_t>(indices.size())) {
    throw InvalidArgument(core::text("[take] the output must have one place for each index; got ",
                                     dst.shape[at], " places and ", indices.size(),
                                     " indices; try equal extents"));
  }
  for (const TakePiece& piece : pieces) {
    bool fits = piece.src.dtype == dst.dtype && piece.src.shape.size() == dst.shape.size();
    for (std::size_t i = 0; fits && i < dst.shape.size(); ++i) {
      fits = i == at || piece.src.shape[i] == dst.shape[i];
    }
    if (!fits) {
      const Shape shape(piece.src.shape.begin(), piece.src.shape.end());
      throw InvalidArgument(
          core::text("[take] pieces must have the output's dtype and its extents ",
                     "beside the axis; got a piece of shape ", to_string(shape), " and dtype ",
                     piece.src.dtype, "; try cutting sources as the output is cut"));
    }
  }
}

/// Axes behind the indexed one that are contiguous everywhere, so that an index moves one run of
/// bytes.
std::size_t first_run_axis(const BlockView& dst, std::size_t axis,
                           std::span<const TakePiece> pieces) {
  std::size_t first = dst.shape.size();
  std::int64_t run = 1;
  while (first > axis + 1) {
    const std::size_t next = first - 1;
    bool even = dst.strides[next] == run;
    for (const TakePiece& piece : pieces) even = even && piece.src.strides[next] == run;
    if (!even && dst.shape[next] != 1) break;
    run *= dst.shape[next];
    first = next;
  }
  return first;
}

template <std::size_t kBytes>
void move_items(std::byte* dst, std::int64_t step, const std::byte* const* from,
                const std::int64_t* offset, const std::int32_t* piece, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::memcpy(dst + i * step, from[i] + offset[piece[i]], kBytes);
  }
}

void move_runs(std::byte* dst, std::int64_t step, const std::byte* const* from,
               const std::int64_t* offset, const std::int32_t* piece, std::int64_t n,
               std::size_t bytes) {
  switch (bytes) {
    case 1:
      return move_items<1>(dst, step, from, offset, piece, n);
    case 2:
      return move_items<2>(dst, step, from, offset, piece, n);
    case 4:
      return move_items<4>(dst, step, from, offset, piece, n);
    case 8:
      return move_items<8>(dst, step, from, offset, piece, n);
    case 16:
      return move_items<16>(dst, step, from, offset, piece, n);
    default:
      for (std::int64_t i = 0; i < n; ++i) {
        std::memcpy(dst + i * step, from[i] + offset[piece[i]], bytes);
      }
  }
}

/// The axes that are neither indexed nor part of a run; each piece has its own strides along them.
class OuterWalk {
 public:
  OuterWalk(const BlockView& dst, std::size_t axis, std::size_t run_axis,
            std::span<const TakePiece> pieces)
      : dst_(dst), pieces_(pieces), offsets_(pieces.size(), 0) {
    for (std::size_t i = 0; i < run_axis; ++i) {
      if (i != axis && dst.shape[i] != 1) axes_.push_back(i);
    }
  }

  /// Calls f(byte offset in dst, byte offsets in the pieces) for every point.
  template <typename F>
  void for_each(F&& f) {
    const auto item = static_cast<std::int64_t>(itemsize(dst_.dtype));
    std::vector<std::int64_t> index(axes_.size(), 0);
    std::int64_t at = 0;
    while (true) {
      f(at, offsets_.data());
      std::size_t k = axes_.size();
      for (; k > 0; --k) {
        const std::size_t axis = axes_[k - 1];
        const bool wraps = ++index[k - 1] == dst_.shape[axis];
        const std::int64_t steps = wraps ? 1 - dst_.shape[axis] : 1;
        at += steps * dst_.strides[axis] * item;
        for (std::size_t p = 0; p < pieces_.size(); ++p) {
          offsets_[p] += steps * pieces_[p].src.strides[axis] * item;
        }
        if (!wraps) break;
        index[k - 1] = 0;
      }
      if (k == 0) return;
    }
  }

 private:
  const BlockView& dst_;
  std::span<const TakePiece> pieces_;
  std::vector<std::size_t> axes_;
  std::vector<std::int64_t> offsets_;
};

/// The piece that holds an index; consecutive ones are often in the same.
std::size_t find_piece(std::span<const TakePiece> pieces, std::size_t axis, std::int64_t index,
                       std::size_t guess) {
  const auto holds = [&](std::size_t p) {
    const TakePiece& piece = pieces[p];
    return index >= piece.start && index < piece.start + piece.src.shape[axis];
  };
  if (guess < pieces.size() && holds(guess)) return guess;
  // Empty pieces may share a start with the one that holds the index; that one is the last of them.
  const auto after = std::ranges::upper_bound(pieces, index, {}, &TakePiece::start);
  for (auto piece = after; piece != pieces.begin();) {
    --piece;
    const auto p = static_cast<std::size_t>(piece - pieces.begin());
    if (holds(p)) return p;
    if (piece->src.shape[axis] > 0) break;
  }
  throw InvalidArgument(core::text("[take] every index must be inside one of the pieces; got ",
                                   index, "; try indices in [0, extent)"));
}

}  // namespace

void take_along(BlockView dst, int axis, std::span<const TakePiece> pieces,
                std::span<const std::int64_t> indices) {
  check_call(dst, axis, pieces, indices);
  if (extent_product(dst.shape) == 0) return;
  const auto at = static_cast<std::size_t>(axis);
  const auto item = static_cast<std::int64_t>(itemsize(dst.dtype));
  const std::size_t run_axis = first_run_axis(dst, at, pieces);
  const auto run_bytes =
      static_cast<std::size_t>(extent_product(dst.shape.subspan(run_axis)) * item);
  const std::int64_t step = dst.strides[at] * item;
  OuterWalk walk(dst, at, run_axis, pieces);
  std::array<const std::byte*, kTileIndices> from;
  std::array<std::int32_t, kTileIndices> piece;
  const auto count = static_cast<std::int64_t>(indices.size());
  std::size_t guess = 0;
  for (std::int64_t begin = 0; begin < count; begin += kTileIndices) {
    const std::int64_t n = std::min(kTileIndices, count - begin);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t index = indices[static_cast<std::size_t>(begin + i)];
      guess = find_piece(pieces, at, index, guess);
      const TakePiece& source = pieces[guess];
      from[static_cast<std::size_t>(i)] =
          source.src.data + (index - source.start) * source.src.strides[at] * item;
      piece[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(guess);
    }
    walk.for_each([&](std::int64_t offset, const std::int64_t* piece_offsets) {
      move_runs(dst.data + offset + begin * step, step, from.data(), piece_offsets, piece.data(), n,
                run_bytes);
    });
  }
}

}  // namespace tessera::kernels::host
