#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tessera/session.hpp"

namespace tessera::scheduler {

/// The ranks that a session computes with, for what they do together beside computing.
class Team {
 public:
  /// Of this thread's session: those that have got through its last step.
  static Team current();
  /// Does what the ranks do together in several steps, and all of it again, with `again`, where
  /// ranks are lost on the way: what has been done may have been a lost one's to go on with.
  static void work(const std::function<void(const Team& team, bool again)>& work);
  /// This rank's number among them.
  std::int32_t rank() const noexcept { return rank_; }
  std::int32_t ranks() const noexcept { return ranks_; }
  bool alone() const noexcept { return ranks_ == 1; }
  bool leads() const noexcept { return rank_ == 0; }
  /// Whether the others go on when one of them is lost.
  bool recovers() const noexcept { return recovers_; }
  /// Whether the others have not gone on without this rank, as far as it knows: what they have
  /// begun together is not its alone to remove then.
  bool holds() const;
  /// A name that is the same on all ranks, and another one after they have done something together.
  const std::string& tag() const noexcept { return tag_; }
  /// Does `work` and waits until all ranks have done theirs. For work(). \throws what it throws,
  /// and on the other ranks a CommError that says so.
  void together(const std::function<void()>& work) const;
  /// Computes arrays, on all ranks. For work().
  std::vector<HostArray> compute(const std::vector<Array>& arrays) const;
  /// What together() and compute() throw where these are not the ranks any more.
  struct Changed {};

 private:
  std::int32_t rank_ = 0;
  std::int32_t ranks_ = 1;
  bool recovers_ = false;
  std::string tag_;
};

}  // namespace tessera::scheduler
