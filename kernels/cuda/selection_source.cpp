#include "kernels/cuda/selection_source.hpp"

#include "core/text.hpp"
#include "kernels/cuda/block_sources.hpp"

namespace tessera::kernels::cuda {

std::string search_source(DType dtype) {
  const char* nan = is_floating(dtype) ? "x != x" : "false";
  return core::text("typedef ", element_type(dtype), " Element;\n", R"(
struct Params {
  unsigned char* to;
  const unsigned char* from;
  const Element* table;
  unsigned long long elements, size;
  unsigned right, unused;
};

// NaN is behind everything else, and equals itself here.
__device__ bool is_nan(Element x) { return )",
                    nan, R"(; }
__device__ bool before(Element a, Element b) { return is_nan(b) ? !is_nan(a) : a < b; }

// How many elements of the table come before x, or with `right` do not come after it.
__device__ unsigned long long place_of(const Params& p, Element x) {
  unsigned long long base = 0;
  for (unsigned long long left = p.size; left > 0;) {
    const unsigned long long half = left / 2;
    const Element y = p.table[base + half];
    if (p.right ? !before(x, y) : before(y, x)) {
      base += half + 1;
      left -= half + 1;
    } else {
      left = half;
    }
  }
  return base;
}

extern "C" __global__ void search(const Params p) {
  const unsigned long long step = gridDim.x * 256ull;
  for (unsigned long long e = blockIdx.x * 256ull + threadIdx.x; e < p.elements; e += step)
    ((long long*)p.to)[e] = (long long)place_of(p, ((const Element*)p.from)[e]);
}

// NaN equals nothing.
extern "C" __global__ void find(const Params p) {
  const unsigned long long step = gridDim.x * 256ull;
  for (unsigned long long e = blockIdx.x * 256ull + threadIdx.x; e < p.elements; e += step) {
    const Element x = ((const Element*)p.from)[e];
    const unsigned long long at = place_of(p, x);
    p.to[e] = at < p.size && p.table[at] == x ? 1 : 0;
  }
}
)");
}

std::string gather_along_source(std::size_t unit_bytes) {
  return core::text(unit_type(unit_bytes), R"(
struct Params {
  unsigned char* to;
  const unsigned char* from;
  const long long* positions;
  unsigned long long* wrong;  // how many positions are none
  long long elements, length, inner, extent;  // of the output: along the axis, behind it; of the input along it
};

extern "C" __global__ void gather_along(const Params p) {
  const long long step = gridDim.x * 256ll;
  const long long lane = p.length * p.inner;
  for (long long e = blockIdx.x * 256ll + threadIdx.x; e < p.elements; e += step) {
    long long i = p.positions[e];
    if (i < 0) i += p.extent;
    if (i < 0 || i >= p.extent) {
      atomicAdd(p.wrong, 1ull);
      continue;
    }
    const long long outer = e / lane;
    ((Unit*)p.to)[e] = ((const Unit*)p.from)[(outer * p.extent + i) * p.inner + e % p.inner];
  }
}
)");
}

std::string mask_source() {
  return core::text("constexpr unsigned kTile = ", kMaskTile, R"(;
constexpr unsigned kEach = kTile / 256;  // neighbours that a thread counts
struct Params {
  const unsigned char* mask;
  long long* tiles;      // how many are true in each; then: before each
  long long* total;
  long long* positions;  // of those that are true
  long long elements, tile_count;
};

// The sum of what the threads before this one have; `all` gets everybody's.
__device__ long long sum_before(long long own, long long& all) {
  __shared__ long long sums[256];
  __syncthreads();
  sums[threadIdx.x] = own;
  __syncthreads();
  for (unsigned reach = 1; reach < 256; reach *= 2) {
    const long long more = threadIdx.x >= reach ? sums[threadIdx.x - reach] : 0;
    __syncthreads();
    sums[threadIdx.x] += more;
    __syncthreads();
  }
  all = sums[255];
  return sums[threadIdx.x] - own;
}

__device__ long long count_own(const Params& p, long long tile) {
  const long long first = tile * kTile + threadIdx.x * kEach;
  long long own = 0;
  for (unsigned i = 0; i < kEach; ++i) own += first + i < p.elements && p.mask[first + i] != 0 ? 1 : 0;
  return own;
}

extern "C" __global__ void count_true_of_tiles(const Params p) {
  for (long long tile = blockIdx.x; tile < p.tile_count; tile += gridDim.x) {
    long long all;
    sum_before(count_own(p, tile), all);
    if (threadIdx.x == 0) p.tiles[tile] = all;
  }
}

// One block of threads.
extern "C" __global__ void sum_tiles(const Params p) {
  long long before = 0;
  for (long long first = 0; first < p.tile_count; first += 256) {
    const long long tile = first + threadIdx.x;
    const long long own = tile < p.tile_count ? p.tiles[tile] : 0;
    long long all;
    const long long here = sum_before(own, all);
    if (tile < p.tile_count) p.tiles[tile] = before + here;
    before += all;
  }
  if (threadIdx.x == 0) *p.total = before;
}

extern "C" __global__ void list_true(const Params p) {
  for (long long tile = blockIdx.x; tile < p.tile_count; tile += gridDim.x) {
    long long all;
    long long place = p.tiles[tile] + sum_before(count_own(p, tile), all);
    const long long first = tile * kTile + threadIdx.x * kEach;
    for (unsigned i = 0; i < kEach; ++i) {
      if (first + i < p.elements && p.mask[first + i] != 0) p.positions[place++] = first + i;
    }
  }
}
)");
}

}  // namespace tessera::kernels::cuda
