#include "kernels/cuda/groupby_source.hpp"

#include "core/text.hpp"
#include "kernels/cuda/program_source.hpp"
#include "kernels/cuda/reduce_source.hpp"

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;

std::string monoid_of(ReduceOp op, DType dtype) {
  // "count" counts what is not missing.
  if (op == ReduceOp::kCountNonzero) return core::text("Present<", lane_type(dtype), ">");
  return monoid_type(op, dtype);
}

constexpr const char* kPresentText = R"(
template <class T>
struct Present : reduce::Count<T> {
  static TESSERA_HD void add(int& s, T x) { s += reduce::missing(x) ? 0 : 1; }
};
)";

// A block of threads takes some neighbouring elements of the inner axes and a group: lanes x
// members threads, of which the members share the elements of the group and are combined in a fixed
// tree.
constexpr const char* kFoldText = R"(
struct FoldParams {
  const unsigned char* from;
  const int* positions;  // of the elements of group 0, then of group 1, ...
  const int* begins;     // of the groups, and the end of the last one
  reduce::Planes to;
  long long outer, rows, inner, groups;
  int lanes_log, unused;
};
constexpr int kUnroll = 4;

TESSERA_HD M::Acc fold_group(const FoldParams& p, const T* from, int at, int end, int step) {
  M::Acc a = M::empty();
  M::State s = M::start();
  int held = 0;
  while (at < end) {
    T x[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (at + u * step < end) x[u] = from[p.positions[at + u * step] * p.inner];
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (at + u * step >= end) continue;
      if (u == 0) reduce::prepare<M>(s, x[u]);
      M::add(s, x[u]);
    }
    at += kUnroll * step;
    if constexpr (M::kBlocked) {
      held += kUnroll;
      if (held < reduce::kBlockElements) continue;
      a = M::merge(a, M::close(s));
      s = M::start();
      held = 0;
    }
  }
  return M::merge(a, M::close(s));
}

extern "C" __global__ void __launch_bounds__(256) fold_groups(const FoldParams p) {
  alignas(16) __shared__ unsigned char memory[256 * sizeof(M::Acc)];
  const int thread = static_cast<int>(threadIdx.x);
  const int lanes = 1 << p.lanes_log;
  const int members = 256 >> p.lanes_log;
  const int member = thread >> p.lanes_log;
  const long long strips = (p.inner + lanes - 1) >> p.lanes_log;
  const long long tiles = p.outer * p.groups * strips;
  for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const long long row = tile / strips;
    const long long lane = ((tile - row * strips) << p.lanes_log) + (thread & (lanes - 1));
    const long long outer = row / p.groups;
    const long long group = row - outer * p.groups;
    M::Acc a = M::empty();
    if (lane < p.inner) {
      const T* const from = reinterpret_cast<const T*>(p.from) + outer * p.rows * p.inner + lane;
      a = fold_group(p, from, p.begins[group] + member, p.begins[group + 1], members);
    }
    a = reduce::combine<M>(a, memory, thread, member, members, lanes);
    if (member == 0 && lane < p.inner) M::store(p.to, row * p.inner + lane, a);
  }
}
)";

constexpr const char* kMergeText = R"(
struct MergeParams {
  unsigned char* const* pieces;
  const long long* offsets;  // of the three planes of each piece
  const long long* sizes;    // groups of each piece
  const int* places;         // of each group in each piece, -1 where it has none
  const long long* counts;   // that sums are divided by
  reduce::Target to;
  long long outputs, inner, groups, piece_count;
};
// The pieces' accumulators of output i, in their order.
TESSERA_HD M::Acc merge_groups(const MergeParams& p, long long i, long long& group) {
  const long long row = i / p.inner;
  const long long lane = i - row * p.inner;
  const long long outer = row / p.groups;
  group = row - outer * p.groups;
  M::Acc a = M::empty();
  for (int k = 0; k < p.piece_count; ++k) {
    const int place = p.places[k * p.groups + group];
    if (place < 0) continue;
    unsigned char* const data = p.pieces[k];
    const reduce::Planes from{
        {data + p.offsets[3 * k], data + p.offsets[3 * k + 1], data + p.offsets[3 * k + 2]}};
    a = M::merge(a, M::load(from, (outer * p.sizes[k] + place) * p.inner + lane));
  }
  return a;
}
extern "C" __global__ void __launch_bounds__(256) merge_groups_of_blocks(const MergeParams p) {
  const long long step = static_cast<long long>(gridDim.x) * 256;
  for (long long i = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x; i < p.outputs;
       i += step) {
    long long group = 0;
    const M::Acc a = merge_groups(p, i, group);
    END
  }
}
)";

// What lies before the kernels.
std::string definitions(ReduceOp op, DType dtype) {
  std::string out = program_source(Program{});
  out += reduce_prelude();
  out += kPresentText;
  return out +
         core::text("using T = ", lane_type(dtype), ";\nusing M = ", monoid_of(op, dtype), ";\n");
}

const char* text_of(GroupbyEnd end) {
  switch (end) {
    case GroupbyEnd::kFinished:
      return "reduce::finish_one<M, Result>(p.to, i, a, nullptr);";
    case GroupbyEnd::kDivided:
      return "reduce::at<Result>(p.to.planes, 0, i) = body::Cast<Result>::from(reduce::over(a, "
             "static_cast<double>(p.counts[group])));";
    default:
      return "M::store(p.to.planes, i, a);";
  }
}

}  // namespace

std::string groupby_source(ReduceOp op, DType dtype) { return definitions(op, dtype) + kFoldText; }

std::string groupby_merge_source(ReduceOp op, DType element, DType result, GroupbyEnd end) {
  std::string kernel = kMergeText;
  kernel.replace(kernel.find("END"), 3, text_of(end));
  return definitions(op, element) + core::text("using Result = ", lane_type(result), ";\n") +
         kernel;
}

}  // namespace tessera::kernels::cuda
