#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler/plan/plan.hpp"

// The one static total order over a plan's tasks. A task's position is a sum of per-axis table
// entries, so it is known for any task without listing the others: tasks follow the blocks of the
// results in C order, and everything a result block needs comes just before it (depth first). Every
// branch that a streamed reduction opens adds an inner digit to the position, so that its inputs
// come one after the other.
//
// Products go by panels: as many of a product's result blocks as fit in the memory are under way at
// once, a tile of their grid, and the sweep takes the links of all their chains together, so that a
// panel of each matrix is read once for a tile. The fewer tiles there are, the less is read again.
//
//   order of tasks: (position, node, block in the node's own enumeration)
//
// Next use, prefetch, eviction, placement and progress all read this order; execution may run ahead
// of it in a bounded window and never redefines it.

namespace tessera::scheduler {

using Position = std::uint64_t;
inline constexpr Position kNever = std::numeric_limits<Position>::max();

/// Memory for the result blocks of products that are under way at once, on each of the ranks: all
/// come to the same order when they are told the same. None: products are computed block by block.
struct ProductRoom {
  std::size_t bytes = 0;
  std::int32_t ranks = 1;
  /// Of the memory of a rank's devices: the rest is for the panels, and for what else is there.
  static std::size_t of(double memory_bytes) noexcept {
    return static_cast<std::size_t>(memory_bytes / 4);
  }
};

class TaskOrder {
 public:
  explicit TaskOrder(const Plan& plan, ProductRoom room = {});
  TaskOrder(const TaskOrder&) = delete;
  TaskOrder& operator=(const TaskOrder&) = delete;

  /// Position of a wanted task; kNever for one that nothing wants.
  Position position(NodeIndex node, const std::int64_t* coords) const noexcept;
  /// Smallest position of the tasks that read this block and come after (frontier, node) in the
  /// order; kNever when there is none.
  Position next_reader_after(SlotIndex slot, const std::int64_t* coords, Position frontier,
                             NodeIndex node) const;
  /// Number of the result block that a position belongs to: tasks of one tile are near each other.
  std::uint64_t tile(Position position) const noexcept;
  /// Result blocks in all.
  std::uint64_t tiles() const noexcept { return tile(kNever); }
  /// A node's tasks lie in lanes: those of one lane belong to the same result block, or to the same
  /// row of them where the node does not tell them apart. Of several ways in which results need the
  /// node, the one with the most lanes counts.
  struct Lane {
    std::uint64_t number = 0;
    std::uint64_t count = 1;
  };
  Lane lane(NodeIndex node, const std::int64_t* coords) const noexcept;
  /// The digits of a lane's number, outermost first: each follows one axis of the task grid.
  struct LaneDigit {
    int axis = 0;
    std::int64_t extent = 1;
    const std::vector<std::int32_t>* table = nullptr;  ///< null: the coordinate itself
    std::int64_t at(std::int64_t coord) const noexcept {
      return table == nullptr ? coord : (*table)[static_cast<std::size_t>(coord)];
    }
  };
  const std::vector<LaneDigit>& lane_digits(NodeIndex node) const noexcept {
    return lanes_[static_cast<std::size_t>(node)].digits;
  }
  /// Axes of a node's grid, bit d for axis d, along which tasks of one lane lie.
  std::uint64_t lane_axes(NodeIndex node) const noexcept {
    return lanes_[static_cast<std::size_t>(node)].axes;
  }
  /// Some tasks of a node: those for which each of several digits has a value of a range.
  struct Box {
    struct Side {
      LaneDigit digit;
      std::int64_t lo = 0, hi = 0;
    };
    std::vector<Side> sides;
  };
  const Plan& plan() const noexcept { return *plan_; }
  ProductRoom room() const noexcept { return room_; }

  /// Walks the tasks in order. A cursor holds a few words for each node.
  class Cursor;

 private:
  friend class Cursor;
  static constexpr std::int64_t kMaxPositions = std::int64_t{1} << 58;
  using Table = std::shared_ptr<const std::vector<std::int32_t>>;
  // One digit of an alignment: a constant, or a table over one task axis (null: the coordinate
  // itself).
  struct Digit {
    int axis = -1;
    std::int32_t constant = 0;
    Table table;
    std::int32_t at(std::int64_t coord) const noexcept {
      return axis < 0 ? constant
                      : (table ? (*table)[static_cast<std::size_t>(coord)]
                               : static_cast<std::int32_t>(coord));
    }
  };
  // One way in which a node's blocks lie along the sweep of a domain; a position is the smallest
  // over all.
  struct Alignment {
    int domain = 0;
    std::vector<Digit> digits;
  };
  // How many rows and columns of blocks a tile of a product's result has.
  struct Tile {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
  };
  struct Domain {
    std::vector<std::int64_t> extents;  // of the sweep's digits, outermost first
    std::vector<std::int64_t> lanes;    // of the result's grid
    std::size_t outer = 0;              // digits that come before all inner ones
    std::vector<std::size_t> links;     // inner digits that are for chains of products alone
    // Digits that number the result's blocks: what one of each stands for.
    std::vector<std::pair<std::size_t, Position>> numbers;  // empty: the outer ones, in C order
    Tile tile;
    Position base = 0;
    Position tiles = 1;
    Position positions = 1;
    std::vector<Position> weights;
  };
  // A product that something is computed from, and how its result blocks fit in the memory.
  struct Product {
    std::vector<std::int64_t> grid;
    std::int64_t links = 1;
    double blocks = 1;           // in the grid
    double at_once = 0;          // on one rank
    bool fits = false;           // all blocks on all ranks
    double weights[2] = {1, 1};  // bytes of a block of each matrix
  };
  struct Lanes {
    std::vector<LaneDigit> digits;  // outer ones that vary with the task
    std::uint64_t count = 1;
    std::uint64_t axes = 0;
  };
  // An alignment's position is a constant plus a weight of the coordinate along each axis.
  struct AxisWeight {
    Position scale = 0;
    const Position* table = nullptr;  // used when set
    Position at(std::int64_t coord) const noexcept {
      return table == nullptr ? scale * static_cast<Position>(coord) : table[coord];
    }
  };
  // Where a node's constants and, alignment by alignment, its axis weights stand.
  struct Compiled {
    std::uint32_t rank = 0;
    std::uint32_t alignments = 0;
    std::size_t constants = 0;
    std::size_t weights = 0;
  };
  Position position_along(const Compiled& node, std::size_t alignment,
                          const std::int64_t* coords) const noexcept {
    Position sum = constants_[node.constants + alignment];
    const AxisWeight* weights = weights_.data() + node.weights + alignment * node.rank;
    for (std::uint32_t d = 0; d < node.rank; ++d) sum += weights[d].at(coords[d]);
    return sum;
  }

  void find_products();
  const Product* product_of(NodeIndex node) const noexcept {
    const std::int32_t product = product_of_[static_cast<std::size_t>(node)];
    return product < 0 ? nullptr : &products_[static_cast<std::size_t>(product)];
  }
  static Tile tile_of(const Product& product);
  void add_domain(const std::vector<std::int64_t>& counts, const Product* product);
  static void place_in_tiles(const Domain& domain, Alignment& root);
  void reserve_links(NodeIndex node, const PlanInput& input, std::vector<Alignment>& own);
  void align_roots(std::vector<std::vector<Alignment>>& alignments);
  void align_inputs(NodeIndex node, std::vector<std::vector<Alignment>>& alignments);
  Alignment followed(NodeIndex node, std::size_t input, const Alignment& from, bool swapped,
                     const std::vector<std::int64_t>& extents) const;
  Alignment beside_input(NodeIndex node, const Alignment& from) const;
  void move_to_input(NodeIndex node, std::vector<Alignment>& own);
  std::uint64_t lane_count(const Alignment& alignment) const;
  void move_home(NodeIndex node, const Alignment& alignment);
  void pad(Alignment& alignment) const;
  int inner_digit(int domain, std::int64_t extent, const std::vector<Alignment>& reader,
                  bool links = false);
  static bool stands_before(const Alignment& alignment, int axis, std::int64_t c, std::int64_t d);
  static bool nowhere_after(const Alignment& a, const Alignment& b,
                            const std::vector<std::int64_t>& extents,
                            const std::vector<std::int64_t>& counts);
  static std::optional<Alignment> earlier_of(const Alignment& a, const Alignment& b,
                                             const std::vector<std::int64_t>& counts);
  static void add_alignment(std::vector<Alignment>& list, Alignment alignment,
                            const std::vector<Domain>& domains,
                            const std::vector<std::int64_t>& counts);
  void compile(std::vector<std::vector<Alignment>>& alignments);
  void compile_alignment(const Alignment& alignment, const std::vector<std::int64_t>& counts);

  void number_lanes();

  const Plan* plan_;
  ProductRoom room_;
  std::vector<Product> products_;
  std::vector<std::int32_t> product_of_;  // by node: that it is computed from; -1: none
  std::vector<Domain> domains_;
  std::vector<std::vector<Alignment>> alignments_;
  std::vector<Alignment> homes_;  // by node: the way that its lanes follow, along the result's grid
  std::vector<Lanes> lanes_;      // by node
  std::vector<Compiled> compiled_;
  std::vector<Position> constants_;
  std::vector<AxisWeight> weights_;
  std::deque<std::vector<Position>> tables_;
};

class TaskOrder::Cursor {
 public:
  explicit Cursor(const TaskOrder& order);
  /// Over parts of the order only: the tasks of each node that lie in its boxes, which share none.
  /// Takes time for these tasks and not for the others.
  Cursor(const TaskOrder& order, const std::vector<std::vector<Box>>& boxes);
  struct Item {
    NodeIndex node;
    std::int64_t block;
    Position position;
  };
  /// The next task, or false after the last one. `coords` receives its coordinates.
  bool next(Item& item, std::int64_t* coords);

 private:
  // Enumerates one alignment of one node by increasing position.
  struct Level {
    int axis;
    std::vector<std::int32_t> values;  // digit of the k-th coordinate in the axis's sorted list
    std::int64_t begin = 0, end = 0, outer_begin = 0, outer_end = 0;
  };
  struct Stream {
    NodeIndex node;
    std::int32_t alignment;
    std::vector<std::vector<std::int32_t>>
        sorted;  // per axis: wanted coordinates by their digits; empty: 0..n-1
    std::vector<Level> levels;
    std::vector<std::int64_t> lo, hi, at;  // per axis: current leaf range and place in it
    std::vector<std::int64_t> coords;
    Position position = 0;
    bool done = false;
  };
  void open_all(const std::vector<std::vector<Box>>* boxes);
  void open(NodeIndex node, std::int32_t alignment, const Box& box);
  static bool descend(Stream& stream, std::size_t level);
  static bool advance(Stream& stream);
  void settle(Stream& stream);
  void pop();
  bool before(std::int32_t a, std::int32_t b) const noexcept;
  void sift_down(std::size_t i);

  const TaskOrder* order_;
  std::vector<Stream> streams_;
  std::vector<std::int32_t> heap_;
};

}  // namespace tessera::scheduler
