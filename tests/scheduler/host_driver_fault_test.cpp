#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "failing_allocator.hpp"
#include "failing_transport.hpp"
#include "faulty_file_system.hpp"
#include "hash_kernels.hpp"

// What a run leaves behind when something fails at every possible moment: a typed error, no memory
// in use, and devices on which the next run is right.

namespace tessera::scheduler {
namespace {

using test::Case;
using test::kPlenty;
using test::Machine;

enum class Outcome { kRight, kFailed };

// Runs, and checks that the outcome is either the right bytes or an error of the expected kinds.
template <typename... Expected>
Outcome run_checked(const Case& c, const HostRunOptions& options) {
  try {
    const HostRunResult result = run_on_host(*c.order, options);
    EXPECT_TRUE(test::same(result, c.expected));
    return Outcome::kRight;
  } catch (const Error& e) {
    EXPECT_TRUE((... || (dynamic_cast<const Expected*>(&e) != nullptr))) << e.what();
  }
  EXPECT_EQ(options.devices->bytes_in_use(), 0u);
  return Outcome::kFailed;
}

// What a fault must not have spoilt.
void expect_next_run_right(const Case& c, Machine& m) {
  m.registry.before = nullptr;
  m.registry.tasks = 0;
  ASSERT_TRUE(test::same(run_on_host(*c.order, m.run_options()), c.expected));
  ASSERT_EQ(m.devices->bytes_in_use(), 0u);
}

TEST(HostRunFaults, AKernelMayThrowAtAnyTask) {
  for (std::uint64_t seed = 200; seed < 208; ++seed) {
    const Case c(seed);
    Machine m(2, 3, c.need + c.need / 2, 300, kPlenty);
    for (std::int64_t nth = 1;; ++nth) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " task " << nth);
      m.registry.tasks = 0;
      m.shuffle_seed = static_cast<std::uint64_t>(nth % 3);
      m.registry.before = [nth](std::int64_t number) {
        if (number == nth) throw LibraryError("[test] thrown");
      };
      const Outcome outcome = run_checked<LibraryError>(c, m.run_options());
      if (m.registry.tasks < nth) break;
      EXPECT_EQ(outcome, Outcome::kFailed);
      if (nth % 4 == 0) expect_next_run_right(c, m);
    }
    expect_next_run_right(c, m);
  }
}

TEST(HostRunFaults, AnyAllocationMayFail) {
  for (std::uint64_t seed = 300; seed < 306; ++seed) {
    const Case c(seed);
    for (bool persistent : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message()
                     << "seed " << seed << " allocation " << nth << " persistent " << persistent);
        device::FailingAllocator allocator(nth, persistent);
        Machine m(2, 2, c.need + c.need / 2, 300, kPlenty, nullptr, &allocator);
        m.shuffle_seed = nth % 3;
        run_checked<OutOfMemory>(c, m.run_options());
        const bool reached = allocator.requests() >= nth;
        allocator.heal();
        expect_next_run_right(c, m);
        if (!reached) break;
      }
    }
  }
}

TEST(HostRunFaults, AnyCallForSpillingMayFail) {
  std::uint64_t points = 0;
  for (std::uint64_t seed = 400; seed < 406; ++seed) {
    const Case c(seed);
    for (int error : {EIO, ENOSPC}) {
      for (bool persistent : {false, true}) {
        for (std::uint64_t nth = 1;; ++nth) {
          SCOPED_TRACE(testing::Message() << "seed " << seed << " call " << nth << " error "
                                          << error << " persistent " << persistent);
          core::FaultyFileSystem files({nth, error, persistent});
          Machine m(2, 2, c.need, 0, kPlenty, &files);
          m.shuffle_seed = nth % 3;
          run_checked<IoError>(c, m.run_options());
          if (!files.fired()) break;
          ++points;
          if (!persistent && nth % 4 == 0) expect_next_run_right(c, m);
        }
      }
    }
  }
  EXPECT_GT(points, 100u);
}

// Between devices, and to and from the host tier.
TEST(HostRunFaults, AnyCopyMayFail) {
  std::uint64_t points = 0;
  for (std::uint64_t seed = 700; seed < 708; ++seed) {
    const Case c(seed);
    for (bool persistent : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message()
                     << "seed " << seed << " copy " << nth << " persistent " << persistent);
        comm::FailingTransport transport(nth, persistent);
        Machine m(3, 2, c.need, c.need * 2, kPlenty);
        m.shuffle_seed = nth % 3;
        HostRunOptions options = m.run_options();
        options.transport = &transport;
        const Outcome outcome = run_checked<CommError>(c, options);
        if (transport.copies() < nth) break;
        ++points;
        EXPECT_EQ(outcome, Outcome::kFailed);
        transport.heal();
        ASSERT_TRUE(test::same(run_on_host(*c.order, options), c.expected));
        ASSERT_EQ(m.devices->bytes_in_use(), 0u);
      }
    }
  }
  EXPECT_GT(points, 100u);
}

TEST(HostRunFaults, AStopRequestCancels) {
  for (std::uint64_t seed = 500; seed < 512; ++seed) {
    const Case c(seed);
    Machine m(2, 3, c.need + c.need / 2, 300, kPlenty);
    for (std::int64_t nth = 1; nth <= c.plan.total_tasks(); nth += 1 + nth / 8) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " task " << nth);
      std::stop_source stop;
      m.shuffle_seed = static_cast<std::uint64_t>(nth % 3);
      m.registry.tasks = 0;
      m.registry.before = [&](std::int64_t number) {
        if (number == nth) stop.request_stop();
      };
      HostRunOptions options = m.run_options();
      options.stop = stop.get_token();
      const Outcome outcome = run_checked<Cancelled>(c, options);
      if (nth + 8 < c.plan.total_tasks()) {
        EXPECT_EQ(outcome, Outcome::kFailed);
      }
    }
    expect_next_run_right(c, m);
  }
}

TEST(HostRunFaults, AStopRequestFromOutsideCancels) {
  const Case c(3, 12);
  Machine m(3, 3, c.need * 2, 300, kPlenty);
  std::mt19937_64 random(9);
  int cancelled = 0;
  for (int i = 0; i < 200; ++i) {
    std::stop_source stop;
    m.shuffle_seed = static_cast<std::uint64_t>(i % 3);
    HostRunOptions options = m.run_options();
    options.stop = stop.get_token();
    const auto wait = std::chrono::microseconds(random() % 400);
    std::thread other([&] {
      std::this_thread::sleep_for(wait);
      stop.request_stop();
    });
    cancelled += run_checked<Cancelled>(c, options) == Outcome::kFailed ? 1 : 0;
    other.join();
  }
  std::stop_source stop;
  stop.request_stop();
  HostRunOptions options = m.run_options();
  options.stop = stop.get_token();
  try {
    run_on_host(*c.order, options);
    FAIL();
  } catch (const Cancelled& e) {
    EXPECT_EQ(std::string(e.what()).find("[compute] a stop was requested; got 0 of "), 0u)
        << e.what();
  }
  expect_next_run_right(c, m);
}

// A plan that reads the results of another, each three times over.
Plan readers_of(const Plan& first, std::uint64_t seed) {
  Plan plan;
  for (const Slot& slot : first.slots) {
    if (!slot.retained) continue;
    PlanNode node;
    node.label = "stored";
    node.resident = true;
    node.counts = slot.size.grid().counts();
    node.outputs.push_back(plan.add_slot(static_cast<NodeIndex>(plan.nodes.size()), 0, slot.size));
    plan.add_node(std::move(node));
  }
  const std::size_t stored = plan.slots.size();
  for (std::size_t i = 0; i < 3 * stored; ++i) {
    const auto slot = static_cast<SlotIndex>(i % stored);
    PlanNode node;
    node.label = "reads";
    node.counts = plan.nodes[i % stored].counts;
    PlanInput input;
    input.slot = slot;
    for (std::size_t d = 0; d < node.counts.size(); ++d)
      input.access.links.push_back({static_cast<int>(d), AxisMap::identity(node.counts[d])});
    node.inputs.push_back(std::move(input));
    node.outputs.push_back(
        plan.add_slot(static_cast<NodeIndex>(plan.nodes.size()), 0, plan.slots[i % stored].size));
    plan.slots.back().retained = true;
    plan.add_node(std::move(node));
  }
  plan.finalize();
  test::add_hash_kernels(plan, seed);
  return plan;
}

// Blocks of earlier runs survive whatever happens to a run that reads them.
TEST(HostRunFaults, EarlierBlocksSurvive) {
  int failed[2] = {0, 0};
  for (std::uint64_t seed = 600; seed < 607; ++seed) {
    const Case first(seed);
    const Plan second = readers_of(first.plan, seed);
    const TaskOrder order(second);
    for (bool in_kernel : {true, false}) {
      for (std::uint64_t nth = 1; nth < 40; ++nth) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " fault " << nth
                                        << (in_kernel ? " in a kernel" : " in a system call"));
        core::FaultyFileSystem files({in_kernel ? 0 : nth, EIO, false});
        Machine m(2, 2, std::max(first.need, test::smallest_budget(order)), 100, kPlenty, &files);
        HostRunResult kept;
        try {
          kept = run_on_host(*first.order, m.run_options());
        } catch (const IoError&) {
          continue;
        }
        const std::size_t before = m.devices->bytes_in_use();
        HostRunOptions options = m.run_options();
        for (std::size_t s = 0; s < kept.arrays.size(); ++s)
          options.residents.push_back({static_cast<SlotIndex>(s), kept.arrays[s].array});
        m.registry.tasks = 0;
        if (in_kernel) {
          m.registry.before = [nth](std::int64_t number) {
            if (number == static_cast<std::int64_t>(nth)) throw LibraryError("[test] thrown");
          };
        }
        bool now = false;
        try {
          run_on_host(order, options);
        } catch (const LibraryError&) {
          now = true;
        } catch (const IoError&) {
          now = true;
        }
        failed[in_kernel] += now ? 1 : 0;
        ASSERT_EQ(m.devices->bytes_in_use(), before);
        if (!in_kernel && !files.fired()) break;
        ASSERT_TRUE(test::same(kept, first.expected));
        m.registry.before = nullptr;
        run_on_host(order, options);
        ASSERT_TRUE(test::same(kept, first.expected));
        if (in_kernel && !now) break;
      }
    }
  }
  EXPECT_GT(failed[0], 10);
  EXPECT_GT(failed[1], 50);
}

}  // namespace
}  // namespace tessera::scheduler
