#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "array/attributes.hpp"
#include "tessera/blocks.hpp"

// Attributes of the operations that run one named kernel on whole blocks (BlockOp): everything that
// such a kernel needs as data, beside the dtypes and chunk grids of its inputs and outputs, which
// stand in the node. Owns no code that computes. Common to all of them:
//  - a task has coordinates in the task grid, which are those of its block in every output's grid;
//  - the blocks that it reads come input by input; within an input by the axes' lists, the last
//  axis
//    running fastest, ascending along each axis;
//  - blocks are dense in C order; input blocks are only read; every element of the output is
//  written.

namespace tessera::array {

/// Family "reshape": the output block holds the elements of the one input block in the same order.
/// The blocks have one number of elements and differ in shape alone.
struct ReshapeAttributes : BlockAttributes {
  const char* kernel() const noexcept override { return "reshape"; }
};

/// Family "take": element (.., i, ..) of the output array is element (.., positions[i], ..) of the
/// input. A task reads the blocks of its place along the other axes that hold positions[begin,
/// end), where [begin, end) is its block's range along `axis` in the output's grid.
struct TakeAttributes : BlockAttributes {
  int axis = 0;
  std::vector<std::int64_t> positions;  ///< not negative, one for each index of the output's axis
  const char* kernel() const noexcept override { return "take"; }
};

/// Family "sort": the lanes of the one input block along `axis`, which it holds whole, sorted
/// stably with NaN last in either direction.
struct SortAttributes : BlockAttributes {
  int axis = 0;
  bool descending = false;
  bool indices = false;  ///< write the positions (int64) that would sort instead of the elements
  const char* kernel() const noexcept override { return "sort"; }
};

/// Family "topk": of each lane of a block, the k largest elements, largest first (k > 0), or the -k
/// smallest, smallest first; fewer where the block is shorter. Output 0: the elements, output 1:
/// their positions (int64) along the axis of the whole array. With `merge`, input 0 holds elements
/// and input 1 their positions, both from an earlier topk; else the position of a block's element i
/// is the block's begin along `axis` in input 0's grid, plus i. Of equal elements those at smaller
/// positions come first.
struct TopkAttributes : BlockAttributes {
  int axis = 0;
  std::int64_t k = 1;
  bool merge = false;
  const char* kernel() const noexcept override { return "topk"; }
};

/// Family "histogram": how many elements of the input block fall into each bin. Bin i holds
/// edges[i] <= x < edges[i + 1], the last one also x == edges.back(); other elements and NaN are
/// left out. The output block has extent 1 along every axis of the input and edges.size() - 1 along
/// a last one. Without weights it counts in int64; with them, it adds up in float64, in C order of
/// the block, the elements of input 1, a float64 array with the grid of input 0.
struct HistogramAttributes : BlockAttributes {
  std::vector<double> edges;  ///< ascending, at least 2
  bool uniform =
      false;  ///< the edges are equally spaced (up to rounding): a guess at the bin helps
  bool weighted = false;
  const char* kernel() const noexcept override { return "histogram"; }
};

/// Family "searchsorted": for each element x of input 0, how many elements of input 1 are < x (or
/// <= x when `right`), as int64; or with `member` whether one of them equals x, as bool. Input 1 is
/// one block, sorted as "sort" sorts, of the dtype of input 0. The output has the shape of input 0.
struct SearchsortedAttributes : BlockAttributes {
  bool right = false;
  bool member = false;
  const char* kernel() const noexcept override { return "searchsorted"; }
  std::string describe() const override { return member ? "isin" : kernel(); }
};

/// Family "take_along_axis": element (.., j, ..) of the output is element (.., i, ..) of input 0,
/// which holds `axis` whole, where i is element (.., j, ..) of input 1 (int64), counted from the
/// end where it is negative. A position beyond the axis is an error.
struct TakeAlongAxisAttributes : BlockAttributes {
  int axis = 0;
  const char* kernel() const noexcept override { return "take_along_axis"; }
};

/// Family "count_true": how many elements of the input block, a bool one, are true (int64). The
/// output block has one element.
struct CountTrueAttributes : BlockAttributes {
  const char* kernel() const noexcept override { return "count_true"; }
};

/// Family "compress": the elements of input 0 along `axis` where input 1, a 1-d bool block of the
/// same extent along it, is true. The output block has room for exactly these.
struct CompressAttributes : BlockAttributes {
  int axis = 0;
  const char* kernel() const noexcept override { return "compress"; }
};

/// Family "unique": the distinct elements of the input block, ascending, without NaN. Output 0
/// holds them one after the other, as many as it has room for; what is left of it holds zeros. Then
/// come, where asked for, in blocks of the same shape as output 0: how often each occurs (int64),
/// and the smallest of the `first` positions (int64) of those that equal it. The last output is one
/// element: how many distinct elements there are (int64), also beyond the room. Inputs: the
/// elements; with `merge` and `counts`, how often each counts; with `first`, their positions. Of
/// zeros of both signs the positive one is kept.
struct UniqueAttributes : BlockAttributes {
  bool counts = false;
  bool first = false;
  bool merge = false;
  const char* kernel() const noexcept override { return "unique"; }
};

/// The groups that a block has accumulators for, ascending.
using GroupList = std::vector<std::int64_t>;
using GroupLists = std::shared_ptr<const std::vector<GroupList>>;

/// Family "groupby": one accumulator of `op` for each of the block's groups and each lane along
/// `axis`. Element i of the array's axis belongs to group labels[i] of those that its block has, or
/// to none where that is negative. The output block holds the accumulators of the input's dtype
/// (core::accumulator_bytes and core::accumulator_offset) for the block's shape with as many groups
/// along `axis` as the output's grid says, in C order; a group that no element of the block belongs
/// to gets the accumulator of an empty slice.
struct GroupbyAttributes : BlockAttributes {
  core::ReduceOp op = core::ReduceOp::kSum;
  int axis = 0;
  std::vector<std::int64_t> labels;
  const char* kernel() const noexcept override { return "groupby"; }
};

/// Blocks that one task of family "groupby_merge" merges at most. Fixed: the shape of the tree
/// decides bits.
inline constexpr std::int64_t kGroupbyFanIn = 16;

/// Family "groupby_merge": what several blocks have of each group along `axis`, merged in their
/// order. Block i of the input along `axis` has the groups from[i], block o of the output to[o],
/// all of those that it reads. The output block holds accumulators of `op` over `element` values;
/// with `finish`, finished values of the groups that its place along the axis says, or of sums,
/// divided by `counts`, which has a number for each group that there is.
struct GroupbyMergeAttributes : BlockAttributes {
  core::ReduceOp op = core::ReduceOp::kSum;
  DType element = DType::kFloat64;
  int axis = 0;
  GroupLists from;
  GroupLists to;  ///< null with `finish`
  bool finish = false;
  double ddof = 0.0;
  std::vector<std::int64_t> counts;  ///< empty: not divided
  const char* kernel() const noexcept override { return "groupby_merge"; }
};

/// Family "map_blocks": calls `function` with one block of each input and the output block. A
/// block's `index` and `start` are those of its own array: an input that is broadcast along an axis
/// has 0 there.
struct MapBlocksAttributes : BlockAttributes {
  BlockFunction function;
  std::string name;
  const char* kernel() const noexcept override { return "map_blocks"; }
  std::string describe() const override { return name; }
};

/// Where an element beyond the end of an axis comes from: the position on the axis of `extent`
/// elements that stands for `position`, or -1 for the fill value. Not for Boundary::kNone.
inline std::int64_t boundary_position(Boundary boundary, std::int64_t position,
                                      std::int64_t extent) noexcept {
  if (position >= 0 && position < extent) return position;
  switch (boundary) {
    case Boundary::kNearest:
      return position < 0 ? 0 : extent - 1;
    case Boundary::kPeriodic:
      return (position % extent + extent) % extent;
    case Boundary::kReflect: {
      const std::int64_t period = 2 * extent;
      const std::int64_t inside = (position % period + period) % period;
      return inside < extent ? inside : period - 1 - inside;
    }
    case Boundary::kNone:
    case Boundary::kConstant:
      break;
  }
  return -1;
}

/// Family "map_overlap": computes an output block by calling `function` on it, or on pieces that
/// cover it. For the output piece [lo, hi) along an axis of extent n, the input piece is [lo -
/// depth, hi + depth), where a position p outside [0, n) reads boundary_position(p) or, where that
/// is -1, `value` converted to the input's dtype; with Boundary::kNone the piece is clipped to [0,
/// n). in.start is the input piece's first position (negative beyond the array's begin), out.start
/// is lo, and both indexes are the task's coordinates. A task reads exactly the blocks that hold
/// the elements of the input piece of its whole block.
struct OverlapAttributes : BlockAttributes {
  OverlapFunction function;
  std::vector<std::int64_t> depth;
  std::vector<Boundary> boundary;
  Scalar value;
  std::string name;
  const char* kernel() const noexcept override { return "map_overlap"; }
  std::string describe() const override { return name; }
};

/// Family "qr": reduced factors of the one input block, m x n. Outputs: q (m x k) if `with_q`, then
/// r (k x n), k = min(m, n).
struct QrAttributes : BlockAttributes {
  bool with_q = true;
  bool wide = false;  ///< the only task: may use several threads
  const char* kernel() const noexcept override { return "qr"; }
};

/// Family "svd": of the one input block, m x n. Outputs: s as a row (1 x k) of the real dtype, and
/// with `with_vectors` u (m x k) and vt (k x n).
struct SvdAttributes : BlockAttributes {
  bool with_vectors = true;
  const char* kernel() const noexcept override { return "svd"; }
};

/// Family "block_product": the output block is the matrix product of the two input blocks.
struct BlockProductAttributes : BlockAttributes {
  const char* kernel() const noexcept override { return "block_product"; }
};

}  // namespace tessera::array
