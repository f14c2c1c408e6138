#include "scheduler/placement/placement.hpp"

#include <algorithm>
#include <cmath>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {
namespace {

using LaneDigit = TaskOrder::LaneDigit;
using Box = TaskOrder::Box;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
std::uint64_t extent(const LaneDigit& digit) { return static_cast<std::uint64_t>(digit.extent); }

// Which of `parts` equal parts of 0..count-1 holds `number`.
std::uint64_t part_of(std::uint64_t number, std::uint64_t count, std::uint64_t parts) noexcept {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(number) * parts / count);
}

// The first number of a part.
std::uint64_t part_begin(std::uint64_t part, std::uint64_t count, std::uint64_t parts) noexcept {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(part) * count + parts - 1) /
                                    parts);
}

}  // namespace

// Cuts a run of numbers into boxes, in the order of the numbers.
class Placement::RunCutter {
 public:
  RunCutter(const Numbering& numbering, Box outer)
      : digits_(numbering.digits), bands_(numbering.bands), box_(std::move(outer)) {
    inner_.assign(digits_.size() + 1, 1);
    for (std::size_t k = digits_.size(); k-- > 0;) inner_[k] = inner_[k + 1] * extent(digits_[k]);
  }

  std::vector<Box> cut(std::uint64_t begin, std::uint64_t end) {
    if (begin < end) cut(0, begin, end);
    return std::move(out_);
  }

 private:
  void cut(std::size_t k, std::uint64_t begin, std::uint64_t end) {
    if (begin == 0 && end == inner_[k]) {
      out_.push_back(box_);
      return;
    }
    if (bands_ > 1 && k + 2 == digits_.size()) return cut_plane(begin, end);
    cut_pair(digits_[k], 0, inner_[k + 1], begin, end,
             [&](std::uint64_t from, std::uint64_t to) { cut(k + 1, from, to); });
  }

  // Calls inner(from, to) for parts of one value of a digit whose values have `size` numbers each.
  template <typename F>
  void cut_pair(const LaneDigit& digit, std::uint64_t first, std::uint64_t size,
                std::uint64_t begin, std::uint64_t end, F&& inner) {
    const auto within = [&](std::uint64_t lo, std::uint64_t hi, std::uint64_t from,
                            std::uint64_t to) {
      box_.sides.push_back(
          {digit, static_cast<std::int64_t>(first + lo), static_cast<std::int64_t>(first + hi)});
      inner(from, to);
      box_.sides.pop_back();
    };
    std::uint64_t lo = begin / size;
    const std::uint64_t hi = end / size;
    if (lo == hi) return within(lo, lo + 1, begin % size, end % size);
    if (begin % size != 0) {
      within(lo, lo + 1, begin % size, size);
      ++lo;
    }
    if (lo < hi) within(lo, hi, 0, size);
    if (end % size != 0) within(hi, hi + 1, 0, end % size);
  }

  void cut_plane(std::uint64_t begin, std::uint64_t end) {
    const LaneDigit& rows = digits_[digits_.size() - 2];
    const LaneDigit& columns = digits_.back();
    while (begin < end) {
      const std::uint64_t band = part_of(begin / extent(columns), extent(rows), bands_);
      const std::uint64_t row = part_begin(band, extent(rows), bands_);
      const std::uint64_t next_row = part_begin(band + 1, extent(rows), bands_);
      const std::uint64_t height = next_row - row;
      const std::uint64_t base = row * extent(columns);
      const std::uint64_t stop = std::min(end, next_row * extent(columns));
      const auto side = [&](std::uint64_t lo, std::uint64_t hi) {
        box_.sides.push_back(
            {rows, static_cast<std::int64_t>(row + lo), static_cast<std::int64_t>(row + hi)});
        out_.push_back(box_);
        box_.sides.pop_back();
      };
      if (stop - begin == height * extent(columns)) {
        side(0, height);
      } else {
        cut_pair(columns, 0, height, begin - base, stop - base, side);
      }
      begin = stop;
    }
  }

  const std::vector<LaneDigit>& digits_;
  std::uint64_t bands_;
  Box box_;
  std::vector<std::uint64_t> inner_;  // numbers of the digits from the k-th on
  std::vector<Box> out_;
};

Placement::Placement(const TaskOrder& order, Topology topology)
    : order_(&order), ranks_(static_cast<std::uint64_t>(topology.ranks)) {
  if (topology.ranks < 1) {
    throw InvalidArgument(
        core::text("[placement] at least one rank is needed; got ", topology.ranks, "; try 1"));
  }
  const Plan& plan = order.plan();
  find_panels();
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    const auto node = static_cast<NodeIndex>(n);
    if (plan.nodes[n].follows_input) {
      const Dealt& input = nodes_[at(plan.slots[at(plan.nodes[n].inputs[0].slot)].node)];
      nodes_.push_back({followed(node, input.lanes), followed(node, input.along), {}});
    } else {
      nodes_.push_back(deal(node));
    }
  }
}

// What all that reads it takes in panels of one axis, be it to make what is taken so.
void Placement::find_panels() {
  const Plan& plan = order_->plan();
  panels_.assign(plan.nodes.size(), -1);
  for (std::size_t n = plan.nodes.size(); n-- > 0;) {
    int axis = -1;
    bool same = !plan.nodes[n].follows_input;
    const auto take = [&](const SlotReader& reader) {
      const PlanNode& by = plan.nodes[at(reader.node)];
      const int read = by.product.empty() ? panels_[at(reader.node)] : by.chain_axis;
      if (read < 0 || reader.input < 0 || reader.mirror) return -1;
      const AxisLink& link = reader.links[at(read)];
      bool one_each = link.map.from_count() == by.counts[at(read)];
      for (std::int64_t k = 0; one_each && k < by.counts[at(read)]; ++k) {
        const CoordSet set = link.map.of(k);
        one_each = set.count == 1 && set[0] == k;
      }
      return one_each ? link.task_axis : -1;
    };
    for (const SlotIndex slot : plan.nodes[n].outputs) {
      same = same && !plan.slots[at(slot)].retained;
      for (const SlotReader& reader : plan.readers(slot)) {
        const int one = take(reader);
        same = same && one >= 0 && (axis < 0 || axis == one);
        axis = one;
      }
    }
    if (same) panels_[n] = axis;
  }
}

// The same digits, as functions of the coordinates of tasks that read one block each.
Placement::Numbering Placement::followed(NodeIndex node, const Numbering& input) {
  const PlanNode& tasks = order_->plan().nodes[at(node)];
  Numbering out = input;
  for (LaneDigit& digit : out.digits) {
    const AxisLink& link = tasks.inputs[0].access.links[at(digit.axis)];
    const int axis = std::max(link.task_axis, 0);
    std::vector<std::int32_t> table;
    for (std::int64_t c = 0; c < tasks.counts[at(axis)]; ++c) {
      const std::int64_t block = link.map.of(link.task_axis < 0 ? 0 : c)[0];
      table.push_back(static_cast<std::int32_t>(digit.at(block)));
    }
    tables_.push_back(std::move(table));
    digit = {axis, digit.extent, &tables_.back()};
  }
  return out;
}

void Placement::Numbering::add(const LaneDigit& digit) {
  digits.push_back(digit);
  count *= extent(digit);
}

void Placement::Numbering::band(std::uint64_t ranks) noexcept {
  if (digits.size() < 2 || count < ranks) return;
  const std::uint64_t rows = extent(digits[digits.size() - 2]);
  const double edge = std::sqrt(static_cast<double>(count) / static_cast<double>(ranks));
  if (edge >= static_cast<double>(digits.back().extent)) return;  // ranks have whole rows
  const auto wanted = static_cast<std::uint64_t>(std::llround(static_cast<double>(rows) / edge));
  bands = std::clamp<std::uint64_t>(wanted, 1, rows);
}

std::uint64_t Placement::Numbering::of(const std::int64_t* coords) const noexcept {
  const auto value = [coords](const LaneDigit& digit) {
    return static_cast<std::uint64_t>(digit.at(coords[digit.axis]));
  };
  const std::size_t plane = bands > 1 ? 2 : 0;
  std::uint64_t outer = 0;
  for (std::size_t k = 0; k + plane < digits.size(); ++k)
    outer = outer * extent(digits[k]) + value(digits[k]);
  if (bands == 1) return outer;
  const std::uint64_t rows = extent(digits[digits.size() - 2]);
  const std::uint64_t columns = extent(digits.back());
  const std::uint64_t row = value(digits[digits.size() - 2]);
  const std::uint64_t band = part_of(row, rows, bands);
  const std::uint64_t first = part_begin(band, rows, bands);
  const std::uint64_t height = part_begin(band + 1, rows, bands) - first;
  return (outer * rows + first) * columns + value(digits.back()) * height + row - first;
}

Placement::Dealt Placement::deal(NodeIndex node) {
  Dealt out;
  for (const LaneDigit& digit : order_->lane_digits(node)) out.lanes.add(digit);
  if (out.lanes.count >= ranks_) {
    out.lanes.band(ranks_);
    return out;
  }
  const std::vector<std::int64_t>& counts = order_->plan().nodes[at(node)].counts;
  Numbering plane;
  for (std::size_t d = 0; d < counts.size(); ++d) {
    if ((order_->lane_axes(node) >> d & 1) == 0 || counts[d] <= 1) continue;
    const LaneDigit digit{static_cast<int>(d), counts[d], nullptr};
    out.along.add(digit);
    if (plane.digits.size() < 2) plane.add(digit);
  }
  plane.band((ranks_ + out.lanes.count - 1) / out.lanes.count);
  if (plane.bands > 1) out.along = std::move(plane);
  if (out.along.digits.size() != 1 || out.along.digits[0].axis != panels_[at(node)]) return out;
  const std::uint64_t fewest = ranks_ / out.lanes.count;
  for (std::uint64_t more = 0; more < 2; ++more) {
    std::vector<std::int32_t> table;
    for (std::uint64_t k = 0; k < out.along.count; ++k)
      table.push_back(static_cast<std::int32_t>(k % (fewest + more)));
    tables_.push_back(std::move(table));
    out.turns[more] = &tables_.back();
  }
  return out;
}

comm::Rank Placement::dealt(NodeIndex node, const std::int64_t* coords) const noexcept {
  const PlanNode& tasks = order_->plan().nodes[at(node)];
  if (!tasks.owners.empty())
    return comm::Rank{tasks.owners[tasks.counts.empty() ? 0 : at(coords[tasks.counts.size() - 1])]};
  const auto& [lanes, along, turns] = nodes_[at(node)];
  const std::uint64_t lane = lanes.of(coords);
  std::uint64_t rank = part_of(lane, lanes.count, ranks_);
  if (lanes.count < ranks_) {
    const std::uint64_t ranks = part_of(lane + 1, lanes.count, ranks_) - rank;
    rank += turns[0] != nullptr ? along.of(coords) % ranks
                                : part_of(along.of(coords), along.count, ranks);
  }
  return comm::Rank{static_cast<std::int32_t>(rank)};
}

// Of a node that says whose its tasks are.
std::vector<Box> Placement::owned_boxes(NodeIndex node, comm::Rank self) const {
  const PlanNode& tasks = order_->plan().nodes[at(node)];
  const auto count = std::ssize(tasks.owners);
  const LaneDigit digit{static_cast<int>(tasks.counts.size()) - 1, count, nullptr};
  std::vector<Box> out;
  for (std::int64_t first = 0, end = 0; first < count; first = end) {
    const std::int32_t owner = tasks.owners[at(first)];
    for (end = first + 1; end < count && tasks.owners[at(end)] == owner;) ++end;
    if (owner != self.number) continue;
    out.emplace_back();
    if (digit.axis >= 0) out.back().sides.push_back({digit, first, end});
  }
  return out;
}

std::vector<Box> Placement::boxes(NodeIndex node, comm::Rank self) const {
  if (ranks_ == 1) return {Box{}};
  if (!order_->plan().nodes[at(node)].owners.empty()) return owned_boxes(node, self);
  const auto rank = static_cast<std::uint64_t>(self.number);
  const auto& [lanes, along, turns] = nodes_[at(node)];
  const auto part = [](const Numbering& numbering, Box outer, std::uint64_t number,
                       std::uint64_t parts) {
    return RunCutter(numbering, std::move(outer))
        .cut(part_begin(number, numbering.count, parts),
             part_begin(number + 1, numbering.count, parts));
  };
  if (lanes.count >= ranks_) return part(lanes, {}, rank, ranks_);
  // The lane that the rank is one of several of, and its part of that.
  const std::uint64_t lane = part_begin(rank + 1, lanes.count, ranks_) - 1;
  Box one;
  std::uint64_t rest = lane;
  for (std::size_t k = lanes.digits.size(); k-- > 0;) {
    const auto value = static_cast<std::int64_t>(rest % extent(lanes.digits[k]));
    one.sides.push_back({lanes.digits[k], value, value + 1});
    rest /= extent(lanes.digits[k]);
  }
  const std::uint64_t first = part_of(lane, lanes.count, ranks_);
  const std::uint64_t ranks = part_of(lane + 1, lanes.count, ranks_) - first;
  if (turns[0] == nullptr) return part(along, std::move(one), rank - first, ranks);
  const LaneDigit turn{along.digits[0].axis, static_cast<std::int64_t>(ranks),
                       turns[ranks - ranks_ / lanes.count]};
  const auto mine = static_cast<std::int64_t>(rank - first);
  one.sides.push_back({turn, mine, mine + 1});
  return {std::move(one)};
}

}  // namespace tessera::scheduler
