#include "kernels/cuda/block_sources.hpp"

#include <array>
#include <bit>

#include "core/text.hpp"
#include "kernels/cuda/selection_source.hpp"

namespace tessera::kernels::cuda {

std::string unit_type(std::size_t bytes) {
  constexpr std::array<const char*, 5> kTypes{
      "typedef unsigned char Unit;\n", "typedef unsigned short Unit;\n",
      "typedef unsigned int Unit;\n", "typedef unsigned long long Unit;\n",
      "struct alignas(16) Unit { unsigned long long low, high; };\n"};
  return kTypes[static_cast<std::size_t>(std::countr_zero(bytes))];
}

std::string element_type(DType dtype) {
  const auto signed_type = [](std::size_t bytes) {
    return bytes == 1 ? "signed char" : bytes == 2 ? "short" : bytes == 4 ? "int" : "long long";
  };
  const std::size_t bytes = itemsize(dtype);
  if (is_floating(dtype)) return bytes == 4 ? "float" : "double";
  if (kind(dtype) == DTypeKind::kSignedInteger) return signed_type(bytes);
  return bytes == 1 ? "unsigned char" : core::text("unsigned ", signed_type(bytes));
}

namespace {

// What lies before the kernels: the unit that is moved, tiles, and parameters (CopyParams of
// copy_cuda.cpp).
std::string copy_definitions(std::size_t unit_bytes) {
  // Rows of a tile begin in banks of their own: one word apart.
  const std::size_t tile = unit_bytes < 4 ? 64 : 32;
  const std::size_t pad = unit_bytes < 4 ? 4 / unit_bytes : 1;
  return core::text(unit_type(unit_bytes), "constexpr unsigned kTile = ", tile,
                    ", kPitch = ", tile + pad, ";\n", R"(
constexpr unsigned kEach = 4;  // units that a thread moves, all of them on their way at once
struct Params {
  alignas(16) unsigned char value[16];
  unsigned char* to;
  const unsigned char* from;
  long long to_inner, from_inner, to_outer, from_outer;
  long long to_stride[8], from_stride[8];
  unsigned extent[8];
  unsigned rank, rows, inner, outer, inner_tiles, columns_each, columns_bits, unused;
};
)");
}

// Rows are numbered by up to 8 axes in C order; 32-bit numbers, 64-bit offsets.
constexpr const char* kCopyKernels = R"(
__device__ void place(const Params& p, unsigned row, long long& to, long long& from) {
  to = 0;
  from = 0;
  for (unsigned d = p.rank; d-- > 1;) {
    const unsigned rest = row / p.extent[d];
    const long long at = row - rest * p.extent[d];
    to += at * p.to_stride[d];
    from += at * p.from_stride[d];
    row = rest;
  }
  to += row * p.to_stride[0];
  from += row * p.from_stride[0];
}

extern "C" __global__ void copy_rows(const Params p) {
  const unsigned tall = blockDim.y * (kEach / p.columns_each);
  const unsigned row0 = blockIdx.x / p.inner_tiles * tall + threadIdx.y;
  const unsigned column0 = blockIdx.x % p.inner_tiles * (blockDim.x * p.columns_each) + threadIdx.x;
  Unit* const target = (Unit*)p.to;
  const Unit* const source = (const Unit*)p.from;
  Unit held[kEach];
  long long to[kEach];
  bool mine[kEach];
#pragma unroll
  for (unsigned u = 0; u < kEach; ++u) {
    const unsigned row = row0 + (u >> p.columns_bits) * blockDim.y;
    const unsigned column = column0 + (u & (p.columns_each - 1)) * blockDim.x;
    mine[u] = row < p.rows && column < p.inner;
    if (mine[u]) {
      long long from;
      place(p, row, to[u], from);
      to[u] += column * p.to_inner;
      held[u] = source[from + column * p.from_inner];
    }
  }
#pragma unroll
  for (unsigned u = 0; u < kEach; ++u) {
    if (mine[u]) target[to[u]] = held[u];
  }
}

extern "C" __global__ void fill_rows(const Params p) {
  const unsigned tall = blockDim.y * (kEach / p.columns_each);
  const unsigned row0 = blockIdx.x / p.inner_tiles * tall + threadIdx.y;
  const unsigned column0 = blockIdx.x % p.inner_tiles * (blockDim.x * p.columns_each) + threadIdx.x;
  Unit* const target = (Unit*)p.to;
  const Unit value = *(const Unit*)p.value;
#pragma unroll
  for (unsigned u = 0; u < kEach; ++u) {
    const unsigned row = row0 + (u >> p.columns_bits) * blockDim.y;
    const unsigned column = column0 + (u & (p.columns_each - 1)) * blockDim.x;
    if (row < p.rows && column < p.inner) {
      long long to, from;
      place(p, row, to, from);
      target[to + column * p.to_inner] = value;
    }
  }
}

// The source is tight along `outer`, the target along `inner`: squares turn in shared memory.
extern "C" __global__ void copy_tiles(const Params p) {
  __shared__ Unit held[kTile][kPitch];
  const unsigned outer_tiles = (p.outer + kTile - 1) / kTile;
  const unsigned number = blockIdx.x / p.inner_tiles;
  const unsigned inner0 = blockIdx.x % p.inner_tiles * kTile;
  const unsigned outer0 = number % outer_tiles * kTile;
  long long to, from;
  place(p, number / outer_tiles, to, from);
  Unit* const target = (Unit*)p.to + to;
  const Unit* const source = (const Unit*)p.from + from;
  constexpr unsigned kMoves = kTile * kTile / 256, kAcross = kTile / 32;
  Unit own[kMoves] = {};
#pragma unroll
  for (unsigned u = 0; u < kMoves; ++u) {
    const unsigned inner = inner0 + u / kAcross * 8 + threadIdx.y;
    const unsigned outer = outer0 + u % kAcross * 32 + threadIdx.x;
    if (inner < p.inner && outer < p.outer) {
      own[u] = source[outer * p.from_outer + inner * p.from_inner];
    }
  }
#pragma unroll
  for (unsigned u = 0; u < kMoves; ++u) {
    held[u / kAcross * 8 + threadIdx.y][u % kAcross * 32 + threadIdx.x] = own[u];
  }
  __syncthreads();
#pragma unroll
  for (unsigned u = 0; u < kMoves; ++u) {
    const unsigned i = u % kAcross * 32 + threadIdx.x;
    const unsigned o = u / kAcross * 8 + threadIdx.y;
    if (inner0 + i < p.inner && outer0 + o < p.outer) {
      target[(outer0 + o) * p.to_outer + (inner0 + i) * p.to_inner] = held[i][o];
    }
  }
}
)";

// A block of 16 x 16 threads makes a square of 64 x 64 elements from squares of its operands in
// shared memory; a thread makes every 16th element along both sides, so that neighbours read
// neighbouring words. Small types multiply as 32 bits: what wraps around there wraps around in
// their bits, too.
constexpr const char* kProductKernel = R"(
struct Params {
  const Element* a;
  const Element* b;
  Element* c;
  long long a_row, a_col, b_row, b_col, m, n, k;
  int accumulate, unused;
};

extern "C" __global__ void multiply(const Params p) {
  constexpr unsigned kSide = 64, kDepth = 16, kEach = 4, kThreads = 16;
  __shared__ Wide left[kDepth][kSide + 1];
  __shared__ Wide right[kDepth][kSide + 1];
  const long long tiles = (p.n + kSide - 1) / kSide;
  const long long row0 = blockIdx.x / tiles * kSide;
  const long long column0 = blockIdx.x % tiles * kSide;
  const unsigned number = threadIdx.y * kThreads + threadIdx.x;
  Wide sums[kEach][kEach] = {};
  for (long long k0 = 0; k0 < p.k; k0 += kDepth) {
    for (unsigned u = 0; u < kSide * kDepth; u += kThreads * kThreads) {
      const unsigned a_k = (u + number) % kDepth, a_i = (u + number) / kDepth;
      const unsigned b_j = (u + number) % kSide, b_k = (u + number) / kSide;
      const bool in_a = row0 + a_i < p.m && k0 + a_k < p.k;
      const bool in_b = column0 + b_j < p.n && k0 + b_k < p.k;
      left[a_k][a_i] = in_a ? p.a[(row0 + a_i) * p.a_row + (k0 + a_k) * p.a_col] : (Wide)0;
      right[b_k][b_j] = in_b ? p.b[(k0 + b_k) * p.b_row + (column0 + b_j) * p.b_col] : (Wide)0;
    }
    __syncthreads();
    for (unsigned k = 0; k < kDepth; ++k) {
      Wide a[kEach], b[kEach];
      for (unsigned u = 0; u < kEach; ++u) {
        a[u] = left[k][threadIdx.y + u * kThreads];
        b[u] = right[k][threadIdx.x + u * kThreads];
      }
      for (unsigned i = 0; i < kEach; ++i) {
        for (unsigned j = 0; j < kEach; ++j) sums[i][j] = add_product(sums[i][j], a[i], b[j]);
      }
    }
    __syncthreads();
  }
  for (unsigned i = 0; i < kEach; ++i) {
    for (unsigned j = 0; j < kEach; ++j) {
      const long long row = row0 + threadIdx.y + i * kThreads;
      const long long column = column0 + threadIdx.x + j * kThreads;
      if (row < p.m && column < p.n) {
        Element* const c = p.c + row * p.n + column;
        *c = (Element)(p.accumulate ? join((Wide)*c, sums[i][j]) : sums[i][j]);
      }
    }
  }
}
)";

}  // namespace

std::string copy_source(std::size_t unit_bytes) {
  return copy_definitions(unit_bytes) + kCopyKernels;
}

std::string integer_gemm_source(DType dtype) {
  const bool logical = dtype == DType::kBool;
  const std::size_t bytes = itemsize(dtype);
  const char* element = bytes == 1   ? "unsigned char"
                        : bytes == 2 ? "unsigned short"
                        : bytes == 4 ? "unsigned"
                                     : "unsigned long long";
  return core::text(
      "typedef ", element, " Element;\ntypedef ", bytes == 8 ? "unsigned long long" : "unsigned",
      " Wide;\n", "__device__ inline Wide join(Wide a, Wide b) { return a ", logical ? "|" : "+",
      " b; }\n", "__device__ inline Wide add_product(Wide c, Wide a, Wide b) { return c ",
      logical ? "| (a & b)" : "+ a * b", "; }\n", kProductKernel);
}

// Squares turn in shared memory.
std::string mirror_source(std::size_t item_bytes) {
  return core::text(unit_type(item_bytes), R"(
struct Params {
  Unit* c;
  long long n;
};

extern "C" __global__ void mirror_lower(const Params p) {
  constexpr unsigned kTile = 32;
  __shared__ Unit held[kTile][kTile + 1];
  if (blockIdx.x > blockIdx.y) return;
  const long long row0 = (long long)blockIdx.y * kTile;
  const long long column0 = (long long)blockIdx.x * kTile;
  for (unsigned j = threadIdx.y; j < kTile; j += 8) {
    const long long row = row0 + j;
    const long long column = column0 + threadIdx.x;
    if (row < p.n && column < row) held[j][threadIdx.x] = p.c[row * p.n + column];
  }
  __syncthreads();
  for (unsigned j = threadIdx.y; j < kTile; j += 8) {
    const long long row = column0 + j;
    const long long column = row0 + threadIdx.x;
    if (column < p.n && row < column) p.c[row * p.n + column] = held[threadIdx.x][j];
  }
}
)");
}

// One piece's part of a gather: positions that lie in others are theirs.
std::string take_source(std::size_t unit_bytes) {
  return core::text(unit_type(unit_bytes), R"(
struct Params {
  Unit* to;
  const Unit* from;
  const long long* positions;
  long long outer, count, run, start, extent;
};

template <typename Index>
__device__ void take_units(const Params& p, Index total) {
  const Index count = (Index)p.count, run = (Index)p.run;
  const Index step = (Index)gridDim.x * blockDim.x;
  const Index first = (Index)blockIdx.x * blockDim.x + threadIdx.x;
  for (Index e = first; e < total; e += step) {
    const Index row = e / run;
    const Index outer = row / count;
    const long long position = p.positions[row - outer * count] - p.start;
    if (position < 0 || position >= p.extent) continue;
    p.to[e] = p.from[(outer * p.extent + position) * p.run + (e - row * run)];
  }
}

extern "C" __global__ void take(const Params p) {
  const unsigned long long total = p.outer * p.count * p.run;
  // Room for the last step beyond the end.
  if (total < 0x80000000ull) {
    take_units<unsigned>(p, (unsigned)total);
  } else {
    take_units<unsigned long long>(p, total);
  }
}
)");
}

std::string factor_source(DType dtype) {
  const bool single = real_dtype(dtype) == DType::kFloat32;
  return core::text("typedef ", single ? "float" : "double",
                    " Real;\nconstexpr int kParts = ", is_complex(dtype) ? 2 : 1, ";\n", R"(
struct Params {
  Real* matrix;
  int* flag;
  long long rows, cols;
};

extern "C" __global__ void clear_lower(const Params p) {
  const long long total = p.rows * p.cols;
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += step) {
    if (e % p.cols >= e / p.cols) continue;
    for (int part = 0; part < kParts; ++part) p.matrix[e * kParts + part] = 0;
  }
}

// NaN and infinity are what a product with zero does not turn into zero.
extern "C" __global__ void find_unbounded(const Params p) {
  const long long total = p.rows * p.cols * kParts;
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += step) {
    if (!(p.matrix[e] * (Real)0 == (Real)0)) *p.flag = 1;
  }
}
)");
}

// Keys are unsigned and in the elements' order; equal ones, zeros of both signs and NaNs among
// them, have equal keys, so that a stable sort leaves them in the order of the lane.
std::string sort_source(DType dtype) {
  const std::size_t bytes = itemsize(dtype);
  const char* key = is_floating(dtype)                         ? R"(
  const Key magnitude = key & ~kSign;
  const bool nan = magnitude > kInfinity;
  if (magnitude == 0) key = 0;
  key ^= (key & kSign) != 0 ? (Key)(kSign | (kSign - 1)) : kSign;
  if (p.flip) key = ~key & (kSign | (kSign - 1));
  if (nan) key = p.nan_first ? 0 : kSign | (kSign - 1);
)"
                    : kind(dtype) == DTypeKind::kSignedInteger ? R"(
  key ^= kSign;
  if (p.flip) key = ~key & (kSign | (kSign - 1));
)"
                                                               : R"(
  if (p.flip) key = ~key & (kSign | (kSign - 1));
)";
  // Of float32 and float64, what only NaNs have more of.
  const char* infinity = bytes == 4 ? "0x7f800000u" : "0x7ff0000000000000ull";
  return core::text(
      unit_type(bytes), "typedef ", bytes == 8 ? "unsigned long long" : "unsigned int",
      " Key;\nconstexpr Key kSign = (Key)1 << ", 8 * bytes - 1, ";\n",
      is_floating(dtype) ? core::text("constexpr Key kInfinity = ", infinity, ";\n") : "",
      R"(
struct Params {
  unsigned char* to;            // elements; null: none are written
  const unsigned char* from;
  long long* positions;         // along the axis; null: none are written
  const long long* names;       // of the elements of `from`; null: first and up
  Key* keys;
  unsigned* lanes;
  unsigned* order;
  long long first, length, inner, count;  // along the axis: of the input, behind it, and of the output
  unsigned total, flip, nan_first, unused;
};

// Where element j of a lane lies in an array of `extent` elements along the axis.
__device__ long long place(const Params& p, long long lane, long long j, long long extent) {
  const long long outer = lane / p.inner;
  return (outer * extent + j) * p.inner + (lane - outer * p.inner);
}

extern "C" __global__ void make_keys(const Params p) {
  const unsigned step = gridDim.x * blockDim.x;
  for (unsigned long long e = blockIdx.x * blockDim.x + threadIdx.x; e < p.total; e += step) {
    const long long lane = (long long)e / p.length;
    Key key = ((const Unit*)p.from)[place(p, lane, (long long)e - lane * p.length, p.length)];
)",
      key, R"(
    p.keys[e] = key;
    p.order[e] = (unsigned)e;
  }
}

extern "C" __global__ void make_lanes(const Params p) {
  const unsigned step = gridDim.x * blockDim.x;
  for (unsigned long long e = blockIdx.x * blockDim.x + threadIdx.x; e < p.total; e += step)
    p.lanes[e] = (unsigned)(p.order[e] / p.length);
}

extern "C" __global__ void write_sorted(const Params p) {
  const unsigned step = gridDim.x * blockDim.x;
  const long long total = p.total / p.length * p.count;
  for (long long e = blockIdx.x * blockDim.x + threadIdx.x; e < total; e += step) {
    const long long lane = e / p.count;
    const long long rank = e - lane * p.count;
    const long long j = p.order[lane * p.length + rank] - lane * p.length;
    const long long from = place(p, lane, j, p.length);
    const long long to = place(p, lane, rank, p.count);
    if (p.to != nullptr) ((Unit*)p.to)[to] = ((const Unit*)p.from)[from];
    if (p.positions != nullptr) p.positions[to] = p.names != nullptr ? p.names[from] : p.first + j;
  }
}
)");
}

std::string histogram_source(DType dtype) {
  return core::text("typedef ", element_type(dtype), R"( Element;
struct Params {
  unsigned long long* counts;
  const unsigned char* from;
  const double* edges;
  unsigned long long elements;
  unsigned bins, unused;
};
constexpr unsigned kLocalBins = 4096;

// The last edge that is not above x, which lies between the first and the last one.
__device__ unsigned bin_of(const Params& p, double x) {
  unsigned base = 0;
  for (unsigned left = p.bins + 1; left > 1;) {
    const unsigned half = left / 2;
    if (p.edges[base + half] <= x) base += half;
    left -= half;
  }
  return base < p.bins ? base : p.bins - 1;
}

// Whole numbers: their sums are the same in any order.
extern "C" __global__ void count_bins(const Params p) {
  __shared__ unsigned counts[kLocalBins];
  const bool local = p.bins <= kLocalBins;
  if (local) {
    for (unsigned b = threadIdx.x; b < p.bins; b += 256) counts[b] = 0;
  }
  __syncthreads();
  const double first = p.edges[0], last = p.edges[p.bins];
  const unsigned long long step = gridDim.x * 256ull;
  for (unsigned long long e = blockIdx.x * 256ull + threadIdx.x; e < p.elements; e += step) {
    const double x = (double)((const Element*)p.from)[e];
    if (!(x >= first && x <= last)) continue;
    const unsigned bin = bin_of(p, x);
    if (local) {
      atomicAdd(&counts[bin], 1u);
    } else {
      atomicAdd(&p.counts[bin], 1ull);
    }
  }
  __syncthreads();
  if (!local) return;
  for (unsigned b = threadIdx.x; b < p.bins; b += 256) {
    if (counts[b] != 0) atomicAdd(&p.counts[b], (unsigned long long)counts[b]);
  }
}
)");
}

std::vector<BlockSource> block_sources() {
  std::vector<BlockSource> all;
  const auto add = [&](std::string name, std::string text, std::vector<std::string> kernels) {
    all.push_back({std::move(name), std::move(text), std::move(kernels)});
  };
  for (const std::size_t bytes : {1u, 2u, 4u, 8u, 16u}) {
    add(core::text("copy ", bytes), copy_source(bytes), {"copy_rows", "copy_tiles", "fill_rows"});
    add(core::text("take ", bytes), take_source(bytes), {"take"});
    add(core::text("gather ", bytes), gather_along_source(bytes), {"gather_along"});
  }
  add("mask", mask_source(), {"count_true_of_tiles", "sum_tiles", "list_true"});
  for (const std::size_t bytes : {4u, 8u})
    add(core::text("mirror ", bytes), mirror_source(bytes), {"mirror_lower"});
  for (const DType dtype :
       {DType::kBool, DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64})
    add(core::text("multiply ", dtype), integer_gemm_source(dtype), {"multiply"});
  for (const DType dtype :
       {DType::kBool, DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64, DType::kUInt8,
        DType::kUInt16, DType::kUInt32, DType::kUInt64, DType::kFloat32, DType::kFloat64}) {
    add(core::text("sort ", dtype), sort_source(dtype),
        {"make_keys", "make_lanes", "write_sorted"});
    add(core::text("histogram ", dtype), histogram_source(dtype), {"count_bins"});
    add(core::text("search ", dtype), search_source(dtype), {"search", "find"});
  }
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kComplex64, DType::kComplex128})
    add(core::text("factor ", dtype), factor_source(dtype), {"clear_lower", "find_unbounded"});
  return all;
}

}  // namespace tessera::kernels::cuda
