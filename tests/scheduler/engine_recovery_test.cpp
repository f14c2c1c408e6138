#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "core/text.hpp"
#include "engine_workloads.hpp"
#include "mortal_ranks.hpp"
#include "same_bits.hpp"
#include "tessera/tessera.hpp"

// Ranks that are lost while others compute with them: those that are left go on, and come to the
// bits that all would have come to. A rank is lost to the others when its connections break, after
// which it sees all others gone.

namespace tessera {
namespace {

using namespace std::chrono_literals;
using testing::expect_same;
using testing::Job;
using testing::MortalWorld;
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
    Job job(ranks, plain(), {{victim, Job::Delay(random() % 30'000)}});
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
    const bool after = round % 3 == 0;
    Job job(4, plain(), {{victim, Job::Delay(after ? 0 : random() % 8000)}});
    const auto outcomes = job.run(4, [&](int, Session& session) {
      if (!after) job.ready();
      const Array kept = rounds(5);
      if (after) job.ready();
      job.wait_for_deaths();
      // Twice: what was computed anew is kept.
      std::vector<HostArray> first = session.compute({kept, sum(kept, {.axis = 0})});
      const std::int64_t tasks = session.last_run().tasks;
      const std::vector<HostArray> second = session.compute({kept, sum(kept, {.axis = 0})});
      expect_same(first, second, "the second time");
      if (after) {
        EXPECT_LT(session.last_run().tasks, tasks);
      }
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

// Another rank is lost while arrays are computed anew: no rank has some back that others have not.
// Delayed calls run again that a rank had the values of, or that were under way, over kept arrays
// that come back, too.
TEST(EngineRecovery, DelayedCallsRunAgain) {
  std::mt19937_64 random(11);
  const auto total = [](const HostArray& part, const std::vector<double>& weights) {
    double out = 0.0;
    for (std::size_t i = 0; i < part.span<double>().size(); ++i)
      out += part.span<double>()[i] * weights[i % weights.size()];
    return out;
  };
  std::vector<double> wanted;
  for (int round = 0; round < 13; ++round) {
    SCOPED_TRACE(round);
    const int victim = round % 4;
    const bool after = round % 3 == 0;
    const auto work = [&](Session& session, const std::function<void()>& begun,
                          const std::function<void()>& halfway) {
      begun();
      const Array kept =
          session.persist({random::normal({96, 40}, {.chunks = {10, 40}, .seed = 5}) * 2.0})[0];
      std::vector<Delayed<std::vector<double>>> weights;
      std::vector<Delayed<double>> sizes;
      for (int i = 0; i < 24; ++i) {
        weights.push_back(delayed(
            [](int k) { return std::vector<double>(static_cast<std::size_t>(k + 1), 0.5 + k); },
            i));
        sizes.push_back(delayed(
            [](const std::vector<double>& w) { return w[0] * static_cast<double>(w.size()); },
            weights.back()));
      }
      compute(sizes);
      halfway();
      std::vector<Delayed<double>> totals;
      for (std::int64_t i = 0; i < 24; ++i)
        totals.push_back(delayed(total, kept[{Slice{4 * i, 4 * i + 4}, Slice{}}],
                                 weights[static_cast<std::size_t>(i * 7 % 24)]));
      compute(totals);
      std::vector<double> out;
      for (int i = 0; i < 24; ++i) {
        out.push_back(sizes[static_cast<std::size_t>(i)].get());
        out.push_back(totals[static_cast<std::size_t>(i)].get());
      }
      return out;
    };
    if (round == 0) {
      Session session(plain());
      const SessionScope scope(session);
      wanted = work(
          session, [] {}, [] {});
    }
    Job job(4, plain(), {{victim, Job::Delay(after ? 0 : random() % 6000)}});
    const auto outcomes = job.run(4, [&](int, Session& session) {
      return work(
          session,
          [&] {
            if (!after) job.ready();
          },
          [&] {
            if (after) job.ready();
            job.wait_for_deaths();
          });
    });
    for (int r = 0; r < 4; ++r) {
      if (r == victim) continue;
      ASSERT_EQ(outcomes[static_cast<std::size_t>(r)].error, "") << r;
      EXPECT_EQ(outcomes[static_cast<std::size_t>(r)].value, wanted) << r;
    }
  }
}

// What computes a kept array anew may wait for a call, which reads a kept array of its own.
TEST(EngineRecovery, AKeptArrayThatWaitedForACallComesBack) {
  const auto work = [](Session& session, const std::function<void()>& halfway) {
    const Array first =
        session.persist({random::normal({60, 20}, {.chunks = {8, 20}, .seed = 2})})[0];
    const auto call = delayed([](const HostArray& x) { return x.span<double>()[7]; }, first * 2.0);
    const Array second = session.persist(
        {where(call.token(), first, zeros({60, 20}, {.chunks = {8, 20}})) + 1.0})[0];
    halfway();
    const HostArray got = session.compute({second})[0];
    return std::pair(std::vector<double>(got.span<double>().begin(), got.span<double>().end()),
                     call.get());
  };
  Session session(plain());
  const SessionScope scope(session);
  const auto wanted = work(session, [] {});
  for (int victim = 0; victim < 4; ++victim) {
    SCOPED_TRACE(victim);
    Job job(4, plain(), {{victim, Job::Delay(0)}});
    const auto outcomes = job.run(4, [&](int, Session& own) {
      return work(own, [&] {
        job.ready();
        job.wait_for_deaths();
      });
    });
    for (int r = 0; r < 4; ++r) {
      if (r == victim) continue;
      ASSERT_EQ(outcomes[static_cast<std::size_t>(r)].error, "") << r;
      EXPECT_EQ(outcomes[static_cast<std::size_t>(r)].value, wanted) << r;
    }
  }
}

TEST(EngineRecovery, ARankIsLostWhileKeptArraysAreComputedAnew) {
  // Some ranks are through with their part long before others.
  const auto make = [](int rank) {
    const Array x = random::normal({200, 200}, {.chunks = {40, 50}, .seed = 3});
    const auto slow_copy = [rank](std::span<const InputBlock> in, const OutputBlock& out) {
      std::this_thread::sleep_for(rank * 1ms);
      std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
    };
    std::vector<Array> out;
    // Of one block each, so that those of an attempt may outlive the second rank that is lost.
    for (int i = 0; i < 5; ++i)
      out.push_back(sum(map_blocks(slow_copy, {x * double(i)}, {.pure = true})));
    return out;
  };
  const std::vector<HostArray> wanted = alone([&] { return make(0); });
  std::mt19937_64 random(11);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const int first = round % 5;
    const int second = (first + 1 + round / 5 % 4) % 5;
    Job job(5, plain(), {{first, {}}, {second, Job::Delay(random() % 40'000)}});
    const auto outcomes = job.run(5, [&](int rank, Session& session) {
      const std::vector<Array> kept = session.persist(make(rank));
      job.ready();
      if (rank == first) job.wait_for_deaths();
      // Who has no part in an array is through with it at once.
      for (const Array& array : kept) session.persist({array + 1.0});
      job.wait_for_deaths();
      session.compute(kept);
      return session.compute(kept);
    });
    for (int r = 0; r < 5; ++r) {
      if (r == first || r == second) continue;
      ASSERT_EQ(outcomes[static_cast<std::size_t>(r)].error, "") << r;
      expect_same(wanted, outcomes[static_cast<std::size_t>(r)].value, core::text("rank ", r));
    }
  }
}

// Two kept arrays have blocks of their own, also where one expression makes both anew.
TEST(EngineRecovery, KeptArraysOfOneExpressionComeBack) {
  const auto make = [] {
    return random::normal({120, 120}, {.chunks = {25, 40}, .seed = 3}) + 1.0;
  };
  const std::vector<HostArray> wanted = alone([&] { return std::vector{make()}; });
  Job job(4, plain(), {{1, {}}});
  const auto outcomes = job.run(4, [&](int, Session& session) {
    const Array x = make();
    const Array first = x.persist();
    const Array second = x.persist();
    job.ready();
    job.wait_for_deaths();
    // One more is kept in the computation that makes the others anew.
    const std::vector<Array> kept = session.persist({first + second, x});
    std::vector<HostArray> out = session.compute({first, second, kept[1], kept[0] / 2.0});
    const std::vector<HostArray> again = session.compute({kept[0] / 2.0, first, kept[1], second});
    out.insert(out.end(), again.begin(), again.end());
    return out;
  });
  for (const std::size_t r : {0, 2, 3}) {
    ASSERT_EQ(outcomes[r].error, "") << r;
    for (const HostArray& got : outcomes[r].value) expect_same(wanted, {got}, core::text(r));
  }
}

// What a kept array was computed from may be gone by then, unless the array holds it.
TEST(EngineRecovery, MemoryThatNobodyHoldsIsNotReadAgain) {
  for (const bool held : {false, true}) {
    Job job(3, plain(), {{1, {}}});
    const auto outcomes = job.run(3, [&](int, Session&) {
      auto memory = std::make_shared<std::vector<double>>(3600, 1.0);
      MemoryOptions options{.chunks = {10, 10}};
      if (held) options.owner = memory;
      const Array kept = from_memory(memory->data(), {60, 60}, options).persist();
      if (!held) std::fill(memory->begin(), memory->end(), 7.0);
      memory.reset();
      job.ready();
      job.wait_for_deaths();
      return sum(kept).item<double>();
    });
    for (const std::size_t r : {0, 2}) {
      if (held) {
        EXPECT_EQ(outcomes[r].error, "");
        EXPECT_EQ(outcomes[r].value, 3600.0);
      } else {
        EXPECT_NE(outcomes[r].error.find("the memory that they came from may be gone"),
                  std::string::npos)
            << outcomes[r].error;
      }
    }
  }
}

// Only a function that gives the same again can make up for blocks that are lost.
TEST(EngineRecovery, WhatAFunctionMadeComesBackWhereItIsPure) {
  for (const bool pure : {false, true}) {
    Job job(3, plain(), {{1, {}}});
    const auto outcomes = job.run(3, [&](int, Session&) {
      const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
      const auto copy = [](std::span<const InputBlock> in, const OutputBlock& out) {
        std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
      };
      const Array kept = map_blocks(copy, {x}, {.pure = pure, .name = "my_copy"}).persist();
      job.ready();
      job.wait_for_deaths();
      return sum(kept).item<double>() - sum(x).item<double>();
    });
    for (const std::size_t r : {0, 2}) {
      if (pure) {
        EXPECT_EQ(outcomes[r].error, "");
        EXPECT_EQ(outcomes[r].value, 0.0);
      } else {
        EXPECT_NE(
            outcomes[r].error.find("has lost blocks with a rank, and my_copy, which made them"),
            std::string::npos)
            << outcomes[r].error;
      }
    }
  }
}

// What is in the store is not computed again, whoever has written it.
TEST(EngineRecovery, BlocksThatAreWrittenAreNotComputedAgain) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "tessera_recovery.zarr";
  // So large that a rank takes a few at a time.
  const Array x = random::normal({3200, 2400}, {.chunks = {200, 300}, .seed = 1});
  const std::vector<HostArray> wanted = alone([&] { return std::vector{x * 1.0}; });
  constexpr std::int64_t kBlocks = 16 * 8;
  for (const int victim : {0, 2}) {
    std::filesystem::remove_all(path);
    std::atomic<std::int64_t> calls{0};
    Job job(4, plain(), {{victim, {}}});
    const auto slow_copy = [&](std::span<const InputBlock> in, const OutputBlock& out) {
      if (++calls == kBlocks / 2) job.ready();
      std::this_thread::sleep_for(5ms);
      std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
    };
    const auto outcomes = job.run(1, [&](int, Session&) {
      save_zarr(map_blocks(slow_copy, {x}, {.pure = true}), path.string());
      return true;
    });
    for (int r = 0; r < 4; ++r) {
      if (r == victim) continue;
      EXPECT_EQ(outcomes[static_cast<std::size_t>(r)].error, "");
    }
    // Those on their way when the rank was lost, and the rows that they are in, are.
    EXPECT_LT(calls, kBlocks + kBlocks / 2 - kBlocks / 8) << "without rank " << victim;
    expect_same(wanted, alone([&] { return std::vector{open_zarr(path.string())}; }), "the store");
    for (const auto& file : std::filesystem::directory_iterator(path))
      EXPECT_NE(file.path().extension(), ".partial");
  }
  std::filesystem::remove_all(path);
}

// Blocks of two evaluations of a function that need not give the same do not mix.
TEST(EngineRecovery, BlocksThatMayDifferAreAllWrittenAgain) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "tessera_recovery_impure.zarr";
  std::filesystem::remove_all(path);
  const Array x = random::normal({1600, 1200}, {.chunks = {200, 300}, .seed = 1});
  std::atomic<std::int64_t> calls{0};
  std::atomic<bool> lost{false};
  Job job(4, plain(), {{2, {}}});
  const auto outcomes = job.run(1, [&](int, Session&) {
    // What it gives depends on when it is asked.
    const auto evaluation = [&](std::span<const InputBlock> in, const OutputBlock& out) {
      const double value = lost ? 2.0 : 1.0;
      if (++calls == 16) {
        job.ready();
        job.wait_for_deaths();
        lost = true;
      }
      std::this_thread::sleep_for(5ms);
      std::fill_n(reinterpret_cast<double*>(out.data), in[0].size(), value);
    };
    save_zarr(map_blocks(evaluation, {x}, {}), path.string());
    return true;
  });
  for (const std::size_t r : {0, 1, 3}) EXPECT_EQ(outcomes[r].error, "");
  const HostArray got = open_zarr(path.string()).compute();
  for (const double value : got.span<double>()) ASSERT_EQ(value, 2.0);
  std::filesystem::remove_all(path);
}

// What is there already stays what it is, whoever is lost while that is found out.
TEST(EngineRecovery, AStoreThatWasThereBeforeIsNotTouched) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "tessera_recovery_there.zarr";
  const Array old = random::normal({60, 60}, {.chunks = {20, 20}, .seed = 8});
  const std::vector<HostArray> wanted = alone([&] { return std::vector{old * 1.0}; });
  std::mt19937_64 random(3);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    std::filesystem::remove_all(path);
    save_zarr(old, path.string());
    const int victim = round % 4;
    Job job(4, plain(), {{victim, Job::Delay(random() % 2000)}});
    const auto outcomes = job.run(4, [&](int rank, Session&) {
      job.ready();
      // Later and later, so that some are lost before the first step of it and some in it.
      if (rank != victim && round % 2 == 0) job.wait_for_deaths();
      save_zarr(random::normal({60, 60}, {.chunks = {20, 20}, .seed = 9}), path.string());
      return true;
    });
    for (int r = 0; r < 4; ++r) {
      if (r == victim) continue;
      EXPECT_NE(outcomes[static_cast<std::size_t>(r)].error.find("which exists"), std::string::npos)
          << outcomes[static_cast<std::size_t>(r)].error;
    }
    expect_same(wanted, alone([&] { return std::vector{open_zarr(path.string())}; }), "the store");
  }
  std::filesystem::remove_all(path);
}

// One after the other, and both at once.
TEST(EngineRecovery, SeveralMayBeLost) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 16; ++round) {
    SCOPED_TRACE(round);
    const std::size_t which = random() % workloads().size();
    const std::vector<HostArray> wanted = alone(workloads()[which].make);
    const Job::Delay then(round % 2 == 0 ? 0 : random() % 10'000);
    Job job(5, plain(), {{4, Job::Delay(random() % 10'000)}, {0, then}});
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
  Job job(4, plain(), {{1, {}}, {2, {}}});
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
  Job job(3, plain(), {});
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
class EngineRecoveryOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, EngineRecoveryOf, ::testing::Values(4, 5));
TEST_P(EngineRecoveryOf, WhoIsGivenUpByOneIsGivenUpByAll) {
  const int ranks = GetParam();
  auto sockets = comm::make_socket_worlds(ranks);
  std::vector<comm::SocketWorld*> ends;
  std::vector<std::unique_ptr<comm::World>> worlds;
  for (auto& one : sockets) {
    ends.push_back(one.get());
    worlds.push_back(std::make_unique<MortalWorld>(std::move(one)));
  }
  std::atomic<int> ready{0};
  std::atomic<bool> broken{false};
  std::thread breaker([&] {
    while (ready < ranks) std::this_thread::yield();
    // Of two ranks that lose each other, both may be given up: no majority is left of four then,
    // but is of five.
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
  EXPECT_TRUE((through == 0 && ranks == 4) || through >= 3) << through;
}

}  // namespace
}  // namespace tessera
