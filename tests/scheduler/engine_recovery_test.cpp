#include <gtest/gtest.h>

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

class Job {
 public:
  explicit Job(int ranks) {
    for (auto& sockets : comm::make_socket_worlds(ranks)) {
      auto world = std::make_unique<MortalWorld>(std::move(sockets));
      mortal_.push_back(world.get());
      worlds_.push_back(std::move(world));
    }
  }
  void kill(int rank) { mortal_[static_cast<std::size_t>(rank)]->kill(); }
  template <typename F>
  auto run(F f) {
    return on_ranks(std::move(worlds_), plain(), f);
  }

 private:
  std::vector<MortalWorld*> mortal_;
  std::vector<std::unique_ptr<comm::World>> worlds_;
};

std::vector<HostArray> alone(const std::function<std::vector<Array>()>& make) {
  Session session(plain());
  const SessionScope scope(session);
  return session.compute(make());
}

// Whoever the victim is, and whenever it dies.
TEST(EngineRecovery, ThoseThatAreLeftComeToTheSameBits) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 40; ++round) {
    const int ranks = 3 + round % 3;
    const int victim = static_cast<int>(random() % static_cast<std::uint64_t>(ranks));
    const std::size_t which = random() % workloads().size();
    const auto delay = std::chrono::microseconds(random() % 30'000);
    const std::string what = core::text("round ", round, ", ", workloads()[which].name, " on ",
                                        ranks, " ranks without ", victim);
    SCOPED_TRACE(what);
    const std::vector<HostArray> wanted = alone(workloads()[which].make);
    Job job(ranks);
    std::atomic<bool> killed{false};
    std::thread killer([&] {
      std::this_thread::sleep_for(delay);
      job.kill(victim);
      killed = true;
    });
    const auto outcomes = job.run([&](int rank, Session& session) {
      std::vector<HostArray> out;
      for (int i = 0; i < 12; ++i) {
        out = session.compute(workloads()[which].make());
        if (rank == victim) continue;
        expect_same(wanted, out, what);
      }
      while (rank == victim && !killed) std::this_thread::yield();
      return out;
    });
    killer.join();
    for (int r = 0; r < ranks; ++r) {
      const auto& outcome = outcomes[static_cast<std::size_t>(r)];
      if (r == victim) continue;
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
    const auto delay = std::chrono::microseconds(random() % 8000);
    Job job(4);
    std::atomic<bool> go{false};
    std::atomic<bool> killed{false};
    std::thread killer([&] {
      while (!go) std::this_thread::yield();
      std::this_thread::sleep_for(delay);
      job.kill(victim);
      killed = true;
    });
    const auto outcomes = job.run([&](int rank, Session& session) {
      go = true;
      std::vector<HostArray> out;
      try {
        const Array kept = rounds(5);
        while (!killed) std::this_thread::yield();
        // Twice: what was computed anew is kept.
        out = session.compute({kept, sum(kept, {.axis = 0})});
        const std::int64_t tasks = session.last_run().tasks;
        const std::vector<HostArray> second = session.compute({kept, sum(kept, {.axis = 0})});
        expect_same(out, second, "the second time");
        EXPECT_LE(session.last_run().tasks, tasks);
        EXPECT_GT(session.resident_bytes(), 0u);
      } catch (...) {
        while (rank == victim && !killed) std::this_thread::yield();
        throw;
      }
      return out;
    });
    killer.join();
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
    const auto first = std::chrono::microseconds(random() % 10'000);
    const auto then = std::chrono::microseconds(round % 2 == 0 ? 0 : random() % 10'000);
    Job job(5);
    std::atomic<bool> killed{false};
    std::thread killer([&] {
      std::this_thread::sleep_for(first);
      job.kill(4);
      std::this_thread::sleep_for(then);
      job.kill(0);
      killed = true;
    });
    const auto outcomes = job.run([&](int rank, Session& session) {
      std::vector<HostArray> out;
      try {
        for (int i = 0; i < 10; ++i) out = session.compute(workloads()[which].make());
        while (!killed) std::this_thread::yield();
        out = session.compute(workloads()[which].make());
      } catch (...) {
        while ((rank == 0 || rank == 4) && !killed) std::this_thread::yield();
        throw;
      }
      return out;
    });
    killer.join();
    for (std::size_t r = 1; r < 4; ++r) {
      ASSERT_EQ(outcomes[r].error, "") << r;
      expect_same(wanted, outcomes[r].value, core::text("rank ", r));
    }
  }
}

TEST(EngineRecovery, WithoutAMajorityNobodyGoesOn) {
  Job job(4);
  std::atomic<int> ready{0};
  std::atomic<bool> killed{false};
  std::thread killer([&] {
    while (ready < 4) std::this_thread::yield();
    job.kill(1);
    job.kill(2);
    killed = true;
  });
  const auto outcomes = job.run([&](int, Session&) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    sum(x).item<double>();
    ++ready;
    while (!killed) std::this_thread::yield();
    return sum(x).item<double>();
  });
  killer.join();
  for (const std::size_t r : {0, 3}) {
    EXPECT_NE(
        outcomes[r].error.find("more than half of the ranks must be left to go on; got 2 of 4"),
        std::string::npos)
        << outcomes[r].error;
    EXPECT_NE(outcomes[r].error.find("rank 1 on here (its connection closed)"), std::string::npos)
        << outcomes[r].error;
  }
}

// An error is one on all ranks as ever, and so is a rank that leaves by itself.
TEST(EngineRecovery, WhatFailsFailsOnAllRanks) {
  Job job(3);
  std::atomic<int> failed{0};
  const auto outcomes = job.run([&](int rank, Session& session) {
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
