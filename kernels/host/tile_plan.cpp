#include "kernels/host/tile_plan.hpp"

#include <algorithm>
#include <cstdlib>

namespace tessera::kernels::host {
namespace {

// A run of fewer elements costs more to begin and to end than to fold, so that the neighbouring
// axis is taken as the vector axis where it is longer.
constexpr std::int64_t kShortRun = 64;
constexpr std::int64_t kShortRow = 8;
// Sequences of at least this many elements make their own ends cheap.
constexpr std::int64_t kSequenceElements = 512;
// Rows of a tile whose operands run along different axes: half a page of float64.
constexpr std::int64_t kCrossedRows = 32;
// Values folded where they lie come in stretches as long as this many registers, so that memory
// seldom stands still while one ends; where several reductions read them, L1 has to hold a stretch.
constexpr std::int64_t kInPlaceOnce = 8;
constexpr std::int64_t kInPlaceTwice = 2;

}  // namespace

TilePlan::Operands TilePlan::operands_of(const Program& program) {
  return {program.load_count, program.index_count, static_cast<int>(program.stores.size())};
}

std::size_t TilePlan::stride_count(const Program& program) {
  return static_cast<std::size_t>(operands_of(program).count()) *
         static_cast<std::size_t>(program.rank + 1);
}

void TilePlan::build(const Program& program, const ProgramSteps& steps, const ProgramArgs& args,
                     std::int64_t* stride_table) {
  operands_ = operands_of(program);
  table_ = stride_table;
  add_axes(program, args);
  if (empty) return;
  choose_mode(program);
  if (mode == WalkMode::kMap) sort_axes();
  merge_axes();
  choose_tile(program, steps);
  list_axes();
}

void TilePlan::add_axes(const Program& program, const ProgramArgs& args) {
  const bool reduces = !program.reductions.empty();
  const auto rank = static_cast<std::size_t>(program.rank);
  std::int64_t kept_stride = 1;
  for (std::size_t d = rank; d-- > 0;) {
    elements *= args.shape[d];
    if (!reduces || !program.reduced[d]) kept_elements *= args.shape[d];
  }
  empty = elements == 0;
  if (empty) return;
  for (std::size_t d = 0; d < rank; ++d) {
    if (args.shape[d] == 1) continue;
    const auto axis = static_cast<std::size_t>(rank_);
    extents_[axis] = args.shape[d];
    roles_[axis] = reduces && program.reduced[d] ? AxisRole::kOuterReduced : AxisRole::kKept;
    std::int64_t* s = axis_strides(rank_++);
    for (const Operand& load : args.loads) *s++ = load.strides[d];
    for (const AffineIndex& index : args.indices) *s++ = index.strides[d];
    for (const Operand& store : args.stores) *s++ = store.strides[d];
    *s = 0;
  }
  if (rank_ == 0) {
    extents_[0] = 1;
    roles_[0] = AxisRole::kKept;
    std::fill_n(axis_strides(rank_++), operands_.count(), 0);
  }
  for (int axis = rank_ - 1; axis >= 0; --axis) {
    if (role(axis) != AxisRole::kKept) continue;
    axis_strides(axis)[operands_.kept()] = kept_stride;
    kept_stride *= extent(axis);
  }
}

TilePlan::Groups TilePlan::innermost_groups() const {
  Groups groups;
  groups.last_reduced = role(rank_ - 1) != AxisRole::kKept;
  int axis = rank_ - 1;
  for (; axis >= 0 && (role(axis) != AxisRole::kKept) == groups.last_reduced; --axis) {
    groups.last *= extent(axis);
  }
  if (axis < 0) return groups;
  groups.before = 1;
  for (; axis >= 0 && (role(axis) != AxisRole::kKept) != groups.last_reduced; --axis) {
    groups.before *= extent(axis);
  }
  return groups;
}

void TilePlan::choose_mode(const Program& program) {
  if (program.reductions.empty()) return;
  const Groups groups = innermost_groups();
  const std::int64_t is_short = groups.last_reduced ? kShortRun : kShortRow;
  const bool turned = groups.before > 0 && groups.last < is_short && groups.last < groups.before;
  mode = groups.last_reduced != turned ? WalkMode::kRuns : WalkMode::kColumns;
  if (mode == WalkMode::kRuns) assign_sequence(turned);
}

void TilePlan::assign_sequence(bool suffix_is_kept) {
  int axis = rank_ - 1;
  if (suffix_is_kept) {
    while (role(axis) == AxisRole::kKept) --axis;
  }
  for (std::int64_t length = 1;
       axis >= 0 && role(axis) == AxisRole::kOuterReduced && length < kSequenceElements; --axis) {
    roles_[static_cast<std::size_t>(axis)] = AxisRole::kSequence;
    length *= extent(axis);
  }
}

void TilePlan::swap_axes(int a, int b) {
  std::swap(extents_[static_cast<std::size_t>(a)], extents_[static_cast<std::size_t>(b)]);
  std::swap(roles_[static_cast<std::size_t>(a)], roles_[static_cast<std::size_t>(b)]);
  std::swap_ranges(axis_strides(a), axis_strides(a) + operands_.count(), axis_strides(b));
}

/// Puts axes in the order of the first store's memory.
void TilePlan::sort_axes() {
  if (operands_.stores == 0) return;
  const int store = operands_.store(0);
  for (int i = 1; i < rank_; ++i) {
    for (int j = i; j > 0 && std::abs(stride(j - 1, store)) < std::abs(stride(j, store)); --j) {
      swap_axes(j - 1, j);
    }
  }
}

/// Makes one axis of neighbours of equal role that every operand steps through evenly.
void TilePlan::merge_axes() {
  const int operands = operands_.count();
  int last = 0;
  for (int axis = 1; axis < rank_; ++axis) {
    bool even = role(axis) == role(last);
    for (int k = 0; even && k < operands; ++k) {
      even = stride(last, k) == stride(axis, k) * extent(axis);
    }
    const auto to = static_cast<std::size_t>(even ? last : ++last);
    const auto from = static_cast<std::size_t>(axis);
    extents_[to] = even ? extents_[to] * extents_[from] : extents_[from];
    roles_[to] = roles_[from];
    std::copy_n(strides(axis), operands, axis_strides(static_cast<int>(to)));
  }
  rank_ = last + 1;
}

int TilePlan::last_axis(AxisRole wanted) const {
  int axis = rank_ - 1;
  while (axis >= 0 && role(axis) != wanted) --axis;
  return axis;
}

RowRole TilePlan::role_of_rows(int axis) const {
  if (mode == WalkMode::kMap || role(axis) == AxisRole::kKept) return RowRole::kKept;
  return role(axis) == AxisRole::kSequence ? RowRole::kSequence : RowRole::kReduced;
}

/// Whether tiles may have rows along the axis without leaving the one order of the reductions.
bool TilePlan::rows_allowed(int axis) const {
  if (axis < 0 || axis == vector_axis) return false;
  if (role(axis) == AxisRole::kKept) return true;
  if (role(axis) == AxisRole::kOuterReduced) return axis == last_axis(AxisRole::kOuterReduced);
  // A stretch of a sequence takes whole rows.
  return axis + 1 == vector_axis && extent(vector_axis) <= kSequenceElements;
}

/// The axis, other than the vector axis, along which most operands that step widely along the
/// vector axis lie close together; -1 if there is none.
int TilePlan::crossed_axis() const {
  std::array<int, kMaxRank + 1> votes{};
  for (int k = 0; k < operands_.kept(); ++k) {
    if (k >= operands_.loads && k < operands_.store(0)) continue;
    const std::int64_t along = std::abs(stride(vector_axis, k));
    if (along <= 1) continue;
    int closest = -1;
    for (int axis = 0; axis < rank_; ++axis) {
      const std::int64_t step = std::abs(stride(axis, k));
      if (step == 0 || step * 2 > along || !rows_allowed(axis)) continue;
      if (closest < 0 || step < std::abs(stride(closest, k))) closest = axis;
    }
    if (closest >= 0) ++votes[static_cast<std::size_t>(closest)];
  }
  const auto best = std::max_element(votes.begin(), votes.begin() + rank_);
  return *best > 0 ? static_cast<int>(best - votes.begin()) : -1;
}

/// The axis that makes tiles of short vectors long enough; -1 if there is none.
int TilePlan::short_row_axis() const {
  for (int axis = vector_axis - 1; axis >= 0; --axis) {
    if (rows_allowed(axis)) return axis;
  }
  for (int axis = vector_axis + 1; axis < rank_; ++axis) {
    if (rows_allowed(axis)) return axis;
  }
  return -1;
}

void TilePlan::set_rows(int axis, std::int64_t row_count, std::int64_t tile_elements) {
  row_axis = axis;
  row_role = role_of_rows(axis);
  rows = std::min(row_count, extent(axis));
  if (row_role == RowRole::kKept && mode == WalkMode::kColumns) {
    tile_elements = std::min(tile_elements, kStripColumns);
  }
  if (row_role == RowRole::kSequence) {
    rows = std::min(rows, tile_elements / extent(vector_axis));
  } else if (mode == WalkMode::kRuns) {
    rows = std::min(rows, kMaxPanelRows);
  }
  const std::int64_t wide = std::max<std::int64_t>(tile_elements / rows, 1);
  cols = extent(vector_axis);
  if (wide < cols) cols = wide < 64 ? wide : wide / 64 * 64;
}

/// Whether every load can be folded where it lies.
bool TilePlan::reads_contiguous_rows(const Program& program, const ProgramSteps& steps) const {
  if (!steps.reads_only || !program.stores.empty()) return false;
  for (int k = 0; k < operands_.loads; ++k) {
    if (stride(vector_axis, k) != 1) return false;
  }
  return true;
}

void TilePlan::choose_tile(const Program& program, const ProgramSteps& steps) {
  switch (mode) {
    case WalkMode::kMap:
      vector_axis = rank_ - 1;
      break;
    case WalkMode::kColumns:
      vector_axis = last_axis(AxisRole::kKept);
      break;
    case WalkMode::kRuns:
      vector_axis = last_axis(AxisRole::kSequence);
      break;
  }
  const std::int64_t run = std::max<std::int64_t>(steps.run_elements, 64);
  const bool in_place = reads_contiguous_rows(program, steps);
  std::int64_t longest = run;
  if (mode == WalkMode::kRuns && in_place) {
    longest = steps.tile_elements * (program.reductions.size() == 1 ? kInPlaceOnce : kInPlaceTwice);
  }
  cols = std::min(extent(vector_axis), longest);
  const int crossed = crossed_axis();
  if (crossed >= 0) {
    const std::int64_t fitting = steps.tile_elements / extent(vector_axis);
    set_rows(crossed, std::max(kCrossedRows, fitting), steps.tile_elements);
  } else if (extent(vector_axis) <= longest / 2) {
    const int axis = short_row_axis();
    if (axis >= 0 && role_of_rows(axis) == RowRole::kSequence) longest = run;
    if (axis >= 0) set_rows(axis, longest / extent(vector_axis), longest);
  } else if (mode == WalkMode::kColumns && in_place) {
    const int axis = last_axis(AxisRole::kOuterReduced);
    if (axis < 0) return;
    row_axis = axis;
    row_role = RowRole::kReduced;
    rows = std::min<std::int64_t>(8, extent(axis));
  }
  if (mode == WalkMode::kColumns) cols = std::min(cols, kStripColumns);
}

void TilePlan::list_axes() {
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis == vector_axis || axis == row_axis) continue;
    switch (role(axis)) {
      case AxisRole::kKept:
        kept.add(axis);
        break;
      case AxisRole::kOuterReduced:
        outer_reduced.add(axis);
        break;
      case AxisRole::kSequence:
        sequence.add(axis);
        break;
    }
  }
}

}  // namespace tessera::kernels::host
