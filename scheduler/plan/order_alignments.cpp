#include <algorithm>
#include <optional>

#include "scheduler/plan/order.hpp"

// Several places for one block: which of two is the earlier, where either is for some blocks, and
// which are needless beside others.

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// The coordinates of each axis for which two alignments have had equal digits so far.
class EqualSoFar {
 public:
  explicit EqualSoFar(const std::vector<std::int64_t>& counts)
      : counts_(counts), kept_(counts.size()) {}

  template <typename F>
  void for_each(int axis, F&& f) const {
    if (kept_[at(axis)]) {
      for (const std::int32_t c : *kept_[at(axis)]) f(c);
    } else {
      for (std::int64_t c = 0; c < counts_[at(axis)]; ++c) f(static_cast<std::int32_t>(c));
    }
  }
  /// Keeps the coordinates for which `keep` is true; false when none is left.
  template <typename F>
  bool restrict_to(int axis, F&& keep) {
    std::vector<std::int32_t> kept;
    for_each(axis, [&](std::int32_t c) {
      if (keep(c)) kept.push_back(c);
    });
    const bool some = !kept.empty();
    kept_[at(axis)] = std::move(kept);
    return some;
  }

 private:
  const std::vector<std::int64_t>& counts_;
  std::vector<std::optional<std::vector<std::int32_t>>> kept_;
};

}  // namespace

// Whether `a` places every block no later than `b` does.
bool TaskOrder::nowhere_after(const Alignment& a, const Alignment& b,
                              const std::vector<std::int64_t>& extents,
                              const std::vector<std::int64_t>& counts) {
  if (a.domain != b.domain) return false;
  EqualSoFar equal(counts);
  const auto digit = [&](const Alignment& of, std::size_t s) {
    if (s < of.digits.size()) return of.digits[s];
    return Digit{-1, static_cast<std::int32_t>(extents[s] - 1), nullptr};
  };
  const auto bound = [&](const Digit& d, bool largest) {
    if (d.axis < 0) return d.constant;
    std::int32_t best = largest ? 0 : std::numeric_limits<std::int32_t>::max();
    equal.for_each(d.axis, [&](std::int32_t c) {
      best = largest ? std::max(best, d.at(c)) : std::min(best, d.at(c));
    });
    return best;
  };
  for (std::size_t s = 0; s < extents.size(); ++s) {
    const Digit da = digit(a, s);
    const Digit db = digit(b, s);
    if (da.axis >= 0 && da.axis == db.axis) {
      if (da.table == db.table) continue;
      bool before = true;
      equal.for_each(da.axis, [&](std::int32_t c) { before = before && da.at(c) <= db.at(c); });
      if (!before) return false;
      if (!equal.restrict_to(da.axis, [&](std::int32_t c) { return da.at(c) == db.at(c); }))
        return true;
      continue;
    }
    const std::int32_t latest = bound(da, true);
    const std::int32_t earliest = bound(db, false);
    if (latest != earliest) return latest < earliest;
    for (const Digit& d : {da, db}) {
      if (d.axis < 0) continue;
      if (!equal.restrict_to(d.axis, [&](std::int32_t c) { return d.at(c) == latest; }))
        return true;
    }
  }
  return true;
}

// Where two alignments differ along one axis alone, the earlier one at each of its coordinates:
// both in one. Nothing when they differ otherwise.
std::optional<TaskOrder::Alignment> TaskOrder::earlier_of(const Alignment& a, const Alignment& b,
                                                          const std::vector<std::int64_t>& counts) {
  if (a.domain != b.domain || a.digits.size() != b.digits.size()) return std::nullopt;
  int axis = -1;
  std::vector<std::size_t> differing;
  for (std::size_t s = 0; s < a.digits.size(); ++s) {
    const Digit& da = a.digits[s];
    const Digit& db = b.digits[s];
    if (da.axis == db.axis && da.constant == db.constant && da.table == db.table) continue;
    for (const Digit* d : {&da, &db}) {
      if (d->axis < 0) continue;
      if (axis >= 0 && axis != d->axis) return std::nullopt;
      axis = d->axis;
    }
    differing.push_back(s);
  }
  if (axis < 0) return std::nullopt;
  std::vector<std::vector<std::int32_t>> tables(differing.size());
  for (std::int64_t c = 0; c < counts[at(axis)]; ++c) {
    const Alignment* first = &a;
    for (const std::size_t s : differing) {
      if (a.digits[s].at(c) == b.digits[s].at(c)) continue;
      if (b.digits[s].at(c) < a.digits[s].at(c)) first = &b;
      break;
    }
    for (std::size_t k = 0; k < differing.size(); ++k)
      tables[k].push_back(first->digits[differing[k]].at(c));
  }
  Alignment merged = a;
  for (std::size_t k = 0; k < differing.size(); ++k) {
    merged.digits[differing[k]] = {
        axis, 0, std::make_shared<const std::vector<std::int32_t>>(std::move(tables[k]))};
  }
  return merged;
}

// Keeps a list of alignments none of which another one makes needless.
void TaskOrder::add_alignment(std::vector<Alignment>& list, Alignment fresh,
                              const std::vector<Domain>& domains,
                              const std::vector<std::int64_t>& counts) {
  const std::vector<std::int64_t>& extents = domains[at(fresh.domain)].extents;
  while (fresh.digits.size() < extents.size()) {
    fresh.digits.push_back(
        {-1, static_cast<std::int32_t>(extents[fresh.digits.size()] - 1), nullptr});
  }
  for (std::size_t i = 0; i < list.size();) {
    if (nowhere_after(list[i], fresh, extents, counts)) return;
    std::optional<Alignment> merged = earlier_of(list[i], fresh, counts);
    if (!merged && !nowhere_after(fresh, list[i], extents, counts)) {
      ++i;
      continue;
    }
    if (merged) fresh = std::move(*merged);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
    if (merged) i = 0;
  }
  list.push_back(std::move(fresh));
}

}  // namespace tessera::scheduler
