#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "core/text.hpp"
#include "engine_workloads.hpp"
#include "on_ranks.hpp"
#include "same_bits.hpp"
#include "socket_worlds.hpp"
#include "tessera/tessera.hpp"

// Ranks that are lost while others compute with them: those that are left go on, and come to the
// bits that all would have come to. A rank is lost to the others when its connections break, after
// which it sees all others gone.

namespace tessera {
namespace {

using namespace std::chrono_literals;
using testing::expect_same;
using testing::on_ranks;
using testing::workloads;

SessionOptions plain() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 1;
  options.device_memory_bytes = std::size_t{256} << 20;
  options.host_memory_bytes = std::size_t{64} << 20;
  options.disk_memory_bytes = 0;
  return options;
}

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
  Job(int ranks, std::vector<Victim> victims) : victims_(std::move(victims)) {
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
  auto run(int needed, F f) {
    std::thread killer([&] {
      while (ready_ < needed) std::this_thread::yield();
      for (const Victim& victim : victims_) {
        std::this_thread::sleep_for(victim.after);
        mortal_[static_cast<std::size_t>(victim.rank)]->kill();
        ++dead_;
      }
    });
    auto out = on_ranks(std::move(worlds_), plain(), [&](int rank, Session& session) {
      try {
        auto value = f(rank, session);
        if (is_victim(rank)) wait_for_deaths();
        return value;
      } catch (...) {
        if (is_victim(rank)) wait_for_deaths();
        throw;
      }
    });
    killer.join();
    return out;
  }
  void ready() { ++ready_; }

 private:
  const std::vector<Victim> victims_;
  std::vector<MortalWorld*> mortal_;
  std::vector<std::unique_ptr<comm::World>> worlds_;
  std::atomic<int> ready_{0};
  std::atomic<std::size_t> dead_{0};
};

std::vector<HostArray> alone(const std::function<std::vector<Array>()>& make) {
  Session session(plain());
  const SessionScope scope(session);
  return session.compute(make());
}

// Whoever the victim is, and whenever it dies.
TEST(EngineRecovery, ThoseThatAreLeftComeToTheSameBits) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 24; ++round) {
    const int ranks = 3 + round % 3;
    const int victim = static_cast<int>(random() % static_cast<std::uint64_t>(ranks));
    const std::size_t which = random() % workloads().size();
    const std::string what = core::text("round ", round, ", ", workloads()[which].name, " on ",
                                        ranks, " ranks without ", victim);
    SCOPED_TRACE(what);
    const std::vector<HostArray> wanted = alone(workloads()[which].make);
    Job job(ranks, {{victim, Job::Delay(random() % 30'000)}});
    const auto outcomes = job.run(0, [&](int rank, Session& session) {
      for (int i = 0; i < 12; ++i) {
        const std::vector<HostArray> got = session.compute(workloads()[which].make());
        if (rank != victim) expect_same(wanted, got, what);
      }
      job.wait_for_deaths();
      return session.compute(workloads()[which].make());
    });
    for (int r = 0; r < ranks; ++r) {
      if (r == victim) continue;
      const auto& outcome = outcomes[static_cast<std::size_t>(r)];
      ASSERT_EQ(outcome.error, "") << r;
      expect_same(wanted, outcome.value, what);
    }
  }
}

Array rounds(int count) {
  const Array x = random::normal({120, 120}, {.chunks = {25, 40}, .seed = 3});
  Array kept = x.persist();
  for (int i = 0; i < count; ++i) {
    const Array next = matmul(kept, x);
    kept = (next / sqrt(mean(next * next))).persist();
  }
  return kept;
}

// A kept array's blocks go with their rank, and come back from what they were computed from: from
// arrays that are still kept, or from the first expression on.
TEST(EngineRecovery, KeptArraysAreComputedAnew) {
  const std::vector<HostArray> wanted = alone([] {
    const Array kept = rounds(5);
    return std::vector<Array>{kept, sum(kept, {.axis = 0})};
  });
  std::mt19937_64 random(7);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    const int victim = round % 4;
    Job job(4, {{victim, Job::Delay(random() % 8000)}});
    const auto outcomes = job.run(1, [&](int, Session& session) {
      job.ready();
      const Array kept = rounds(5);
      job.wait_for_deaths();
      // Twice: what was computed anew is kept.
      std::vector<HostArray> first = session.compute({kept, sum(kept, {.axis = 0})});
      const std::int64_t tasks = session.last_run().tasks;
      const std::vector<HostArray> second = session.compute({kept, sum(kept, {.axis = 0})});
      expect_same(first, second, "the second time");
      EXPECT_LE(session.last_run().tasks, tasks);
      EXPECT_GT(session.resident_bytes(), 0u);
      return first;
    });
    for (int r = 0; r < 4; ++r) {
      if (r == victim) continue;
      ASSERT_EQ(outcomes[static_cast<std::size_t>(r)].error, "") << r;
      expect_same(wanted, outcomes[static_cast<std::size_t>(r)].value, core::text("rank ", r));
    }
  }
}

// One after the other, and both at once.
TEST(EngineRecovery, SeveralMayBeLost) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 16; ++round) {
    SCOPED_TRACE(round);
    const std::size_t which = random() % workloads().size();
    const std::vector<HostArray> wanted = alone(workloads()[which].make);
    const Job::Delay then(round % 2 == 0 ? 0 : random() % 10'000);
    Job job(5, {{4, Job::Delay(random() % 10'000)}, {0, then}});
    const auto outcomes = job.run(0, [&](int, Session& session) {
      for (int i = 0; i < 10; ++i) session.compute(workloads()[which].make());
      job.wait_for_deaths();
      return session.compute(workloads()[which].make());
    });
    for (std::size_t r = 1; r < 4; ++r) {
      ASSERT_EQ(outcomes[r].error, "") << r;
      expect_same(wanted, outcomes[r].value, core::text("rank ", r));
    }
  }
}

TEST(EngineRecovery, WithoutAMajorityNobodyGoesOn) {
  Job job(4, {{1, {}}, {2, {}}});
  const auto outcomes = job.run(4, [&](int, Session&) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    sum(x).item<double>();
    job.ready();
    job.wait_for_deaths();
    return sum(x).item<double>();
  });
  for (const std::size_t r : {0, 3}) {
    EXPECT_NE(
        outcomes[r].error.find("more than half of the ranks must be left to go on; got 2 of 4"),
        std::string::npos)
        << outcomes[r].error;
    EXPECT_NE(outcomes[r].error.find("rank 1 on here ("), std::string::npos) << outcomes[r].error;
  }
}

// An error is one on all ranks as ever, and so is a rank that leaves by itself.
TEST(EngineRecovery, WhatFailsFailsOnAllRanks) {
  Job job(3, {});
  std::atomic<int> failed{0};
  const auto outcomes = job.run(0, [&](int rank, Session& session) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    const auto fail_on_one = [rank](std::span<const InputBlock> in, const OutputBlock& out) {
      if (rank == 1) throw Error("no luck");
      std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
    };
    try {
      session.compute({map_blocks(fail_on_one, {x}, {})});
    } catch (const Error& e) {
      failed += std::string(e.what()).find("no luck") != std::string::npos ? 1 : 0;
    }
    const double after = sum(x).item<double>();
    if (rank == 2) return after;
    try {
      sum(x * 2.0).item<double>();
    } catch (const CommError& e) {
      failed += std::string(e.what()).find("it has left") != std::string::npos ? 1 : 0;
    }
    return after;
  });
  EXPECT_EQ(failed, 5);
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.value, outcomes[0].value);
  }
}

// A rank that is only believed to be lost is told so, and stops.
TEST(EngineRecovery, WhoIsGivenUpByOneIsGivenUpByAll) {
  auto sockets = comm::make_socket_worlds(4);
  std::vector<comm::SocketWorld*> ends;
  std::vector<std::unique_ptr<comm::World>> worlds;
  for (auto& one : sockets) {
    ends.push_back(one.get());
    worlds.push_back(std::make_unique<MortalWorld>(std::move(one)));
  }
  std::atomic<int> ready{0};
  std::atomic<bool> broken{false};
  std::thread breaker([&] {
    while (ready < 4) std::this_thread::yield();
    // Of two ranks that lose each other, both may be given up: no majority is left of four then.
    ends[3]->messenger()->cut(comm::Rank{0}, "a test");
    broken = true;
  });
  const auto outcomes = on_ranks(std::move(worlds), plain(), [&](int, Session&) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    sum(x).item<double>();
    ++ready;
    while (!broken) std::this_thread::yield();
    double out = 0.0;
    for (int i = 0; i < 50; ++i) out = sum(x).item<double>();
    return out;
  });
  breaker.join();
  // Nobody hangs, and whoever goes on is one of a majority.
  int through = 0;
  for (const auto& outcome : outcomes) through += outcome.error.empty() ? 1 : 0;
  EXPECT_TRUE(through == 0 || through >= 3) << through;
}

}  // namespace
}  // namespace tessera
