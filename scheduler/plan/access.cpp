#include "scheduler/plan/access.hpp"

#include <algorithm>
#include <cmath>

namespace tessera::scheduler {

AxisMap AxisMap::identity(std::int64_t count) {
  AxisMap map;
  map.from_count_ = map.to_count_ = count;
  return map;
}

AxisMap AxisMap::all(std::int64_t from_count, std::int64_t to_count) {
  if (from_count == 1 && to_count == 1) return identity(1);
  AxisMap map;
  map.kind_ = Kind::kAll;
  map.from_count_ = from_count;
  map.to_count_ = to_count;
  return map;
}

AxisMap AxisMap::ranges(std::vector<std::int32_t> lo, std::vector<std::int32_t> hi,
                        std::int64_t to_count) {
  const auto count = static_cast<std::int64_t>(lo.size());
  bool is_identity = count == to_count;
  for (std::size_t i = 0; i < lo.size() && is_identity; ++i) {
    is_identity = lo[i] == static_cast<std::int32_t>(i) && hi[i] == lo[i] + 1;
  }
  if (is_identity) return identity(count);
  AxisMap map;
  map.kind_ = Kind::kRanges;
  map.from_count_ = count;
  map.to_count_ = to_count;
  auto table = std::make_shared<Table>();
  table->lo = std::move(lo);
  table->hi = std::move(hi);
  map.table_ = std::move(table);
  return map;
}

AxisMap AxisMap::lists(std::vector<std::int64_t> offsets, std::vector<std::int32_t> blocks,
                       std::int64_t to_count) {
  AxisMap map;
  map.kind_ = Kind::kLists;
  map.from_count_ = static_cast<std::int64_t>(offsets.size()) - 1;
  map.to_count_ = to_count;
  auto table = std::make_shared<Table>();
  table->offsets = std::move(offsets);
  table->blocks = std::move(blocks);
  map.table_ = std::move(table);
  return map;
}

AxisMap AxisMap::reversed(const std::vector<bool>* mask) const {
  if (mask == nullptr && kind_ == Kind::kIdentity) return *this;
  if (mask == nullptr && kind_ == Kind::kAll) return all(to_count_, from_count_);
  const bool all_of_it = mask == nullptr || (*mask)[0];
  if (kind_ == Kind::kRanges && from_count_ == 1 && all_of_it) {
    AxisMap map;
    map.kind_ = Kind::kWithin;
    map.from_count_ = to_count_;
    map.to_count_ = 1;
    map.lo_ = table_->lo[0];
    map.hi_ = table_->hi[0];
    return map;
  }
  // Counting sort by target keeps each list ascending.
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(to_count_) + 1, 0);
  auto visit = [&](auto&& f) {
    for (std::int64_t from = 0; from < from_count_; ++from) {
      if (mask != nullptr && !(*mask)[static_cast<std::size_t>(from)]) continue;
      const CoordSet set = of(from);
      for (std::int64_t i = 0; i < set.count; ++i) f(from, static_cast<std::size_t>(set[i]));
    }
  };
  visit([&](std::int64_t, std::size_t to) { ++offsets[to + 1]; });
  for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  std::vector<std::int32_t> blocks(static_cast<std::size_t>(offsets.back()));
  std::vector<std::int64_t> fill(offsets.begin(), offsets.end() - 1);
  visit([&](std::int64_t from, std::size_t to) {
    blocks[static_cast<std::size_t>(fill[to]++)] = static_cast<std::int32_t>(from);
  });
  return lists(std::move(offsets), std::move(blocks), from_count_);
}

std::pair<std::int64_t, std::int64_t> triangle_pair(std::int64_t index) noexcept {
  auto j =
      static_cast<std::int64_t>((std::sqrt(8.0 * static_cast<double>(index) + 1.0) - 1.0) / 2.0);
  while (j * (j + 1) / 2 > index) --j;
  while ((j + 1) * (j + 2) / 2 <= index) ++j;
  return {index - j * (j + 1) / 2, j};
}

bool AxisMap::operator==(const AxisMap& other) const noexcept {
  if (kind_ != other.kind_ || from_count_ != other.from_count_ || to_count_ != other.to_count_)
    return false;
  if (lo_ != other.lo_ || hi_ != other.hi_) return false;
  if (table_ == other.table_) return true;
  return table_->lo == other.table_->lo && table_->hi == other.table_->hi &&
         table_->offsets == other.table_->offsets && table_->blocks == other.table_->blocks;
}

AxisMap blocks_read(const AxisChunks& chunks, const array::AxisRead& read, const AxisChunks& tasks,
                    std::int64_t lo, std::int64_t hi) {
  if (read.offset == 0 && read.step == 1 && chunks == tasks && lo <= 0 && hi >= tasks.extent()) {
    return AxisMap::identity(tasks.count());
  }
  std::vector<std::int32_t> first(static_cast<std::size_t>(tasks.count()), 0);
  std::vector<std::int32_t> last(static_cast<std::size_t>(tasks.count()), 0);
  for (std::int64_t c = 0; c < tasks.count(); ++c) {
    const std::int64_t begin = std::max(tasks.begin(c), lo);
    const std::int64_t end = std::min(tasks.end(c), hi);
    if (begin >= end) continue;
    const auto i = static_cast<std::size_t>(c);
    const std::int64_t a = chunks.chunk_of(read.offset + read.step * begin);
    const std::int64_t b = chunks.chunk_of(read.offset + read.step * (end - 1));
    first[i] = static_cast<std::int32_t>(std::min(a, b));
    last[i] = static_cast<std::int32_t>(std::max(a, b) + 1);
  }
  return AxisMap::ranges(std::move(first), std::move(last), chunks.count());
}

AxisChunks axis_within_blocks(const AxisChunks& chunks, const array::AxisRead& read,
                              const AxisChunks& tasks) {
  std::vector<std::int64_t> ends;
  for (std::int64_t c = 0; c < tasks.count(); ++c) {
    array::append_cuts(chunks, read, tasks.begin(c), tasks.end(c), ends);
    ends.push_back(tasks.end(c));
  }
  if (static_cast<std::int64_t>(ends.size()) == tasks.count()) return tasks;
  for (std::size_t i = ends.size(); i-- > 1;) ends[i] -= ends[i - 1];
  return AxisChunks::of(std::move(ends));
}

}  // namespace tessera::scheduler
