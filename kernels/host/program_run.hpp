#pragma once

#include <array>
#include <vector>

#include "kernels/host/program_steps.hpp"
#include "kernels/host/reduce_sink.hpp"
#include "kernels/host/scratch_layout.hpp"
#include "kernels/host/tile_plan.hpp"

namespace tessera::kernels::host {

/// Everything about a program that runs share.
struct PreparedParts {
  Program program;
  ProgramSteps steps;
  std::vector<SinkTraits> sinks;
  std::size_t scratch_bytes = 0;
};

/// One run of a program: walks the tiles of a plan and carries out the steps on each.
class ProgramRun {
 public:
  /// Bytes of scratch for a run of the program.
  static std::size_t scratch_bytes(const PreparedParts& parts);

  ProgramRun(const PreparedParts& parts, const ProgramArgs& args, std::byte* scratch);
  void run();

 private:
  // Registers of a power of two apart would meet in the same cache sets; the rest is room for
  // lanes.
  static constexpr std::size_t kRegisterStride = kRegisterBytes + 320;

  /// A tile: rows along the plan's row axis, columns along its vector axis.
  struct Rect {
    std::int64_t row;
    std::int64_t col;
    std::int64_t rows;
    std::int64_t cols;
    std::int64_t count() const { return rows * cols; }
  };
  /// What a load's register holds, so that broadcast values are spread out once.
  struct Cached {
    const std::byte* data;
    std::int64_t rows;
    std::int64_t cols;
  };
  /// The parts of the scratch memory.
  struct Memory {
    std::byte* registers;
    TileView* views;
    Cached* cached;
    std::int64_t* offsets;
    const std::byte** load_ends;
    std::int64_t* stride_table;
    ReduceSink* sinks;
    std::byte** sink_memory;
  };
  /// Where the following tile of an operand lies, and how much of it to ask for after each
  /// operation.
  struct Upcoming {
    const std::byte* at;
    std::int64_t share;
  };

  static Memory lay_out(const PreparedParts& parts, ScratchLayout& scratch);

  template <typename F>
  void for_each_point(const AxisList& axes, F&& f);
  void map_tiles();
  void fold_columns();
  void fold_column_strip(std::int64_t first, std::int64_t cols);
  void fold_kept_rectangle(const Rect& rect);
  void fold_runs();
  void fold_sequences(std::int64_t row, std::int64_t rows);
  void run_tile(const Rect& rect);
  void write_columns(const Rect& rect);
  void write_outputs(std::int64_t row, std::int64_t count);

  void prefetch_upcoming();
  void fill_constants();
  void run_load(const Step& step, const Rect& rect);
  void run_index(const Step& step, const Rect& rect);
  void run_random(const Step& step, const Rect& rect);
  void run_op(const Step& step, const Rect& rect);
  void run_op_by_rows(const Step& step, const Rect& rect, std::byte* to);
  void run_store(const Step& step, const Rect& rect);
  void run_reduce(const Step& step, const Rect& rect);

  std::int64_t element(int operand, const Rect& rect) const;
  std::int64_t row_stride(int operand) const;
  std::int64_t vector_stride(int operand) const;
  bool contiguous(int operand, const Rect& rect) const;
  bool folds_dense_tiles() const;
  bool read_by_rows(const Step& load, const Rect& rect) const;
  bool lies_in_rows(int value, const Rect& rect) const;
  std::int64_t tile_ahead(const Rect& rect, std::int64_t pitch) const;
  std::byte* direct_target(const Step& step, const Rect& rect) const;
  std::byte* register_of(int value) const;
  bool in_register(const std::byte* data) const;
  std::byte* inherited_register(const Step& step);
  void note_load_ends();

  const PreparedParts& parts_;
  const ProgramArgs& args_;
  Memory at_;
  TilePlan plan_;
  TilePlan::Operands operands_;
  std::int64_t strip_first_ = 0;  // first column of the working states
  bool streaming_ = false;
  std::array<Upcoming, 8> upcoming_;
  int upcoming_count_ = 0;
};

}  // namespace tessera::kernels::host
