// Kernels of reductions. Text for CUDA: included by a source behind kernels/cuda/reduce_bodies.hpp.

namespace reduce {

/// ReduceWalk and PartsWalk of kernels/cuda/reduce_walk.hpp.
struct Walk {
  long long outputs, tiles, outer, inner;
  long long outer_part, inner_part;
  unsigned inner_parts;
  int outputs_log, inner_log, outer_log;
  int output_shift, member_shift;
};
struct Parts {
  long long outputs;
  int parts, outputs_log, members_log, unused;
};

/// Where what becomes of one reduction goes.
struct Target {
  Planes planes;  ///< of accumulators; the first is that of finished values
  double ddof;
};

/// Tells a monoid which element comes next, where it wants to know.
template <class M, class T>
TESSERA_HD void prepare(typename M::State& s, T x) {
  if constexpr (requires { M::prepare(s, x); }) M::prepare(s, x);
}

/// `count` accumulators from `first` on, `step` apart, as a binary tree; those past `end` hold
/// nothing.
template <class M, int kCount, class Load>
TESSERA_HD typename M::Acc merge_few(const Load& load, int first, int step, int end) {
  typename M::Acc few[kCount];
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    few[u] = first + u * step < end ? load(first + u * step) : M::empty();
  }
#pragma unroll
  for (int half = 1; half < kCount; half *= 2) {
#pragma unroll
    for (int u = 0; u + half < kCount; u += 2 * half) few[u] = M::merge(few[u], few[u + half]);
  }
  return few[0];
}

/// Accumulators of the members of an output become one, that of member 0. Every thread of the block
/// takes part; members are `stride` threads apart.
template <class M>
TESSERA_HD typename M::Acc combine(typename M::Acc a, unsigned char* memory, int thread, int member,
                                   int members, int stride) {
  constexpr int kRadix = sizeof(typename M::Acc) <= 16 ? 8 : 4;
  typename M::Acc* const shared = reinterpret_cast<typename M::Acc*>(memory);
  while (members > 1) {
    const int radix = members < kRadix ? members : kRadix;
    const int each = members;
    members /= radix;
    __syncthreads();  // what stood there has been read
    if (member < each) shared[thread] = a;
    __syncthreads();
    const auto load = [&](int k) { return shared[thread + k * members * stride]; };
    if (member < members) a = merge_few<M, kRadix>(load, 0, 1, radix);
  }
  return a;
}

/// Writes a finished value, or the accumulator of output i. A place that does not exist leaves a
/// mark in `none`.
template <class M, class Result>
TESSERA_HD void finish_one(const Target& to, long long i, const typename M::Acc& a, int* none) {
  const auto value = M::finish(a, to.ddof);
  if constexpr (kMayFindNone<M>) {
    if (value < 0) *none = 1;
  }
  at<Result>(to.planes, 0, i) = Cast<Result>::from(value);
}

inline constexpr int kFew = 8;

/// Combines the accumulators that parts left behind, part by part one for each output.
template <class M>
TESSERA_HD typename M::Acc merge_parts(const Parts& w, const Planes& from, unsigned char* memory,
                                       long long output, int thread) {
  const int members = 1 << w.members_log;
  const int member = thread >> w.outputs_log;
  typename M::Acc a = M::empty();
  if (output < w.outputs) {
    const auto load = [&](int part) { return M::load(from, part * w.outputs + output); };
    for (int part = member; part < w.parts; part += kFew * members) {
      a = M::merge(a, merge_few<M, kFew>(load, part, members, w.parts));
    }
  }
  return combine<M>(a, memory, thread, member, members, 1 << w.outputs_log);
}

}  // namespace reduce
