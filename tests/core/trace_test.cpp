#include "core/trace.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "faulty_file_system.hpp"
#include "manual_clock.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

class TraceTest : public testing::Test {
 protected:
  TraceTest() {
    std::string pattern = testing::TempDir() + "/tessera_trace_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TraceTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  static Trace::Span span(int thread) {
    return {Trace::Category::kTask, "add", "(0, 1)", 0, thread, 0, machine_clock().now(),
            machine_clock().now()};
  }

  std::string folder_;
};

TEST_F(TraceTest, WritesWhatItHoldsWhenThereIsMuch) {
  Trace trace(path("t.json"));
  trace.name_thread(1, "one");
  const std::size_t count = 2 * Trace::kMaxHeld + 10;
  std::uintmax_t before = 0;
  for (std::size_t i = 0; i < count; ++i) {
    trace.add(span(static_cast<int>(i % 2)));
    if (i % Trace::kMaxHeld != Trace::kMaxHeld - 1) continue;
    std::uintmax_t now = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) now += entry.file_size();
    EXPECT_GT(now, before + 50 * Trace::kMaxHeld);
    before = now;
  }
  EXPECT_EQ(trace.size(), count);
  EXPECT_FALSE(std::filesystem::exists(path("t.json")));
  trace.close();
  std::ifstream in(path("t.json"));
  const nlohmann::json json = nlohmann::json::parse(in);
  std::size_t spans = 0;
  std::size_t names = 0;
  for (const nlohmann::json& event : json["traceEvents"]) {
    spans += event["ph"] == "X" ? 1 : 0;
    names += event["name"] == "thread_name" ? 1 : 0;
  }
  EXPECT_EQ(spans, count);
  EXPECT_EQ(names, 1U) << "thread 1 of device 0";
}

TEST_F(TraceTest, AFullDiskEndsTheTraceAndNothingElse) {
  // The faults begin once the trace is open.
  const FaultyFileSystem counting({1'000'000, ENOSPC, true});
  const std::uint64_t calls = [&] {
    const Trace trace(path("other.json"), counting);
    return counting.calls();
  }();
  const FaultyFileSystem full({calls + 1, ENOSPC, true});
  Trace trace(path("full.json"), full);
  for (std::size_t i = 0; i < 3 * Trace::kMaxHeld; ++i) trace.add(span(0));
  try {
    trace.close();
    FAIL();
  } catch (const IoError& e) {
    EXPECT_EQ(std::string(e.what()).find("[TESSERA_TRACE] a write must reach the disk; got "), 0U)
        << e.what();
  }
  EXPECT_LT(trace.size(), 3 * Trace::kMaxHeld) << "what cannot be written is not kept";
  EXPECT_FALSE(std::filesystem::exists(path("full.json")));
}

TEST_F(TraceTest, AClockThatWasTurnedBackGivesNoNegativeTimes) {
  const ManualClock clock;
  Trace trace(path("t.json"), posix_file_system(), clock);
  const Clock::time_point now = clock.now();
  trace.add({Trace::Category::kTask, "add", "(0)", 0, 0, 0, now + std::chrono::microseconds(3),
             now + std::chrono::microseconds(1)});
  trace.add({Trace::Category::kTask, "add", "(1)", 0, 0, 0, now - std::chrono::hours(1),
             now - std::chrono::hours(1) + std::chrono::microseconds(2)});
  trace.close();
  std::ifstream in(path("t.json"));
  const nlohmann::json events = nlohmann::json::parse(in)["traceEvents"];
  EXPECT_EQ(events[0]["ts"], 3.0);
  EXPECT_EQ(events[0]["dur"], 0.0);
  EXPECT_EQ(events[1]["ts"], 0.0);
  EXPECT_EQ(events[1]["dur"], 2.0);
}

TEST_F(TraceTest, NumbersTheFilesOfOneProcess) {
  EXPECT_EQ(next_trace_path("a.b/trace.json"), "a.b/trace.json");
  EXPECT_EQ(next_trace_path("a.b/trace.json"), "a.b/trace-2.json");
  EXPECT_EQ(next_trace_path("a.b/trace.json"), "a.b/trace-3.json");
  EXPECT_EQ(next_trace_path("a.b/trace"), "a.b/trace");
  EXPECT_EQ(next_trace_path("a.b/trace"), "a.b/trace-2");
  EXPECT_EQ(next_trace_path("a.b/.trace"), "a.b/.trace");
  EXPECT_EQ(next_trace_path("a.b/.trace"), "a.b/.trace-2");
}

}  // namespace
}  // namespace tessera::core
