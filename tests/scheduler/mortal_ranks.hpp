#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "socket_worlds.hpp"
#include "tessera/error.hpp"
#include "tests/scheduler/on_ranks.hpp"

// Ranks in one process that are killed while others compute with them, and go on without those that
// are.

namespace tessera::testing {

/// A rank that goes on when others are lost, and may be killed: it says nothing more, not even a
/// goodbye, and all its connections close.
class MortalWorld final : public comm::World, private comm::Messenger {
 public:
  explicit MortalWorld(std::unique_ptr<comm::SocketWorld> sockets) : sockets_(std::move(sockets)) {}
  void kill() {
    dead_ = true;
    for (int other = 0; other < ranks(); ++other) {
      if (other != rank().number) sockets_->cut(other);
    }
  }
  comm::Rank rank() const noexcept override { return sockets_->rank(); }
  std::int32_t ranks() const noexcept override { return sockets_->ranks(); }
  const std::string& host(comm::Rank rank) const override { return sockets_->host(rank); }
  std::uint64_t job_number() const noexcept override { return sockets_->job_number(); }
  bool recovers() const noexcept override { return true; }
  comm::Messenger* messenger() noexcept override { return this; }

 private:
  void start(comm::Receiver& receiver) override { sockets_->messenger()->start(receiver); }
  void send(comm::Rank to, const comm::Envelope& envelope, const std::byte* body, std::size_t bytes,
            Done done) override {
    if (!dead_) return sockets_->messenger()->send(to, envelope, body, bytes, std::move(done));
    if (done) done(std::make_exception_ptr(CommError("[comm] dead")));
  }
  void cut(comm::Rank rank, const std::string& why) override {
    if (!dead_) sockets_->messenger()->cut(rank, why);
  }
  const std::unique_ptr<comm::SocketWorld> sockets_;
  std::atomic<bool> dead_{false};
};

/// Some ranks, of which the victims are killed: by another thread, after a while from when they
/// begin. Victims wait for their end.
class Job {
 public:
  using Delay = std::chrono::microseconds;
  struct Victim {
    int rank;
    Delay after;  // the one before
  };
  Job(int ranks, SessionOptions options, std::vector<Victim> victims)
      : options_(std::move(options)), victims_(std::move(victims)) {
    for (auto& sockets : comm::make_socket_worlds(ranks)) {
      auto world = std::make_unique<MortalWorld>(std::move(sockets));
      mortal_.push_back(world.get());
      worlds_.push_back(std::move(world));
    }
  }
  bool is_victim(int rank) const {
    return std::any_of(victims_.begin(), victims_.end(),
                       [rank](const Victim& victim) { return victim.rank == rank; });
  }
  /// Whether all victims are dead.
  void wait_for_deaths() const {
    while (dead_ < victims_.size()) std::this_thread::yield();
  }
  /// f(rank, session) on all ranks; the killing begins once so many have called ready().
  template <typename F>
  auto run(int needed, F f, const Arrange& arrange = {}) {
    std::thread killer([&] {
      while (ready_ < needed) std::this_thread::yield();
      for (const Victim& victim : victims_) {
        std::this_thread::sleep_for(victim.after);
        mortal_[static_cast<std::size_t>(victim.rank)]->kill();
        ++dead_;
      }
    });
    auto out = on_ranks(
        std::move(worlds_), options_,
        [&](int rank, Session& session) {
          try {
            auto value = f(rank, session);
            if (is_victim(rank)) wait_for_deaths();
            return value;
          } catch (...) {
            if (is_victim(rank)) wait_for_deaths();
            throw;
          }
        },
        arrange);
    killer.join();
    return out;
  }
  void ready() { ++ready_; }

 private:
  const SessionOptions options_;
  const std::vector<Victim> victims_;
  std::vector<MortalWorld*> mortal_;
  std::vector<std::unique_ptr<comm::World>> worlds_;
  std::atomic<int> ready_{0};
  std::atomic<std::size_t> dead_{0};
};

}  // namespace tessera::testing
