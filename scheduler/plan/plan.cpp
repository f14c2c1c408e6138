#include "scheduler/plan/plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

SlotIndex Plan::add_slot(NodeIndex node, int output, kernels::BlockSize size) {
  Slot slot;
  slot.node = node;
  slot.output = static_cast<std::int16_t>(output);
  slot.size = std::move(size);
  slots.push_back(std::move(slot));
  return static_cast<SlotIndex>(slots.size()) - 1;
}

NodeIndex Plan::add_node(PlanNode node) {
  nodes.push_back(std::move(node));
  return static_cast<NodeIndex>(nodes.size()) - 1;
}

void Plan::decode(NodeIndex node, std::int64_t block, std::int64_t* coords) const noexcept {
  const std::vector<std::int64_t>& counts = nodes[at(node)].counts;
  auto rest = static_cast<std::uint64_t>(block);
  for (std::size_t d = counts.size(); d-- > 1;) {
    const auto count = static_cast<std::uint64_t>(counts[d]);
    coords[d] = static_cast<std::int64_t>(rest % count);
    rest /= count;
  }
  if (!counts.empty()) coords[0] = static_cast<std::int64_t>(rest);
}

std::int64_t Plan::encode(NodeIndex node, const std::int64_t* coords) const noexcept {
  const std::vector<std::int64_t>& counts = nodes[at(node)].counts;
  std::int64_t linear = 0;
  for (std::size_t d = 0; d < counts.size(); ++d) linear = linear * counts[d] + coords[d];
  return linear;
}

const SlotReader* Plan::reader(SlotIndex slot, NodeIndex node, std::int32_t input) const noexcept {
  const std::vector<SlotReader>& list = readers_[at(slot)];
  auto it = std::lower_bound(list.begin(), list.end(), node,
                             [](const SlotReader& r, NodeIndex n) { return r.node < n; });
  while (it != list.end() && it->node == node && it->input != input) ++it;
  return it != list.end() && it->node == node ? &*it : nullptr;
}

bool Plan::wanted(NodeIndex node, const std::int64_t* coords) const noexcept {
  const PlanNode& n = nodes[at(node)];
  for (std::size_t d = 0; d < n.wanted.size(); ++d) {
    if (!n.wanted[d].empty() && !n.wanted[d][at(coords[d])]) return false;
  }
  return true;
}

std::uint32_t Plan::reader_count(SlotIndex slot, const std::int64_t* coords) const noexcept {
  std::uint64_t total = 0;
  for (const SlotReader& reader : readers_[at(slot)]) {
    const PlanNode& n = nodes[at(reader.node)];
    if (reader.input < 0) {
      const std::int64_t next = coords[n.chain_axis] + 1;
      total += n.continues_chain(next) ? 1 : 0;
    } else if (reader.mirror) {
      std::uint64_t product = 1;
      for (const AxisLink& link : reader.fixed) {
        product *= static_cast<std::uint64_t>(link.map.of(coords[link.task_axis]).count);
      }
      const auto [i, j] = triangle_pair(coords[0]);
      total += product * (i == j ? 1 : 2);
    } else {
      std::uint64_t product = 1;
      for (const AxisLink& link : reader.fixed) {
        product *= static_cast<std::uint64_t>(link.map.of(coords[link.task_axis]).count);
      }
      for (const AxisLink& link : reader.links) {
        product *= static_cast<std::uint64_t>(
            link.map.of(link.task_axis < 0 ? 0 : coords[link.task_axis]).count);
      }
      total += product;
    }
  }
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(total, std::numeric_limits<std::uint32_t>::max() - 1));
}

void Plan::finalize() {
  verify();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const PlanInput& input : nodes[i].inputs)
      nodes[i].reads_itself |= slots[at(input.slot)].node == static_cast<NodeIndex>(i);
  }
  for (PlanNode& node : nodes) choose_inputs(node);
  compute_wanted();
  compute_readers();
}

// Where a node has many inputs (a concatenation), a task reads few of them.
void Plan::choose_inputs(PlanNode& node) {
  constexpr std::size_t kMany = 8;
  if (node.inputs.size() <= kMany) return;
  // Calls f(c) for every coordinate of the axis at which the input may be read.
  const auto for_each_coordinate = [&](const PlanInput& input, int axis, auto&& f) {
    std::vector<const AxisMap*> maps;
    for (const auto* links : {&input.access.links, &input.access.presence}) {
      for (const AxisLink& link : *links) {
        if (link.task_axis == axis) maps.push_back(&link.map);
      }
    }
    for (std::int64_t c = 0; c < node.counts[at(axis)]; ++c) {
      bool read = true;
      for (const AxisMap* map : maps) read = read && map->of(c).count > 0;
      if (read) f(at(c));
    }
  };
  std::int64_t least = static_cast<std::int64_t>(node.inputs.size());
  for (std::size_t d = 0; d < node.counts.size(); ++d) {
    const auto axis = static_cast<int>(d);
    std::vector<std::int64_t> counts(at(node.counts[d]) + 1, 0);
    for (const PlanInput& input : node.inputs)
      for_each_coordinate(input, axis, [&](std::size_t c) { ++counts[c + 1]; });
    const std::int64_t most = *std::max_element(counts.begin(), counts.end());
    if (most >= least) continue;
    least = most;
    node.chosen_axis = axis;
    std::partial_sum(counts.begin(), counts.end(), counts.begin());
    node.chosen_offsets = std::move(counts);
  }
  if (node.chosen_axis < 0) return;
  node.chosen.resize(at(node.chosen_offsets.back()));
  std::vector<std::int64_t> next = node.chosen_offsets;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    for_each_coordinate(node.inputs[i], node.chosen_axis, [&](std::size_t c) {
      node.chosen[at(next[c]++)] = static_cast<std::int32_t>(i);
    });
  }
}

// Whether tasks of a list read only those before them.
bool Plan::reads_earlier_blocks(const PlanNode& node, const PlanInput& input) {
  if (!node.sink || node.counts.size() != 1 || input.access.links.size() != 1 ||
      input.access.links[0].task_axis != 0) {
    return false;
  }
  const AxisMap& map = input.access.links[0].map;
  for (std::int64_t c = 0; c < map.from_count(); ++c) {
    const CoordSet set = map.of(c);
    if (set.count > 0 && set[set.count - 1] >= c) return false;
  }
  return true;
}

void Plan::verify() const {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const PlanNode& node = nodes[i];
    auto fail = [&](const std::string& rule) {
      throw InvalidArgument(core::text("[plan] ", rule, "; got node ", i, " (", node.label, ")"));
    };
    for (std::int64_t count : node.counts) {
      if (count > std::numeric_limits<std::int32_t>::max())
        fail("an axis has fewer than 2^31 blocks; try larger chunks");
    }
    for (SlotIndex output : node.outputs) {
      if (slots[at(output)].node != static_cast<NodeIndex>(i))
        fail("an output slot belongs to its node");
      if (slots[at(output)].size.grid().counts() != node.counts)
        fail("an output has the block counts of its task grid");
      if (node.chain_axis >= 0 && slots[at(output)].retained &&
          output == node.outputs[at(node.chain_output)])
        fail("links of a chain are not results");
    }
    for (const PlanInput& input : node.inputs) {
      const Slot& slot = slots[at(input.slot)];
      if (slot.node < 0 || slot.node > static_cast<NodeIndex>(i) ||
          (slot.node == static_cast<NodeIndex>(i) && !reads_earlier_blocks(node, input)))
        fail("a task reads outputs of earlier nodes, or of earlier tasks of a sink, only");
      const std::vector<std::int64_t>& counts = nodes[at(slot.node)].counts;
      if (input.access.mirror) {
        const std::int64_t n = node.counts.size() == 2 ? node.counts[0] : -1;
        if (n < 0 || node.counts[1] != n || counts.empty() || counts[0] != n * (n + 1) / 2) {
          fail("a mirrored read is of the pairs of a square grid");
        }
      }
      const PlanNode& producer = nodes[at(slot.node)];
      if (producer.chain_axis >= 0 && slot.output == producer.chain_output) {
        const AxisMap& map = input.access.links[at(producer.chain_axis)].map;
        for (std::int64_t c = 0; c < map.from_count(); ++c) {
          const CoordSet set = map.of(c);
          for (std::int64_t i = 0; i < set.count; ++i) {
            const std::int64_t next = set[i] + 1;
            if (next < counts[at(producer.chain_axis)] && !producer.chain_start[at(next)]) {
              fail("only the last link of a chain is read by other nodes");
            }
          }
        }
      }
      if (input.access.links.size() != counts.size())
        fail("an access has one link for each axis of its input");
      for (std::size_t d = input.access.mirror ? 1 : 0; d < counts.size(); ++d) {
        const AxisLink& link = input.access.links[d];
        if (input.access.mirror && link.task_axis >= 0)
          fail("a mirrored read fixes its other axes");
        const std::int64_t from = link.task_axis < 0 ? 1 : node.counts[at(link.task_axis)];
        if (link.map.from_count() != from || link.map.to_count() != counts[d])
          fail("an axis map has the extents of its grids");
      }
    }
  }
}

// A node's wanted tasks are the smallest product of per-axis sets that covers what its readers
// want, so that counting readers stays a product of per-axis counts.
void Plan::compute_wanted() {
  std::vector<bool> reached(nodes.size(),
                            false);  // by a result: what a 0-d node has instead of masks
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    PlanNode& node = nodes[i];
    bool root = node.sink;
    for (SlotIndex output : node.outputs) root = root || slots[at(output)].retained;
    node.wanted.assign(node.counts.size(), {});
    reached[i] = root;
    if (!root) {
      for (std::size_t d = 0; d < node.counts.size(); ++d)
        node.wanted[d].assign(at(node.counts[d]), false);
    }
  }
  for (std::size_t i = nodes.size(); i-- > 0;) {
    PlanNode& node = nodes[i];
    bool any = reached[i];
    for (std::size_t d = 0; d < node.counts.size(); ++d) {
      std::vector<bool>& mask = node.wanted[d];
      const bool full =
          mask.empty() || std::all_of(mask.begin(), mask.end(), [](bool b) { return b; });
      if (full) mask.clear();
      any =
          any && (mask.empty() || std::any_of(mask.begin(), mask.end(), [](bool b) { return b; }));
    }
    if (node.chain_axis >= 0 && !node.wanted[at(node.chain_axis)].empty()) {
      std::vector<bool>& mask = node.wanted[at(node.chain_axis)];
      for (std::size_t k = mask.size() - 1; k-- > 0;) {
        if (mask[k + 1] && !node.chain_start[k + 1]) mask[k] = true;
      }
    }
    for (const PlanInput& input : node.inputs) {
      // Pairs are read as a whole.
      if (input.access.mirror && any) node.wanted.assign(node.counts.size(), {});
    }
    if (node.resident) any = false;
    node.task_count = any ? 1 : 0;
    for (std::size_t d = 0; d < node.counts.size(); ++d) {
      const std::vector<bool>& mask = node.wanted[d];
      node.task_count *= mask.empty() ? node.counts[d] : std::count(mask.begin(), mask.end(), true);
    }
    total_tasks_ += node.task_count;
    if (!any) continue;
    for (const PlanInput& input : node.inputs) {
      PlanNode& producer = nodes[at(slots[at(input.slot)].node)];
      reached[at(slots[at(input.slot)].node)] = true;
      for (std::size_t d = 0; d < producer.counts.size(); ++d) {
        std::vector<bool>& mask = producer.wanted[d];
        if (mask.empty()) continue;
        if (input.access.mirror && d == 0) {
          mask.clear();
          continue;
        }
        const AxisLink& link = input.access.links[d];
        const std::vector<bool>* from =
            link.task_axis < 0 ? nullptr : &node.wanted[at(link.task_axis)];
        if ((from == nullptr || from->empty()) && (link.map.is_identity() || link.map.is_all())) {
          mask.clear();
          continue;
        }
        for (std::int64_t k = 0; k < link.map.from_count(); ++k) {
          if (from != nullptr && !from->empty() && !(*from)[at(k)]) continue;
          const CoordSet set = link.map.of(k);
          for (std::int64_t s = 0; s < set.count; ++s) mask[at(set[s])] = true;
        }
      }
    }
  }
}

void Plan::compute_readers() {
  readers_.assign(slots.size(), {});
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const PlanNode& node = nodes[i];
    if (node.task_count == 0) continue;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      const PlanInput& input = node.inputs[k];
      SlotReader reader;
      reader.node = static_cast<NodeIndex>(i);
      reader.input = static_cast<std::int32_t>(k);
      reader.mirror = input.access.mirror;
      reader.links.resize(node.counts.size());
      std::vector<bool> linked(node.counts.size(), false);
      for (std::size_t d = reader.mirror ? 1 : 0; d < input.access.links.size(); ++d) {
        const AxisLink& link = input.access.links[d];
        if (link.task_axis < 0) {
          if (!link.map.is_identity() && !link.map.is_all()) {
            reader.fixed.push_back({static_cast<int>(d), link.map.reversed(nullptr)});
          }
          continue;
        }
        const auto axis = at(link.task_axis);
        if (linked[axis]) {
          throw InvalidArgument(
              core::text("[plan] two axes of an input cannot follow one task axis; got node ", i,
                         " (", node.label, ")"));
        }
        linked[axis] = true;
        const std::vector<bool>& mask = node.wanted[axis];
        reader.links[axis] = {static_cast<int>(d),
                              link.map.reversed(mask.empty() ? nullptr : &mask)};
      }
      for (std::size_t axis = 0; axis < node.counts.size() && !reader.mirror; ++axis) {
        if (linked[axis]) continue;
        const std::vector<bool>& mask = node.wanted[axis];
        AxisMap present = AxisMap::all(node.counts[axis], 1);
        for (const AxisLink& link : input.access.presence) {
          if (link.task_axis == static_cast<int>(axis)) present = link.map;
        }
        reader.links[axis] = {-1, present.reversed(mask.empty() ? nullptr : &mask)};
      }
      readers_[at(input.slot)].push_back(std::move(reader));
    }
    if (node.chain_axis >= 0) {
      SlotReader self;
      self.node = static_cast<NodeIndex>(i);
      readers_[at(node.outputs[at(node.chain_output)])].push_back(std::move(self));
    }
  }
}

}  // namespace tessera::scheduler
