#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

#include "comm/address.hpp"

// Who of a world's ranks is still there. Owned: what this rank and the others have said of losses,
// and what follows from it. Not owned: saying it, and noticing a loss (comm/messenger.hpp).
//
// Whoever learns of a loss tells all others, so that soon all say the same: then the ranks that are
// left are agreed on, without anybody in charge. With each loss a rank says what it has ended, from
// which all find the same step to go on with. Losses are only ever added, and no two agreements
// count the same number of them: ranks that agree after a loss have all said it.

namespace tessera::comm {

/// One try at a step: the step's number, and how many ranks were lost when it began.
struct Attempt {
  std::uint64_t step = 0;
  std::uint32_t lost = 0;
  auto operator<=>(const Attempt&) const = default;
};

class Membership {
 public:
  Membership(Rank self, std::int32_t ranks);

  /// This rank has got through an attempt, as far as it goes here.
  void end(Attempt attempt) noexcept { ended_ = attempt; }
  /// A rank is lost. True when that is news, which this rank tells all others, with what it had
  /// ended() then.
  bool lose(Rank rank);
  /// An attempt has failed, here or on another rank: what this rank has ended is not all well.
  void fail(Attempt attempt) noexcept { failed_ = std::max(failed_, attempt); }
  /// Another rank has told that, and whether what it had ended had failed(). What a lost rank tells
  /// is not listened to.
  void hear(Rank from, Rank lost, Attempt ended, bool failed);
  Attempt ended() const noexcept { return ended_; }
  /// Whether one of those that are left knows that the attempt failed, as far as that is known.
  bool failed(Attempt attempt) const noexcept;

  bool is_lost(Rank rank) const noexcept;
  std::uint32_t lost_count() const noexcept;
  /// Those that are not lost, in order.
  std::vector<std::int32_t> members() const;
  /// Whether all of them have said the same.
  bool agreed() const noexcept;
  /// The last attempt that all of them have got through; its `lost` is 0 where they have not got
  /// through the last step's in the same attempt. Once agreed().
  Attempt ended_by_all() const noexcept;
  /// Whether they are more than half of those that were there then: other ranks that believe these
  /// lost are too few to go on.
  bool has_majority() const noexcept;

 private:
  struct Said {
    std::vector<std::int32_t> lost;  // in order
    Attempt ended;                   // with the last of them
    bool failed = false;             // what was ended
  };
  static bool add(std::vector<std::int32_t>& lost, Rank rank);

  std::size_t self_;
  std::vector<Said> said_;  // by rank
  Attempt ended_;
  Attempt failed_;
};

}  // namespace tessera::comm
