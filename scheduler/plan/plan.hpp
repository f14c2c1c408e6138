#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/task_spec.hpp"
#include "scheduler/plan/access.hpp"
#include "tessera/chunk_grid.hpp"

// A plan is the implicit task graph of one computation: a list of nodes in topological order, each
// standing for a grid of tasks. A task is (node, block); what it reads and who reads it follow from
// `Access`. The plan owns no blocks, no devices and no task list; the executor asks it and keeps
// state for blocks in flight only.

namespace tessera::scheduler {

using NodeIndex = std::int32_t;
using SlotIndex = std::int32_t;

/// One stored array: an output of a plan node. Its grid has the block counts of the node's task
/// grid.
struct Slot {
  NodeIndex node = -1;
  std::int16_t output = 0;
  bool retained = false;    ///< blocks outlive the run (a result that the caller keeps)
  kernels::BlockSize size;  ///< bytes of each block
};

struct PlanInput {
  SlotIndex slot = -1;
  Access access;
  /// The many blocks a task reads arrive one after the other in the total order (reductions);
  /// others must be there together anyway.
  bool streamed = false;
  /// Blocks of the slot for each block of the array that tasks read: the links of a chain, which
  /// are its last axis. Tasks are told the number in the array's grid.
  std::int64_t links = 1;
};

/// A grid of tasks that run one kernel.
struct PlanNode {
  std::string label;                 ///< operation names, such as "add+mean"
  std::string origin;                ///< the user's source line that built it
  std::vector<std::int64_t> counts;  ///< task grid
  std::vector<PlanInput> inputs;
  std::vector<SlotIndex> outputs;
  std::shared_ptr<const kernels::TaskSpec> spec;  ///< null: an empty task
  /// Axis along which tasks form chains: task k also reads its own output k-1 of the same chain and
  /// takes over that block's memory. -1: no chain. `chain_start[k]` says where a chain begins.
  int chain_axis = -1;
  std::vector<bool> chain_start;
  int chain_output = 0;
  /// The grid of the product whose chains these are; empty: of none. Each link reads blocks that its
  /// neighbours read as well, of one matrix along a row of the grid and of the other along a column.
  std::vector<std::int64_t> product;
  bool sink = false;  ///< delivers to the outside (a file, the caller's memory): always wanted
  bool recomputable = false;  ///< pure, no inputs, cheap: a block may be dropped and made again
  bool impure = false;        ///< must run exactly once
  bool resident = false;      ///< its blocks exist already: nothing runs
  /// Each task reads one block of the node's only input, and runs as soon as that is there rather
  /// than just before its readers: the pieces of a block are cut while it is at hand.
  bool follows_input = false;
  bool everywhere = false;    ///< a sink into each process's own memory: every rank runs all tasks
  /// The rank that runs each task, along the last axis, where that follows from something else than
  /// the order; empty: as placement has it. Other axes have one task.
  std::vector<std::int32_t> owners;
  std::size_t scratch_bytes = 0;  ///< most that one task needs beside inputs and outputs
  bool wide = false;              ///< takes all workers of its device
  double flops = 0.0;             ///< of one full task, for the cost model
  // Filled by finalize().
  std::vector<std::vector<bool>> wanted;  ///< per axis, empty: every coordinate
  std::int64_t task_count = 0;
  /// Of many inputs, those that a task may read at all: inputs[chosen[k]] for k in
  /// [chosen_offsets[c], chosen_offsets[c + 1]), where c is its coordinate along chosen_axis. -1:
  /// all.
  int chosen_axis = -1;
  std::vector<std::int64_t> chosen_offsets;
  std::vector<std::int32_t> chosen;
  /// Its tasks read blocks of its own, earlier ones in the enumeration. It is a sink then.
  bool reads_itself = false;

  /// Whether the task at this coordinate of the chain axis is wanted and reads its predecessor.
  bool continues_chain(std::int64_t k) const noexcept {
    const auto axis = static_cast<std::size_t>(chain_axis);
    const auto i = static_cast<std::size_t>(k);
    return k < counts[axis] && !chain_start[i] && (wanted[axis].empty() || wanted[axis][i]);
  }
};

/// Readers of one slot: one entry for each (node, input) that reads it, with reversed axis maps.
struct SlotReader {
  NodeIndex node = -1;
  std::int32_t input = -1;  ///< index into that node's inputs, -1: the node's own chain
  std::vector<AxisLink>
      links;  ///< per task axis of the reader: from which axis of the slot, by which map
  std::vector<AxisLink>
      fixed;  ///< axes of the slot of which only some blocks are read, whatever the task
  bool mirror = false;
};

class Plan {
 public:
  std::vector<PlanNode> nodes;
  std::vector<Slot> slots;

  /// Appends a slot for output `output` of `node` (which is about to be appended).
  SlotIndex add_slot(NodeIndex node, int output, kernels::BlockSize size);
  NodeIndex add_node(PlanNode node);

  /// Computes what is wanted, who reads what, and checks the graph. Must be called once, before
  /// use. \throws InvalidArgument for a malformed plan (reads of later nodes, grids that do not
  /// match).
  void finalize();

  const std::vector<SlotReader>& readers(SlotIndex slot) const {
    return readers_[static_cast<std::size_t>(slot)];
  }
  /// The entry of one input of one node; null when nothing wants the node.
  const SlotReader* reader(SlotIndex slot, NodeIndex node, std::int32_t input) const noexcept;
  std::int64_t total_tasks() const noexcept { return total_tasks_; }
  bool wanted(NodeIndex node, const std::int64_t* coords) const noexcept;
  /// How many tasks read this block (the chain successor included).
  std::uint32_t reader_count(SlotIndex slot, const std::int64_t* coords) const noexcept;

  void decode(NodeIndex node, std::int64_t block, std::int64_t* coords) const noexcept;
  std::int64_t encode(NodeIndex node, const std::int64_t* coords) const noexcept;

  /// Calls f(slot, linear block) for every block of one input that the task reads, in C order.
  template <typename F>
  void for_each_block(const PlanInput& input, const std::int64_t* coords, F&& f) const;
  /// The same for all inputs, one after the other, and the chain predecessor last:
  /// f(slot, linear block, input) with -1 for the predecessor.
  template <typename F>
  void for_each_input(NodeIndex node, const std::int64_t* coords, F&& f) const;
  /// Calls f(node, coords) for every task that reads the block.
  template <typename F>
  void for_each_reader(SlotIndex slot, const std::int64_t* coords, F&& f) const;

 private:
  static void choose_inputs(PlanNode& node);
  void compute_wanted();
  void compute_readers();
  void verify() const;
  static bool reads_earlier_blocks(const PlanNode& node, const PlanInput& input);
  std::vector<std::vector<SlotReader>> readers_;
  std::int64_t total_tasks_ = 0;
};

namespace detail {
// Visits the product of coordinate sets in C order; linear indices are for `counts`.
template <typename F>
void for_each_product(const CoordSet* sets, const std::int64_t* counts, int rank, F&& f) {
  // Most tasks read one block of each input.
  std::int64_t linear = 0;
  bool single = true;
  for (int d = 0; d < rank; ++d) {
    if (sets[d].count == 0) return;
    single = single && sets[d].count == 1;
    linear = linear * counts[d] + sets[d][0];
  }
  if (single) {
    f(linear);
    return;
  }
  std::int64_t at[kMaxRank];
  for (int d = 0; d < rank; ++d) at[d] = 0;
  for (;;) {
    linear = 0;
    for (int d = 0; d < rank; ++d) linear = linear * counts[d] + sets[d][at[d]];
    f(linear);
    int d = rank - 1;
    while (d >= 0 && ++at[d] == sets[d].count) at[d--] = 0;
    if (d < 0) return;
  }
}
}  // namespace detail

template <typename F>
void Plan::for_each_block(const PlanInput& input, const std::int64_t* coords, F&& f) const {
  const std::vector<std::int64_t>& counts =
      nodes[static_cast<std::size_t>(slots[static_cast<std::size_t>(input.slot)].node)].counts;
  for (const AxisLink& link : input.access.presence) {
    if (link.map.of(coords[link.task_axis]).count == 0) return;
  }
  const int rank = static_cast<int>(counts.size());
  CoordSet sets[kMaxRank];
  int first = 0;
  if (input.access.mirror) {
    const std::int64_t i = coords[0] < coords[1] ? coords[0] : coords[1];
    const std::int64_t j = coords[0] < coords[1] ? coords[1] : coords[0];
    sets[first++] = {triangle_index(i, j), 1, nullptr};
  }
  for (int d = first; d < rank; ++d) {
    const AxisLink& link = input.access.links[static_cast<std::size_t>(d)];
    sets[d] = link.map.of(link.task_axis < 0 ? 0 : coords[link.task_axis]);
  }
  detail::for_each_product(sets, counts.data(), rank, [&](std::int64_t b) { f(input.slot, b); });
}

template <typename F>
void Plan::for_each_input(NodeIndex node, const std::int64_t* coords, F&& f) const {
  const PlanNode& n = nodes[static_cast<std::size_t>(node)];
  const auto visit = [&](std::int32_t input) {
    for_each_block(n.inputs[static_cast<std::size_t>(input)], coords,
                   [&](SlotIndex slot, std::int64_t block) { f(slot, block, input); });
  };
  if (n.chosen_axis < 0) {
    for (std::size_t i = 0; i < n.inputs.size(); ++i) visit(static_cast<std::int32_t>(i));
  } else {
    const auto c = static_cast<std::size_t>(coords[n.chosen_axis]);
    for (auto k = n.chosen_offsets[c]; k < n.chosen_offsets[c + 1]; ++k)
      visit(n.chosen[static_cast<std::size_t>(k)]);
  }
  if (n.chain_axis >= 0 && !n.chain_start[static_cast<std::size_t>(coords[n.chain_axis])]) {
    std::int64_t linear = 0;
    for (std::size_t d = 0; d < n.counts.size(); ++d) {
      linear = linear * n.counts[d] + coords[d] - (static_cast<int>(d) == n.chain_axis ? 1 : 0);
    }
    f(n.outputs[static_cast<std::size_t>(n.chain_output)], linear, -1);
  }
}

template <typename F>
void Plan::for_each_reader(SlotIndex slot, const std::int64_t* coords, F&& f) const {
  std::int64_t at[kMaxRank];
  for (const SlotReader& reader : readers_[static_cast<std::size_t>(slot)]) {
    const PlanNode& n = nodes[static_cast<std::size_t>(reader.node)];
    if (reader.input < 0) {  // the chain successor
      const auto axis = static_cast<std::size_t>(n.chain_axis);
      const std::int64_t next = coords[axis] + 1;
      if (n.continues_chain(next)) {
        for (std::size_t d = 0; d < n.counts.size(); ++d) at[d] = coords[d] + (d == axis ? 1 : 0);
        f(reader.node, at);
      }
      continue;
    }
    bool none = false;
    for (const AxisLink& link : reader.fixed)
      none = none || link.map.of(coords[link.task_axis]).count == 0;
    if (none) continue;
    if (reader.mirror) {
      const auto [i, j] = triangle_pair(coords[0]);
      at[0] = i, at[1] = j;
      f(reader.node, at);
      if (i != j) {
        at[0] = j, at[1] = i;
        f(reader.node, at);
      }
      continue;
    }
    const int rank = static_cast<int>(n.counts.size());
    CoordSet sets[kMaxRank];
    std::int64_t index[kMaxRank];
    for (int d = 0; d < rank; ++d) {
      const AxisLink& link = reader.links[static_cast<std::size_t>(d)];
      sets[d] = link.map.of(link.task_axis < 0 ? 0 : coords[link.task_axis]);
      index[d] = 0;
      none = none || sets[d].count == 0;
    }
    if (none) continue;
    for (;;) {
      for (int d = 0; d < rank; ++d) at[d] = sets[d][index[d]];
      f(reader.node, at);
      int d = rank - 1;
      while (d >= 0 && ++index[d] == sets[d].count) index[d--] = 0;
      if (d < 0) break;
    }
  }
}

}  // namespace tessera::scheduler
