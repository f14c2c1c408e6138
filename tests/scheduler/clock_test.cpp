#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/trace.hpp"
#include "hash_kernels.hpp"
#include "manual_clock.hpp"
#include "scheduler/seams.hpp"
#include "tessera/tessera.hpp"

// Clocks that stand still, jump and run backward: progress, traces and reports follow them, results
// and the end of a run do not.

namespace tessera::scheduler {
namespace {

using namespace std::chrono_literals;
using core::Clock;
using core::ManualClock;
using test::Case;
using test::kPlenty;
using test::Machine;

struct Report {
  std::int64_t done;
  std::int64_t total;
  Clock::time_point time;
};

// The run's progress reports, and whether its results are right.
std::vector<Report> watch(const Case& c, Machine& m, const Clock& clock, core::Trace* trace) {
  std::vector<Report> reports;
  HostRunOptions options = m.run_options();
  options.clock = &clock;
  options.trace = trace;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    reports.push_back({done, total, clock.now()});
  };
  EXPECT_TRUE(test::same(run_on_host(*c.order, options), c.expected));
  EXPECT_EQ(m.devices->bytes_in_use(), 0u);
  return reports;
}

TEST(HostRunClock, ProgressComesEvery50ms) {
  const Case c(3, 12);
  const std::int64_t tasks = c.plan.total_tasks();
  ASSERT_GT(tasks, 20);
  Machine m(1, 1, c.need * 2, kPlenty, 0);
  for (const auto& [step, expected] :
       {std::pair{50ms, tasks}, {25ms, tasks / 2}, {0ms, std::int64_t{0}}}) {
    const Clock::duration each = step;
    SCOPED_TRACE(testing::Message() << step.count() << " ms");
    ManualClock clock;
    m.registry.before = [&clock, each](std::int64_t) { clock.advance(each); };
    const std::vector<Report> reports = watch(c, m, clock, nullptr);
    // The last report comes when all is done, whatever the time.
    ASSERT_EQ(static_cast<std::int64_t>(reports.size()), expected + 1);
    for (std::size_t i = 0; i < reports.size(); ++i) {
      EXPECT_EQ(reports[i].total, tasks);
      if (i == 0) continue;
      EXPECT_GE(reports[i].done, reports[i - 1].done);
      if (i + 1 == reports.size()) break;
      EXPECT_GE(reports[i].time - reports[i - 1].time, 50ms);
    }
    EXPECT_EQ(reports.back().done, tasks);
  }
}

// Whatever the clock does at every look and in every task.
TEST(HostRunClock, NoClockSpoilsARun) {
  const std::string path = testing::TempDir() + "tessera-clock-trace.json";
  for (const Clock::duration look : {0ns, 1ns, -1ns}) {
    for (const Clock::duration task :
         {Clock::duration(0), Clock::duration(-2h), Clock::duration(100h)}) {
      for (std::uint64_t seed = 20; seed < 24; ++seed) {
        SCOPED_TRACE(testing::Message()
                     << "look " << look.count() << " task " << task.count() << " seed " << seed);
        const Case c(seed);
        Machine m(2, 3, c.need + c.need / 2, 300, kPlenty);
        ManualClock clock(look);
        m.registry.before = [&](std::int64_t number) {
          // Forward and back again, or ever further back.
          clock.advance(task > Clock::duration(0) && number % 2 == 0 ? -task : task);
        };
        core::Trace trace(path, core::posix_file_system(), clock);
        const std::vector<Report> reports = watch(c, m, clock, &trace);
        ASSERT_FALSE(reports.empty());
        EXPECT_EQ(reports.back().done, c.plan.total_tasks());
        EXPECT_EQ(reports.back().total, c.plan.total_tasks());
        trace.close();
        std::ifstream in(path);
        const nlohmann::json json = nlohmann::json::parse(in);
        std::int64_t spans = 0;
        for (const nlohmann::json& event : json["traceEvents"]) {
          if (event["ph"] != "X") continue;
          ++spans;
          EXPECT_GE(event["dur"].get<double>(), 0.0);
          EXPECT_GE(event["ts"].get<double>(), 0.0);
        }
        EXPECT_GE(spans, c.plan.total_tasks());
      }
    }
  }
}

TEST(SessionClock, SecondsFollowTheClock) {
  SessionOptions options;
  options.devices = "host";
  options.device_memory_bytes = std::size_t{1} << 20;
  const Array x = sum(ones({40, 30}, {.chunks = {16, 7}}));
  for (const Clock::duration look : {0s, -3s}) {
    const ManualClock clock(look);
    Seams seams;
    seams.clock = &clock;
    Session session = seams.open(options);
    EXPECT_EQ(session.compute({x})[0].item<double>(), 1200.0);
    EXPECT_EQ(session.last_run().seconds, 0.0);
  }
  ManualClock clock;
  Seams seams;
  seams.clock = &clock;
  Session session = seams.open(options);
  const Array slow = map_blocks(
      [&](std::span<const InputBlock>, const OutputBlock& out) {
        clock.advance(1500ms);
        std::fill_n(out.as<double>(), out.size(), 1.0);
      },
      {}, {.dtype = float64, .shape = Shape{4}, .chunks = Chunks{1}});
  session.compute({slow});
  EXPECT_EQ(session.last_run().seconds, 6.0);
}

}  // namespace
}  // namespace tessera::scheduler
