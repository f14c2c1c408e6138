#include "scheduler/plan/task_need.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Bytes that the largest task of a node needs, and the shapes of what it reads and writes.
struct TaskNeed {
  std::size_t bytes = 0;
  std::vector<Shape> inputs;
  std::vector<Shape> outputs;

  void add(std::size_t more) {
    if (__builtin_add_overflow(bytes, more, &bytes)) {
      bytes = std::numeric_limits<std::size_t>::max();
    }
  }
};

TaskNeed task_need(const Plan& plan, const PlanNode& node) {
  TaskNeed need;
  need.add(node.scratch_bytes);
  for (SlotIndex output : node.outputs) {
    const kernels::BlockSize& size = plan.slots[at(output)].size;
    Shape shape;
    for (const AxisChunks& axis : size.grid().axes()) shape.push_back(axis.max_size());
    need.add(size.max_bytes());
    need.outputs.push_back(std::move(shape));
  }
  for (const PlanInput& input : node.inputs) {
    const kernels::BlockSize& size = plan.slots[at(input.slot)].size;
    double blocks = 1.0;
    double elements = 1.0;
    Shape shape;
    for (std::size_t d = input.access.mirror ? 1 : 0; d < input.access.links.size(); ++d) {
      const AxisLink& link = input.access.links[d];
      const AxisChunks& chunks = size.grid().axis(static_cast<int>(d));
      std::int64_t most = 0;
      std::int64_t extent = 0;
      if (link.map.is_identity()) {
        most = 1, extent = chunks.max_size();
      } else if (link.map.is_all()) {
        most = chunks.count(), extent = chunks.extent();
      } else {
        for (std::int64_t c = 0; c < link.map.from_count(); ++c) {
          const CoordSet set = link.map.of(c);
          std::int64_t sum = 0;
          for (std::int64_t s = 0; s < set.count; ++s) sum += chunks.size(set[s]);
          most = std::max(most, set.count);
          extent = std::max(extent, sum);
        }
      }
      blocks *= static_cast<double>(most);
      elements *= static_cast<double>(extent);
      shape.push_back(extent);
    }
    const double bytes = size.is_accumulator() || input.access.mirror
                             ? blocks * static_cast<double>(size.max_bytes())
                             : elements * static_cast<double>(itemsize(size.dtype()));
    need.add(bytes < 0x1p64 ? static_cast<std::size_t>(bytes)
                            : std::numeric_limits<std::size_t>::max());
    need.inputs.push_back(std::move(shape));
  }
  return need;
}

std::string shapes_text(const std::vector<Shape>& shapes) {
  std::string out;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (i == 3) return out + " ..";
    out += " " + to_string(shapes[i]);
  }
  return out;
}

}  // namespace

std::size_t largest_task_bytes(const Plan& plan) {
  std::size_t most = 0;
  for (const PlanNode& node : plan.nodes) {
    if (node.task_count > 0) most = std::max(most, task_need(plan, node).bytes);
  }
  return most;
}

void check_tasks_fit(const Plan& plan, std::size_t budget_bytes, const std::string& device) {
  const PlanNode* worst = nullptr;
  TaskNeed most;
  for (const PlanNode& node : plan.nodes) {
    if (node.task_count == 0) continue;
    TaskNeed need = task_need(plan, node);
    // Of equals the later one, a task that uses a gathered array rather than the one that gathers
    // it, but not the delivery of a result.
    if (need.bytes <= budget_bytes || need.bytes < most.bytes) continue;
    if (node.sink && need.bytes == most.bytes) continue;
    worst = &node;
    most = std::move(need);
  }
  if (worst == nullptr) return;
  throw OutOfMemory(
      core::text("[", worst->label, "] a task must fit its device's budget; got a need of ",
                 format_bytes(most.bytes), " for inputs", shapes_text(most.inputs), ", outputs",
                 shapes_text(most.outputs), " and scratch on ", device, " with ",
                 format_bytes(budget_bytes),
                 "; try smaller chunks or a larger TESSERA_DEVICE_MEMORY",
                 worst->origin.empty() ? "" : "\n  built at ", worst->origin),
      most.bytes, budget_bytes, budget_bytes);
}

}  // namespace tessera::scheduler
