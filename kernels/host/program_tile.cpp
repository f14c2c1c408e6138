#include "kernels/host/program_run.hpp"

#include <algorithm>
#include <complex>

#include "kernels/host/tile_copy.hpp"
#include "kernels/host/visit_dtype.hpp"

// The steps of a program on one tile.

namespace tessera::kernels::host {
namespace {

constexpr std::int64_t kLineBytes = 64;
static_assert(kLanePadBytes == kLineBytes);
// Rows of so many elements are whole vectors of every dtype, long enough for a call each.
constexpr std::int64_t kRowColumns = 64;

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::int64_t bytes_of(std::size_t itemsize) { return static_cast<std::int64_t>(itemsize); }

}  // namespace

void ProgramRun::run_tile(const Rect& rect) {
  upcoming_count_ = 0;
  for (const Step& step : parts_.steps.steps) {
    switch (step.kind) {
      case StepKind::kConstant:
        break;
      case StepKind::kLoad:
        run_load(step, rect);
        break;
      case StepKind::kIndex:
        run_index(step, rect);
        break;
      case StepKind::kRandom:
        run_random(step, rect);
        break;
      case StepKind::kOp:
        run_op(step, rect);
        prefetch_upcoming();
        break;
      case StepKind::kStore:
        run_store(step, rect);
        break;
      case StepKind::kReduce:
        run_reduce(step, rect);
        break;
    }
  }
}

/// Asks for a share of the next tile's operands, while the operations of this one work in the
/// cache.
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
  const auto product = [](std::int64_t a, std::int64_t b) {
    return static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b);
  };
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(at_.offsets[operand]) +
                                   product(rect.row, row_stride(operand)) +
                                   product(rect.col, vector_stride(operand)));
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

/// Whether operations read a load's rows where they lie, which saves copying them to a register.
bool ProgramRun::read_by_rows(const Step& load, const Rect& rect) const {
  if (rect.rows == 1 || rect.cols % kRowColumns != 0 || vector_stride(load.target) != 1) {
    return false;
  }
  // One row that all tiles share is spread out once.
  const bool shared = row_stride(load.target) == 0 && rect.cols == plan_.extent(plan_.vector_axis);
  return !shared && !folds_dense_tiles() && !parts_.steps.values[at(load.value)].drawn_from;
}

/// Whether a value's rows are apart from each other, as only those of such a load are.
bool ProgramRun::lies_in_rows(int value, const Rect& rect) const {
  return rect.rows > 1 && !parts_.steps.values[at(value)].hoisted &&
         at_.views[value].pitch != rect.cols;
}

std::byte* ProgramRun::register_of(int value) const {
  return at_.registers + at(parts_.steps.values[at(value)].reg) * kRegisterStride;
}

void ProgramRun::fill_constants() {
  const std::int64_t count = std::min(plan_.rows * plan_.cols, parts_.steps.tile_elements);
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
    const std::int64_t padded = (rect.count() * item + kLineBytes - 1) / kLineBytes * kLineBytes;
    if (info.direct_only || data + padded <= at_.load_ends[step.target]) {
      view = {data, rect.cols};
      if (upcoming_count_ < std::ssize(upcoming_) && parts_.steps.op_count > 0) {
        const auto share = padded / parts_.steps.op_count;
        upcoming_[at(upcoming_count_++)] = {data + padded, share + kLineBytes - 1};
      }
      return;
    }
  }
  if (read_by_rows(step, rect)) {
    view = {data, step_row};
    return;
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
    copy.ahead =
        rect.rows > 1 ? rect.cols * step_col : 0;  // tiles follow each other along the columns
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
  // Unsigned, for ranges of uint64 elements cross the sign, and wide ones go around on their way.
  auto first = static_cast<std::uint64_t>(args_.indices[at(step.target)].base) +
               static_cast<std::uint64_t>(element(operand, rect));
  const auto by = static_cast<std::uint64_t>(step_col);
  for (std::int64_t r = 0; r < rect.rows; ++r) {
    for (std::int64_t c = 0; c < rect.cols; ++c) {
      to[c] = static_cast<std::int64_t>(first + static_cast<std::uint64_t>(c) * by);
    }
    to += rect.cols;
    first += static_cast<std::uint64_t>(row_stride(operand));
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

bool ProgramRun::in_register(const std::byte* data) const {
  const std::byte* end = at_.registers + kRegisterStride * at(parts_.steps.register_count);
  return data >= at_.registers && data < end;
}

/// The register of an argument that is read for the last time, so that the result takes no more of
/// the cache, or null. Registers that spread out one element for many tiles are kept.
std::byte* ProgramRun::inherited_register(const Step& step) {
  for (int i = 0; i < step.arity; ++i) {
    const int arg = step.args[at(i)];
    const ValueInfo& info = parts_.steps.values[at(arg)];
    std::byte* data = at_.views[arg].data;
    if (!step.last_read[at(i)] || info.hoisted || !in_register(data)) continue;
    if (info.itemsize != parts_.steps.values[at(step.value)].itemsize) continue;
    const Instr& instr = parts_.program.instrs[at(arg)];
    if (instr.kind == InstrKind::kLoad) {
      if (row_stride(instr.slot) == 0 || vector_stride(instr.slot) == 0) continue;
      at_.cached[arg] = {nullptr, 0, 0};
    }
    return data;
  }
  return nullptr;
}

void ProgramRun::run_op(const Step& step, const Rect& rect) {
  std::byte* to = direct_target(step, rect);
  if (to == nullptr) to = inherited_register(step);
  if (to == nullptr) to = register_of(step.value);
  const void* inputs[3] = {};
  bool by_rows = false;
  for (int i = 0; i < step.arity; ++i) {
    inputs[i] = at_.views[step.args[at(i)]].data;
    by_rows = by_rows || lies_in_rows(step.args[at(i)], rect);
  }
  if (by_rows) {
    run_op_by_rows(step, rect, to);
  } else {
    step.loop(inputs, to, rect.count());
  }
  at_.views[step.value] = {to, rect.cols};
}

/// Elements from a row to the same row two tiles on, which may be the next tiles down, for one tile
/// is computed in less time than memory takes (a sixth faster than one tile on); 0 for rows that
/// all lie in one place.
std::int64_t ProgramRun::tile_ahead(const Rect& rect, std::int64_t pitch) const {
  if (pitch == 0) return 0;
  const std::int64_t col = rect.col + 2 * rect.cols;
  const std::int64_t extent = plan_.extent(plan_.vector_axis);
  const std::int64_t wrap = col < extent ? 0 : rect.rows * pitch - extent;
  return 2 * rect.cols + wrap;
}

void ProgramRun::run_op_by_rows(const Step& step, const Rect& rect, std::byte* to) {
  const std::byte* inputs[3] = {};
  std::int64_t pitches[3] = {};
  std::int64_t row_bytes[3] = {};
  std::int64_t ahead[3] = {};  // bytes to a row of a tile to come, for loads that lie in rows
  for (int i = 0; i < step.arity; ++i) {
    const int arg = step.args[at(i)];
    const std::int64_t item = bytes_of(parts_.steps.values[at(arg)].itemsize);
    const TileView& view = at_.views[arg];
    inputs[i] = view.data;
    pitches[i] = view.pitch * item;
    row_bytes[i] = rect.cols * item;
    if (lies_in_rows(arg, rect)) ahead[i] = tile_ahead(rect, view.pitch) * item;
  }
  const std::int64_t to_pitch = rect.cols * bytes_of(parts_.steps.values[at(step.value)].itemsize);
  for (std::int64_t r = 0; r < rect.rows; ++r) {
    for (int i = 0; i < step.arity; ++i) {
      // Rows of a tile are too short for the hardware prefetchers.
      const std::byte* next = inputs[i] + ahead[i];
      for (std::int64_t b = 0; ahead[i] != 0 && b < row_bytes[i]; b += kLineBytes) {
        __builtin_prefetch(next + b, 0, 2);
      }
    }
    const void* row[3] = {inputs[0], inputs[1], inputs[2]};
    step.loop(row, to, rect.cols);
    for (int i = 0; i < step.arity; ++i) inputs[i] += pitches[i];
    to += to_pitch;
  }
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
  const SinkTraits& traits = parts_.sinks[at(step.target)];
  if (traits.folded_by >= 0) return;
  ReduceSink& sink = at_.sinks[step.target];
  ReduceSink* other = traits.folds_for >= 0 ? at_.sinks + traits.folds_for : nullptr;
  const TileView values = at_.views[step.value];
  const TileView index = step.args[0] >= 0 ? at_.views[step.args[0]] : TileView{};
  if (plan_.mode == WalkMode::kRuns) {
    // A stretch of one sequence is dense.
    const bool one = plan_.row_role == RowRole::kSequence;
    sink.fold_runs(values, index, one ? rect.count() : rect.cols, other);
  } else if (plan_.row_role == RowRole::kKept) {
    sink.fold_columns(values, index, 1, rect.count(), 0, other);
  } else {
    sink.fold_columns(values, index, rect.rows, rect.cols, rect.col - strip_first_, other);
  }
}

}  // namespace tessera::kernels::host
