#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <functional>
#include <set>
#include <thread>

#include "engine_workloads.hpp"
#include "failing_allocator.hpp"
#include "on_ranks.hpp"
#include "same_bits.hpp"
#include "scheduler/seams.hpp"
#include "tessera/tessera.hpp"
#include "tests/core/manual_clock.hpp"

// The same workloads on several ranks, each of which is a thread with a session and devices of its
// own here. Every rank gets the results, and they have the bits of one rank's.

namespace tessera {
namespace {

constexpr std::size_t kKiB = 1024;
using testing::Arrange;
using testing::expect_same;
using testing::on_ranks;
using testing::Workload;
using testing::workloads;

SessionOptions plain() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 1;
  options.device_memory_bytes = 256 * kKiB * kKiB;
  options.host_memory_bytes = 64 * kKiB * kKiB;
  options.disk_memory_bytes = 0;
  return options;
}

struct Computed {
  std::vector<HostArray> arrays;
  RunReport report;
};

class EngineRanks : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Workload& workload() const { return workloads()[GetParam()]; }
  std::vector<HostArray> wanted() const {
    Session session(plain());
    const SessionScope scope(session);
    return session.compute(workload().make());
  }
  std::size_t check(int ranks, const SessionOptions& options, const std::string& what) const {
    const std::vector<HostArray> expected = wanted();
    const auto outcomes = on_ranks(ranks, options, [&](int, Session& session) {
      Computed out;
      out.arrays = session.compute(workload().make());
      out.report = session.last_run();
      return out;
    });
    std::size_t spilled = 0;
    for (std::size_t r = 0; r < outcomes.size(); ++r) {
      const std::string where = workload().name + ", " + what + ", rank " + std::to_string(r);
      EXPECT_EQ(outcomes[r].error, "") << where;
      if (!outcomes[r].error.empty()) continue;
      expect_same(expected, outcomes[r].value.arrays, where);
      spilled += outcomes[r].value.report.to_host_bytes + outcomes[r].value.report.to_disk_bytes;
    }
    return spilled;
  }
};

TEST_P(EngineRanks, SameBitsOnAnyNumberOfRanksAndDevices) {
  for (const int ranks : {2, 3, 4, 7}) {
    for (const char* devices : {"host:1", "host:2"}) {
      SessionOptions options = plain();
      options.devices = devices;
      check(ranks, options, std::to_string(ranks) + " ranks with " + devices);
    }
  }
}

TEST_P(EngineRanks, SameBitsWhileBlocksAreSpilled) {
  std::size_t spilled = 0;
  for (const int ranks : {2, 3}) {
    for (const std::size_t host : {std::size_t{0}, 160 * kKiB}) {
      SessionOptions options = plain();
      options.devices = ranks == 2 ? "host:2" : "host:1";
      options.device_memory_bytes = workload().tight_bytes;
      options.host_memory_bytes = host;
      options.message_memory_bytes = 2 * workload().tight_bytes;
      options.disk_memory_bytes = 64 * kKiB * kKiB;
      spilled += check(ranks, options,
                       std::to_string(ranks) + " ranks, a host tier of " + std::to_string(host));
    }
  }
  // A rank's share of some others fits.
  if (GetParam() == 0) {
    EXPECT_GT(spilled, 0U) << "nothing was spilled: the budget is not tight";
  }
}

// What simulate() says of a cluster is what its ranks do.
TEST_P(EngineRanks, SimulatedRanksMoveTheSameBytes) {
  for (const int ranks : {2, 3, 7}) {
    const auto outcomes = on_ranks(ranks, plain(), [&](int, Session& session) {
      session.compute(workload().make());
      return session.last_run();
    });
    std::size_t fetched = 0;
    std::size_t most_fetched = 0;
    std::size_t most_sent = 0;
    std::vector<std::int64_t> tasks;
    for (const auto& outcome : outcomes) {
      ASSERT_EQ(outcome.error, "");
      fetched += outcome.value.fetched_bytes;
      most_fetched = std::max(most_fetched, outcome.value.fetched_bytes);
      most_sent = std::max(most_sent, outcome.value.sent_bytes);
      tasks.push_back(outcome.value.tasks);
    }
    SimulationOptions options;
    options.ranks = ranks;
    options.device_memory_bytes = *plain().device_memory_bytes;
    options.deliver = true;
    options.check = true;
    const SimulationReport simulated = simulate(workload().make(), options);
    const std::string what = workload().name + ", " + std::to_string(ranks) + " ranks";
    EXPECT_GT(fetched, 0U) << what;
    EXPECT_EQ(simulated.network_bytes, fetched) << what;
    EXPECT_EQ(simulated.most_fetched_bytes, most_fetched) << what;
    EXPECT_EQ(simulated.most_sent_bytes, most_sent) << what;
    EXPECT_EQ(simulated.rank_tasks, tasks) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, EngineRanks,
                         ::testing::Range<std::size_t>(0, workloads().size()),
                         [](const auto& info) {
                           return testing::test_name(workloads()[info.param]);
                         });

TEST(EngineRanksKept, ArraysStayWhereTheyWereMadeAndAreReadFromThere) {
  const auto outcomes = on_ranks(3, plain(), [](int, Session& session) {
    const Array x = random::normal({90, 70}, {.chunks = {20, 30}, .seed = 5});
    const Array kept = (x + 1.0).persist();
    const std::size_t bytes = session.resident_bytes();
    const double total = sum(kept * 2.0).item<double>();
    const HostArray back = kept.compute();
    const HostArray again = (kept + kept.T().T()).compute();
    return std::tuple(bytes, total, std::vector<HostArray>{back, again});
  });
  const Array x = random::normal({90, 70}, {.chunks = {20, 30}, .seed = 5});
  const std::vector<HostArray> expected = compute({x + 1.0, (x + 1.0) + (x + 1.0)});
  const double total = sum((x + 1.0) * 2.0).item<double>();
  std::size_t bytes = 0;
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "");
    bytes += std::get<0>(outcome.value);
    EXPECT_LT(std::get<0>(outcome.value), x.nbytes());
    EXPECT_EQ(std::get<1>(outcome.value), total);
    expect_same(expected, std::get<2>(outcome.value), "kept");
  }
  EXPECT_EQ(bytes, x.nbytes());
}

TEST(EngineRanksKept, WhatIsCountedIsCountedOnAllRanks) {
  const auto outcomes = on_ranks(3, plain(), [](int, Session&) {
    const Array x = random::integers(0, 50, {400}, {.chunks = {37}, .seed = 3});
    return compute({masked_select(x, x > 20), unique_values(x)});
  });
  const Array x = random::integers(0, 50, {400}, {.chunks = {37}, .seed = 3});
  const std::vector<HostArray> expected = compute({masked_select(x, x > 20), unique_values(x)});
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "");
    expect_same(expected, outcome.value, "counted");
  }
}

TEST(EngineRanksFaults, WhatFailsOnOneRankFailsOnAllAndTheNextComputationIsRight) {
  const auto outcomes = on_ranks(3, plain(), [](int rank, Session&) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    const Array bad = map_blocks(
        [rank](std::span<const InputBlock> in, const OutputBlock& out) {
          if (rank == 1) throw std::runtime_error("no luck on rank one");
          std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
        },
        {x}, {.dtype = DType::kFloat64});
    std::string error;
    try {
      sum(bad).item<double>();
    } catch (const Error& e) {
      error = e.what();
    }
    return std::pair(error, sum(x).item<double>());
  });
  const double expected =
      sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1})).item<double>();
  for (std::size_t r = 0; r < outcomes.size(); ++r) {
    ASSERT_EQ(outcomes[r].error, "");
    EXPECT_NE(outcomes[r].value.first.find("no luck on rank one"), std::string::npos)
        << outcomes[r].value.first;
    if (r != 1) {
      EXPECT_NE(outcomes[r].value.first.find("rank 1"), std::string::npos)
          << outcomes[r].value.first;
    }
    EXPECT_EQ(outcomes[r].value.second, expected);
  }
}

// An error without words is one all the same.
TEST(EngineRanksFaults, AnErrorWithoutWordsFailsAllRanks) {
  const auto outcomes = on_ranks(3, plain(), [](int rank, Session& session) {
    RunOptions options;
    if (rank == 2)
      options.progress = [](std::int64_t, std::int64_t) { throw std::runtime_error(""); };
    const Array x = random::normal({800, 800}, {.chunks = {8, 8}, .seed = 1});
    try {
      for (int i = 0; i < 200; ++i) session.compute({sum(x)}, options);
    } catch (const Error&) {
      return true;
    }
    return false;
  });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_TRUE(outcome.value);
  }
}

// What fails before the first task, such as the memory for the result, is told like everything
// else.
TEST(EngineRanksFaults, WhatFailsBeforeTheRunFailsOnAllRanks) {
  device::FailingAllocator allocator;
  const auto outcomes = on_ranks(
      3, plain(),
      [&allocator](int rank, Session&) {
        const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
        const double before = sum(x).item<double>();
        std::string error;
        try {
          if (rank == 1) allocator.fail_at(1);
          x.compute();
        } catch (const Error& e) {
          error = e.what();
        }
        if (rank == 1) allocator.heal();
        return std::tuple(error, before, sum(x).item<double>());
      },
      [&allocator](int rank, scheduler::Seams& seams) {
        if (rank == 1) seams.allocator = &allocator;
      });
  for (std::size_t r = 0; r < outcomes.size(); ++r) {
    ASSERT_EQ(outcomes[r].error, "");
    const auto& [error, before, after] = outcomes[r].value;
    EXPECT_NE(error.find("the result must fit in host memory"), std::string::npos) << error;
    if (r != 1) {
      EXPECT_NE(error.find("rank 1 on here could not go on"), std::string::npos) << error;
    }
    EXPECT_EQ(before, after);
  }
}

TEST(EngineRanksFaults, DifferentComputationsAreNamedAndDoNotHang) {
  const auto outcomes = on_ranks(2, plain(), [](int rank, Session&) {
    const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
    try {
      return rank == 0 ? (sum(x).item<double>(), std::string())
                       : (std(x).item<double>(), std::string());
    } catch (const CommError& e) {
      return std::string(e.what());
    }
  });
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.find("all ranks compute the same"), std::string::npos) << outcome.value;
    EXPECT_NE(outcome.value.find("rank 0"), std::string::npos) << outcome.value;
    EXPECT_NE(outcome.value.find("rank 1"), std::string::npos) << outcome.value;
  }
}

TEST(EngineRanksFaults, ARankThatLeavesIsNamed) {
  const auto outcomes = on_ranks(3, plain(), [](int rank, Session&) {
    if (rank == 2) return std::string("left");
    try {
      sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1})).item<double>();
    } catch (const CommError& e) {
      return std::string(e.what());
    }
    return std::string();
  });
  for (std::size_t r = 0; r < 2; ++r) {
    ASSERT_EQ(outcomes[r].error, "");
    EXPECT_NE(outcomes[r].value.find("rank 2"), std::string::npos) << outcomes[r].value;
    EXPECT_NE(outcomes[r].value.find("no block had come from it"), std::string::npos)
        << outcomes[r].value;
  }
}

// Whose clock goes by ten seconds with each look.
TEST(EngineRanksFaults, ASlowRankIsWaitedForAndNamed) {
  const core::ManualClock clock(std::chrono::seconds(10));
  ::testing::internal::CaptureStderr();
  const auto outcomes = on_ranks(
      2, plain(),
      [&](int rank, Session&) {
        const Array x = random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1});
        sum(x).item<double>();
        if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(700));
        return sum(x).item<double>();
      },
      [&](int rank, scheduler::Seams& seams) {
        if (rank == 0) seams.clock = &clock;
      });
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("step 2 waits for rank 1 on here: nothing came for "), std::string::npos)
      << said;
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(outcomes[0].value, outcomes[1].value);
}

// Each rank keeps half of an array that takes all its memory, and needs blocks of the other half:
// none has room for one, and none can give up its own before the others have taken them.
TEST(EngineRanksFaults, RanksThatAllWaitForRoomSaySo) {
  const core::ManualClock clock(std::chrono::seconds(2));
  SessionOptions options = plain();
  options.devices = "host";
  options.device_memory_bytes = 180 * kKiB;
  options.host_memory_bytes = 0;
  options.disk_memory_bytes = 0;
  const auto outcomes = on_ranks(
      2, options,
      [&](int, Session& session) {
        const Array x = map_blocks(
            [](std::span<const InputBlock>, const OutputBlock& out) {
              std::fill_n(out.as<double>(), out.size(), 1.0);
            },
            {}, {.dtype = float64, .shape = Shape{192, 192}, .chunks = Chunks{48, 48}});
        std::string error;
        try {
          const Array kept = session.persist({x})[0];  // 144 KiB on each
          session.compute({kept + kept.T()});
        } catch (const Error& e) {
          error = e.what();
        }
        return std::pair(error, (ones({4}, {.chunks = {2}}) + 1.0).compute().span<double>()[3]);
      },
      [&](int, scheduler::Seams& seams) { seams.clock = &clock; });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.first.find("no room can be made on host:0"), std::string::npos)
        << outcome.value.first;
    EXPECT_EQ(outcome.value.second, 2.0);
  }
}

TEST(EngineRanksFaults, AStopOnOneRankStopsAll) {
  const auto outcomes = on_ranks(2, plain(), [](int rank, Session& session) {
    const Array x = random::normal({600, 600}, {.chunks = {20, 20}, .seed = 1});
    std::stop_source stop;
    RunOptions options;
    if (rank == 1) {
      options.stop = stop.get_token();
      stop.request_stop();
    }
    std::string error;
    try {
      session.compute({x + x.T()}, options);
    } catch (const Error& e) {
      error = e.what();
    }
    return std::pair(error, sum(x).item<double>());
  });
  EXPECT_NE(outcomes[0].value.first.find("a stop was requested"), std::string::npos)
      << outcomes[0].value.first;
  EXPECT_NE(outcomes[1].value.first.find("a stop was requested"), std::string::npos)
      << outcomes[1].value.first;
  EXPECT_EQ(outcomes[0].value.second, outcomes[1].value.second);
}

TEST(EngineRanksFaults, ATaskCannotComputeOnAllRanks) {
  const auto outcomes = on_ranks(2, plain(), [](int, Session& session) {
    const Array x = random::normal({20, 20}, {.chunks = {10, 10}, .seed = 1});
    scheduler::Seams seams = scheduler::Seams::current();
    Session other = seams.open(plain());
    const Array bad = map_blocks(
        [&other](std::span<const InputBlock> in, const OutputBlock& out) {
          other.compute({zeros({3})});
          std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
        },
        {x}, {.dtype = DType::kFloat64});
    try {
      session.compute({bad});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  });
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.find("with several ranks a task computes nothing of its own"),
              std::string::npos)
        << outcome.value;
  }
}

// Two sessions of a rank take turns.
TEST(EngineRanksFaults, SessionsOfARankTakeTurns) {
  const auto outcomes = on_ranks(3, plain(), [](int, Session& first) {
    Session second = scheduler::Seams::current().open(plain());
    std::vector<double> out;
    for (int i = 0; i < 5; ++i) {
      const Array x =
          random::normal({40, 40}, {.chunks = {10, 10}, .seed = static_cast<std::uint64_t>(i)});
      Session& session = i % 2 == 0 ? first : second;
      out.push_back(*session.compute({sum(x)})[0].span<double>().data());
    }
    return out;
  });
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "");
    EXPECT_EQ(outcome.value, outcomes[0].value);
  }
}

TEST(EngineRanksKept, EachRankIsHandedTheBlocksThatItMade) {
  const auto got = on_ranks(3, {.devices = "host:2", .workers = 1}, [](int, Session& session) {
    return session.compute_blocks(random::normal({40, 30}, {.chunks = {7, 30}, .seed = 5}) * 2.0);
  });
  const HostArray wanted =
      (random::normal({40, 30}, {.chunks = {7, 30}, .seed = 5}) * 2.0).compute();
  std::set<std::int64_t> seen;
  for (const auto& rank : got) {
    ASSERT_EQ(rank.error, "");
    for (const DeviceBlock& block : rank.value) {
      EXPECT_TRUE(seen.insert(block.index[0]).second);
      EXPECT_EQ(std::memcmp(block.memory.get(), wanted.span<double>().data() + 30 * block.start[0],
                            static_cast<std::size_t>(30 * block.shape[0]) * sizeof(double)),
                0);
    }
  }
  EXPECT_EQ(seen.size(), 6U);
}

}  // namespace
}  // namespace tessera
