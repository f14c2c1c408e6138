#include "kernels/host/program_run.hpp"

#include <algorithm>
#include <complex>
#include <cstring>
#include <memory>

#include "kernels/host/tile_copy.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

// Registers of a power of two apart would meet in the same cache sets; the rest is room for lane pads.
constexpr std::size_t kRegisterStride = kRegisterBytes + 320;
// Outputs larger than the cache a core has to itself are written past it.
constexpr std::int64_t kStreamingBytes = std::int64_t{4} << 20;
constexpr std::int64_t kLineBytes = 64;

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::int64_t bytes_of(std::size_t itemsize) { return static_cast<std::int64_t>(itemsize); }

}  // namespace

ProgramRun::Parts ProgramRun::cut(const PreparedParts& parts, ScratchCutter& scratch) {
  const std::size_t values = parts.steps.values.size();
  const std::size_t operands = at(TilePlan::operands_of(parts.program).count());
  Parts out{};
  out.registers = scratch.take(kRegisterStride * at(parts.steps.register_count));
  out.views = scratch.take_array<TileView>(values);
  out.cached = scratch.take_array<Cached>(values);
  out.offsets = scratch.take_array<std::int64_t>(operands);
  out.load_ends = scratch.take_array<const std::byte*>(at(parts.program.load_count));
  out.stride_table = scratch.take_array<std::int64_t>(TilePlan::stride_count(parts.program));
  out.sinks = scratch.take_array<ReduceSink>(parts.sinks.size());
  out.sink_memory = scratch.take_array<std::byte*>(parts.sinks.size());
  for (std::size_t i = 0; i < parts.sinks.size(); ++i) {
    std::byte* memory = scratch.take(parts.sinks[i].scratch_bytes());
    if (out.sink_memory != nullptr) out.sink_memory[i] = memory;
  }
  return out;
}

std::size_t ProgramRun::scratch_bytes(const PreparedParts& parts) {
  ScratchCutter counter;
  cut(parts, counter);
  return counter.used();
}

ProgramRun::ProgramRun(const PreparedParts& parts, const ProgramArgs& args, std::byte* scratch)
    : parts_(parts), args_(args), operands_(TilePlan::operands_of(parts.program)) {
  ScratchCutter cutter(scratch);
  at_ = cut(parts, cutter);
  static_assert(std::is_trivially_destructible_v<ReduceSink>);
  for (std::size_t i = 0; i < parts.sinks.size(); ++i) {
    std::construct_at(at_.sinks + i, parts.sinks[i], at_.sink_memory[i]);
  }
  std::fill_n(at_.cached, parts.steps.values.size(), Cached{nullptr, 0, 0});
  std::fill_n(at_.offsets, operands_.count(), 0);
}

void ProgramRun::run() {
  plan_.build(parts_.program, parts_.steps, args_, at_.stride_table);
  if (plan_.empty) {
    for (std::size_t i = 0; i < parts_.sinks.size(); ++i) {
      at_.sinks[i].write_identity(plan_.kept_elements, args_.reductions[i]);
    }
    return;
  }
  note_load_ends();
  for (const int value : parts_.program.stores) {
    const std::size_t itemsize = parts_.steps.values[at(value)].itemsize;
    streaming_ = streaming_ || plan_.elements * bytes_of(itemsize) >= kStreamingBytes;
  }
  fill_constants();
  switch (plan_.mode) {
    case WalkMode::kMap: map_tiles(); break;
    case WalkMode::kColumns: fold_columns(); break;
    case WalkMode::kRuns: fold_runs(); break;
  }
  if (streaming_) flush_streams();
}

/// Vector code reads past a run's end only as far as the operand itself reaches.
void ProgramRun::note_load_ends() {
  for (std::size_t v = 0; v < parts_.program.instrs.size(); ++v) {
    const Instr& instr = parts_.program.instrs[v];
    if (instr.kind != InstrKind::kLoad) continue;
    const Operand& load = args_.loads[at(instr.slot)];
    std::int64_t last = 0;
    for (std::size_t d = 0; d < args_.shape.size(); ++d) {
      last += std::max<std::int64_t>(load.strides[d], 0) * (args_.shape[d] - 1);
    }
    at_.load_ends[instr.slot] = load.data + (last + 1) * bytes_of(itemsize(instr.dtype));
  }
}

template <typename F>
void ProgramRun::for_each_point(const AxisList& axes, F&& f) {
  std::array<std::int64_t, kMaxRank + 1> index;
  std::fill_n(index.begin(), axes.count, 0);
  const int operands = operands_.count();
  while (true) {
    f();
    int i = axes.count - 1;
    for (; i >= 0; --i) {
      const int axis = axes.axes[at(i)];
      const std::int64_t* strides = plan_.strides(axis);
      if (++index[at(i)] < plan_.extent(axis)) {
        for (int k = 0; k < operands; ++k) at_.offsets[k] += strides[k];
        break;
      }
      index[at(i)] = 0;
      const std::int64_t back = plan_.extent(axis) - 1;
      for (int k = 0; k < operands; ++k) at_.offsets[k] -= back * strides[k];
    }
    if (i < 0) return;
  }
}

void ProgramRun::map_tiles() {
  const std::int64_t row_extent = plan_.row_extent();
  const std::int64_t col_extent = plan_.extent(plan_.vector_axis);
  for_each_point(plan_.kept, [&] {
    for (std::int64_t row = 0; row < row_extent; row += plan_.rows) {
      const std::int64_t rows = std::min(plan_.rows, row_extent - row);
      for (std::int64_t col = 0; col < col_extent; col += plan_.cols) {
        run_tile({row, col, rows, std::min(plan_.cols, col_extent - col)});
      }
    }
  });
}

void ProgramRun::fold_columns() {
  const std::int64_t row_extent = plan_.row_extent();
  const std::int64_t col_extent = plan_.extent(plan_.vector_axis);
  for_each_point(plan_.kept, [&] {
    if (plan_.row_role != RowRole::kKept) {
      for (std::int64_t col = 0; col < col_extent; col += TilePlan::kStripColumns) {
        fold_column_strip(col, std::min(TilePlan::kStripColumns, col_extent - col));
      }
      return;
    }
    for (std::int64_t row = 0; row < row_extent; row += plan_.rows) {
      for (std::int64_t col = 0; col < col_extent; col += plan_.cols) {
        fold_kept_rectangle({row, col, std::min(plan_.rows, row_extent - row),
                             std::min(plan_.cols, col_extent - col)});
      }
    }
  });
}

void ProgramRun::fold_column_strip(std::int64_t first, std::int64_t cols) {
  const std::int64_t row_extent = plan_.row_extent();
  strip_first_ = first;
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].begin_columns(cols);
  std::int64_t position = 0;
  for_each_point(plan_.outer_reduced, [&] {
    for (std::int64_t row = 0; row < row_extent;) {
      // Blocks end at fixed rows, whatever the tiles.
      const std::int64_t room = kBlockRows - position % kBlockRows;
      const std::int64_t rows = std::min({plan_.rows, row_extent - row, room});
      for (std::int64_t col = 0; col < cols; col += plan_.cols) {
        run_tile({row, first + col, rows, std::min(plan_.cols, cols - col)});
      }
      for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].advance_rows(rows);
      position += rows;
      row += rows;
    }
  });
  write_columns({0, first, 1, cols});
}

void ProgramRun::fold_kept_rectangle(const Rect& rect) {
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].begin_columns(rect.count());
  for_each_point(plan_.outer_reduced, [&] {
    run_tile(rect);
    for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].advance_rows(1);
  });
  write_columns(rect);
}

void ProgramRun::write_columns(const Rect& rect) {
  const int kept = operands_.kept();
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) {
    Planes columns = at_.sinks[i].take_columns();
    for (std::int64_t r = 0; r < rect.rows; ++r) {
      const Rect row{plan_.row_role == RowRole::kKept ? rect.row + r : 0, rect.col, 1, rect.cols};
      at_.sinks[i].write(columns, rect.cols, element(kept, row), vector_stride(kept),
                         plan_.kept_elements, args_.reductions[i]);
      columns = advance(columns, parts_.sinks[i].kernels, rect.cols);
    }
  }
}

void ProgramRun::fold_runs() {
  const std::int64_t row_extent = plan_.row_extent();
  for_each_point(plan_.kept, [&] {
    if (plan_.row_role == RowRole::kKept) {
      for (std::int64_t row = 0; row < row_extent; row += plan_.rows) {
        const std::int64_t rows = std::min(plan_.rows, row_extent - row);
        for_each_point(plan_.outer_reduced, [&] { fold_sequences(row, rows); });
        write_outputs(row, rows);
      }
      return;
    }
    for_each_point(plan_.outer_reduced, [&] {
      if (plan_.row_role != RowRole::kReduced) return fold_sequences(0, 1);
      for (std::int64_t row = 0; row < row_extent; row += plan_.rows) {
        fold_sequences(row, std::min(plan_.rows, row_extent - row));
      }
    });
    write_outputs(0, 1);
  });
}

void ProgramRun::fold_sequences(std::int64_t row, std::int64_t rows) {
  const bool whole_rows = plan_.row_role == RowRole::kSequence;
  const std::int64_t col_extent = plan_.extent(plan_.vector_axis);
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].begin_sequences(rows);
  for_each_point(plan_.sequence, [&] {
    if (whole_rows) {
      for (std::int64_t r = 0; r < plan_.row_extent(); r += plan_.rows) {
        run_tile({r, 0, std::min(plan_.rows, plan_.row_extent() - r), col_extent});
      }
      return;
    }
    for (std::int64_t col = 0; col < col_extent; col += plan_.cols) {
      run_tile({row, col, rows, std::min(plan_.cols, col_extent - col)});
    }
  });
  auto parts = ReduceSink::Parts::kWhole;
  if (plan_.row_role == RowRole::kReduced) {
    parts = ReduceSink::Parts::kOfOne;
  } else if (plan_.outer_reduced.count > 0) {
    parts = ReduceSink::Parts::kOneEach;
  }
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) at_.sinks[i].end_sequences(parts);
}

void ProgramRun::write_outputs(std::int64_t row, std::int64_t count) {
  const int kept = operands_.kept();
  const Rect rect{plan_.row_role == RowRole::kKept ? row : 0, 0, 1, 1};
  for (std::size_t i = 0; i < parts_.sinks.size(); ++i) {
    at_.sinks[i].write(at_.sinks[i].take_outputs(count), count, element(kept, rect),
                       count == 1 ? 1 : row_stride(kept), plan_.kept_elements,
                       args_.reductions[i]);
  }
}

void ProgramRun::run_tile(const Rect& rect) {
  upcoming_count_ = 0;
  for (const Step& step : parts_.steps.steps) {
    switch (step.kind) {
      case StepKind::kConstant: break;
      case StepKind::kLoad: run_load(step, rect); break;
      case StepKind::kIndex: run_index(step, rect); break;
      case StepKind::kRandom: run_random(step, rect); break;
      case StepKind::kOp:
        run_op(step, rect);
        prefetch_upcoming();
        break;
      case StepKind::kStore: run_store(step, rect); break;
      case StepKind::kReduce: run_reduce(step, rect); break;
    }
  }
}

/// Asks for a share of the next tile's operands, while the operations of this one work in the cache.
void ProgramRun::prefetch_upcoming() {
  for (int i = 0; i < upcoming_count_; ++i) {
    Upcoming& next = upcoming_[at(i)];
    const std::byte* end = next.at + next.share;
    for (; next.at < end; next.at += kLineBytes) __builtin_prefetch(next.at, 0, 3);
  }
}

std::int64_t ProgramRun::row_stride(int operand) const {
  return plan_.row_axis >= 0 ? plan_.stride(plan_.row_axis, operand) : 0;
}

std::int64_t ProgramRun::vector_stride(int operand) const {
  return plan_.stride(plan_.vector_axis, operand);
}

std::int64_t ProgramRun::element(int operand, const Rect& rect) const {
  return at_.offsets[operand] + rect.row * row_stride(operand) +
         rect.col * vector_stride(operand);
}

bool ProgramRun::contiguous(int operand, const Rect& rect) const {
  return (rect.cols == 1 || vector_stride(operand) == 1) &&
         (rect.rows == 1 || row_stride(operand) == rect.cols);
}

/// Whether reductions take a tile of several rows as one run of elements.
bool ProgramRun::folds_dense_tiles() const {
  return plan_.row_role == RowRole::kSequence ||
         (plan_.mode == WalkMode::kColumns && plan_.row_role == RowRole::kKept);
}

std::byte* ProgramRun::register_of(int value) const {
  return at_.registers + at(parts_.steps.values[at(value)].reg) * kRegisterStride;
}

void ProgramRun::fill_constants() {
  const std::int64_t count =
      std::min(plan_.rows * plan_.cols, parts_.steps.tile_elements);
  for (const Step& step : parts_.steps.hoisted) {
    const Instr& instr = parts_.program.instrs[at(step.value)];
    std::byte* to = register_of(step.value);
    at_.views[step.value] = {to, plan_.cols};
    if (step.kind == StepKind::kConstant) {
      visit_dtype(instr.dtype, "PreparedProgram", [&]<typename T>(std::type_identity<T>) {
        std::fill_n(reinterpret_cast<T*>(to), count, instr.constant.to<T>());
      });
      continue;
    }
    const void* inputs[3] = {};
    for (int i = 0; i < step.arity; ++i) inputs[i] = at_.views[step.args[at(i)]].data;
    step.loop(inputs, to, count);
  }
}

void ProgramRun::run_load(const Step& step, const Rect& rect) {
  const ValueInfo& info = parts_.steps.values[at(step.value)];
  const std::int64_t item = bytes_of(info.itemsize);
  const std::int64_t step_row = row_stride(step.target);
  const std::int64_t step_col = vector_stride(step.target);
  std::byte* data = args_.loads[at(step.target)].data + element(step.target, rect) * item;
  TileView& view = at_.views[step.value];
  if (info.direct_only && step_col == 1 && (rect.rows == 1 || !folds_dense_tiles())) {
    view = {data, rect.rows == 1 ? rect.cols : step_row};
    return;
  }
  if (contiguous(step.target, rect)) {
    const std::size_t padded =
        round_up(static_cast<std::size_t>(rect.count() * item), kLanePadBytes);
    if (info.direct_only || data + padded <= at_.load_ends[step.target]) {
      view = {data, rect.cols};
      if (upcoming_count_ < std::ssize(upcoming_) && parts_.steps.op_count > 0) {
        const auto share = static_cast<std::int64_t>(padded) / parts_.steps.op_count;
        upcoming_[at(upcoming_count_++)] = {data + padded, share + kLineBytes - 1};
      }
      return;
    }
  }
  view = {register_of(step.value), rect.cols};
  const bool uniform = step_col == 0 && (step_row == 0 || rect.rows == 1);
  Cached& cached = at_.cached[step.value];
  TileCopy copy{.dst = view.data, .src = data};
  if (uniform) {
    if (cached.data == data) return;
    copy.cols = std::min(plan_.rows * plan_.cols, parts_.steps.tile_elements);
    copy.src_col = 0;
    cached = {data, 0, 0};
  } else {
    if (cached.data == data && cached.rows == rect.rows && cached.cols == rect.cols) return;
    copy.rows = rect.rows;
    copy.cols = rect.cols;
    copy.dst_row = rect.cols;
    copy.src_row = step_row;
    copy.src_col = step_col;
    copy.ahead = rect.rows > 1 ? rect.cols * step_col : 0;  // tiles follow each other along the columns
    cached = {data, rect.rows, rect.cols};
  }
  copy_tile(info.itemsize, copy);
}

void ProgramRun::run_index(const Step& step, const Rect& rect) {
  const int operand = operands_.index(step.target);
  const std::int64_t step_col = vector_stride(operand);
  if (parts_.steps.values[at(step.value)].random_only && step_col == 1) return;
  auto* to = reinterpret_cast<std::int64_t*>(register_of(step.value));
  at_.views[step.value] = {register_of(step.value), rect.cols};
  std::int64_t first = args_.indices[at(step.target)].base + element(operand, rect);
  for (std::int64_t r = 0; r < rect.rows; ++r) {
    for (std::int64_t c = 0; c < rect.cols; ++c) to[c] = first + c * step_col;
    to += rect.cols;
    first += row_stride(operand);
  }
}

/// Where a step may write its result for a store that comes next, or null.
std::byte* ProgramRun::direct_target(const Step& step, const Rect& rect) const {
  if (step.direct_store < 0 || streaming_) return nullptr;
  const int operand = operands_.store(step.direct_store);
  const std::int64_t item = bytes_of(parts_.steps.values[at(step.value)].itemsize);
  const bool full_lanes = rect.count() * item % static_cast<std::int64_t>(kLanePadBytes) == 0;
  if (!full_lanes || !contiguous(operand, rect)) return nullptr;
  return args_.stores[at(step.direct_store)].data + element(operand, rect) * item;
}

void ProgramRun::run_random(const Step& step, const Rect& rect) {
  const Instr& instr = parts_.program.instrs[at(step.value)];
  const Instr& index = parts_.program.instrs[at(instr.args[0])];
  const int operand = index.kind == InstrKind::kIndex ? operands_.index(index.slot) : -1;
  const bool by_rows = operand >= 0 && parts_.steps.values[at(instr.args[0])].random_only &&
                       vector_stride(operand) == 1;
  const bool one_run = by_rows && contiguous(operand, rect);
  // Rows of draws are padded one after the other, which only a register has room for.
  std::byte* to = by_rows && !one_run ? nullptr : direct_target(step, rect);
  if (to == nullptr) to = register_of(step.value);
  at_.views[step.value] = {to, rect.cols};
  if (!by_rows) {
    const auto* places = reinterpret_cast<const std::int64_t*>(at_.views[instr.args[0]].data);
    fill_random(instr.random, instr.dtype, places, to, rect.count());
    return;
  }
  const std::int64_t first = args_.indices[at(index.slot)].base + element(operand, rect);
  const std::int64_t rows = one_run ? 1 : rect.rows;
  const std::int64_t length = one_run ? rect.count() : rect.cols;
  for (std::int64_t r = 0; r < rows; ++r) {
    fill_random_run(instr.random, instr.dtype, first + r * row_stride(operand),
                    to + r * length * bytes_of(itemsize(instr.dtype)), length);
  }
}

void ProgramRun::run_op(const Step& step, const Rect& rect) {
  std::byte* to = direct_target(step, rect);
  if (to == nullptr) to = register_of(step.value);
  const void* inputs[3] = {};
  for (int i = 0; i < step.arity; ++i) inputs[i] = at_.views[step.args[at(i)]].data;
  step.loop(inputs, to, rect.count());
  at_.views[step.value] = {to, rect.cols};
}

void ProgramRun::run_store(const Step& step, const Rect& rect) {
  const int operand = operands_.store(step.target);
  const std::size_t itemsize = parts_.steps.values[at(step.value)].itemsize;
  const TileView& view = at_.views[step.value];
  TileCopy copy;
  copy.dst = args_.stores[at(step.target)].data + element(operand, rect) * bytes_of(itemsize);
  copy.src = view.data;
  if (copy.dst == copy.src) return;
  const bool dense = contiguous(operand, rect) && (rect.rows == 1 || view.pitch == rect.cols);
  copy.rows = dense ? 1 : rect.rows;
  copy.cols = dense ? rect.count() : rect.cols;
  copy.dst_row = row_stride(operand);
  copy.dst_col = dense ? 1 : vector_stride(operand);
  copy.src_row = view.pitch;
  copy.streaming = streaming_;
  copy_tile(itemsize, copy);
}

void ProgramRun::run_reduce(const Step& step, const Rect& rect) {
  ReduceSink& sink = at_.sinks[step.target];
  const TileView values = at_.views[step.value];
  const TileView index = step.args[0] >= 0 ? at_.views[step.args[0]] : TileView{};
  if (plan_.mode == WalkMode::kRuns) {
    // A stretch of one sequence is dense.
    const bool one = plan_.row_role == RowRole::kSequence;
    sink.fold_runs(values, index, one ? rect.count() : rect.cols);
  } else if (plan_.row_role == RowRole::kKept) {
    sink.fold_columns(values, index, 1, rect.count(), 0);
  } else {
    sink.fold_columns(values, index, rect.rows, rect.cols, rect.col - strip_first_);
  }
}

}  // namespace tessera::kernels::host
