// Kernels of cumulative sums and products. Text for CUDA: included by a source behind
// kernels/cuda/reduce_bodies.hpp and what scan_source() defines: a program whose reduced value is
// an element in the dtype that is written and whose store is the result, T (its lane type),
// kProduct, kSkipNan, kAxes, and set_lane(). The scanned axis is the last one. Running values are
// wide (reduce::Wide<T>), as carries are. Which thread adds up what: scan_walk.hpp.

using W = reduce::Wide<T>;

struct ScanWalk {
  long long lanes, length, segment;
  int segments, members_log;
};

TESSERA_HD W nothing() {
  if constexpr (kProduct) return reduce::Product<T, false>::one();
  return W{};
}
TESSERA_HD W join(W a, W b) {
  if constexpr (kProduct) return reduce::times(a, b);
  return reduce::plus(a, b);
}
TESSERA_HD W wide(T x) { return kSkipNan && reduce::missing(x) ? nothing() : reduce::widen(x); }
template <Integer N>
TESSERA_HD N narrow(unsigned long long x, N) {
  return static_cast<N>(x);
}
template <Floating N>
TESSERA_HD N narrow(double x, N) {
  return static_cast<N>(x);
}
template <class N>
TESSERA_HD Complex<N> narrow(Complex<double> x, Complex<N>) {
  return {static_cast<N>(x.re), static_cast<N>(x.im)};
}

constexpr int kEach = 8;

TESSERA_HD W element(const Params& p, const Operands& x) {
  Draws draws;
  Values v;
  compute(p.constants, x, draws, v);
  return wide(v.r0);
}
TESSERA_HD void put(const Params& p, const long long (&c)[kAxes], W running) {
  Values v;
  v.s0 = narrow(running, T{});
  write_stores(p, c, v);
}

// A thread for each lane of each segment, one element after the other.
template <bool kWrites>
TESSERA_HD void scan_lane(const Params& p, const ScanWalk& w, const W* before, W* after) {
  const long long number = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (number >= w.lanes * w.segments) return;
  const long long segment = number / w.lanes;
  long long c[kAxes];
  set_lane(p, number - segment * w.lanes, c);
  const long long begin = segment * w.segment;
  const long long end = begin + w.segment < w.length ? begin + w.segment : w.length;
  W running = before != nullptr ? before[number] : nothing();
  for (long long n = begin; n < end; n += kEach) {
    Operands x[kEach];
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      c[kAxes - 1] = n + u;
      if (n + u < end) fetch(p, c, x[u]);
    }
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      if (n + u >= end) continue;
      running = join(running, element(p, x[u]));
      c[kAxes - 1] = n + u;
      if constexpr (kWrites) put(p, c, running);
    }
  }
  if (after != nullptr) after[number] = running;
}

extern "C" __global__ void __launch_bounds__(256)
    scan_lanes(const Params p, const ScanWalk w, const W* before, W* after) {
  scan_lane<true>(p, w, before, after);
}
extern "C" __global__ void __launch_bounds__(256)
    scan_lane_totals(const Params p, const ScanWalk w, const W* before, W* after) {
  scan_lane<false>(p, w, before, after);
}

/// What came before a member's value in its group, and the group's total.
struct Prefix {
  W before, total;
};
TESSERA_HD Prefix scan_group(W value, W* shared, int thread, int member, int members) {
  W sum = value;
  for (int reach = 1; reach < members; reach *= 2) {
    __syncthreads();  // what stood there has been read
    shared[thread] = sum;
    __syncthreads();
    if (member >= reach) sum = join(shared[thread - reach], sum);
  }
  __syncthreads();
  shared[thread] = sum;
  __syncthreads();
  return {member > 0 ? shared[thread - 1] : nothing(), shared[thread - member + members - 1]};
}

// Rows lie along the axis. A group of members takes a row's segment tile by tile: elements come and
// go in the order of memory, and change places in shared memory, so that each member adds up kEach
// neighbours.
template <bool kWrites>
TESSERA_HD void scan_row(const Params& p, const ScanWalk& w, const W* before, W* after) {
  alignas(16) __shared__ unsigned char tile_memory[256 * (kEach + 1) * sizeof(W)];
  alignas(16) __shared__ unsigned char group_memory[256 * sizeof(W)];
  W* const group = reinterpret_cast<W*>(group_memory);
  const int thread = static_cast<int>(threadIdx.x);
  const int members = 1 << w.members_log;
  const int member = thread & (members - 1);
  // One place more after each member's, against conflicts of banks.
  W* const tile = reinterpret_cast<W*>(tile_memory) + (thread - member) * (kEach + 1);
  const long long lane =
      (static_cast<long long>(blockIdx.x) << (8 - w.members_log)) + (thread >> w.members_log);
  const bool active = lane < w.lanes;
  const long long place = blockIdx.y * w.lanes + lane;
  const long long begin = blockIdx.y * w.segment;
  const long long end = begin + w.segment < w.length ? begin + w.segment : w.length;
  long long c[kAxes];
  if (active) set_lane(p, lane, c);
  W running = active && before != nullptr ? before[place] : nothing();
  for (long long n = begin; n < end; n += kEach * members) {
    Operands x[kEach];
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      c[kAxes - 1] = n + u * members + member;
      if (active && c[kAxes - 1] < end) fetch(p, c, x[u]);
    }
    __syncthreads();  // results of the last tile have been read
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      const int e = u * members + member;
      tile[e + e / kEach] = active && n + e < end ? element(p, x[u]) : nothing();
    }
    __syncthreads();
    W own[kEach];
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      const W value = tile[member * (kEach + 1) + u];
      own[u] = u > 0 ? join(own[u > 0 ? u - 1 : 0], value) : value;
    }
    const Prefix prefix = scan_group(own[kEach - 1], group, thread, member, members);
    if constexpr (kWrites) {
      const W from = join(running, prefix.before);
#pragma unroll
      for (int u = 0; u < kEach; ++u) tile[member * (kEach + 1) + u] = join(from, own[u]);
      __syncthreads();
#pragma unroll
      for (int u = 0; u < kEach; ++u) {
        const int e = u * members + member;
        c[kAxes - 1] = n + e;
        if (active && n + e < end) put(p, c, tile[e + e / kEach]);
      }
    }
    running = join(running, prefix.total);
  }
  if (active && member == 0 && after != nullptr) after[place] = running;
}

extern "C" __global__ void __launch_bounds__(256)
    scan_rows(const Params p, const ScanWalk w, const W* before, W* after) {
  scan_row<true>(p, w, before, after);
}
extern "C" __global__ void __launch_bounds__(256)
    scan_row_totals(const Params p, const ScanWalk w, const W* before, W* after) {
  scan_row<false>(p, w, before, after);
}

// Totals of segments become what came before each; a thread for each lane, or, where segments are
// many, a block.
extern "C" __global__ void __launch_bounds__(256)
    scan_few(const ScanWalk w, W* totals, const W* before, W* after) {
  const long long lane = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (lane >= w.lanes) return;
  W running = before != nullptr ? before[lane] : nothing();
  for (int s = 0; s < w.segments; s += kEach) {
    W total[kEach];
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      if (s + u < w.segments) total[u] = totals[(s + u) * w.lanes + lane];
    }
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      if (s + u >= w.segments) continue;
      totals[(s + u) * w.lanes + lane] = running;
      running = join(running, total[u]);
    }
  }
  if (after != nullptr) after[lane] = running;
}
extern "C" __global__ void __launch_bounds__(256)
    scan_many(const ScanWalk w, W* totals, const W* before, W* after) {
  alignas(16) __shared__ unsigned char group_memory[256 * sizeof(W)];
  const long long lane = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  W running = before != nullptr ? before[lane] : nothing();
  for (int s = 0; s < w.segments; s += 256) {
    const bool mine = s + thread < w.segments;
    const long long place = (s + thread) * w.lanes + lane;
    const W total = mine ? totals[place] : nothing();
    const Prefix prefix =
        scan_group(total, reinterpret_cast<W*>(group_memory), thread, thread, 256);
    if (mine) totals[place] = join(running, prefix.before);
    running = join(running, prefix.total);
  }
  if (thread == 0 && after != nullptr) after[lane] = running;
}
