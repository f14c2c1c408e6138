#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "engine_workloads.hpp"
#include "same_bits.hpp"
#include "tessera/tessera.hpp"

// What is computed follows from the expression and the chunk grids alone. Here the same workloads
// run on other numbers of devices and workers, within budgets that make blocks move to the host and
// to disk, with and without fusion and in other orders, and must give the same bytes.

namespace tessera {
namespace {

constexpr std::size_t kKiB = 1024;
using testing::expect_same;
using testing::Workload;
using testing::workloads;

std::vector<HostArray> run(const Workload& workload, const SessionOptions& options,
                           RunReport* report = nullptr) {
  Session session(options);
  std::vector<HostArray> out = session.compute(workload.make());
  if (report != nullptr) *report = session.last_run();
  return out;
}

SessionOptions plain() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 1;
  options.fuse = true;
  options.device_memory_bytes = 256 * kKiB * kKiB;
  options.host_memory_bytes = 64 * kKiB * kKiB;
  options.disk_memory_bytes = 0;
  return options;
}

class EngineBits : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Workload& workload() const { return workloads()[GetParam()]; }
};

TEST_P(EngineBits, SameForAnyDevicesAndWorkers) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  for (const char* devices : {"host:1", "host:2", "host:3", "host:8"}) {
    for (int workers : {1, 2, 5}) {
      SessionOptions options = plain();
      options.devices = devices;
      options.workers = workers;
      expect_same(
          wanted, run(workload(), options),
          workload().name + " on " + devices + " with " + std::to_string(workers) + " workers");
    }
  }
}

TEST_P(EngineBits, SameWithoutFusion) {
  SessionOptions options = plain();
  options.fuse = false;
  expect_same(run(workload(), plain()), run(workload(), options), workload().name + " unfused");
}

TEST_P(EngineBits, SameInAnyOrder) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SessionOptions options = plain();
    options.devices = seed % 2 == 0 ? "host:3" : "host";
    options.workers = 2;
    options.shuffle_seed = seed;
    expect_same(wanted, run(workload(), options),
                workload().name + " shuffled by " + std::to_string(seed));
  }
}

TEST_P(EngineBits, SameWithinTightBudgets) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  std::size_t to_host = 0;
  std::size_t to_disk = 0;
  for (const std::size_t host : {std::size_t{0}, 160 * kKiB, 4096 * kKiB}) {
    for (const char* devices : {"host:1", "host:2"}) {
      for (const bool fuse : {true, false}) {
        SessionOptions options = plain();
        options.devices = devices;
        options.fuse = fuse;
        options.workers = 2;
        options.device_memory_bytes = workload().tight_bytes;
        options.host_memory_bytes = host;
        options.disk_memory_bytes = 64 * kKiB * kKiB;
        RunReport report;
        expect_same(
            wanted, run(workload(), options, &report),
            workload().name + " on " + devices + " with a host tier of " + std::to_string(host));
        for (const std::size_t peak : report.peak_device_bytes)
          EXPECT_LE(peak, workload().tight_bytes);
        to_host += report.to_host_bytes;
        to_disk += report.to_disk_bytes;
      }
    }
  }
  EXPECT_GT(to_host, 0U) << "nothing was spilled: the budget is not tight";
  EXPECT_GT(to_disk, 0U) << "nothing was spilled: the budget is not tight";
}

INSTANTIATE_TEST_SUITE_P(Workloads, EngineBits,
                         ::testing::Range<std::size_t>(0, workloads().size()),
                         [](const auto& info) {
                           return testing::test_name(workloads()[info.param]);
                         });

// All workloads at once do not fit: blocks must have gone to both tiers, or the test above shows
// nothing.
TEST(EngineBitsAll, TightBudgetsReachBothTiers) {
  const Workload all{"all", [] {
                       std::vector<Array> out;
                       for (const Workload& w : workloads()) {
                         if (w.tight_bytes > 1024 * kKiB) continue;
                         for (const Array& a : w.make()) out.push_back(a);
                       }
                       return out;
                     }};
  const std::vector<HostArray> wanted = run(all, plain());
  SessionOptions options = plain();
  options.device_memory_bytes = 1024 * kKiB;
  options.host_memory_bytes = 128 * kKiB;
  options.disk_memory_bytes = 256 * kKiB * kKiB;
  RunReport report;
  expect_same(wanted, run(all, options, &report), "all workloads in one run");
  EXPECT_GT(report.to_host_bytes, 0U);
  EXPECT_GT(report.to_disk_bytes, 0U);
  EXPECT_GT(report.from_disk_bytes, 0U);
}

// Other chunks may change sums, never draws, elementwise results, integers or the order of
// elements.
TEST(EngineBitsAll, DrawsAndElementwiseResultsForAnyChunks) {
  std::vector<HostArray> wanted;
  for (const Chunks& chunks : {Chunks{-1, -1}, Chunks{1, 97}, Chunks{13, 50}, Chunks{61, 7}}) {
    const Array x = random::normal({61, 97}, {.chunks = chunks, .seed = 1});
    const Array f =
        random::uniform({61, 97}, {.chunks = chunks, .seed = 2, .dtype = DType::kFloat32});
    const Array e = random::exponential({61, 97}, {.chunks = chunks, .seed = 3});
    const Array i = random::integers(-5, 1'000'000'007, {61, 97}, {.chunks = chunks, .seed = 4});
    const std::vector<Array> arrays = {x,
                                       f,
                                       e,
                                       i,
                                       sin(x) * exp(f) + transpose(reshape(e, {97, 61})),
                                       sum(i),
                                       max(x),
                                       argmax(x),
                                       cumulative_sum(i, {.axis = 1}),
                                       sort(rechunk_axes(x, {{1, -1}})),
                                       pow(abs(x), f),
                                       tanh(f) / 3.0f,
                                       roll(x, {3, -5}, Axes{0, 1})};
    const std::vector<HostArray> got = compute(arrays);
    if (wanted.empty()) wanted = got;
    expect_same(wanted, got, "chunks " + x.chunks().to_string());
  }
}

// Reductions of blocks that are gathered from many, strip by strip, come to the bits of those that
// lie in one piece.
TEST(EngineStrips, AreReducedInTheOrderOfTheWhole) {
  std::mt19937_64 random(21);
  const auto draw = [&](std::int64_t lo, std::int64_t hi) {
    return lo + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(hi - lo + 1));
  };
  for (int round = 0; round < 60; ++round) {
    const int rank = static_cast<int>(draw(2, 4));
    Shape shape;
    std::int64_t elements = 1;
    for (int d = 0; d < rank; ++d) {
      shape.push_back(d == 0 ? draw(2, 9) : draw(1, rank == 2 ? 90'000 : rank == 3 ? 400 : 60));
      elements *= shape.back();
    }
    // An axis in the middle may be the one whose chunks are small.
    const auto small = static_cast<std::size_t>(draw(0, rank - 1));
    std::swap(shape[0], shape[small]);
    std::vector<std::int64_t> chunks = shape;
    chunks[small] = draw(1, 2);
    if (draw(0, 1) == 1) {
      const auto other = static_cast<std::size_t>(draw(0, rank - 1));
      chunks[other] = std::max<std::int64_t>(1, std::min(chunks[other], chunks[other] * 2 / 3));
    }
    std::vector<int> axes{static_cast<int>(small)};
    for (int d = 0; d < rank; ++d) {
      if (d != static_cast<int>(small) && draw(0, 2) == 0) axes.push_back(d);
    }
    const auto make = [&] {
      const Array x = random::normal(shape, {.chunks = chunks, .seed = 5}).persist();
      const Axes over(axes);
      return std::vector<Array>{
          mean(x * 1.5, {.axis = over}), sum(x, {.axis = over, .keepdims = true}),
          std(x + 1.0, {.axis = over}),  max(x, {.axis = over}),
          min(x, {.axis = over}),        sum(astype(x, DType::kFloat32), {.axis = over})};
    };
    const auto compute = [&](bool fuse) {
      SessionOptions options = plain();
      options.fuse = fuse;
      Session session(options);
      const SessionScope scope(session);
      return session.compute(make());
    };
    expect_same(compute(true), compute(false),
                "of " + to_string(shape) + " in " + to_string(chunks) + " over " +
                    std::to_string(axes.size()) + " axes");
  }
}

}  // namespace
}  // namespace tessera
