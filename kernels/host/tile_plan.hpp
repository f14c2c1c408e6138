#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/host/program_host.hpp"
#include "kernels/host/program_steps.hpp"
#include "tessera/chunk_grid.hpp"

// How one call walks its iteration space: which axes are loops and which two make up a tile.
// Reductions have one order, fixed by the shape and the reduced axes alone:
//   columns: the vector axis is kept; every column takes in the reduced elements in C order.
//   runs: the vector axis is reduced; the innermost reduced axes make up sequences, long enough for
//   SIMD,
//     that fold into one accumulator each; the accumulators of sequences combine in C order.
// Strides choose only tile extents and the order in which independent outputs are visited.

namespace tessera::kernels::host {

enum class WalkMode : std::uint8_t { kMap, kColumns, kRuns };
enum class AxisRole : std::uint8_t { kKept, kOuterReduced, kSequence };
/// What the rows of a tile are to the reductions.
enum class RowRole : std::uint8_t {
  kNone,      ///< tiles have one row
  kKept,      ///< rows belong to different outputs
  kReduced,   ///< columns: further elements of each column; runs: sequences of one output
  kSequence,  ///< runs: the tile is one stretch of a sequence
};

/// Axes of equal role that are walked together, outermost first.
struct AxisList {
  std::array<std::int8_t, kMaxRank + 1> axes{};
  int count = 0;
  void add(int axis) { axes[static_cast<std::size_t>(count++)] = static_cast<std::int8_t>(axis); }
};

class TilePlan {
 public:
  /// Columns of the working state of a reduction, and the most rows of a tile that have one each.
  static constexpr std::int64_t kStripColumns = 1024;
  static constexpr std::int64_t kMaxPanelRows = 32;

  /// Numbers of the operands in stride tables: loads, indices, stores, then the kept index, the
  /// element number that a point's output has among the kept elements in C order.
  struct Operands {
    int loads;
    int indices;
    int stores;
    int index(int i) const { return loads + i; }
    int store(int i) const { return loads + indices + i; }
    int kept() const { return loads + indices + stores; }
    int count() const { return kept() + 1; }
  };
  static Operands operands_of(const Program& program);
  /// Elements of the stride table that build() fills.
  static std::size_t stride_count(const Program& program);

  void build(const Program& program, const ProgramSteps& steps, const ProgramArgs& args,
             std::int64_t* stride_table);

  std::int64_t extent(int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  std::int64_t stride(int axis, int operand) const { return strides(axis)[operand]; }
  const std::int64_t* strides(int axis) const { return table_ + axis * operands_.count(); }
  std::int64_t row_extent() const { return row_axis >= 0 ? extent(row_axis) : 1; }

  WalkMode mode = WalkMode::kMap;
  RowRole row_role = RowRole::kNone;
  int row_axis = -1;
  int vector_axis = 0;
  std::int64_t rows = 1;  ///< of a tile
  std::int64_t cols = 1;
  bool empty = false;
  std::int64_t elements = 1;  ///< of the iteration space
  std::int64_t kept_elements = 1;
  AxisList kept;           ///< loops over outputs
  AxisList outer_reduced;  ///< loops over an output's rows or sequences
  AxisList sequence;       ///< loops inside a sequence

 private:
  struct Groups {
    std::int64_t last = 1;  ///< elements of the innermost axes that are all reduced or all kept
    std::int64_t before = 0;
    bool last_reduced = false;
  };

  std::int64_t* axis_strides(int axis) { return table_ + axis * operands_.count(); }
  void add_axes(const Program& program, const ProgramArgs& args);
  void choose_mode(const Program& program);
  Groups innermost_groups() const;
  void assign_sequence(bool suffix_is_kept);
  void sort_axes();
  void swap_axes(int a, int b);
  void merge_axes();
  int last_axis(AxisRole role) const;
  int crossed_axis() const;
  bool rows_allowed(int axis) const;
  RowRole role_of_rows(int axis) const;
  int short_row_axis() const;
  void choose_tile(const Program& program, const ProgramSteps& steps);
  void set_rows(int axis, std::int64_t row_count, std::int64_t tile_elements);
  bool reads_contiguous_rows(const Program& program, const ProgramSteps& steps) const;
  void list_axes();

  AxisRole role(int axis) const { return roles_[static_cast<std::size_t>(axis)]; }

  Operands operands_{};
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank + 1> extents_{};
  std::array<AxisRole, kMaxRank + 1> roles_{};
  std::int64_t* table_ = nullptr;
};

}  // namespace tessera::kernels::host
