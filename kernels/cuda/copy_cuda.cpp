#include "kernels/cuda/copy_cuda.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/block_sources.hpp"
#include "kernels/host/copy_host.hpp"
#include "kernels/host/loop_nest.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::CudaQueue;
using Nest = host::LoopNest<2>;  // strides of the target, then of the source

// Kernels count blocks, rows and columns in 32 bits.
constexpr std::int64_t kMostUnits = std::int64_t{1} << 30;
constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kEach = 4;
constexpr int kRowAxes = 8;
// With fewer elements along a side, most of a square would be empty.
constexpr std::int64_t kLeastSide = 8;

/// `Params` of copy_source().
struct CopyParams {
  alignas(16) std::byte value[16];
  std::byte* to;
  const std::byte* from;
  std::int64_t to_inner, from_inner, to_outer, from_outer;
  std::int64_t to_stride[kRowAxes], from_stride[kRowAxes];
  std::uint32_t extent[kRowAxes];
  std::uint32_t rank, rows, inner, outer, inner_tiles, columns_each, columns_bits, unused;
};

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::uint32_t narrow(std::int64_t value) { return static_cast<std::uint32_t>(value); }
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t ceil_power(std::int64_t a) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(a)));
}
std::size_t width_of(std::size_t bytes) { return at(std::countr_zero(bytes)); }

Nest nest_of(std::span<const std::int64_t> shape, std::span<const std::int64_t> to,
             std::span<const std::int64_t> from) {
  Nest nest;
  for (std::size_t d = 0; d < shape.size(); ++d) nest.add_axis(shape[d], {to[d], from[d]});
  nest.sort_by(0);
  nest.merge();
  return nest;
}

/// Makes units of neighbouring items, as wide as extents, strides and addresses allow.
std::size_t widen_unit(Nest& nest, std::size_t item_bytes, std::uintptr_t addresses) {
  const int last = nest.rank() - 1;
  if (last < 0 || nest.stride(0, last) != 1 || nest.stride(1, last) != 1) return item_bytes;
  for (std::size_t unit = 16; unit > item_bytes; unit /= 2) {
    const auto items = static_cast<std::int64_t>(unit / item_bytes);
    bool fits = addresses % unit == 0 && nest.extent(last) % items == 0;
    for (int axis = 0; axis < last; ++axis)
      fits = fits && nest.stride(0, axis) % items == 0 && nest.stride(1, axis) % items == 0;
    if (!fits) continue;
    Nest wide;
    for (int axis = 0; axis < last; ++axis)
      wide.add_axis(nest.extent(axis),
                    {nest.stride(0, axis) / items, nest.stride(1, axis) / items});
    wide.add_axis(nest.extent(last) / items, {1, 1});
    nest = wide;
    return unit;
  }
  return item_bytes;
}

/// Puts the axis along which the source is tightest beside the last one, where that is another one
/// and squares of both are worth turning in shared memory; says whether it did.
bool cross_axes(Nest& nest) {
  const int last = nest.rank() - 1;
  int tightest = last;
  const auto step = [&](int axis) { return std::abs(nest.stride(1, axis)); };
  for (int axis = 0; axis < last; ++axis) {
    if (step(axis) != 0 && step(axis) < step(tightest)) tightest = axis;
  }
  if (tightest == last || nest.extent(last) < kLeastSide || nest.extent(tightest) < kLeastSide)
    return false;
  nest.move_axis(tightest, last - 1);
  return true;
}

/// One kernel's walk over a nest, in several launches where numbers would not fit.
struct Walk {
  CudaQueue& queue;
  void* kernel;
  const char* name;
  std::size_t unit_bytes;
  int inner_axes;  // 2: squares of the last two axes

  void run(const Nest& nest, const CopyParams& params) const {
    const int row_axes = nest.rank() - inner_axes;
    int widest = 0;
    std::int64_t rows = 1;
    bool fits = row_axes <= kRowAxes;
    for (int axis = 0; axis < nest.rank(); ++axis) {
      if (nest.extent(axis) > nest.extent(widest)) widest = axis;
      fits = fits && nest.extent(axis) <= kMostUnits;
    }
    for (int axis = 0; fits && axis < row_axes; ++axis) {
      fits = rows <= kMostUnits / nest.extent(axis);
      rows *= nest.extent(axis);
    }
    if (fits && launch(nest, rows, params)) return;
    run_halves(nest, params, row_axes > kRowAxes ? 0 : widest);
  }

 private:
  // An axis of one element vanishes; that happens to axes of rows alone, of which there are many
  // then.
  void run_halves(const Nest& nest, CopyParams params, int axis) const {
    const std::int64_t half = nest.extent(axis) / 2;
    for (const std::int64_t count : {half, nest.extent(axis) - half}) {
      Nest part;
      for (int d = 0; d < nest.rank(); ++d)
        part.add_axis(d == axis ? count : nest.extent(d), {nest.stride(0, d), nest.stride(1, d)});
      run(part, params);
      const auto unit = static_cast<std::int64_t>(unit_bytes);
      params.to += count * nest.stride(0, axis) * unit;
      if (params.from != nullptr) params.from += count * nest.stride(1, axis) * unit;
    }
  }

  bool launch(const Nest& nest, std::int64_t rows, CopyParams params) const {
    const int inner = nest.rank() - 1;
    params.inner = inner < 0 ? 1 : narrow(nest.extent(inner));
    if (inner >= 0) {
      params.to_inner = nest.stride(0, inner);
      params.from_inner = nest.stride(1, inner);
    }
    const int row_axes = std::max(0, nest.rank() - inner_axes);
    params.rank = narrow(row_axes);
    params.rows = narrow(rows);
    for (int d = 0; d < row_axes; ++d) {
      params.extent[d] = narrow(nest.extent(d));
      params.to_stride[d] = nest.stride(0, d);
      params.from_stride[d] = nest.stride(1, d);
    }
    return inner_axes == 2 ? launch_squares(nest, rows, params)
                           : launch_rows(params.inner, rows, params);
  }

  bool launch_rows(std::int64_t inner, std::int64_t rows, CopyParams& params) const {
    const std::int64_t across = ceil_power(std::min(inner, kThreads / 2));
    const std::int64_t down = kThreads / across;
    const std::int64_t each = ceil_power(std::min(kEach, ceil_div(inner, across)));
    const std::int64_t tiles = ceil_div(inner, across * each);
    params.inner_tiles = narrow(tiles);
    params.columns_each = narrow(each);
    params.columns_bits = narrow(std::countr_zero(static_cast<std::uint64_t>(each)));
    return start(tiles * ceil_div(rows, down * (kEach / each)), across, down, params);
  }

  bool launch_squares(const Nest& nest, std::int64_t rows, CopyParams& params) const {
    const int outer = nest.rank() - 2;
    const std::int64_t side = unit_bytes < 4 ? 64 : 32;
    params.to_outer = nest.stride(0, outer);
    params.from_outer = nest.stride(1, outer);
    params.outer = narrow(nest.extent(outer));
    params.inner_tiles = narrow(ceil_div(nest.extent(outer + 1), side));
    const std::int64_t squares =
        ceil_div(nest.extent(outer + 1), side) * ceil_div(nest.extent(outer), side);
    return squares <= kMostUnits && start(squares * rows, 32, kThreads / 32, params);
  }

  bool start(std::int64_t blocks, std::int64_t across, std::int64_t down,
             CopyParams& params) const {
    if (blocks > kMostUnits) return false;
    const unsigned grid[3] = {narrow(blocks), 1, 1};
    const unsigned block[3] = {narrow(across), narrow(down), 1};
    void* arguments[] = {&params};
    queue.launch(kernel, name, grid, block, 0, arguments);
    return true;
  }
};

}  // namespace

RegionCopier::RegionCopier(KernelCache& cache, std::size_t item_bytes) : item_bytes_(item_bytes) {
  for (std::size_t unit = item_bytes; unit <= 16; unit *= 2)
    sources_[width_of(unit)] =
        cache.prepare(copy_source(unit), {"copy_rows", "copy_tiles", "fill_rows"});
}

void RegionCopier::copy(CudaQueue& queue, const BlockView& dst, const ConstBlockView& src) const {
  Nest nest = nest_of(dst.shape, dst.strides, src.strides);
  if (nest.empty()) return;
  const std::uintptr_t addresses =
      reinterpret_cast<std::uintptr_t>(dst.data) | reinterpret_cast<std::uintptr_t>(src.data);
  const int last = nest.rank() - 1;
  if (nest.rank() == 0 || (nest.rank() == 1 && nest.stride(0, 0) == 1 && nest.stride(1, 0) == 1)) {
    return queue.copy(dst.data, src.data,
                      item_bytes_ * (last < 0 ? 1 : static_cast<std::size_t>(nest.extent(0))));
  }
  const std::size_t unit = widen_unit(nest, item_bytes_, addresses);
  const bool squares = cross_axes(nest);
  const char* name = squares ? "copy_tiles" : "copy_rows";
  CopyParams params{};
  params.to = dst.data;
  params.from = src.data;
  const Walk walk{queue, sources_[width_of(unit)].kernel(queue, name), name, unit, squares ? 2 : 1};
  walk.run(nest, params);
}

void RegionCopier::copy_piece(CudaQueue& queue, const ArrayRead& from, const TaskBox& box,
                              const Piece& piece, std::byte* out, const Extents& strides) const {
  const TaskBox part = part_in_block(from, box, piece.block);
  const auto shape = part.shape();
  if (std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent <= 0; }))
    return;
  const BoundRead bound = bind(from, part, piece);
  const std::size_t rank = shape.size();
  copy(queue,
       {element_at(out, from.dtype, box, part, strides), from.dtype, shape, {strides.data(), rank}},
       {bound.data, from.dtype, shape, {bound.strides.data(), rank}});
}

void RegionCopier::fill(CudaQueue& queue, const BlockView& dst, const Scalar& value) const {
  Nest nest = nest_of(dst.shape, dst.strides, dst.strides);
  if (nest.empty()) return;
  CopyParams params{};
  params.to = dst.data;
  host::fill_region({params.value, dst.dtype, {}, {}}, value);
  for (std::size_t i = item_bytes_; i < sizeof params.value; ++i)
    params.value[i] = params.value[i - item_bytes_];
  const bool one_byte = std::all_of(params.value, params.value + item_bytes_,
                                    [&](std::byte b) { return b == params.value[0]; });
  if (one_byte && (nest.rank() == 0 || (nest.rank() == 1 && nest.stride(0, 0) == 1))) {
    const std::size_t count = nest.rank() == 0 ? 1 : static_cast<std::size_t>(nest.extent(0));
    return queue.fill(dst.data, std::to_integer<int>(params.value[0]), count * item_bytes_);
  }
  const std::size_t unit =
      widen_unit(nest, item_bytes_, reinterpret_cast<std::uintptr_t>(dst.data));
  const Walk walk{queue, sources_[width_of(unit)].kernel(queue, "fill_rows"), "fill_rows", unit, 1};
  walk.run(nest, params);
}

}  // namespace tessera::kernels::cuda
