#include "benchmarks/belady.hpp"

#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace tessera::benchmarks {
namespace {

using Key = std::pair<scheduler::SlotIndex, std::int64_t>;
constexpr std::size_t kNeverAgain = std::numeric_limits<std::size_t>::max();

struct Use {
  Key key;
  std::size_t bytes;
  bool made;  // by this task, not read
  std::size_t next = kNeverAgain;
};

std::vector<std::vector<Use>> uses_in_order(const scheduler::TaskOrder& order) {
  const scheduler::Plan& plan = order.plan();
  std::vector<std::vector<Use>> tasks;
  scheduler::TaskOrder::Cursor cursor(order);
  scheduler::TaskOrder::Cursor::Item item{};
  std::int64_t coords[kMaxRank] = {};
  const auto add = [&](scheduler::SlotIndex slot, std::int64_t block, bool made) {
    const std::size_t bytes = plan.slots[static_cast<std::size_t>(slot)].size.bytes(block);
    tasks.back().push_back({{slot, block}, bytes, made});
  };
  while (cursor.next(item, coords)) {
    tasks.emplace_back();
    plan.for_each_input(item.node, coords,
                        [&](scheduler::SlotIndex slot, std::int64_t block, std::int32_t) {
                          add(slot, block, false);
                        });
    for (const scheduler::SlotIndex slot :
         plan.nodes[static_cast<std::size_t>(item.node)].outputs) {
      add(slot, item.block, true);
    }
  }
  std::map<Key, std::size_t> next;
  for (std::size_t t = tasks.size(); t-- > 0;) {
    for (Use& use : tasks[t]) {
      const auto [it, first] = next.try_emplace(use.key, t);
      use.next = first ? kNeverAgain : it->second;
    }
    for (const Use& use : tasks[t]) next[use.key] = t;
  }
  return tasks;
}

class Memory {
 public:
  explicit Memory(std::size_t budget_bytes) : free_(budget_bytes) {}

  void run(const std::vector<Use>& uses) {
    // What the task needs is out of reach of eviction while it runs.
    for (const Use& use : uses) {
      if (const auto it = resident_.find(use.key); it != resident_.end())
        by_next_.erase({it->second, use.key});
    }
    for (const Use& use : uses) {
      if (resident_.contains(use.key)) continue;
      while (free_ < use.bytes && !by_next_.empty()) evict();
      free_ -= std::min(free_, use.bytes);
      resident_[use.key] = use.next;
      bytes_[use.key] = use.bytes;
      if (!use.made) moved_.in_bytes += use.bytes;
    }
    for (const Use& use : uses) {
      if (use.next == kNeverAgain) {
        if (resident_.erase(use.key) > 0) free_ += use.bytes;
      } else {
        resident_[use.key] = use.next;
        by_next_.insert({use.next, use.key});
      }
    }
  }
  const Replay& moved() const { return moved_; }

 private:
  void evict() {
    const auto last = std::prev(by_next_.end());
    const std::size_t size = bytes_[last->second];
    resident_.erase(last->second);
    by_next_.erase(last);
    free_ += size;
    moved_.out_bytes += size;
  }
  std::size_t free_;
  std::map<Key, std::size_t> resident_;  // and the task that uses it next
  std::map<Key, std::size_t> bytes_;
  std::set<std::pair<std::size_t, Key>> by_next_;  // what may be evicted
  Replay moved_;
};

}  // namespace

Replay replay(const scheduler::TaskOrder& order, std::size_t budget_bytes) {
  Memory memory(budget_bytes);
  for (const std::vector<Use>& uses : uses_in_order(order)) memory.run(uses);
  return memory.moved();
}

}  // namespace tessera::benchmarks
