#include "scheduler/plan/explain.hpp"

#include <sstream>

namespace tessera::scheduler {

namespace {

std::string grid_text(const std::vector<std::int64_t>& counts) {
  std::string out;
  for (std::int64_t c : counts) out += (out.empty() ? "" : "x") + std::to_string(c);
  return counts.empty() ? "1" : out;
}

// "[i, j]" for the task's own coordinates, "*" for all blocks of an axis, "j~" for a range around j.
std::string access_text(const Access& access) {
  std::string out;
  for (std::size_t d = 0; d < access.links.size(); ++d) {
    if (d > 0) out += ", ";
    const AxisLink& link = access.links[d];
    if (access.mirror && d == 0) {
      out += "pair(0, 1)";
    } else if (link.task_axis < 0) {
      const CoordSet set = link.map.of(0);
      const bool every = set.count == link.map.to_count();
      out += set.count == 1 ? std::to_string(set[0]) : (every ? "*" : std::to_string(set[0]) + "..");
    } else {
      out += "t" + std::to_string(link.task_axis) + (link.map.is_identity() ? "" : "~");
    }
  }
  return "[" + out + "]";
}

}  // namespace

std::string explain(const Plan& plan) {
  std::ostringstream out;
  out << plan.nodes.size() << " nodes, " << plan.total_tasks() << " tasks\n";
  for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
    const PlanNode& node = plan.nodes[i];
    out << "  " << i << ": " << node.label << "  " << grid_text(node.counts);
    if (node.resident) out << " resident";
    if (node.task_count != [&] {
          std::int64_t all = 1;
          for (std::int64_t c : node.counts) all *= c;
          return all;
        }() && !node.resident) {
      out << " (" << node.task_count << " wanted)";
    }
    if (node.chain_axis >= 0) {
      std::int64_t chains = 0;
      for (bool start : node.chain_start) chains += start ? 1 : 0;
      out << " chained along t" << node.chain_axis << (chains > 1 ? " in " + std::to_string(chains) + " groups" : "");
    }
    for (const PlanInput& input : node.inputs) {
      const Slot& slot = plan.slots[static_cast<std::size_t>(input.slot)];
      out << " <- " << slot.node;
      if (plan.nodes[static_cast<std::size_t>(slot.node)].outputs.size() > 1) out << "." << slot.output;
      out << access_text(input.access) << (input.streamed ? "..." : "");
    }
    for (SlotIndex output : node.outputs) {
      const Slot& slot = plan.slots[static_cast<std::size_t>(output)];
      out << " -> " << (slot.size.is_accumulator() ? std::string(core::name(slot.size.op())) + " of " : "")
          << name(slot.size.dtype()) << " " << format_bytes(slot.size.max_bytes()) << (slot.retained ? " kept" : "");
    }
    out << "\n";
  }
  return out.str();
}

}  // namespace tessera::scheduler
