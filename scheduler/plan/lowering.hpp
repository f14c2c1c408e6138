#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "kernels/specs.hpp"
#include "scheduler/plan/call_graph.hpp"
#include "scheduler/plan/fusion.hpp"
#include "scheduler/plan/lower.hpp"

// The lowering in progress. One file for each family: lower_program.cpp (maps, views, first steps of
// reductions), lower_reduce.cpp (trees, scans), lower_product.cpp, lower_blocks.cpp, lower_rechunk.cpp,
// lower_calls.cpp; lower.cpp drives them.

namespace tessera::scheduler {

/// A value that exists as blocks, and how its blocks are numbered in the slot.
struct StoredValue {
  SlotIndex slot = -1;
  ChunkGrid grid;  ///< of the array itself
  DType dtype = DType::kFloat64;
  /// The slot has one more axis, a chain's, and this link of it holds the values; -1: it has not.
  std::int64_t chain_link = -1;
};

class Lowering {
 public:
  Lowering(const std::vector<Goal>& goals, const LowerOptions& options);
  Lowered run();

 private:
  friend class ProgramBuilder;
  using Key = std::pair<const array::Node*, int>;

  void lower_node(const array::Node& node);
  void lower_group(GroupId group, const array::Node& at);
  void lower_reduce(const array::Node& node);
  void lower_scan(const array::Node& node);
  /// Copies blocks, or computes what is copied where that is stored nowhere.
  void lower_copy(const array::Node& node, const Fate& fate);
  void lower_assemble(const array::Node& node);
  void assemble(const array::Node& node, const std::vector<array::Assemble::Part>& parts,
                const std::vector<StoredValue>& inputs);
  /// What `read` reads of `value`, in blocks of `grid` cut also where those of `value` end, where
  /// reading whole blocks would cost more; else the value itself.
  StoredValue in_pieces(const array::Node& node, const StoredValue& value, const array::AffineRead& read,
                        const ChunkGrid& grid);
  void lower_matmul(const array::Node& node);
  void lower_block_op(const array::Node& node);
  void lower_stored(const array::Node& node);
  void lower_resident(const array::Node& node);
  void lower_awaited(const array::Node& node);
  void lower_calls();
  void lower_held_calls();
  void lower_call_list();
  void lower_call(std::size_t number);
  void lower_call_results();
  PlanInput read_call(const tessera::detail::Call& call) const;
  bool several_ranks() const noexcept { return options_.ranks.size() > 1; }
  /// Lowers what stands before the node in the fusion's order, and the node.
  void lower_up_to(const array::Node* node);
  void deliver(const Goal& goal);
  /// The elements that tasks over `tasks` read through `read`, which follows an axis of theirs twice, copied
  /// into an array of its own; `read` becomes the read of that array. What a task reads of an input must
  /// follow from each of its axes alone: a diagonal does not.
  StoredValue lower_diagonal(const array::Node& node, const StoredValue& value, const ChunkGrid& tasks,
                             array::AffineRead& read);

  /// `a` as blocks.
  StoredValue stored(const Array& a);
  /// Merges accumulator blocks of `slot` along `axes` of `grid` into finished values of `node`'s output.
  SlotIndex merge_tree(const array::Node& node, SlotIndex slot, const ChunkGrid& grid, core::ReduceOp op,
                       DType element, const std::vector<bool>& axes, double ddof);
  PlanNode new_node(const array::Node& node, std::string label, const ChunkGrid& grid);
  NodeIndex append(PlanNode node);
  SlotIndex append_with_output(PlanNode node, kernels::BlockSize size);

  std::vector<Goal> goals_;
  LowerOptions options_;
  CallGraph calls_;
  Fusion fusion_;
  std::size_t next_node_ = 0;  ///< of the fusion's order
  SlotIndex call_list_ = -1;
  SlotIndex held_calls_ = -1;
  std::vector<SlotIndex> own_calls_;
  Lowered out_;
  std::map<Key, StoredValue> stored_;
  std::vector<bool> group_done_;
  struct Partial {
    SlotIndex slot = -1;
    bool finished = false;
  };
  std::unordered_map<const array::Node*, Partial> partials_;
  std::unordered_map<const void*, SlotIndex> residents_;
};

/// The input of a task over `tasks` that reads `value` through `read`.
PlanInput make_input(const StoredValue& value, const array::AffineRead& read, const ChunkGrid& tasks);

}  // namespace tessera::scheduler
