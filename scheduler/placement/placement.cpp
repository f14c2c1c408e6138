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
  return static_cast<std::uint64_t>(
      (static_cast<unsigned __int128>(part) * count + parts - 1) / parts);
}

// Cuts a run of numbers into boxes, in the order of the numbers.
class RunCutter {
 public:
  /// The numbers' digits, outermost first; with several bands the last two number a plane.
  RunCutter(const std::vector<LaneDigit>& digits, std::uint64_t bands, Box outer)
      : digits_(digits), bands_(bands), box_(std::move(outer)) {
    inner_.assign(digits.size() + 1, 1);
    for (std::size_t k = digits.size(); k-- > 0;) inner_[k] = inner_[k + 1] * extent(digits[k]);
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
      box_.sides.push_back({digit, static_cast<std::int64_t>(first + lo),
                            static_cast<std::int64_t>(first + hi)});
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
        box_.sides.push_back({rows, static_cast<std::int64_t>(row + lo),
                              static_cast<std::int64_t>(row + hi)});
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

}  // namespace

Placement::Placement(const TaskOrder& order, Topology topology)
    : order_(&order), ranks_(static_cast<std::uint64_t>(topology.ranks)) {
  if (topology.ranks < 1) {
    throw InvalidArgument(
        core::text("[placement] at least one rank is needed; got ", topology.ranks, "; try 1"));
  }
  for (std::size_t n = 0; n < order.plan().nodes.size(); ++n)
    bands_.push_back(bands(static_cast<NodeIndex>(n)));
}

// So many that a band is about as high as what a rank has of it is long.
std::uint64_t Placement::bands(NodeIndex node) const noexcept {
  const std::vector<LaneDigit>& digits = order_->lane_digits(node);
  std::uint64_t lanes = 1;
  for (const LaneDigit& digit : digits) lanes *= extent(digit);
  if (digits.size() < 2 || lanes < ranks_) return 1;
  const std::uint64_t rows = extent(digits[digits.size() - 2]);
  const std::uint64_t columns = extent(digits.back());
  const double own = static_cast<double>(lanes) / static_cast<double>(ranks_);
  if (own >= static_cast<double>(columns) * std::sqrt(own)) return 1;
  return std::clamp<std::uint64_t>(
      static_cast<std::uint64_t>(std::llround(static_cast<double>(rows) / std::sqrt(own))), 1,
      rows);
}

// Of a lane.
std::uint64_t Placement::number(NodeIndex node, const std::int64_t* coords) const noexcept {
  const std::uint64_t bands = bands_[at(node)];
  if (bands == 1) return order_->lane(node, coords).number;
  const std::vector<LaneDigit>& digits = order_->lane_digits(node);
  const auto value = [coords](const LaneDigit& digit) {
    return static_cast<std::uint64_t>(digit.at(coords[digit.axis]));
  };
  std::uint64_t outer = 0;
  for (std::size_t k = 0; k + 2 < digits.size(); ++k)
    outer = outer * extent(digits[k]) + value(digits[k]);
  const std::uint64_t rows = extent(digits[digits.size() - 2]);
  const std::uint64_t columns = extent(digits.back());
  const std::uint64_t row = value(digits[digits.size() - 2]);
  const std::uint64_t band = part_of(row, rows, bands);
  const std::uint64_t first = part_begin(band, rows, bands);
  const std::uint64_t height = part_begin(band + 1, rows, bands) - first;
  return (outer * rows + first) * columns + value(digits.back()) * height + row - first;
}

comm::Rank Placement::dealt(NodeIndex node, const std::int64_t* coords) const noexcept {
  std::uint64_t lanes = 1;
  for (const LaneDigit& digit : order_->lane_digits(node)) lanes *= extent(digit);
  const std::uint64_t lane = number(node, coords);
  std::uint64_t rank = part_of(lane, lanes, ranks_);
  if (lanes < ranks_) {
    const std::uint64_t ranks = part_of(lane + 1, lanes, ranks_) - rank;
    const std::uint64_t axes = order_->lane_axes(node);
    const std::vector<std::int64_t>& counts = order_->plan().nodes[at(node)].counts;
    std::uint64_t place = 0;
    std::uint64_t count = 1;
    for (std::size_t d = 0; d < counts.size(); ++d) {
      if ((axes >> d & 1) == 0) continue;
      const auto blocks = static_cast<std::uint64_t>(counts[d]);
      place = place * blocks + static_cast<std::uint64_t>(coords[d]);
      count *= blocks;
    }
    rank += part_of(place, count, ranks);
  }
  return comm::Rank{static_cast<std::int32_t>(rank)};
}

std::vector<Box> Placement::boxes(NodeIndex node, comm::Rank self) const {
  if (ranks_ == 1) return {Box{}};
  const auto rank = static_cast<std::uint64_t>(self.number);
  const std::vector<LaneDigit>& digits = order_->lane_digits(node);
  std::uint64_t lanes = 1;
  for (const LaneDigit& digit : digits) lanes *= extent(digit);
  if (lanes >= ranks_) {
    return RunCutter(digits, bands_[at(node)], {})
        .cut(part_begin(rank, lanes, ranks_), part_begin(rank + 1, lanes, ranks_));
  }
  // The lane that the rank is one of several of, and its part of that.
  const std::uint64_t lane = part_begin(rank + 1, lanes, ranks_) - 1;
  Box one;
  std::uint64_t rest = lane;
  for (std::size_t k = digits.size(); k-- > 0;) {
    const auto value = static_cast<std::int64_t>(rest % extent(digits[k]));
    one.sides.push_back({digits[k], value, value + 1});
    rest /= extent(digits[k]);
  }
  const std::uint64_t first = part_of(lane, lanes, ranks_);
  const std::uint64_t ranks = part_of(lane + 1, lanes, ranks_) - first;
  const std::vector<std::int64_t>& counts = order_->plan().nodes[at(node)].counts;
  std::vector<LaneDigit> along;
  std::uint64_t count = 1;
  for (std::size_t d = 0; d < counts.size(); ++d) {
    if ((order_->lane_axes(node) >> d & 1) == 0) continue;
    along.push_back({static_cast<int>(d), counts[d], nullptr});
    count *= static_cast<std::uint64_t>(counts[d]);
  }
  return RunCutter(along, 1, std::move(one))
      .cut(part_begin(rank - first, count, ranks), part_begin(rank - first + 1, count, ranks));
}

}  // namespace tessera::scheduler
