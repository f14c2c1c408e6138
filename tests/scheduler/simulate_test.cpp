#include <gtest/gtest.h>

#include <cmath>

#include "tessera/tessera.hpp"
#include "tests/array/expect_refusal.hpp"

// What simulate() reports for graphs small enough to count by hand: blocks of 1000 doubles on
// devices that read and write 1 GB/s and compute 1 GFLOP/s, over links of 100 MB/s.

namespace tessera {
namespace {

constexpr std::size_t kBlock = 8000;
constexpr double kMicro = 1e-6;
constexpr double kExact = 1e-12;

SimulationOptions machine(int devices) {
  SimulationOptions options;
  options.devices = devices;
  options.device_memory_bytes = 1000 * kBlock;
  options.host_memory_bytes = 1000 * kBlock;
  options.disk_memory_bytes = 0;
  options.memory_bytes_per_s = 1e9;
  options.flops_per_s = 1e9;
  options.link_bytes_per_s = 1e8;
  options.host_bytes_per_s = 1e8;
  options.disk_bytes_per_s = 1e7;
  options.task_overhead_s = 0;
  options.check = true;
  return options;
}

Session session() {
  return Session({.devices = "host",
                  .device_memory_bytes = std::size_t{64} << 20,
                  .host_memory_bytes = 0,
                  .disk_memory_bytes = 0,
                  .workers = 1});
}

Array line(std::int64_t blocks) {
  return arange(0.0, 1000.0 * static_cast<double>(blocks), 1.0, {.chunks = {1000}});
}

TEST(Simulate, IndependentTasksShareTheDevices) {
  SimulationOptions options = machine(1);
  options.task_overhead_s = 2 * kMicro;
  // Each writes 8000 bytes: 8 us, and 2 us of overhead.
  SimulationReport report = simulate({line(8)}, options);
  EXPECT_NEAR(report.seconds, 80 * kMicro, kExact);
  EXPECT_NEAR(report.busy_seconds, 80 * kMicro, kExact);
  EXPECT_NEAR(report.critical_path_seconds, 10 * kMicro, kExact);
  EXPECT_EQ(report.tasks, 8);
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>{8 * kBlock});
  options.devices = 4;
  report = simulate({line(8)}, options);
  EXPECT_NEAR(report.seconds, 20 * kMicro, kExact);
  EXPECT_NEAR(report.busy_seconds, 80 * kMicro, kExact);
  EXPECT_NEAR(report.critical_path_seconds, 10 * kMicro, kExact);
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>(4, 2 * kBlock));
  EXPECT_EQ(report.device_to_device_bytes, 0U);
  EXPECT_EQ(report.spilled_bytes, 0U);
}

TEST(Simulate, KeptBlocksAreDealtToTheDevicesAndMoved) {
  Session own = session();
  const Array kept = own.persist({line(2)})[0];
  // One task reads both blocks, one of them after 80 us on the link, and writes a third: 24 us.
  const Array both = kept[{Slice{0, 1000}}] + kept[{Slice{1000, 2000}}];
  const SimulationReport two = simulate({both}, machine(2));
  EXPECT_EQ(two.tasks, 1);
  EXPECT_NEAR(two.seconds, 104 * kMicro, kExact);
  EXPECT_NEAR(two.busy_seconds, 24 * kMicro, kExact);
  EXPECT_NEAR(two.critical_path_seconds, 24 * kMicro, kExact);
  EXPECT_EQ(two.device_to_device_bytes, kBlock);
  EXPECT_EQ(two.peak_device_bytes, (std::vector<std::size_t>{3 * kBlock, kBlock}));
  const SimulationReport one = simulate({both}, machine(1));
  EXPECT_NEAR(one.seconds, 24 * kMicro, kExact);
  EXPECT_EQ(one.device_to_device_bytes, 0U);
  EXPECT_EQ(one.peak_device_bytes, std::vector<std::size_t>{3 * kBlock});
  EXPECT_EQ(own.resident_bytes(), 2 * kBlock);
}

TEST(Simulate, AProductTakesItsFlops) {
  Session own = session();
  const auto kept = own.persist({ones({100, 100}), ones({100, 100})});
  const SimulationReport report = simulate({matmul(kept[0], kept[1])}, machine(1));
  // The product, 2 n^3 operations, and a copy of it that can be kept: 160000 bytes.
  EXPECT_EQ(report.tasks, 2);
  EXPECT_NEAR(report.seconds, 2e6 / 1e9 + 160 * kMicro, kExact);
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>{4 * 80000});
}

TEST(Simulate, ADecompositionTakesItsFlops) {
  Session own = session();
  const Array kept = own.persist({ones({100, 20})})[0];
  // 4 n^2 (m - n / 3) for the values, and a copy of them as one axis: 2 x 160 bytes.
  SimulationReport report = simulate({svdvals(kept)}, machine(1));
  EXPECT_EQ(report.tasks, 2);
  EXPECT_NEAR(report.seconds, 4 * 400 * (100 - 20 / 3.0) / 1e9 + 0.32 * kMicro, kExact);
  report = simulate({qr_r(kept)}, machine(1));
  EXPECT_EQ(report.tasks, 1);
  EXPECT_NEAR(report.seconds, 2 * 400 * (100 - 20 / 3.0) / 1e9, kExact);
}

TEST(Simulate, TheCriticalPathIsTheLongestChain) {
  SimulationOptions options = machine(1);
  options.fuse = false;
  // For each of 3 blocks exp(x) is written (8 us), then read, and the sum written (16 us); x is
  // generated where it is read. All six are admitted before the first one's reader runs.
  const Array x = line(3);
  const SimulationReport report = simulate({x + exp(x)}, options);
  EXPECT_EQ(report.tasks, 6);
  EXPECT_NEAR(report.seconds, 3 * 24 * kMicro, kExact);
  EXPECT_NEAR(report.critical_path_seconds, 24 * kMicro, kExact);
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>{6 * kBlock});
}

TEST(Simulate, WhatDoesNotFitGoesToTheHost) {
  Session own = session();
  const Array kept = own.persist({line(3)})[0];
  SimulationOptions options = machine(1);
  options.device_memory_bytes = 3 * kBlock;
  // The device is full of kept blocks a, b, c. Copies to and from the host take 80 us, tasks 16.
  //   c goes to the host     0 ..  80   the one that is needed last
  //   a + 1                 80 ..  96
  //   a goes                96 .. 176
  //   b + 1                176 .. 192
  //   two others go        176 .. 336
  //   c comes back         336 .. 416
  //   c + 1                416 .. 432
  const SimulationReport report = simulate({kept + 1.0}, options);
  EXPECT_EQ(report.tasks, 3);
  EXPECT_NEAR(report.seconds, 432 * kMicro, kExact);
  EXPECT_EQ(report.spilled_bytes, 4 * kBlock);
  EXPECT_EQ(report.moves, 5);
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>{3 * kBlock});
}

TEST(Simulate, KeptBlocksFillDevicesThenHostThenDisk) {
  Session own = session();
  const Array kept = own.persist({line(3)})[0];
  SimulationOptions options = machine(1);
  options.device_memory_bytes = 3 * kBlock - 1;
  options.host_memory_bytes = 2 * kBlock;
  const SimulationReport report = simulate({max(kept)}, options);
  EXPECT_GE(report.peak_device_bytes[0], 2 * kBlock);
  EXPECT_LE(report.peak_device_bytes[0], 3 * kBlock - 1);
  EXPECT_LT(report.seconds, 400 * kMicro);
  options.host_memory_bytes = kBlock - 1;
  EXPECT_THROW(simulate({max(kept)}, options), OutOfMemory);
  options.disk_memory_bytes = 3 * kBlock;
  EXPECT_GT(simulate({max(kept)}, options).seconds, 800 * kMicro) << "one block comes from disk";
}

TEST(Simulate, TasksOfOneNumberAreSpreadOverAllDevices) {
  const Array x = random::uniform({512, 512}, {.chunks = {16, 16}, .seed = 1});
  const Array y = x + transpose(x);
  SimulationOptions options = machine(4);
  options.device_memory_bytes = std::size_t{1} << 30;
  const SimulationReport report = simulate({sum(y - mean(y, {.axis = 0}))}, options);
  EXPECT_LT(report.seconds, 0.5 * report.busy_seconds);
  for (const std::size_t bytes : report.peak_device_bytes) {
    EXPECT_GT(bytes, 512 * 512 * 8 / 8u) << "half of what would be even";
  }
}

// All blocks are needed for the singular values, before the first block of the vectors.
TEST(Simulate, ATallDecompositionIsSpreadOverAllDevices) {
  const Array x = random::normal({64 * 128, 16}, {.chunks = {128, 16}, .seed = 1});
  const auto [u, s, vt] = svd(x);
  SimulationOptions options = machine(4);
  options.device_memory_bytes = std::size_t{1} << 30;
  const SimulationReport report = simulate({u, s, vt}, options);
  EXPECT_LT(report.seconds, 0.4 * report.busy_seconds);
}

// Ranks are nodes of one device; messages take 10 us, and 100 MB/s go through a node's adapter.
SimulationOptions cluster(int ranks) {
  SimulationOptions options = machine(1);
  options.ranks = ranks;
  options.network_bytes_per_s = 1e8;
  options.network_latency_s = 10 * kMicro;
  return options;
}

TEST(SimulateRanks, IndependentTasksAreShared) {
  const SimulationReport report = simulate({line(8)}, cluster(4));
  EXPECT_NEAR(report.seconds, 16 * kMicro, kExact);
  EXPECT_NEAR(report.busy_seconds, 64 * kMicro, kExact);
  EXPECT_EQ(report.tasks, 8);
  EXPECT_EQ(report.rank_tasks, std::vector<std::int64_t>(4, 2));
  EXPECT_EQ(report.peak_device_bytes, std::vector<std::size_t>(4, 2 * kBlock));
  EXPECT_EQ(report.network_bytes, 0U);
}

TEST(SimulateRanks, ABlockIsAnnouncedAskedForAndSent) {
  Session own = session();
  const Array kept = own.persist({line(2)})[0];
  // The first rank has one of the blocks and the task. Of the other block it hears after 10 us,
  // asks for it, which takes as long, and gets it after 10 more and 80 on the wire; then 24 for the
  // task.
  const Array both = kept[{Slice{0, 1000}}] + kept[{Slice{1000, 2000}}];
  const SimulationReport report = simulate({both}, cluster(2));
  EXPECT_NEAR(report.seconds, 134 * kMicro, kExact);
  EXPECT_NEAR(report.critical_path_seconds, 24 * kMicro, kExact);
  EXPECT_EQ(report.network_bytes, kBlock);
  EXPECT_EQ(report.most_sent_bytes, kBlock);
  EXPECT_EQ(report.most_fetched_bytes, kBlock);
  EXPECT_EQ(report.device_to_device_bytes, 0U);
  EXPECT_EQ(report.rank_tasks, (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(report.peak_device_bytes, (std::vector<std::size_t>{3 * kBlock, kBlock}));
}

// Each of four ranks makes a block, and gets the three others.
TEST(SimulateRanks, WhatIsDeliveredGoesToAllRanksOneAfterTheOther) {
  SimulationOptions options = cluster(4);
  options.deliver = true;
  // Made after 8 us, announced after 10, asked for after 10 more; the third to ask gets the block
  // after two others, 80 us each, and its own 80 with a latency of 10; then it copies it, 8 us.
  SimulationReport report = simulate({line(1)}, options);
  EXPECT_NEAR(report.seconds, (8 + 10 + 10 + 3 * 80 + 10 + 8) * kMicro, kExact);
  EXPECT_EQ(report.network_bytes, 3 * kBlock);
  EXPECT_EQ(report.most_sent_bytes, 3 * kBlock);
  EXPECT_EQ(report.most_fetched_bytes, kBlock);
  EXPECT_EQ(report.tasks, 1 + 4);
  // With four blocks every adapter sends three and receives three.
  report = simulate({line(4)}, options);
  EXPECT_EQ(report.network_bytes, 12 * kBlock);
  EXPECT_EQ(report.most_sent_bytes, 3 * kBlock);
  EXPECT_EQ(report.most_fetched_bytes, 3 * kBlock);
  EXPECT_GE(report.seconds, (8 + 30 + 3 * 80 + 8) * kMicro);
  EXPECT_EQ(report.tasks, 4 + 16);
  options.ranks = 1;
  report = simulate({line(1)}, options);
  EXPECT_NEAR(report.seconds, 16 * kMicro, kExact);
  EXPECT_EQ(report.network_bytes, 0U);
}

TEST(SimulateRanks, OneRankIsTheMachineThatItWas) {
  const Array x = random::uniform({512, 512}, {.chunks = {64, 64}, .seed = 1});
  const Array y = x + transpose(x) - mean(x, {.axis = 0});
  SimulationOptions options = machine(4);
  options.device_memory_bytes = 20 * 64 * 64 * 8;
  const SimulationReport plain = simulate({y}, options);
  options.network_bytes_per_s = 1.0;
  options.network_latency_s = 1.0;
  options.measure_planning = true;
  const SimulationReport same = simulate({y}, options);
  EXPECT_EQ(same.seconds, plain.seconds);
  EXPECT_EQ(same.moves, plain.moves);
  EXPECT_GT(plain.spilled_bytes, 0U);
  EXPECT_EQ(same.spilled_bytes, plain.spilled_bytes);
  EXPECT_EQ(same.peak_device_bytes, plain.peak_device_bytes);
  EXPECT_EQ(plain.plan_seconds, 0.0);
  EXPECT_EQ(plain.rank_planning_seconds, 0.0);
  EXPECT_GT(same.plan_seconds, 0.0);
  EXPECT_GT(same.rank_planning_seconds, 0.0);
}

TEST(SimulateRanks, SpillingRanksFinishAndMoveTheSameBytes) {
  const Array x = random::uniform({512, 512}, {.chunks = {32, 32}, .seed = 1});
  const Array product = matmul(x + transpose(x), x);
  SimulationOptions options = machine(2);
  options.ranks = 5;
  options.device_memory_bytes = std::size_t{64} << 20;
  options.measure_planning = true;
  const SimulationReport roomy = simulate({product}, options);
  EXPECT_EQ(roomy.spilled_bytes, 0U);
  EXPECT_GT(roomy.rank_planning_seconds, 0.0);
  options.device_memory_bytes = 24 * 32 * 32 * 8;
  const SimulationReport tight = simulate({product}, options);
  EXPECT_GT(tight.spilled_bytes, 0U);
  EXPECT_EQ(tight.network_bytes, roomy.network_bytes);
  EXPECT_EQ(tight.tasks, roomy.tasks);
  for (const std::size_t bytes : tight.peak_device_bytes)
    EXPECT_LE(bytes, options.device_memory_bytes);
}

TEST(SimulateRanks, NoRoomAnywhereIsAnError) {
  Session own = session();
  const Array kept = own.persist({line(4)})[0];
  SimulationOptions options = cluster(2);
  options.device_memory_bytes = 3 * kBlock;
  options.host_memory_bytes = 0;
  try {
    simulate({kept + flip(kept)}, options);
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_NE(std::string(e.what()).find("no room can be made on null:0"), std::string::npos)
        << e.what();
  }
}

TEST(Simulate, RefusesMachinesThatAreNone) {
  const auto with = [](auto change) {
    SimulationOptions options = machine(1);
    change(options);
    return [options] { simulate({line(1)}, options); };
  };
  using O = SimulationOptions;
  EXPECT_REFUSED(with([](O& o) { o.devices = 0; })(),
                 "[simulate] devices are 1 to 65534; got 0; try 8");
  EXPECT_REFUSED(with([](O& o) { o.devices = 70000; })(),
                 "[simulate] devices are 1 to 65534; got 70000; try 8");
  EXPECT_REFUSED(with([](O& o) { o.ranks = 0; })(),
                 "[simulate] ranks are 1 to 65536; got 0; try 2");
  EXPECT_REFUSED(with([](O& o) { o.ranks = 70000; })(),
                 "[simulate] ranks are 1 to 65536; got 70000; try 2");
  EXPECT_REFUSED(with([](O& o) { o.device_memory_bytes = 0; })(),
                 "[simulate] a device needs memory; got device_memory_bytes of 0; try 128 GiB");
  EXPECT_REFUSED(
      with([](O& o) { o.memory_bytes_per_s = 0; })(),
      "[simulate] a rate is above 0; got memory_bytes_per_s of 0; try the default, which "
      "one GPU reaches");
  for (double O::*rate : {&O::memory_bytes_per_s, &O::flops_per_s, &O::link_bytes_per_s,
                          &O::host_bytes_per_s, &O::disk_bytes_per_s, &O::network_bytes_per_s}) {
    for (const double bad : {0.0, -1.0, std::nan("")}) {
      EXPECT_NE(::tessera::testing::refusal(with([&](O& o) { o.*rate = bad; })), "nothing thrown");
    }
  }
  EXPECT_REFUSED(with([](O& o) { o.task_overhead_s = -1; })(),
                 "[simulate] a task's overhead is 0 s or more; got task_overhead_s of -1; try 0");
  EXPECT_REFUSED(
      with([](O& o) { o.network_latency_s = -2; })(),
      "[simulate] a message's latency is 0 s or more; got network_latency_s of -2; try 5e-6");
}

}  // namespace
}  // namespace tessera
