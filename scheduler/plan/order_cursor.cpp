#include <algorithm>

#include "scheduler/plan/order.hpp"

// The walk over all tasks in the total order: one stream for each alignment of each node, merged.

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

TaskOrder::Cursor::Cursor(const TaskOrder& order) : order_(&order) { open_all(nullptr); }

TaskOrder::Cursor::Cursor(const TaskOrder& order, const std::vector<std::vector<Box>>& boxes)
    : order_(&order) {
  open_all(&boxes);
}

void TaskOrder::Cursor::open_all(const std::vector<std::vector<Box>>* boxes) {
  const Box whole;
  for (std::size_t i = 0; i < order_->compiled_.size(); ++i) {
    if (order_->plan_->nodes[i].task_count == 0) continue;
    for (std::size_t a = 0; a < order_->compiled_[i].alignments; ++a) {
      const auto node = static_cast<NodeIndex>(i);
      if (boxes == nullptr) {
        open(node, static_cast<std::int32_t>(a), whole);
        continue;
      }
      for (const Box& box : (*boxes)[i]) open(node, static_cast<std::int32_t>(a), box);
    }
  }
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    settle(streams_[i]);
    if (!streams_[i].done) heap_.push_back(static_cast<std::int32_t>(i));
  }
  for (std::size_t i = heap_.size() / 2; i-- > 0;) sift_down(i);
}

void TaskOrder::Cursor::open(NodeIndex node, std::int32_t alignment, const Box& box) {
  const PlanNode& n = order_->plan_->nodes[at(node)];
  const Alignment& a = order_->alignments_[at(node)][at(alignment)];
  const std::size_t rank = n.counts.size();
  Stream stream;
  stream.node = node;
  stream.alignment = alignment;
  stream.sorted.resize(rank);
  stream.lo.assign(rank, 0);
  stream.hi.assign(rank, 0);
  stream.at.assign(rank, 0);
  stream.coords.assign(rank, 0);
  for (std::size_t d = 0; d < rank; ++d) {
    std::vector<const Digit*> digits;
    bool sorted = true;  // as they are
    for (const Digit& digit : a.digits) {
      if (digit.axis != static_cast<int>(d)) continue;
      digits.push_back(&digit);
      sorted = sorted && digit.table == nullptr;
    }
    std::int64_t first = 0;
    std::int64_t last = n.counts[d];
    std::vector<const Box::Side*> looked_up;
    for (const Box::Side& side : box.sides) {
      if (side.digit.axis != static_cast<int>(d)) continue;
      if (side.digit.table != nullptr) {
        looked_up.push_back(&side);
        continue;
      }
      first = std::max(first, side.lo);
      last = std::min(last, side.hi);
    }
    std::vector<std::int32_t> list;
    list.reserve(at(std::max<std::int64_t>(last - first, 0)));
    for (std::int64_t c = first; c < last; ++c) {
      const bool inside =
          std::all_of(looked_up.begin(), looked_up.end(), [c](const Box::Side* side) {
            const std::int64_t value = side->digit.at(c);
            return value >= side->lo && value < side->hi;
          });
      if (inside && (n.wanted[d].empty() || n.wanted[d][at(c)]))
        list.push_back(static_cast<std::int32_t>(c));
    }
    if (!sorted) {
      std::stable_sort(list.begin(), list.end(), [&](std::int32_t x, std::int32_t y) {
        for (const Digit* digit : digits) {
          if (digit->at(x) != digit->at(y)) return digit->at(x) < digit->at(y);
        }
        return false;
      });
    }
    if (list.empty()) return;
    stream.hi[d] = static_cast<std::int64_t>(list.size());
    stream.sorted[d] = std::move(list);
  }
  for (const Digit& digit : a.digits) {
    if (digit.axis < 0) continue;
    Level level;
    level.axis = digit.axis;
    for (std::int32_t c : stream.sorted[at(digit.axis)]) level.values.push_back(digit.at(c));
    stream.levels.push_back(std::move(level));
  }
  descend(stream, 0);
  streams_.push_back(std::move(stream));
}

// Narrows the axes' ranges level by level to the first group of equal digits, and places the leaf
// cursor.
bool TaskOrder::Cursor::descend(Stream& stream, std::size_t level) {
  for (std::size_t l = level; l < stream.levels.size(); ++l) {
    Level& lv = stream.levels[l];
    const auto axis = at(lv.axis);
    lv.outer_begin = stream.lo[axis];
    lv.outer_end = stream.hi[axis];
    lv.begin = lv.outer_begin;
    lv.end = lv.begin + 1;
    while (lv.end < lv.outer_end && lv.values[at(lv.end)] == lv.values[at(lv.begin)]) ++lv.end;
    stream.lo[axis] = lv.begin;
    stream.hi[axis] = lv.end;
  }
  for (std::size_t d = 0; d < stream.at.size(); ++d) {
    stream.at[d] = stream.lo[d];
    stream.coords[d] = stream.sorted[d][at(stream.at[d])];
  }
  return true;
}

bool TaskOrder::Cursor::advance(Stream& stream) {
  for (std::size_t d = stream.at.size(); d-- > 0;) {
    if (++stream.at[d] < stream.hi[d]) {
      stream.coords[d] = stream.sorted[d][at(stream.at[d])];
      return true;
    }
    stream.at[d] = stream.lo[d];
    stream.coords[d] = stream.sorted[d][at(stream.at[d])];
  }
  for (std::size_t l = stream.levels.size(); l-- > 0;) {
    Level& lv = stream.levels[l];
    const auto axis = at(lv.axis);
    if (lv.end < lv.outer_end) {
      lv.begin = lv.end++;
      while (lv.end < lv.outer_end && lv.values[at(lv.end)] == lv.values[at(lv.begin)]) ++lv.end;
      stream.lo[axis] = lv.begin;
      stream.hi[axis] = lv.end;
      return descend(stream, l + 1);
    }
    stream.lo[axis] = lv.outer_begin;
    stream.hi[axis] = lv.outer_end;
  }
  return false;
}

// Moves on to a task that no earlier alignment of the node places first.
void TaskOrder::Cursor::settle(Stream& stream) {
  const Compiled& node = order_->compiled_[at(stream.node)];
  for (;;) {
    const Position mine = order_->position_along(node, at(stream.alignment), stream.coords.data());
    bool first = true;
    for (std::size_t a = 0; a < node.alignments && first; ++a) {
      if (static_cast<std::int32_t>(a) == stream.alignment) continue;
      const Position other = order_->position_along(node, a, stream.coords.data());
      first = other > mine || (other == mine && static_cast<std::int32_t>(a) > stream.alignment);
    }
    if (first) {
      stream.position = mine;
      return;
    }
    if (!advance(stream)) {
      stream.done = true;
      return;
    }
  }
}

bool TaskOrder::Cursor::before(std::int32_t a, std::int32_t b) const noexcept {
  const Stream& x = streams_[at(a)];
  const Stream& y = streams_[at(b)];
  if (x.position != y.position) return x.position < y.position;
  if (x.node != y.node) return x.node < y.node;
  if (x.alignment != y.alignment) return x.alignment < y.alignment;
  const Plan& plan = *order_->plan_;
  return plan.encode(x.node, x.coords.data()) < plan.encode(y.node, y.coords.data());
}

void TaskOrder::Cursor::sift_down(std::size_t i) {
  const std::int32_t moving = heap_[i];
  const std::size_t size = heap_.size();
  for (;;) {
    std::size_t child = 2 * i + 1;
    if (child >= size) break;
    if (child + 1 < size && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], moving)) break;
    heap_[i] = heap_[child];
    i = child;
  }
  heap_[i] = moving;
}

bool TaskOrder::Cursor::next(Item& item, std::int64_t* coords) {
  if (heap_.empty()) return false;
  Stream& stream = streams_[at(heap_[0])];
  item.node = stream.node;
  item.position = stream.position;
  for (std::size_t d = 0; d < stream.coords.size(); ++d) coords[d] = stream.coords[d];
  item.block = order_->plan_->encode(stream.node, coords);
  if (advance(stream)) {
    settle(stream);
  } else {
    stream.done = true;
  }
  pop();
  return true;
}

// The first stream has moved on, or is done.
void TaskOrder::Cursor::pop() {
  if (streams_[at(heap_[0])].done) {
    heap_[0] = heap_.back();
    heap_.pop_back();
  }
  if (!heap_.empty()) sift_down(0);
}

}  // namespace tessera::scheduler
