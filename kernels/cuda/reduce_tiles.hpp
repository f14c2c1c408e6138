// Reductions some of whose operands lie across the lanes of a warp: these come through shared
// memory. Text for CUDA, behind reduce_fold.hpp. The block's next elements form a tile; its rows
// are neighbours in such an operand's memory and are members along outer (kOuterRows), outputs
// (kOutputRows), or outputs with the lanes along them (kOutputLanes). Its columns count along
// inner. Every member folds what it folds in fold(), in that order.

// Which place of the tile a thread fetches: neighbours in memory go to neighbouring threads.
TESSERA_HD int tile_row(int thread, int u) {
  const int number = u * 256 + thread;
  return kAcross == kOutputLanes ? number / kColumns : number % kRows;
}
TESSERA_HD int tile_column(int thread, int u) {
  const int number = u * 256 + thread;
  return kAcross == kOutputLanes ? number % kColumns : number / kRows;
}

// A block's next elements: what threads fetch for the tile, and what they fetch for their own
// points.
struct Batch {
  Operands tile[kUnroll];
  Operands own[kUnroll];
};

TESSERA_HD void fetch_tile(const Params& p, const reduce::Walk& w, const Range& r, long long output,
                           Number i, Number j, Number end, int thread, Operands (&y)[kUnroll]) {
  long long c[kAxes];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int row = tile_row(thread, u);
    const Number column = j + tile_column(thread, u);
    const long long o = kAcross == kOuterRows ? output : output + row;
    const Number k = kAcross == kOuterRows ? i + row : i;
    if (o >= w.outputs || k >= r.outer_end || column >= end) continue;
    set_kept(p, o, c);
    set_outer(p, k, c);
    set_inner(p, column, c);
    fetch(p, c, y[u]);
  }
}

// Where a thread is in the tile, and whether it folds anything of the tile's rows.
struct Place {
  long long first_output;
  int thread, row, column;
  bool active;
};

TESSERA_HD void fetch_batch(const Params& p, const reduce::Walk& w, const Range& r, const Place& at,
                            long long (&c)[kAxes], Number i, Number j, Number end, bool mine,
                            Batch& b) {
  fetch_tile(p, w, r, at.first_output, i, j, end, at.thread, b.tile);
  if (mine) fetch_some<true>(p, c, j + at.column, end, b.own);
}

TESSERA_HD void fold_tiles(const Params& p, const reduce::Walk& w, const Range& r, const Place& at,
                           long long (&c)[kAxes], int member, Tiles& tiles, Totals& t) {
  const int down = member >> kInnerLog;
  Folding f;
  begin(f);
  for (Number i = r.outer_begin; i < r.outer_end; i += Number{1} << w.outer_log) {
    const bool mine = at.active && i + down < r.outer_end;
    set_outer(p, i + down, c);
    Batch b;
    fetch_batch(p, w, r, at, c, i, r.inner_begin, lesser(r.inner_begin + kChunk, r.inner_end), mine,
                b);
    for (Number from = r.inner_begin; from < r.inner_end; from += kChunk) {
      const Number end = lesser(from + kChunk, r.inner_end);
      for (Number j = from; j < end; j += kColumns) {
        __syncthreads();  // what stood there has been read
#pragma unroll
        for (int u = 0; u < kUnroll; ++u)
          put_tile(tiles, tile_row(at.thread, u), tile_column(at.thread, u), b.tile[u]);
        __syncthreads();
        Operands x[kUnroll];
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          x[u] = b.own[u];
          take_tile(tiles, at.row, static_cast<int>(element(at.column, u)), x[u]);
        }
        // The next batch is on its way while this one is computed.
        const Number next = j + kColumns;
        if (next < r.inner_end) {
          fetch_batch(p, w, r, at, c, i, next,
                      next < end ? end : lesser(next + kChunk, r.inner_end), mine, b);
        }
        if (mine) compute_some<true>(p, c, j + at.column, end, x, f.s);
      }
      const Number own = from + at.column;
      if (mine && own < end) end_chunk(f, own, lesser(own + kChunk, r.inner_end), t);
    }
  }
  close(f.s, t);
}
