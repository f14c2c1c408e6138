#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tessera/error.hpp"
#include "tests/cuda/engine_on_cuda.hpp"
#include "tests/cuda/simulated_cuda.hpp"
#include "tests/cuda/simulated_nccl.hpp"
#include "tests/scheduler/mortal_ranks.hpp"
#include "tests/scheduler/same_bits.hpp"

// Ranks whose devices are those of one simulated machine with CUDA.

namespace tessera::testing {
namespace {

constexpr std::size_t kKiB = 1024;

struct Shape {
  int ranks;
  int devices;
  bool tight;
};

class EngineCudaRanks : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EngineCudaRanks, SameBitsOnAnyNumberOfRanksAndDevices) {
  const Workload& workload = workloads()[GetParam()];
  std::vector<HostArray> wanted;
  {
    SimulatedCuda machine;
    scheduler::Seams seams;
    seams.cuda = &machine.api();
    wanted = run_on(seams, ample("cuda:0"), workload);
  }
  for (const Shape& shape : {Shape{2, 4, false}, Shape{3, 2, false}, Shape{2, 2, true}}) {
    SimulatedCuda machine({.devices = shape.devices});
    SessionOptions options = ample("cuda:*");
    if (shape.tight) {
      options.device_memory_bytes = 2 * workload.tight_bytes;
      options.host_memory_bytes = 160 * kKiB;
      options.disk_memory_bytes = 64 * kKiB * kKiB;
      options.message_memory_bytes = 2 * workload.tight_bytes;
    }
    const std::string what = workload.name + " on " + std::to_string(shape.ranks) + " ranks with " +
                             std::to_string(shape.devices) + " devices" +
                             (shape.tight ? " and little memory" : "");
    const auto outcomes = on_ranks(
        shape.ranks, options,
        [&](int, Session& session) {
          std::pair<std::vector<HostArray>, std::size_t> out;
          out.first = session.compute(workload.make());
          out.second = session.last_run().fetched_bytes;
          EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U) << what;
          return out;
        },
        [&](int, scheduler::Seams& seams) { seams.cuda = &machine.api(); });
    std::size_t fetched = 0;
    for (const auto& outcome : outcomes) {
      ASSERT_EQ(outcome.error, "") << what;
      expect_same(wanted, outcome.value.first, what);
      fetched += outcome.value.second;
    }
    EXPECT_GT(fetched, 0U) << what << ": nothing went from rank to rank";
    EXPECT_EQ(machine.misuse(), "") << what;
    EXPECT_EQ(machine.bytes_in_use(), 0U) << what;
  }
}

// The same with links between the devices, which come to be while blocks still take the way through the hosts.
TEST_P(EngineCudaRanks, SameBitsOverLinks) {
  const Workload& workload = workloads()[GetParam()];
  SimulatedCuda machine({.devices = 4});
  SimulatedNccl nccl(GetParam());
  std::vector<HostArray> wanted;
  {
    scheduler::Seams seams;
    seams.cuda = &machine.api();
    wanted = run_on(seams, ample("cuda:0"), workload);
  }
  for (const int ranks : {2, 3}) {
    const std::string what = workload.name + " on " + std::to_string(ranks) + " ranks with links";
    const std::int64_t before = nccl.messages();
    const auto outcomes = on_ranks(
        ranks, ample("cuda:*"),
        [&](int, Session& session) {
          std::vector<std::vector<HostArray>> out;
          for (int i = 0; i < 4; ++i) {
            out.push_back(session.compute(workload.make()));
            EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U) << what;
          }
          return out;
        },
        [&](int, scheduler::Seams& seams) {
          seams.cuda = &machine.api();
          seams.nccl = &nccl.api();
        });
    for (const auto& outcome : outcomes) {
      ASSERT_EQ(outcome.error, "") << what;
      for (const auto& arrays : outcome.value) expect_same(wanted, arrays, what);
    }
    EXPECT_GT(nccl.messages(), before) << what << ": nothing went over a link";
  }
  EXPECT_EQ(nccl.links(), 0);
  EXPECT_EQ(machine.misuse(), "");
  EXPECT_EQ(machine.bytes_in_use(), 0U);
}

// Calls run on the host; their arrays come from devices, and their blocks hold nothing.
TEST(EngineCudaRanksDelayed, CallsAndTheirArraysGoBetweenRanks) {
  SimulatedCuda machine({.devices = 3});
  SimulatedNccl nccl(5);
  for (const bool linked : {false, true}) {
    const auto outcomes = on_ranks(
        3, ample("cuda:*"),
        [&](int, Session& session) {
          const Array x =
              session.persist({random::normal({60, 40}, {.chunks = {13, 9}, .seed = 2})})[0];
          std::vector<Delayed<std::vector<double>>> rows;
          for (std::int64_t i = 0; i < 12; ++i) {
            rows.push_back(delayed(
                [](const HostArray& part) {
                  const auto values = part.span<double>();
                  return std::vector<double>(values.begin(), values.end());
                },
                x[{Slice{5 * i, 5 * i + 5}, Slice{}}]));
          }
          const auto first = delayed([](const std::vector<double>& a,
                                        const std::vector<double>& b) { return a[0] + b[0]; },
                                     rows[2], rows[10]);
          std::vector<double> out{first.get()};
          for (const auto& row : rows) out.insert(out.end(), row.get().begin(), row.get().end());
          const HostArray wanted = session.compute({x})[0];
          const auto all = wanted.span<double>();
          EXPECT_EQ(out[0], all[2 * 200] + all[10 * 200]);
          EXPECT_EQ(std::vector<double>(out.begin() + 1, out.end()),
                    std::vector<double>(all.begin(), all.end()));
          return 0;
        },
        [&](int, scheduler::Seams& seams) {
          seams.cuda = &machine.api();
          if (linked) seams.nccl = &nccl.api();
        });
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.error, "");
  }
  EXPECT_EQ(machine.misuse(), "");
  EXPECT_EQ(machine.bytes_in_use(), 0U);
}

// A rank is killed while blocks are on their way, through the hosts and over links.
TEST(EngineCudaRanksLoss, ThoseThatAreLeftComeToTheSameBits) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 8; ++round) {
    const Workload& workload = workloads()[random() % workloads().size()];
    const int victim = round % 3;
    const std::string what = workload.name + " without rank " + std::to_string(victim);
    SimulatedCuda machine({.devices = 3});
    SimulatedNccl nccl(static_cast<std::uint64_t>(round));
    std::vector<HostArray> wanted;
    {
      scheduler::Seams seams;
      seams.cuda = &machine.api();
      wanted = run_on(seams, ample("cuda:0"), workload);
    }
    Job job(3, ample("cuda:*"), {{victim, Job::Delay(random() % 60'000)}});
    const auto outcomes = job.run(
        1,
        [&](int, Session& session) {
          job.ready();
          for (int i = 0; i < 3; ++i) session.compute(workload.make());
          job.wait_for_deaths();
          std::vector<HostArray> out = session.compute(workload.make());
          EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U) << what;
          return out;
        },
        [&](int, scheduler::Seams& seams) {
          seams.cuda = &machine.api();
          if (round % 2 == 0) seams.nccl = &nccl.api();
        });
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == victim) continue;
      ASSERT_EQ(outcomes[static_cast<std::size_t>(rank)].error, "") << what;
      expect_same(wanted, outcomes[static_cast<std::size_t>(rank)].value, what);
    }
    EXPECT_EQ(nccl.links(), 0) << what;
    EXPECT_EQ(machine.misuse(), "") << what;
    EXPECT_EQ(machine.bytes_in_use(), 0U) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, EngineCudaRanks,
                         ::testing::Range<std::size_t>(0, workloads().size()),
                         [](const auto& info) { return test_name(workloads()[info.param]); });

std::vector<std::string> descriptions(int ranks, int devices, const std::string& which,
                                      std::optional<std::size_t> memory = std::nullopt) {
  SimulatedCuda machine({.devices = devices});
  SessionOptions options = ample(which);
  options.device_memory_bytes = memory;
  const auto outcomes = on_ranks(
      ranks, options, [](int, Session& session) { return session.describe(); },
      [&](int, scheduler::Seams& seams) { seams.cuda = &machine.api(); });
  std::vector<std::string> out;
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    out.push_back(outcome.value);
  }
  return out;
}

std::string devices_in(const std::string& description) {
  std::string out;
  for (std::size_t at = description.find("cuda:"); at != std::string::npos;
       at = description.find("cuda:", at + 1))
    out += description.substr(at, 6);
  return out;
}

TEST(EngineCudaRanksDevices, RanksOfOneMachineShareItsDevicesOut) {
  const auto two = descriptions(2, 4, "cuda:*");
  EXPECT_EQ(devices_in(two[0]), "cuda:0cuda:1") << two[0];
  EXPECT_EQ(devices_in(two[1]), "cuda:2cuda:3") << two[1];
  const auto three = descriptions(3, 4, "cuda:1-3");
  EXPECT_EQ(devices_in(three[0]), "cuda:1") << three[0];
  EXPECT_EQ(devices_in(three[2]), "cuda:3") << three[2];
}

// Of 512 MiB that are free, half is left for other things; two ranks of a device share the rest, and a
// rank that has one alone takes no more, so that all plan alike.
TEST(EngineCudaRanksDevices, RanksThatShareADeviceShareItsMemory) {
  const auto alone = descriptions(1, 1, "cuda:0");
  EXPECT_NE(alone[0].find("cuda:0: 256 MiB"), std::string::npos) << alone[0];
  const auto four = descriptions(4, 2, "cuda:*");
  EXPECT_NE(four[0].find("cuda:0: 128 MiB"), std::string::npos) << four[0];
  EXPECT_NE(four[3].find("cuda:1: 128 MiB"), std::string::npos) << four[3];
  for (const std::string& one : descriptions(3, 2, "cuda:*"))
    EXPECT_NE(one.find(": 128 MiB"), std::string::npos) << one;
}

TEST(EngineCudaRanksDevices, RanksOnDevicesOfDifferentKindsAreRefused) {
  SimulatedCuda machine;
  const auto outcomes = on_ranks(2, ample("host"), [&](int rank, Session& host) -> std::string {
    scheduler::Seams seams = scheduler::Seams::current();
    seams.cuda = &machine.api();
    Session cuda = seams.open(ample("cuda:0"));
    try {
      (rank == 0 ? host : cuda)
          .compute({sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1}))});
    } catch (const CommError& e) {
      return e.what();
    }
    return "nothing was thrown";
  });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.find("on host devices"), std::string::npos) << outcome.value;
    EXPECT_NE(outcome.value.find("on sm_90 with"), std::string::npos) << outcome.value;
  }
}

// Products in another precision have other bits.
TEST(EngineCudaRanksDevices, RanksThatMultiplyInAnotherPrecisionAreRefused) {
  SimulatedCuda machine;
  const auto outcomes = on_ranks(2, ample("host"), [&](int rank, Session&) -> std::string {
    scheduler::Seams seams = scheduler::Seams::current();
    seams.cuda = &machine.api();
    SessionOptions options = ample("cuda:0");
    if (rank == 1) options.product_precision = "tf32";
    Session session = seams.open(options);
    try {
      session.compute({sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1}))});
    } catch (const CommError& e) {
      return e.what();
    }
    return "nothing was thrown";
  });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.find(", products in tf32"), std::string::npos) << outcome.value;
  }
}

TEST(EngineCudaRanksFaults,
     ABlockThatDoesNotFitTheMessageMemoryIsNamedAndTheNextComputationIsRight) {
  SimulatedCuda machine;
  SessionOptions options = ample("cuda:*");
  options.message_memory_bytes = 64 * kKiB;
  const auto wanted = compute({sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1}))});
  const auto outcomes = on_ranks(
      2, options,
      [&](int, Session& session) {
        std::string error;
        try {
          session.compute({random::normal({400, 200}, {.chunks = {100, 100}, .seed = 1}) + 1.0});
        } catch (const Error& e) {
          error = e.what();
        }
        EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U);
        const auto small =
            session.compute({sum(random::normal({60, 60}, {.chunks = {10, 10}, .seed = 1}))});
        expect_close(wanted, small, "after the error");
        return error;
      },
      [&](int, scheduler::Seams& seams) { seams.cuda = &machine.api(); });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.error, "");
    EXPECT_NE(outcome.value.find("must fit half of the message memory; got 78.1 KiB with 32.0 KiB"),
              std::string::npos)
        << outcome.value;
  }
}

// A link that fails ends the computation that it was part of, on all ranks; the next one goes through the hosts.
TEST(EngineCudaRanksFaults, ALinkThatFailsFailsOnAllAndTheNextComputationIsRight) {
  SimulatedCuda machine;
  const auto make = [] { return std::vector<Array>{random::normal({200, 200}, {.chunks = {20, 50}, .seed = 1}) + 1.0}; };
  const std::vector<HostArray> wanted = compute(make());
  std::size_t failed = 0;
  for (const std::int64_t n : {1, 2, 5, 11, 30}) {
    SimulatedNccl nccl(static_cast<std::uint64_t>(n));
    nccl.fail_message(n);
    const auto outcomes = on_ranks(
        2, ample("cuda:*"),
        [&](int, Session& session) {
          std::vector<std::string> errors;
          for (int i = 0; i < 8; ++i) {
            errors.emplace_back();
            try {
              expect_close(wanted, session.compute(make()), "message " + std::to_string(n));
            } catch (const Error& e) {
              errors.back() = e.what();
            }
            EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U) << "message " << n;
          }
          return errors;
        },
        [&](int, scheduler::Seams& seams) {
          seams.cuda = &machine.api();
          seams.nccl = &nccl.api();
        });
    EXPECT_EQ(outcomes[0].error, "");
    EXPECT_EQ(outcomes[1].error, "");
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(outcomes[0].value[i].empty(), outcomes[1].value[i].empty()) << "message " << n << ", computation " << i;
      failed += outcomes[0].value[i].empty() ? 0 : 1;
    }
  }
  EXPECT_GT(failed, 0U);
}

// Whatever fails on one rank, all say so, lose no memory, and go on.
TEST(EngineCudaRanksFaults, ACopyThatFailsOnOneRankFailsOnAll) {
  std::size_t failed = 0;
  for (const std::int64_t n : {1, 2, 3, 5, 8, 13, 21}) {
    SimulatedCuda machine;
    const auto outcomes = on_ranks(
        2, ample("cuda:*"),
        [&](int rank, Session& session) {
          if (rank == 0) machine.fail_call(n, 2, "copy");
          std::string error;
          try {
            session.compute({random::normal({200, 200}, {.chunks = {20, 50}, .seed = 1}) + 1.0});
          } catch (const Error& e) {
            error = e.what();
          }
          EXPECT_EQ(scheduler::Seams::devices(session).bytes_in_use(), 0U) << "copy " << n;
          return error;
        },
        [&](int, scheduler::Seams& seams) { seams.cuda = &machine.api(); });
    EXPECT_EQ(outcomes[0].error, "");
    EXPECT_EQ(outcomes[1].error, "");
    EXPECT_EQ(outcomes[0].value.empty(), outcomes[1].value.empty()) << "copy " << n;
    failed += outcomes[0].value.empty() ? 0 : 1;
  }
  EXPECT_GT(failed, 0U);
}

}  // namespace
}  // namespace tessera::testing
