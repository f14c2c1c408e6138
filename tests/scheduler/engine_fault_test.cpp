#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <new>
#include <source_location>
#include <stop_token>

#include "tessera/tessera.hpp"

// What a caller sees when a computation fails or is stopped: a text that names the place, and a
// session that works on.

namespace tessera {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

SessionOptions small_session() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 2;
  options.device_memory_bytes = 16 * kMiB;
  options.host_memory_bytes = 4 * kMiB;
  options.disk_memory_bytes = 0;
  return options;
}

// The text of the E that `call` throws; another error passes on.
template <typename E>
std::string thrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing thrown";
}

void expect_works(Session& session) {
  const Array x = ones({40, 30}, {.chunks = {16, 7}});
  EXPECT_EQ(session.compute({sum(x * 2.0)})[0].item<double>(), 2400.0);
}

// A map_blocks() that throws in block (2, 1) unless told not to.
Array fragile(const std::shared_ptr<std::atomic<bool>>& fails) {
  const Array x = random::normal({40, 30}, {.chunks = {10, 10}, .seed = 1});
  return map_blocks(
      [fails](std::span<const InputBlock> in, const OutputBlock& out) {
        if (*fails && out.index[0] == 2 && out.index[1] == 1)
          throw std::runtime_error("no luck today");
        const auto from = in[0].span<double>();
        std::copy(from.begin(), from.end(), out.span<double>().begin());
      },
      {x}, {.name = "my step"});
}

TEST(EngineFault, ThrowingCallableIsNamed) {
  Session session(small_session());
  const auto fails = std::make_shared<std::atomic<bool>>(true);
  const Array y = fragile(fails) + 1.0;
  const std::string text = thrown<Error>([&] { session.compute({sum(y)}); });
  for (const char* part :
       {"no luck today", "my step", "block (2, 1)", "device host:0", "engine_fault_test.cpp:"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  }
  EXPECT_EQ(session.resident_bytes(), 0U);
  expect_works(session);
  *fails = false;
  EXPECT_TRUE(std::isfinite(session.compute({sum(y)})[0].item<double>()));
}

// Whatever a callable throws is an Error that names it.
TEST(EngineFault, CallablesMayThrowAnything) {
  struct Odd {};
  Session session(small_session());
  const SessionScope scope(session);
  const std::vector<std::function<void()>> throws{[] { throw 42; }, [] { throw "a text"; },
                                                  [] { throw Odd(); },
                                                  [] { throw std::bad_alloc(); }};
  for (std::size_t i = 0; i < throws.size(); ++i) {
    SCOPED_TRACE(i);
    const auto line = std::source_location::current();
    const Array mapped = map_blocks(
        [&](std::span<const InputBlock>, const OutputBlock&) { throws[i](); }, {},
        {.dtype = float64, .shape = Shape{4}, .chunks = Chunks{2}, .name = "odd step"}, line);
    const Array overlapped = map_overlap(
        zeros({6, 6}, {.chunks = {3, 3}}),
        [&](const InputBlock&, const OutputBlock&) { throws[i](); },
        {.depth = {1, 1}, .name = "odd step"}, line);
    const auto call = delayed(line, [&] { return throws[i](), 1; });
    const std::vector<std::function<void()>> runs{
        [&] { mapped.compute(); }, [&] { sum(overlapped).compute(); }, [&] { call.get(); }};
    for (const std::function<void()>& run : runs) {
      const std::string text = thrown<Error>(run);
      const std::string rule = i == 3 ? "the machine must have memory beside the budgets"
                                      : "what is thrown must be a std::exception; got another type";
      EXPECT_NE(text.find(rule), std::string::npos) << text;
      EXPECT_NE(text.find(&run == &runs[2] ? "delayed" : "odd step"), std::string::npos) << text;
      for (const std::string& part :
           {std::string("\n  in "), std::string(", block ("),
            std::string(", device host:0 of rank 0"),
            "\n  built at engine_fault_test.cpp:" + std::to_string(line.line())})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
    }
    expect_works(session);
  }
}

TEST(EngineFault, AllNanArgmaxIsAnErrorOfTheResult) {
  Session session(small_session());
  const Array x = full({6, 4}, std::numeric_limits<double>::quiet_NaN(), {.chunks = Chunks{3, 4}});
  const std::string text = thrown<InvalidArgument>([&] { session.compute({nanargmax(x)}); });
  EXPECT_NE(text.find("nanargmax"), std::string::npos) << text;
  EXPECT_NE(text.find("engine_fault_test.cpp:"), std::string::npos) << text;
  expect_works(session);
}

TEST(EngineFault, TaskThatCannotFitIsRefusedBeforeAnythingRuns) {
  SessionOptions options = small_session();
  options.device_memory_bytes = kMiB;
  Session session(options);
  std::atomic<int> calls = 0;
  const Array x = map_blocks(
      [&](std::span<const InputBlock>, const OutputBlock&) { ++calls; }, {},
      {.dtype = DType::kFloat64, .shape = Shape{1000, 1000}, .chunks = Chunks{500, 1000}});
  const std::string text = thrown<OutOfMemory>([&] { session.compute({x}); });
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "[map_blocks] a task must fit its device's budget; got a need of 3.81 MiB for inputs, "
            "outputs (500, 1000) and scratch on "
            "host:0 with 1.00 MiB; try smaller chunks or a larger TESSERA_DEVICE_MEMORY");
  EXPECT_EQ(calls, 0);
  expect_works(session);
}

// Needs beyond what a byte count holds are refused like all others.
TEST(EngineFault, NeedsBeyond64BitsAreRefused) {
  SessionOptions options = small_session();
  options.device_memory_bytes = kMiB;
  Session session(options);
  const Array x = zeros({1, std::int64_t{1} << 60}, {.chunks = {-1, -1}, .dtype = float32});
  const std::string text = thrown<OutOfMemory>([&] { session.persist({var(x, {.axis = 0})}); });
  EXPECT_NE(text.find("a task must fit its device's budget; got a need of "), std::string::npos)
      << text;
  expect_works(session);
}

// The factorisation itself is named, with the matrix, not the copy that gathers it.
TEST(EngineFault, GatheredMatrixThatCannotFitIsNamed) {
  SessionOptions options = small_session();
  options.device_memory_bytes = kMiB;
  Session session(options);
  const Array x = random::normal({300, 300}, {.chunks = {100, 100}, .seed = 2});
  const auto refused = [&](const Array& y) {
    const std::string text = thrown<OutOfMemory>([&] { session.compute({y}); });
    return text.substr(0, text.find(" and scratch"));
  };
  const auto begins = [](const std::string& text, const std::string& with) {
    EXPECT_EQ(text.substr(0, with.size()), with);
  };
  begins(refused(svd(x).u), "[svd] a task must fit its device's budget; got a need of ");
  EXPECT_NE(
      refused(svd(x).u).find("MiB for inputs (300, 300), outputs (1, 300) (300, 300) (300, 300)"),
      std::string::npos)
      << refused(svd(x).u);
  begins(refused(svdvals(x)), "[svdvals] a task must fit its device's budget; got a need of ");
  begins(refused(qr(x).q), "[qr] a task must fit its device's budget; got a need of ");
  begins(refused(qr_r(x)), "[qr_r] a task must fit its device's budget; got a need of ");
  expect_works(session);
}

TEST(EngineFault, StoppedComputationIsCancelled) {
  Session session(small_session());
  std::stop_source stop;
  std::atomic<int> calls = 0;
  const Array x = map_blocks(
      [&](std::span<const InputBlock>, const OutputBlock& out) {
        if (++calls == 5) stop.request_stop();
        std::fill_n(out.as<double>(), out.size(), 1.0);
      },
      {}, {.dtype = DType::kFloat64, .shape = Shape{1000}, .chunks = Chunks{1}});
  const std::string text =
      thrown<Cancelled>([&] { session.compute({x}, {.stop = stop.get_token(), .progress = {}}); });
  EXPECT_NE(text.find("[compute] a stop was requested"), std::string::npos) << text;
  EXPECT_LT(calls, 1000);
  EXPECT_EQ(session.resident_bytes(), 0U);
  expect_works(session);
  EXPECT_EQ(session.compute({sum(x)})[0].item<double>(), 1000.0);
}

TEST(EngineFault, StoppedBeforeItBegins) {
  Session session(small_session());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(session.compute({ones({10})}, {.stop = stop.get_token(), .progress = {}}),
               Cancelled);
  EXPECT_THROW(
      session.compute_async({ones({10})}, {.stop = stop.get_token(), .progress = {}}).get(),
      Cancelled);
  expect_works(session);
}

TEST(EngineFault, MemoryReturnsWithTheLastHandle) {
  Session session(small_session());
  {
    const Array kept =
        session.persist({random::normal({200, 100}, {.chunks = {50, 100}, .seed = 1})})[0];
    EXPECT_EQ(session.resident_bytes(), kept.nbytes());
    const auto fails = std::make_shared<std::atomic<bool>>(true);
    EXPECT_THROW(session.persist({fragile(fails)}), Error);
    EXPECT_EQ(session.resident_bytes(), kept.nbytes());
    EXPECT_TRUE(std::isfinite(session.compute({sum(kept)})[0].item<double>()));
  }
  EXPECT_EQ(session.resident_bytes(), 0U);
  // All of the budget is free again: this fills most of it.
  const Array large =
      session.persist({random::normal({1200, 1000}, {.chunks = {100, 1000}, .seed = 2})})[0];
  EXPECT_EQ(session.resident_bytes(), large.nbytes());
}

TEST(EngineFault, TiersThatAreTooSmallAreNamed) {
  SessionOptions options = small_session();
  options.device_memory_bytes = 2 * kMiB;
  options.host_memory_bytes = kMiB;
  Session session(options);
  const Array x = random::normal({1000, 1000}, {.chunks = {100, 1000}, .seed = 1});
  const std::string text = thrown<OutOfMemory>([&] { session.persist({x}); });
  EXPECT_NE(text.find("try"), std::string::npos) << text;
  EXPECT_EQ(session.resident_bytes(), 0U);
  expect_works(session);
}

TEST(EngineFault, SpillFolderThatCannotBeWrittenIsNamed) {
  SessionOptions options = small_session();
  options.device_memory_bytes = 2 * kMiB;
  options.host_memory_bytes = 0;
  options.disk_memory_bytes = 64 * kMiB;
  options.spill_dir = "/proc/tessera-spill";
  const std::string text = thrown<Error>([&] {
    Session session(options);
    session.persist({random::normal({1000, 1000}, {.chunks = {100, 1000}, .seed = 1})});
  });
  EXPECT_NE(text.find("/proc/tessera-spill"), std::string::npos) << text;
}

}  // namespace
}  // namespace tessera
