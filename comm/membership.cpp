#include "comm/membership.hpp"

#include <algorithm>

namespace tessera::comm {

Membership::Membership(Rank self, std::int32_t ranks)
    : self_(static_cast<std::size_t>(self.number)), said_(static_cast<std::size_t>(ranks)) {}

bool Membership::add(std::vector<std::int32_t>& lost, Rank rank) {
  const auto place = std::lower_bound(lost.begin(), lost.end(), rank.number);
  if (place != lost.end() && *place == rank.number) return false;
  lost.insert(place, rank.number);
  return true;
}

bool Membership::lose(Rank rank) {
  Said& mine = said_[self_];
  if (!add(mine.lost, rank)) return false;
  mine.ended = ended_;
  return true;
}

void Membership::hear(Rank from, Rank lost, Attempt ended, bool failed) {
  if (is_lost(from)) return;
  Said& said = said_[static_cast<std::size_t>(from.number)];
  if (!add(said.lost, lost)) return;
  said.ended = ended;
  said.failed = failed;
}

bool Membership::failed(Attempt attempt) const noexcept {
  if (attempt.step == 0) return false;
  if (failed_ == attempt) return true;
  for (std::size_t r = 0; r < said_.size(); ++r) {
    const Said& said = said_[r];
    if (said.failed && said.ended == attempt && !is_lost(Rank{static_cast<std::int32_t>(r)}))
      return true;
  }
  return false;
}

bool Membership::is_lost(Rank rank) const noexcept {
  const std::vector<std::int32_t>& lost = said_[self_].lost;
  return std::binary_search(lost.begin(), lost.end(), rank.number);
}

std::uint32_t Membership::lost_count() const noexcept {
  return static_cast<std::uint32_t>(said_[self_].lost.size());
}

std::vector<std::int32_t> Membership::members() const {
  std::vector<std::int32_t> out;
  for (std::int32_t r = 0; r < static_cast<std::int32_t>(said_.size()); ++r) {
    if (!is_lost(Rank{r})) out.push_back(r);
  }
  return out;
}

bool Membership::agreed() const noexcept {
  for (std::size_t r = 0; r < said_.size(); ++r) {
    if (!is_lost(Rank{static_cast<std::int32_t>(r)}) && said_[r].lost != said_[self_].lost)
      return false;
  }
  return true;
}

// Nobody is two steps ahead of another: a step is left when all have ended it, in one attempt.
Attempt Membership::ended_by_all() const noexcept {
  Attempt least = said_[self_].ended;
  bool same = true;
  for (std::size_t r = 0; r < said_.size(); ++r) {
    if (is_lost(Rank{static_cast<std::int32_t>(r)})) continue;
    const Attempt& other = said_[r].ended;
    if (other.step < least.step) {
      least = other;
      same = true;
    } else if (other.step == least.step) {
      same = same && other.lost == least.lost;
    }
  }
  return same ? least : Attempt{least.step - 1, 0};
}

bool Membership::has_majority() const noexcept {
  const std::size_t before = said_.size() - ended_by_all().lost;
  return 2 * (said_.size() - lost_count()) > before;
}

}  // namespace tessera::comm
