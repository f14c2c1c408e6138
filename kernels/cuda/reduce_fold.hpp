// The kernel that folds the elements of a program into accumulators. Text for CUDA: included by a
// source behind what reduce_source.cpp defines for the program (constants, States, Totals, Tiles
// and the functions on them). Which thread folds what, and in which order, is said in
// kernels/cuda/reduce_walk.hpp.

// Elements are numbered by Number; what counts along inner and outer fits it with room for a batch
// more.
constexpr Number kStep = Number{1} << kInnerLog;
constexpr Number kBatch = kUnroll * kStep;
constexpr Number kChunk = kBlocked ? reduce::kBlockElements * kStep : Number{1} << 29;

// A member takes kTogether elements in a row before it leaves the next ones to the other members.
TESSERA_HD Number element(Number at, int u) {
  return at + u / kTogether * (kTogether * kStep) + u % kTogether;
}
TESSERA_HD Number last_element(Number at) { return element(at, kUnroll - 1); }
TESSERA_HD Number lesser(Number a, Number b) { return a < b ? a : b; }

// The part of an output's elements that a block takes in.
struct Range {
  Number outer_begin, outer_end, inner_begin, inner_end;
};
TESSERA_HD Range part_of(const reduce::Walk& w) {
  const long long outer = blockIdx.y / w.inner_parts * w.outer_part;
  const long long inner = blockIdx.y % w.inner_parts * w.inner_part;
  return {static_cast<Number>(outer),
          static_cast<Number>(outer + w.outer_part < w.outer ? outer + w.outer_part : w.outer),
          static_cast<Number>(inner),
          static_cast<Number>(inner + w.inner_part < w.inner ? inner + w.inner_part : w.inner)};
}

// A member's state, closed every so many elements.
struct Folding {
  States s;
  Number held;
};
TESSERA_HD void begin(Folding& f) {
  start(f.s);
  f.held = 0;
}
TESSERA_HD void end_chunk(Folding& f, Number from, Number end, Totals& t) {
  if constexpr (kBlocked) {
    f.held += (end - from + kStep - 1) >> kInnerLog;
    if (f.held < reduce::kBlockElements) return;
    close(f.s, t);
    begin(f);
  }
}

template <bool kGuard>
TESSERA_HD void fetch_some(const Params& p, long long (&c)[kAxes], Number at, Number end,
                           Operands (&x)[kUnroll]) {
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const Number j = element(at, u);
    if (kGuard && j >= end) continue;
    set_inner(p, j, c);
    fetch(p, c, x[u]);
  }
}

template <bool kGuard>
TESSERA_HD void compute_some(const Params& p, long long (&c)[kAxes], Number at, Number end,
                             const Operands (&x)[kUnroll], States& s) {
  Draws draws;
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const Number j = element(at, u);
    if (kGuard && j >= end) continue;
    Values v;
    compute(p.constants, x[u], draws, v);
    if constexpr (kStores) {
      set_inner(p, j, c);
      write_stores(p, c, v);
    }
    if (u == 0) prepare(s, v);
    add(s, v);
  }
}

// A member's elements from `at` to `end`: a batch is on its way while the one before it is
// computed.
TESSERA_HD void fold_chunk(const Params& p, long long (&c)[kAxes], Number at, Number end,
                           States& s) {
  Operands x[kUnroll];
  bool whole = last_element(at) < end;
  if (whole) fetch_some<false>(p, c, at, end, x);
  while (whole) {
    Operands next[kUnroll];
    whole = last_element(at + kBatch) < end;
    if (whole) fetch_some<false>(p, c, at + kBatch, end, next);
    compute_some<false>(p, c, at, end, x, s);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) x[u] = next[u];
    at += kBatch;
  }
  if (at >= end) return;
  fetch_some<true>(p, c, at, end, x);
  compute_some<true>(p, c, at, end, x, s);
}

// What one member folds of an output.
TESSERA_HD void fold(const Params& p, const reduce::Walk& w, const Range& r, long long (&c)[kAxes],
                     int member, Totals& t) {
  const Number first = r.inner_begin + kTogether * (member & static_cast<int>(kStep - 1));
  Folding f;
  begin(f);
  for (Number i = r.outer_begin + (member >> kInnerLog); i < r.outer_end;
       i += Number{1} << w.outer_log) {
    set_outer(p, i, c);
    for (Number from = first; from < r.inner_end; from += kChunk) {
      const Number end = lesser(from + kChunk, r.inner_end);
      fold_chunk(p, c, from, end, f.s);
      end_chunk(f, from, end, t);
    }
  }
  close(f.s, t);
}
