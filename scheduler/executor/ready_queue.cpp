#include "scheduler/executor/ready_queue.hpp"

#include <algorithm>
#include <utility>

namespace tessera::scheduler {

namespace {
// Long enough to be worth a thread of its own, and what is expected of a task while nothing is
// known.
constexpr float kLongNs = 20'000.0F;
// Most that is taken at once, and only while the others have as much to do.
constexpr double kMostNs = 60'000.0;
constexpr std::size_t kMostTasks = 128;
}  // namespace

ReadyQueue::ReadyQueue(std::size_t nodes, int workers, std::uint64_t shuffle_seed)
    : workers_(workers),
      shuffle_(shuffle_seed != 0),
      random_(shuffle_seed),
      node_ns_(nodes, kLongNs) {}

void ReadyQueue::push(WorkItem* item) {
  std::deque<WorkItem*>& queue = item->kind == WorkItem::Kind::kCopy ? copies_ : tasks_;
  queue.push_back(item);
  if (item->kind != WorkItem::Kind::kCopy) {
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

void ReadyQueue::ran(const std::vector<WorkItem*>& batch, std::size_t count, double nanoseconds) {
  if (batch.front()->kind == WorkItem::Kind::kCopy) return;
  running_ -= batch.size();
  exclusive_ = false;
  const auto each = static_cast<float>(nanoseconds / static_cast<double>(count));
  for (std::size_t i = 0; i < count && !shuffle_; ++i) {
    float& expected = node_ns_[static_cast<std::size_t>(batch[i]->node)];
    // At once when they become longer, slowly when shorter.
    expected = std::min(kLongNs, std::max(each, expected + (each - expected) / 4.0F));
  }
  for (std::size_t i = batch.size(); i-- > count;) {
    WorkItem* item = batch[i];
    item->expected_ns = node_ns_[static_cast<std::size_t>(item->node)];
    queued_ns_ += static_cast<double>(item->expected_ns);
    tasks_.push_front(item);
  }
}

std::size_t ReadyQueue::worth(bool some_thread_is_near) const noexcept {
  const bool blocked = !tasks_.empty() && tasks_.front()->wide && workers_ > 1 && running_ > 0;
  if (exclusive_ || blocked || tasks_.empty()) return copies_.size();
  const auto long_ones = static_cast<std::size_t>(queued_ns_ / static_cast<double>(kLongNs) + 0.5);
  return copies_.size() + std::max<std::size_t>(long_ones, some_thread_is_near ? 0 : 1);
}

bool ReadyQueue::is_long(const std::vector<WorkItem*>& batch) noexcept {
  return batch.front()->kind == WorkItem::Kind::kCopy || batch.front()->expected_ns >= kLongNs;
}

}  // namespace tessera::scheduler
