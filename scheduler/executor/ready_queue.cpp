#include "scheduler/executor/ready_queue.hpp"

#include <utility>

namespace tessera::scheduler {

namespace {
// Taking a task costs two passes of the lock and waking a thread some microseconds: tiny tasks are
// worth that only together.
constexpr float kBatchNs = 20'000.0F;
constexpr std::size_t kMostInBatch = 64;
}  // namespace

ReadyQueue::ReadyQueue(std::size_t nodes, int workers, std::uint64_t shuffle_seed)
    : alone_(workers == 1),
      shuffle_(shuffle_seed != 0),
      random_(shuffle_seed),
      node_ns_(nodes, -1.0F) {}

void ReadyQueue::push(WorkItem* item) {
  std::deque<WorkItem*>& queue = item->is_move ? copies_ : tasks_;
  queue.push_back(item);
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
  const bool wide = tasks_.front()->wide && !alone_;
  if (wide && running_ > 0) return;
  exclusive_ = wide;
  float total = 0.0F;
  do {
    batch.push_back(tasks_.front());
    tasks_.pop_front();
    const float last = cost(*batch.back());
    if (wide || shuffle_ || last < 0.0F || tasks_.empty() || batch.size() == kMostInBatch) break;
    total += last;
  } while (!tasks_.front()->wide && cost(*tasks_.front()) >= 0.0F &&
           total + cost(*tasks_.front()) <= kBatchNs);
  running_ += batch.size();
}

void ReadyQueue::ran(const std::vector<WorkItem*>& batch, double nanoseconds) {
  if (batch.front()->is_move) return;
  running_ -= batch.size();
  exclusive_ = false;
  const auto each = static_cast<float>(nanoseconds / static_cast<double>(batch.size()));
  for (const WorkItem* item : batch) {
    float& mean = node_ns_[static_cast<std::size_t>(item->node)];
    mean = mean < 0.0F ? each : mean + (each - mean) / 4.0F;
  }
}

std::size_t ReadyQueue::waiting() const noexcept {
  if (exclusive_) return copies_.size();
  const bool blocked = !tasks_.empty() && tasks_.front()->wide && !alone_ && running_ > 0;
  return copies_.size() + (blocked ? 0 : tasks_.size());
}

}  // namespace tessera::scheduler
