#pragma once

#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "array/node.hpp"

// Decides, before anything is lowered, which values are computed inside the task that needs them and which
// become stored arrays. Pure: it reads the expression graph only.

namespace tessera::scheduler {

/// Where a program's values come together: the tasks of one stored elementwise value, or of the reductions
/// that read the same array over the same axes.
using GroupId = int;

struct Fate {
  bool stored = false;            ///< becomes a stored array of its own
  GroupId group = -1;             ///< program it is computed in; for a stored map, its own
};

class Fusion {
 public:
  /// `roots` are the arrays asked for. Without `fuse`, every operation but constants is stored.
  Fusion(const std::vector<Array>& roots, bool fuse);

  /// Nodes that the roots need, inputs first.
  const std::vector<const array::Node*>& order() const noexcept { return order_; }
  const Fate& fate(const array::Node* node) const { return fates_.at(node); }
  /// Reductions whose partial results are computed in the group of `group`, in graph order.
  const std::vector<const array::Node*>& reductions(GroupId group) const { return groups_[static_cast<std::size_t>(group)].reductions; }
  /// The group that computes the partial results of a reduction.
  GroupId group_of_reduction(const array::Node* node) const { return fates_.at(node).group; }
  /// The stored map that the group belongs to, or null when it holds reductions only.
  const array::Node* owner(GroupId group) const { return groups_[static_cast<std::size_t>(group)].owner; }

 private:
  struct Group {
    const array::Node* owner = nullptr;
    std::vector<const array::Node*> reductions;
    std::vector<bool> axes;
    int size = 0;
  };
  struct Request {
    GroupId group = -1;  ///< -1: the stored array is wanted
    array::AffineRead read;
    bool operator==(const Request&) const = default;
  };
  void collect(const std::vector<Array>& roots);
  void find_surely_stored();
  bool cheap_to_repeat(const array::Node* node, std::size_t times) const;
  void decide(const array::Node* node, bool fuse);
  void decide_reduction(const array::Node* node, bool fuse);
  void decide_regrid(const array::Node* node, bool fuse);
  void pass_on(const array::Node* node, GroupId group, const array::AffineRead& read);
  void request(const Array& input, Request what);
  const ChunkGrid& grid_of(GroupId group) const;

  std::vector<const array::Node*> order_;
  std::unordered_map<const array::Node*, Fate> fates_;
  std::unordered_map<const array::Node*, std::vector<Request>> requests_;
  std::unordered_map<const array::Node*, bool> root_;
  std::unordered_set<const array::Node*> surely_stored_;
  std::vector<Group> groups_;
};

/// The read of an input of a broadcasting operation, given both shapes: trailing axes aligned, extents of 1
/// repeated.
array::AffineRead broadcast_read(const Shape& input, const Shape& output);

/// The read by which a node that cuts one array anew, and does nothing else, copies it; null for other nodes.
const array::AffineRead* regrid_read(const array::Node& node);
/// Most blocks of an array cut as `grid` that one block of `tasks` reads.
std::int64_t blocks_per_task(const ChunkGrid& grid, const array::AffineRead& read, const ChunkGrid& tasks);

/// Whether a node computes each element by itself and can be computed anywhere.
bool is_map(const array::Node& node);
/// A generated value so cheap that it is never worth storing for another reader.
bool is_free(const array::Node& node);

}  // namespace tessera::scheduler
