#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "array/attributes.hpp"
#include "tessera/chunk_grid.hpp"

// Which blocks of an input does an output block read, and who reads a given input block: both by
// arithmetic on grid coordinates, axis by axis. Nothing here is stored per task; tables are per
// axis.

namespace tessera::scheduler {

/// A set of coordinates along one axis: a range, or an explicit ascending list.
struct CoordSet {
  // Not cleared: there is one for each possible axis wherever blocks are walked.
  std::int64_t first;
  std::int64_t count;
  const std::int32_t* list;  ///< when set, the coordinates are list[0..count)
  std::int64_t operator[](std::int64_t i) const noexcept { return list ? list[i] : first + i; }
  /// Leaves out what is below lo, or hi and above; whether anything stays.
  bool clip(std::int64_t lo, std::int64_t hi) noexcept {
    if (list != nullptr) {
      const std::int32_t* const end = std::lower_bound(list, list + count, hi);
      list = std::lower_bound(list, list + count, lo);
      count = std::max<std::int64_t>(end - list, 0);
    } else {
      const std::int64_t end = std::min(first + count, hi);
      first = std::max(first, lo);
      count = std::max<std::int64_t>(end - first, 0);
    }
    return count > 0;
  }
};

/// Relation between coordinates 0..from_count of one axis and 0..to_count of another.
class AxisMap {
 public:
  AxisMap() = default;
  static AxisMap identity(std::int64_t count);
  /// Every coordinate is related to every other.
  static AxisMap all(std::int64_t from_count, std::int64_t to_count);
  /// Coordinate i is related to lo[i] .. hi[i]-1.
  static AxisMap ranges(std::vector<std::int32_t> lo, std::vector<std::int32_t> hi,
                        std::int64_t to_count);
  /// Coordinate i is related to blocks[offsets[i] .. offsets[i+1]), ascending.
  static AxisMap lists(std::vector<std::int64_t> offsets, std::vector<std::int32_t> blocks,
                       std::int64_t to_count);

  std::int64_t from_count() const noexcept { return from_count_; }
  std::int64_t to_count() const noexcept { return to_count_; }
  bool is_identity() const noexcept { return kind_ == Kind::kIdentity; }
  bool is_all() const noexcept { return kind_ == Kind::kAll; }
  CoordSet of(std::int64_t from) const noexcept {
    switch (kind_) {
      case Kind::kIdentity:
        return {from, 1, nullptr};
      case Kind::kAll:
        return {0, to_count_, nullptr};
      case Kind::kRanges: {
        const auto lo = table_->lo[static_cast<std::size_t>(from)];
        return {lo, table_->hi[static_cast<std::size_t>(from)] - lo, nullptr};
      }
      case Kind::kWithin:
        return {0, from >= lo_ && from < hi_ ? 1 : 0, nullptr};
      case Kind::kLists:
        break;
    }
    const auto begin = table_->offsets[static_cast<std::size_t>(from)];
    return {0, table_->offsets[static_cast<std::size_t>(from) + 1] - begin,
            table_->blocks.data() + begin};
  }
  /// The relation read the other way. Coordinates outside `mask` (when given, one flag per from)
  /// are left out.
  AxisMap reversed(const std::vector<bool>* mask) const;
  /// Same relation and same tables (used to share work between equal maps).
  bool operator==(const AxisMap& other) const noexcept;

 private:
  // kWithin: coordinates lo_ .. hi_-1 are related to coordinate 0, others to nothing. What a
  // constant place in a long axis is when read the other way.
  enum class Kind : std::uint8_t { kIdentity, kAll, kRanges, kLists, kWithin };
  struct Table {
    std::vector<std::int32_t> lo, hi;
    std::vector<std::int64_t> offsets;
    std::vector<std::int32_t> blocks;
  };
  Kind kind_ = Kind::kIdentity;
  std::int64_t from_count_ = 1;
  std::int64_t to_count_ = 1;
  std::int32_t lo_ = 0, hi_ = 0;
  std::shared_ptr<const Table> table_;
};

/// How one axis of an input follows from the task's coordinates.
struct AxisLink {
  int task_axis = -1;  ///< axis of the task grid it depends on, -1: the same for every task
  AxisMap map;  ///< from that axis (or from a single coordinate 0) to blocks of the input axis
};

/// The blocks of one input that each task of a node reads.
struct Access {
  std::vector<AxisLink> links;  ///< one per axis of the input's grid
  /// Symmetric read: axis 0 of the input numbers the pairs i <= j of a square grid (see
  /// triangle_index), and tasks (i, j) and (j, i) read pair (min, max); link 0 is ignored. Task
  /// axes 0 and 1 are i and j.
  bool mirror = false;
  /// Task axes along which only some tasks read the input at all although no axis of it follows
  /// them: the map leads to coordinate 0 of 1, or nowhere.
  std::vector<AxisLink> presence;
};

/// Number of the pair (i, j), i <= j: columns one after the other.
inline std::int64_t triangle_index(std::int64_t i, std::int64_t j) noexcept {
  return j * (j + 1) / 2 + i;
}
/// The pair (i, j) of a number.
std::pair<std::int64_t, std::int64_t> triangle_pair(std::int64_t index) noexcept;

/// The blocks of `chunks` that the elements of each block of `tasks` fall into, through `read`;
/// elements outside [lo, hi) of the task axis are left out.
AxisMap blocks_read(const AxisChunks& chunks, const array::AxisRead& read, const AxisChunks& tasks,
                    std::int64_t lo, std::int64_t hi);
/// `tasks` cut further, so that the elements of each block fall into one block of `chunks`.
AxisChunks axis_within_blocks(const AxisChunks& chunks, const array::AxisRead& read,
                              const AxisChunks& tasks);

}  // namespace tessera::scheduler
