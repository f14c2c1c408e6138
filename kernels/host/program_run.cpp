#include "kernels/host/program_run.hpp"

#include <algorithm>
#include <memory>

#include "kernels/host/tile_copy.hpp"

namespace tessera::kernels::host {
namespace {

// Outputs larger than the cache a core has to itself are written past it.
constexpr std::int64_t kStreamingBytes = std::int64_t{4} << 20;

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::int64_t bytes_of(std::size_t itemsize) { return static_cast<std::int64_t>(itemsize); }

}  // namespace

ProgramRun::Memory ProgramRun::lay_out(const PreparedParts& parts, ScratchLayout& scratch) {
  const std::size_t values = parts.steps.values.size();
  const std::size_t operands = at(TilePlan::operands_of(parts.program).count());
  Memory out{};
  out.registers = scratch.take<std::byte>(kRegisterStride * at(parts.steps.register_count));
  out.views = scratch.take<TileView>(values);
  out.cached = scratch.take<Cached>(values);
  out.offsets = scratch.take<std::int64_t>(operands);
  out.load_ends = scratch.take<const std::byte*>(at(parts.program.load_count));
  out.stride_table = scratch.take<std::int64_t>(TilePlan::stride_count(parts.program));
  out.sinks = scratch.take<ReduceSink>(parts.sinks.size());
  out.sink_memory = scratch.take<std::byte*>(parts.sinks.size());
  for (std::size_t i = 0; i < parts.sinks.size(); ++i) {
    std::byte* memory = scratch.take<std::byte>(parts.sinks[i].scratch_bytes());
    if (memory != nullptr) out.sink_memory[i] = memory;
  }
  return out;
}

std::size_t ProgramRun::scratch_bytes(const PreparedParts& parts) {
  ScratchLayout counter;
  lay_out(parts, counter);
  return counter.bytes();
}

ProgramRun::ProgramRun(const PreparedParts& parts, const ProgramArgs& args, std::byte* scratch)
    : parts_(parts), args_(args), operands_(TilePlan::operands_of(parts.program)) {
  ScratchLayout layout(std::span<std::byte>(scratch, parts.scratch_bytes));
  at_ = lay_out(parts, layout);
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
    case WalkMode::kMap:
      map_tiles();
      break;
    case WalkMode::kColumns:
      fold_columns();
      break;
    case WalkMode::kRuns:
      fold_runs();
      break;
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
                       count == 1 ? 1 : row_stride(kept), plan_.kept_elements, args_.reductions[i]);
  }
}

}  // namespace tessera::kernels::host
