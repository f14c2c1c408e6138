#include "scheduler/executor/host_driver.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "hash_kernels.hpp"

namespace tessera::scheduler {
namespace {

using test::Case;
using test::kPlenty;
using test::Machine;

TEST(HostRun, SameBytesOnAnyNumberOfDevicesAndWorkers) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Case c(seed);
    for (int devices : {1, 2, 3, 8}) {
      for (int workers : {1, 2, 5}) {
        for (bool tight : {false, true}) {
          SCOPED_TRACE(testing::Message() << "seed " << seed << " devices " << devices
                                          << " workers " << workers << " tight " << tight);
          Machine m(devices, workers, tight ? c.need : kPlenty, tight ? 300 : 0,
                    tight ? kPlenty : 0);
          m.shuffle_seed = (seed + static_cast<std::uint64_t>(workers)) % 3;
          HostRunOptions options = m.run_options();
          options.window = tight ? 1 + static_cast<std::uint32_t>(seed % 40) : 4096;
          {
            const HostRunResult result = run_on_host(*c.order, options);
            ASSERT_TRUE(test::same(result, c.expected));
            std::size_t kept = 0;
            for (const RetainedArray& r : result.arrays) kept += r.array->size_bytes();
            ASSERT_EQ(m.devices->bytes_in_use(), kept);
            ASSERT_EQ(result.counters.tasks, c.plan.total_tasks());
            for (std::size_t peak : result.counters.peak_bytes)
              ASSERT_LE(peak, m.options.device_budget_bytes);
          }
          ASSERT_EQ(m.devices->bytes_in_use(), 0u);
          ASSERT_EQ(m.registry.crowded, 0);
        }
      }
    }
  }
}

TEST(HostRun, SameBytesInAnyOrder) {
  std::size_t spilled = 0;
  for (std::uint64_t seed = 100; seed < 140; ++seed) {
    const Case c(seed);
    Machine m(seed % 2 == 0 ? 3 : 1, 3, seed % 2 == 0 ? c.need + c.need / 4 : c.need, 200, kPlenty);
    for (std::uint64_t shuffle = 1; shuffle <= 20; ++shuffle) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " order " << shuffle);
      HostRunOptions options = m.run_options();
      options.shuffle_seed = shuffle;
      options.slots = 1 + shuffle % 5;
      options.window = 1 + shuffle % 20;
      const HostRunResult result = run_on_host(*c.order, options);
      ASSERT_TRUE(test::same(result, c.expected));
      spilled += result.counters.to_disk_bytes;
    }
    ASSERT_EQ(m.devices->bytes_in_use(), 0u);
  }
  EXPECT_GT(spilled, 0u);
}

TEST(HostRun, DroppedBlocksAreMadeAgain) {
  Plan plan;
  for (int n = 0; n < 3; ++n) {
    PlanNode node;
    node.label = n == 0 ? "source" : "reads";
    node.counts = {6};
    node.recomputable = n == 0;
    if (n > 0) {
      PlanInput input;
      input.slot = 0;
      input.access.links = {{0, n == 1
                                    ? AxisMap::identity(6)
                                    : AxisMap::ranges({5, 4, 3, 2, 1, 0}, {6, 5, 4, 3, 2, 1}, 6)}};
      node.inputs.push_back(input);
    }
    node.outputs.push_back(plan.add_slot(
        n, 0, kernels::BlockSize(ChunkGrid({AxisChunks::regular(768, 128)}), DType::kFloat64)));
    plan.slots.back().retained = n > 0;
    plan.add_node(std::move(node));
  }
  plan.finalize();
  test::add_hash_kernels(plan, 7);
  const TaskOrder order(plan);
  Machine m(1, 1, test::smallest_budget(order), 0, kPlenty);
  HostRunOptions options = m.run_options();
  options.window = 2;
  options.slots = 1;
  const HostRunResult result = run_on_host(order, options);
  EXPECT_TRUE(test::same(result, test::reference(plan)));
  EXPECT_GT(result.counters.recomputed, 0);
  EXPECT_EQ(m.registry.tasks, 18 + result.counters.recomputed);
}

// a -> b, two nodes of 6 blocks with 1024 bytes each; every second plan keeps both.
Plan two_nodes(bool keep_first, bool first_is_resident = false) {
  Plan plan;
  for (int n = 0; n < 2; ++n) {
    PlanNode node;
    node.label = n == 0 ? "first" : "second";
    node.origin = n == 0 ? "" : "model.cpp:12";
    node.counts = {2, 3};
    node.resident = n == 0 && first_is_resident;
    if (n == 1) {
      PlanInput input;
      input.slot = 0;
      input.access.links = {{0, AxisMap::identity(2)}, {1, AxisMap::identity(3)}};
      node.inputs.push_back(input);
    }
    node.outputs.push_back(plan.add_slot(
        n, 0,
        kernels::BlockSize(ChunkGrid({AxisChunks::regular(2, 1), AxisChunks::regular(384, 128)}),
                           DType::kFloat64)));
    plan.add_node(std::move(node));
  }
  plan.slots[0].retained = keep_first;
  plan.slots[1].retained = true;
  plan.finalize();
  test::add_hash_kernels(plan, 5);
  for (PlanNode& node : plan.nodes) {
    node.wide = false;
    node.scratch_bytes = 0;
    auto spec = std::make_shared<test::HashSpec>(dynamic_cast<const test::HashSpec&>(*node.spec));
    spec->wide = false;
    spec->scratch_bytes = 0;
    node.spec = spec;
  }
  return plan;
}

template <typename E>
std::string error_of(const TaskOrder& order, const HostRunOptions& options) {
  try {
    run_on_host(order, options);
  } catch (const E& e) {
    EXPECT_EQ(typeid(e), typeid(E));
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "another type: " << e.what();
    return {};
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(HostRun, ErrorsNameOperationBlockDeviceAndOrigin) {
  const Plan plan = two_nodes(false);
  const TaskOrder order(plan);
  Machine m(1, 1, kPlenty, 0, 0);
  auto fail_with = [&m](auto error) {
    m.registry.tasks = 0;
    m.registry.before = [error](std::int64_t number) {
      if (number == 9) throw error;
    };
    return m.run_options();
  };
  const std::string frame = "\n  in second, block (1, 1), device host:0 of rank 0\n  built at model.cpp:12";
  HostRunOptions options = fail_with(LibraryError("[svd] info must be 0; got 3"));
  options.slots = 6;
  auto with_slots = [&options](HostRunOptions o) {
    o.slots = options.slots;
    return o;
  };
  const std::string text = error_of<LibraryError>(order, options);
  EXPECT_EQ(text.find("[svd] info must be 0; got 3\n  in "), 0u) << text;
  EXPECT_NE(text.find(", device host:0"), std::string::npos) << text;
  error_of<IoError>(order, with_slots(fail_with(IoError("[x] y"))));
  error_of<Cancelled>(order, with_slots(fail_with(Cancelled("[x] y"))));
  error_of<InvalidArgument>(order, with_slots(fail_with(InvalidArgument("[x] y"))));
  error_of<DeviceError>(order, with_slots(fail_with(DeviceError("[x] y"))));
  error_of<CommError>(order, with_slots(fail_with(CommError("[x] y"))));
  const std::string foreign =
      error_of<Error>(order, with_slots(fail_with(std::runtime_error("no luck"))));
  EXPECT_NE(foreign.find("] no luck\n  in "), std::string::npos) << foreign;
  error_of<Error>(order, with_slots(fail_with(42)));
  error_of<OutOfMemory>(order, with_slots(fail_with(std::bad_alloc())));
  try {
    run_on_host(order, with_slots(fail_with(OutOfMemory("[x] y", 7, 8, 9))));
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_EQ(e.requested_bytes, 7u);
    EXPECT_EQ(e.free_bytes, 8u);
    EXPECT_EQ(e.budget_bytes, 9u);
  }
  // The task of a known block, with the line that built its node.
  m.registry.before = nullptr;
  Plan failing = two_nodes(false);
  struct Throws final : kernels::Registry {
    struct Kernel final : kernels::TaskKernel {
      void run(const kernels::TaskArgs& args) const override {
        if (args.block == 4 && !args.pieces.empty())
          throw IoError("[read] a file must be there; got x.nc");
      }
    };
    std::unique_ptr<kernels::TaskKernel> prepare(const kernels::TaskSpec&) const override {
      return std::make_unique<Kernel>();
    }
    std::size_t scratch_bytes(const kernels::TaskSpec&) const override { return 0; }
  } throws;
  HostRunOptions named = m.run_options();
  named.registry = &throws;
  EXPECT_EQ(error_of<IoError>(TaskOrder(failing), named),
            "[read] a file must be there; got x.nc" + frame);
  EXPECT_EQ(m.devices->bytes_in_use(), 0u);
}

TEST(HostRun, WhatCannotFitIsRefusedAndWhatFindsNoRoomIsOutOfMemory) {
  const Plan plan = two_nodes(true);
  const TaskOrder order(plan);
  Machine small(1, 2, 2047, 0, 0);
  EXPECT_EQ(error_of<OutOfMemory>(order, small.run_options()),
            "[second] a task must fit its device's budget; got a need of 2.00 KiB for inputs (1, 128), "
            "outputs (1, 128) and scratch on host:0 with 2.00 KiB; "
            "try smaller chunks or a larger TESSERA_DEVICE_MEMORY\n  built at model.cpp:12");
  // Twelve blocks are to be kept, and there is room for four of them.
  Machine full(1, 2, 2048, 2048, 0);
  const std::string text = error_of<OutOfMemory>(order, full.run_options());
  EXPECT_NE(text.find("] no room can be made on host:0; got "), std::string::npos) << text;
  EXPECT_EQ(full.devices->bytes_in_use(), 0u);
}

TEST(HostRun, BlocksOfARunAreInputsOfTheNext) {
  const Plan first = two_nodes(true);
  const test::Contents expected = test::reference(first);
  const Plan second = two_nodes(false, true);
  test::Contents known;
  for (const auto& [key, bytes] : expected) {
    if (key.first == 0) known[key] = bytes;
  }
  const test::Contents expected_second = test::reference(second, known);
  const TaskOrder order(first);
  const TaskOrder order_second(second);
  for (int devices : {1, 3}) {
    for (std::size_t budget : {std::size_t{2048}, std::size_t{4096}, kPlenty}) {
      SCOPED_TRACE(testing::Message() << "devices " << devices << " budget " << budget);
      Machine m(devices, 2, budget, 1024, kPlenty);
      HostRunResult kept = run_on_host(order, m.run_options());
      ASSERT_EQ(kept.arrays.size(), 2u);
      ASSERT_TRUE(test::same(kept, expected));
      if (budget == 2048) {
        bool on_disk = false;
        for (std::int64_t b = 0; b < 6; ++b) {
          const bool disk = kept.arrays[0].array->place(b).tier == Tier::kDisk;
          EXPECT_EQ(disk, kept.arrays[0].array->data(b) == nullptr);
          on_disk = on_disk || disk;
        }
        EXPECT_TRUE(on_disk);
      }
      HostRunOptions options = m.run_options();
      options.residents = {{0, kept.arrays[0].array}};
      kept.arrays[1].array.reset();
      for (int i = 0; i < 3; ++i) {
        const HostRunResult result = run_on_host(order_second, options);
        ASSERT_EQ(result.arrays.size(), 1u);
        ASSERT_TRUE(test::same(result, expected_second));
        ASSERT_TRUE(test::same({{{0, kept.arrays[0].array}}, {}}, expected));
        ASSERT_EQ(result.counters.tasks, 6);
      }
      ASSERT_EQ(m.devices->bytes_in_use(), 6 * 1024u);
      options.residents.clear();
      EXPECT_EQ(error_of<InvalidArgument>(order_second, options),
                "[executor] a resident node needs its stored array; got none for slot 0 (first)");
      kept.arrays.clear();
      ASSERT_EQ(m.devices->bytes_in_use(), 0u);
    }
  }
}

TEST(HostRun, TasksThatSeemedShortAreSharedOnceTheyAreLong) {
  Plan plan;
  PlanNode node;
  node.label = "uneven";
  node.counts = {80};
  node.outputs.push_back(plan.add_slot(
      0, 0, kernels::BlockSize(ChunkGrid({AxisChunks::regular(80, 1)}), DType::kFloat64)));
  plan.add_node(std::move(node));
  plan.slots[0].retained = true;
  plan.finalize();
  test::add_hash_kernels(plan, 3);
  auto spec =
      std::make_shared<test::HashSpec>(dynamic_cast<const test::HashSpec&>(*plan.nodes[0].spec));
  plan.nodes[0].wide = spec->wide = false;
  plan.nodes[0].spec = spec;
  const TaskOrder order(plan);
  Machine m(1, 3, kPlenty, 0, 0);
  std::atomic<int> most{0};
  m.registry.before = [&](std::int64_t number) {
    if (number < 60) return;
    most = std::max<int>(most, m.registry.running);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  EXPECT_TRUE(test::same(run_on_host(order, m.run_options()), test::reference(plan)));
  EXPECT_GE(most, 2);
}

TEST(HostRun, TellsItsProgressOnTheCallingThread) {
  const Plan plan = two_nodes(true);
  const TaskOrder order(plan);
  Machine m(2, 3, kPlenty, 0, 0);
  m.registry.before = [](std::int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
  };
  HostRunOptions options = m.run_options();
  std::vector<std::int64_t> steps;
  const std::thread::id caller = std::this_thread::get_id();
  options.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 12);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    steps.push_back(done);
  };
  run_on_host(order, options);
  EXPECT_GE(steps.size(), 2u);
  EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
  EXPECT_EQ(steps.back(), 12);
  options.progress = [](std::int64_t, std::int64_t) { throw InvalidArgument("[test] enough"); };
  EXPECT_EQ(error_of<InvalidArgument>(order, options), "[test] enough");
  EXPECT_EQ(m.devices->bytes_in_use(), 0u);
}

TEST(HostRun, WritesATrace) {
  const Plan plan = two_nodes(true);
  const TaskOrder order(plan);
  Machine m(1, 2, 2048, 1024, kPlenty);
  const std::string path = testing::TempDir() + "tessera-trace.json";
  std::size_t spans = 0;
  {
    core::Trace trace(path);
    HostRunOptions options = m.run_options();
    options.trace = &trace;
    run_on_host(order, options);
    spans = trace.size();
    trace.close();
  }
  std::ifstream in(path);
  const nlohmann::json json = nlohmann::json::parse(in);
  std::size_t tasks = 0, spills = 0;
  std::set<std::string> blocks;
  for (const nlohmann::json& event : json["traceEvents"]) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"], 0.0);
    if (event["cat"] == "task") {
      ++tasks;
      if (event["name"] == "second") blocks.insert(event["args"]["block"]);
    } else {
      ++spills;
      EXPECT_EQ(event["args"]["bytes"], 1024);
    }
  }
  EXPECT_EQ(tasks, 12u);
  EXPECT_GT(spills, 0u);
  EXPECT_EQ(tasks + spills, spans);
  EXPECT_EQ(blocks,
            (std::set<std::string>{"(0, 0)", "(0, 1)", "(0, 2)", "(1, 0)", "(1, 1)", "(1, 2)"}));
  std::filesystem::remove(path);
}

TEST(HostRun, ATraceKeepsAnyNameAndReportsWhereItCannotBeWritten) {
  const std::string path = testing::TempDir() + "tessera-names.json";
  const std::string name = "a \"b\"\\\n\xff";
  core::Trace trace(path);
  trace.name_device(0, "host:0");
  trace.name_thread(3, name);
  trace.add({core::Trace::Category::kCopy, name, "()", 0, 3, 8, core::machine_clock().now(),
             core::machine_clock().now()});
  trace.close();
  trace.close();
  std::ifstream in(path);
  const nlohmann::json json = nlohmann::json::parse(in);
  EXPECT_EQ(json["traceEvents"][0]["cat"], "copy");
  EXPECT_EQ(json["traceEvents"][1]["args"]["name"], "host:0");
  EXPECT_EQ(json["traceEvents"][2]["args"]["name"], "a \"b\"\\\n\xef\xbf\xbd");
  std::filesystem::remove(path);
  try {
    core::Trace lost("/nowhere/at/all.json");
    FAIL();
  } catch (const IoError& e) {
    EXPECT_EQ(std::string(e.what()).find(
                  "[TESSERA_TRACE] a file must be writable; got /nowhere/at/all.json"),
              0u)
        << e.what();
  }
}

TEST(HostRun, AnEmptyPlanAndEmptyBlocksRun) {
  Plan plan;
  PlanNode node;
  node.label = "empty";
  node.counts = {};
  node.outputs.push_back(plan.add_slot(0, 0, kernels::BlockSize(ChunkGrid(), DType::kFloat64)));
  plan.add_node(node);
  node.counts = {1};
  node.outputs = {plan.add_slot(
      1, 0, kernels::BlockSize(ChunkGrid({AxisChunks::regular(0, 5)}), DType::kFloat64))};
  plan.add_node(node);
  Machine m(2, 2, 1000, 0, 0);
  {
    Plan nothing = plan;
    nothing.finalize();
    const HostRunResult result = run_on_host(TaskOrder(nothing), m.run_options());
    EXPECT_TRUE(result.arrays.empty());
    EXPECT_EQ(result.counters.tasks, 0);
  }
  plan.slots[0].retained = plan.slots[1].retained = true;
  plan.finalize();
  const HostRunResult result = run_on_host(TaskOrder(plan), m.run_options());
  ASSERT_EQ(result.arrays.size(), 2u);
  EXPECT_EQ(result.arrays[1].array->size_bytes(), 0u);
  EXPECT_NE(result.arrays[1].array->data(0), nullptr);
}

}  // namespace
}  // namespace tessera::scheduler
