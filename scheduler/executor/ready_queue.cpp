#include "scheduler/executor/ready_queue.hpp"

#include <algorithm>
#include <utility>

namespace tessera::scheduler {

namespace {
// Long enough to be worth a thread of its own, and what is expected of a task while nothing is
// known.
constexpr float kLongNs = 20'000.0F;
// Most that is taken at once, and only while the others have as much to do.
constexpr double kMostNs = 100'000.0;
constexpr std::size_t kMostTasks = 128;
constexpr std::size_t kShortBytes = std::size_t{256} << 10;
}  // namespace

ReadyQueue::ReadyQueue(const Plan& plan, int workers, std::uint64_t shuffle_seed)
    : workers_(workers),
      shuffle_(shuffle_seed != 0),
      random_(shuffle_seed),
      node_ns_(plan.nodes.size(), kLongNs) {
  auto bytes_of = [&plan](SlotIndex slot) {
    return plan.slots[static_cast<std::size_t>(slot)].size.max_bytes();
  };
  for (const PlanNode& node : plan.nodes) {
    std::size_t bytes = 0;
    for (SlotIndex slot : node.outputs) bytes = std::max(bytes, bytes_of(slot));
    for (const PlanInput& input : node.inputs) bytes = std::max(bytes, bytes_of(input.slot));
    may_be_short_.push_back(bytes <= kShortBytes && !node.wide && !shuffle_);
  }
}

void ReadyQueue::push(WorkItem* item) {
  std::deque<WorkItem*>& queue = item->is_move ? copies_ : tasks_;
  queue.push_back(item);
  if (!item->is_move) {
    item->expected_ns = node_ns_[static_cast<std::size_t>(item->node)];
    queued_ns_ += static_cast<double>(item->expected_ns);
  }
  if (!shuffle_) return;
  std::uniform_int_distribution<std::size_t> any(0, queue.size() - 1);
  std::swap(queue[any(random_)], queue.back());
}

void ReadyQueue::take(std::vector<WorkItem*>& batch) {
  batch.clear();
  // Tasks wait for copies, and copies free memory that tasks wait for.
  if (!copies_.empty()) {
    batch.push_back(copies_.front());
    copies_.pop_front();
    return;
  }
  if (tasks_.empty() || exclusive_) return;
  exclusive_ = tasks_.front()->wide && workers_ > 1;
  if (exclusive_ && running_ > 0) {
    exclusive_ = false;
    return;
  }
  const double share = queued_ns_ / (2.0 * workers_);
  double left = std::clamp(share, static_cast<double>(kLongNs), kMostNs);
  do {
    WorkItem* item = tasks_.front();
    tasks_.pop_front();
    batch.push_back(item);
    left -= static_cast<double>(item->expected_ns);
    queued_ns_ -= static_cast<double>(item->expected_ns);
  } while (!tasks_.empty() && batch.size() < kMostTasks && !tasks_.front()->wide &&
           tasks_.front()->expected_ns < kLongNs &&
           static_cast<double>(tasks_.front()->expected_ns) <= left);
  if (tasks_.empty()) queued_ns_ = 0.0;
  running_ += batch.size();
}

void ReadyQueue::ran(const std::vector<WorkItem*>& batch, double nanoseconds) {
  if (batch.front()->is_move) return;
  running_ -= batch.size();
  exclusive_ = false;
  const auto each = static_cast<float>(nanoseconds / static_cast<double>(batch.size()));
  for (const WorkItem* item : batch) {
    if (!may_be_short_[static_cast<std::size_t>(item->node)]) continue;
    float& expected = node_ns_[static_cast<std::size_t>(item->node)];
    // At once when they become longer, slowly when shorter.
    expected = std::min(kLongNs, std::max(each, expected + (each - expected) / 4.0F));
  }
}

std::size_t ReadyQueue::worth_waking(bool away) const noexcept {
  const bool blocked = !tasks_.empty() && tasks_.front()->wide && workers_ > 1 && running_ > 0;
  if (exclusive_ || blocked || tasks_.empty()) return copies_.size();
  const double long_ones = queued_ns_ / static_cast<double>(kLongNs) + 0.5;
  return copies_.size() + std::max<std::size_t>(static_cast<std::size_t>(long_ones), away ? 1 : 0);
}

bool ReadyQueue::is_long(const std::vector<WorkItem*>& batch) noexcept {
  return batch.front()->is_move || batch.front()->expected_ns >= kLongNs;
}

}  // namespace tessera::scheduler
