#include "tessera/delayed.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "tessera/tessera.hpp"

namespace tessera {
namespace {

TEST(Delayed, TakesCallsArraysAndValues) {
  int calls = 0;
  const auto twice = delayed([&calls](int v) { return ++calls, 2 * v; }, 21);
  const auto total = delayed(
      [](int v, const HostArray& a, const std::string& unit) {
        double s = v;
        for (double e : a.span<double>()) s += e;
        return std::to_string(static_cast<int>(s)) + unit;
      },
      twice, ones({5}, {.chunks = {2}}), std::string(" m"));
  EXPECT_EQ(total.get(), "47 m");
  EXPECT_EQ(total.get(), "47 m");
  EXPECT_EQ(twice.get(), 42);
  EXPECT_EQ(calls, 1);
}

TEST(Delayed, FailureNamesTheCallAndMayBeTriedAgain) {
  const auto here = std::source_location::current();
  int attempts = 0;
  const auto good = delayed([] { return 32; });
  const auto bad = delayed(
      here,
      [&attempts](int v) {
        if (++attempts == 1) throw std::runtime_error("no such day: " + std::to_string(v));
        return v + 1;
      },
      good);
  const auto line = std::to_string(here.line());
  const auto after = delayed([](int v) { return v + 1; }, bad);
  try {
    after.get();
    FAIL();
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("no such day: 32"), std::string::npos) << text;
    EXPECT_NE(text.find("in delayed"), std::string::npos) << text;
    EXPECT_NE(text.find("delayed_test.cpp:" + line), std::string::npos) << text;
  }
  EXPECT_EQ(after.get(), 34);
  EXPECT_EQ(attempts, 2);
}

TEST(Delayed, CallsWithoutAResultRun) {
  std::vector<int> seen;
  const auto first = delayed([&seen] { seen.push_back(1); });
  const auto second = delayed([&seen](std::monostate) { seen.push_back(2); }, first);
  second.get();
  EXPECT_EQ(seen, (std::vector<int>{1, 2}));
}

TEST(Delayed, LongChainsRunAndAreFreedWithoutRecursion) {
  constexpr int kLength = 200'000;
  auto last = delayed([](int v) { return v; }, 0);
  for (int i = 0; i < kLength; ++i) last = delayed([](int v) { return v + 1; }, last);
  auto never_run = last;
  for (int i = 0; i < kLength; ++i) never_run = delayed([](int v) { return v + 1; }, never_run);
  EXPECT_EQ(last.get(), kLength);
}

TEST(Delayed, ArgumentsAreFreedOnceUsed) {
  auto made = std::make_shared<int>(5);
  const std::weak_ptr<int> watch = made;
  const auto holder = delayed([](const std::shared_ptr<int>& p) { return *p; }, made);
  made.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(holder.get(), 5);
  EXPECT_TRUE(watch.expired());
}

TEST(Delayed, TokensAreArrays) {
  std::atomic<int> ran{0};
  const auto call = delayed([&ran] { return ++ran; });
  EXPECT_TRUE(call.token().item<bool>());
  EXPECT_EQ(ran, 1);
  EXPECT_TRUE(call.token().item<bool>());
  const auto other = delayed([&ran] { return ++ran; });
  const Array both = logical_and(call.token(), other.token());
  // A call that reads an array that waits for a call.
  const auto reader =
      delayed([&ran](const HostArray& a) { return a.span<bool>()[0] ? ran.load() : -1; }, both);
  EXPECT_EQ(reader.get(), 2);
  EXPECT_EQ(delayed([](int v) { return v; }, other).get(), 2);
}

// Calls over calls, arrays and values, against the same made at once.
TEST(Delayed, RandomGraphsGiveWhatPlainCallsGive) {
  std::mt19937 random(20);
  const auto pick = [&](int most) {
    return static_cast<int>(random() % static_cast<unsigned>(most));
  };
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    std::vector<Delayed<long>> calls;
    std::vector<long> expected;
    const bool arrays = round % 2 == 1;
    for (int i = 0; i < 40; ++i) {
      const int kind = calls.empty() ? 0 : pick(arrays ? 5 : 4);
      if (kind == 0) {
        calls.push_back(delayed([](long v) { return v; }, long{i}));
        expected.push_back(i);
        continue;
      }
      const auto a = static_cast<std::size_t>(pick(static_cast<int>(calls.size())));
      const auto b = static_cast<std::size_t>(pick(static_cast<int>(calls.size())));
      if (kind < 4) {
        calls.push_back(
            delayed([](long x, long y) { return (3 * x + y) % 1009; }, calls[a], calls[b]));
        expected.push_back((3 * expected[a] + expected[b]) % 1009);
      } else {
        calls.push_back(delayed(
            [](long x, const HostArray& v) {
              long sum = x;
              for (std::int64_t e : v.span<std::int64_t>()) sum += e;
              return sum % 1009;
            },
            calls[a], arange(std::int64_t{i}, {.chunks = {4}}) + 1));
        expected.push_back((expected[a] + i * (i + 1) / 2) % 1009);
      }
    }
    if (round % 3 == 0) calls[10].get();
    compute(calls);
    for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(calls[i].get(), expected[i]) << i;
  }
}

TEST(Delayed, SessionsThatShareACallRunItOnce) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ran{0};
    std::vector<Delayed<int>> parts;
    for (int i = 0; i < 50; ++i) parts.push_back(delayed([&ran](int v) { return ++ran, v; }, i));
    auto total = [&] {
      Session session;
      SessionScope scope(session);
      auto sum = delayed([] { return 0; });
      for (const auto& part : parts) sum = delayed([](int a, int b) { return a + b; }, sum, part);
      return sum.get();
    };
    auto other = std::async(std::launch::async, total);
    EXPECT_EQ(total(), 1225);
    EXPECT_EQ(other.get(), 1225);
    EXPECT_EQ(ran, 50);
  }
}

TEST(Delayed, ManyCallsOfOneFan) {
  std::vector<Delayed<int>> parts;
  for (int i = 0; i < 20'000; ++i) parts.push_back(delayed([](int v) { return v; }, i));
  compute(parts);
  long sum = 0;
  for (const auto& part : parts) sum += part.get();
  EXPECT_EQ(sum, 20'000L * 19'999 / 2);
}

TEST(Delayed, ACallMayNotWaitForItsOwnSession) {
  const auto inner = delayed([] { return 1; });
  const auto outer = delayed([inner] { return inner.get() + 1; });
  try {
    outer.get();
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("cannot ask the session that runs it"), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(inner.get(), 1);
}

TEST(Delayed, AStopRequestEndsACompute) {
  std::stop_source stop;
  std::vector<Delayed<int>> calls{delayed([&] { return stop.request_stop(), 1; })};
  for (int i = 0; i < 1000; ++i)
    calls.push_back(delayed([](int v) { return v + 1; }, calls.back()));
  EXPECT_THROW(compute(calls, {.stop = stop.get_token()}), Cancelled);
  EXPECT_EQ(calls.back().get(), 1001);
}

}  // namespace
}  // namespace tessera
