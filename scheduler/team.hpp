#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace tessera::scheduler {

/// The ranks that a session computes with, for what they do together beside computing.
class Team {
 public:
  /// Of this thread's session.
  static Team current();
  std::int32_t rank() const noexcept { return rank_; }
  std::int32_t ranks() const noexcept { return ranks_; }
  bool alone() const noexcept { return ranks_ == 1; }
  bool leads() const noexcept { return rank_ == 0; }
  /// A name that is the same on all ranks, and another one after they have done something together.
  const std::string& tag() const noexcept { return tag_; }
  /// Does `work` and waits until all ranks have done theirs. \throws what it throws, and on the
  /// other ranks a CommError that says so.
  void together(const std::function<void()>& work) const;

 private:
  std::int32_t rank_ = 0;
  std::int32_t ranks_ = 1;
  std::string tag_;
};

}  // namespace tessera::scheduler
