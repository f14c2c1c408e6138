#pragma once

#include <cstdint>

#include "kernels/host/level_stack.hpp"
#include "kernels/host/reduce_host.hpp"
#include "kernels/program.hpp"

namespace tessera::kernels::host {

/// Values of a tile: `pitch` elements from row to row.
struct TileView {
  std::byte* data = nullptr;
  std::int64_t pitch = 0;
};

/// What a reduction needs that a program fixes.
struct SinkTraits {
  SinkTraits(const ProgramReduction& reduction, DType dtype);

  /// Bytes of the states of one run.
  std::size_t scratch_bytes() const;

  ReduceKernels kernels;
  Finisher finisher;
  bool finish;
  std::size_t itemsize;
  /// The reduction that folds the values of this one with its own; -1: none.
  int folded_by = -1;
  /// The one that this one folds for; -1: none.
  int folds_for = -1;
};

/// The states of one reduction during a run. Columns: begin_columns(), then fold_columns() for
/// every tile and advance_rows() after each row of tiles, then take_columns(). Runs:
/// begin_sequences(), fold_runs() and end_sequences() for each group of sequences, then
/// take_outputs(). Borrows its memory.
class ReduceSink {
 public:
  ReduceSink(const SinkTraits& traits, std::byte* memory);

  void begin_columns(std::int64_t cols);
  /// Adds rows of values to the columns from `first_col` on; to those of `other`, too, where this
  /// reduction folds for it.
  void fold_columns(TileView values, TileView index, std::int64_t rows, std::int64_t cols,
                    std::int64_t first_col, ReduceSink* other);
  void advance_rows(std::int64_t rows);
  Planes take_columns();

  void begin_sequences(std::int64_t count);
  /// Adds `length` elements of row r to sequence r, and to the other one's.
  void fold_runs(TileView values, TileView index, std::int64_t length, ReduceSink* other);
  /// What becomes of the sequences' accumulators: they are the outputs, each is one more part of
  /// its output, or all are parts of one output.
  enum class Parts : std::uint8_t { kWhole, kOneEach, kOfOne };
  void end_sequences(Parts parts);
  Planes take_outputs(std::int64_t count);

  /// Writes `count` outputs from element number `first` on, `stride` apart, of `total` in all.
  void write(Planes planes, std::int64_t count, std::int64_t first, std::int64_t stride,
             std::int64_t total, std::byte* out) const;
  void write_identity(std::int64_t total, std::byte* out);

 private:
  void fold(FoldArgs& args, ReduceSink* other, std::int64_t first) const;
  void flush_runs();
  void fold_stretch(FoldArgs args, std::int64_t length, ReduceSink* other);

  const SinkTraits* traits_;
  const ReduceKernels* kernels_;
  Work work_{};
  Planes fresh_{};
  Planes whole_{};  // outputs that need no further parts
  LevelStack blocks_;
  LevelStack sequences_;
  std::int64_t cols_ = 0;
  std::int64_t position_ = 0;  // rows, or elements of a run, since the last flush
};

}  // namespace tessera::kernels::host
