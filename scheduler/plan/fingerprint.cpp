#include "scheduler/plan/fingerprint.hpp"

#include <xxhash.h>

#include "core/text.hpp"

namespace tessera::scheduler {

std::uint64_t fingerprint(const Plan& plan, const std::string& profile) {
  std::string text = profile;
  for (const PlanNode& node : plan.nodes) {
    const bool bystander = node.resident && plan.readers(node.outputs[0]).empty() &&
                           !plan.slots[static_cast<std::size_t>(node.outputs[0])].retained;
    if (bystander) continue;
    text += core::text(node.label, "|", node.task_count, "|", node.chain_axis, node.resident,
                       node.sink, node.follows_input);
    for (const std::int64_t count : node.counts) text += core::text(",", count);
    for (const std::int32_t owner : node.owners) text += core::text("@", owner);
    for (const PlanInput& input : node.inputs) text += core::text("<", input.slot);
    for (const SlotIndex slot : node.outputs) {
      const Slot& s = plan.slots[static_cast<std::size_t>(slot)];
      text += core::text(">", slot, ":", s.retained, s.size.max_bytes());
    }
    text += "\n";
  }
  return XXH3_64bits(text.data(), text.size());
}

std::string summary(const Plan& plan) {
  std::string last = "nothing";
  for (const PlanNode& node : plan.nodes) {
    if (!node.resident) last = node.label;
  }
  return core::text(plan.total_tasks(), " tasks for ", last);
}

}  // namespace tessera::scheduler
