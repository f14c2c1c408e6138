#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "on_ranks.hpp"
#include "tessera/tessera.hpp"

// Delayed calls of several ranks, each of which is a thread here and makes calls of its own: what
// they count is counted once for all ranks.

namespace tessera {
namespace {

using testing::on_ranks;

SessionOptions plain() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 1;
  options.device_memory_bytes = std::size_t{64} << 20;
  options.host_memory_bytes = std::size_t{16} << 20;
  options.disk_memory_bytes = 0;
  return options;
}

template <typename Outcomes>
void expect_well(const Outcomes& outcomes) {
  for (std::size_t r = 0; r < outcomes.size(); ++r)
    EXPECT_EQ(outcomes[r].error, "") << "rank " << r;
}

/// How often calls ran, and on how many ranks.
class Tally {
 public:
  void note(int rank) {
    const std::lock_guard lock(mutex_);
    ++runs_;
    ranks_.insert(rank);
  }
  int runs() const { return runs_; }
  std::size_t ranks() const { return ranks_.size(); }

 private:
  std::mutex mutex_;
  int runs_ = 0;
  std::set<int> ranks_;
};

TEST(DelayedRanks, EachCallRunsOnOneRankAndAllGetWhatTheyAskFor) {
  for (const int ranks : {2, 3, 4, 7}) {
    SCOPED_TRACE(ranks);
    Tally leaves, others;
    const auto outcomes = on_ranks(ranks, plain(), [&](int rank, Session&) {
      std::vector<Delayed<std::vector<double>>> level;
      for (int i = 0; i < 40; ++i) {
        level.push_back(delayed(
            [&leaves, rank](int k) {
              leaves.note(rank);
              std::vector<double> out(static_cast<std::size_t>(k) * 100);
              std::iota(out.begin(), out.end(), k);
              return out;
            },
            i));
      }
      while (level.size() > 1) {
        std::vector<Delayed<std::vector<double>>> next;
        for (std::size_t i = 0; i < level.size(); i += 2) {
          const auto& a = level[i];
          const auto& b = level[std::min(i + 1, level.size() - 1)];
          next.push_back(delayed(
              [&others, rank](const std::vector<double>& x, const std::vector<double>& y) {
                others.note(rank);
                return std::vector<double>{std::accumulate(x.begin(), x.end(), 0.0),
                                           std::accumulate(y.begin(), y.end(), 0.5)};
              },
              a, b));
        }
        level = std::move(next);
      }
      return level[0].get();
    });
    expect_well(outcomes);
    EXPECT_EQ(outcomes[0].value.size(), 2U);
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.value, outcomes[0].value);
    EXPECT_EQ(leaves.runs(), 40);
    EXPECT_EQ(others.runs(), 20 + 10 + 5 + 3 + 2 + 1);
    EXPECT_EQ(leaves.ranks(), static_cast<std::size_t>(ranks)) << "the calls are not shared out";
  }
}

TEST(DelayedRanks, TakeArraysAndGiveThem) {
  for (const int ranks : {2, 3, 5}) {
    SCOPED_TRACE(ranks);
    Tally tally;
    const auto outcomes = on_ranks(ranks, plain(), [&](int rank, Session& session) {
      const Array x = random::normal({60, 40}, {.chunks = {13, 9}, .seed = 2});
      const Array kept = session.persist({x * 2.0})[0];
      std::vector<Delayed<HostArray>> rows;
      for (std::int64_t i = 0; i < 12; ++i) {
        rows.push_back(delayed(
            [&tally, rank](const HostArray& part, double by) {
              tally.note(rank);
              HostArray out({part.shape()[0]}, DType::kFloat64,
                            std::shared_ptr<std::byte>(new std::byte[part.nbytes()],
                                                       std::default_delete<std::byte[]>()));
              for (std::int64_t r = 0; r < part.shape()[0]; ++r) {
                double total = 0.0;
                for (std::int64_t c = 0; c < part.shape()[1]; ++c)
                  total += part.span<double>()[static_cast<std::size_t>(r * part.shape()[1] + c)];
                out.span<double>()[static_cast<std::size_t>(r)] = total * by;
              }
              return out;
            },
            (i % 2 == 0 ? kept : x)[{Slice{5 * i, 5 * i + 5}, Slice{}}],
            1.0 + static_cast<double>(i)));
      }
      const auto best = delayed(
          [](const HostArray& a, const HostArray& b, const std::string& unit) {
            const auto largest = [](const HostArray& h) {
              return *std::max_element(h.span<double>().begin(), h.span<double>().end());
            };
            return std::pair(largest(a) > largest(b), std::to_string(largest(a)) + unit);
          },
          rows[3], rows[4], std::string(" m"));
      compute(rows);
      std::vector<double> out;
      for (const auto& row : rows) {
        const HostArray values = row.get();
        out.insert(out.end(), values.span<double>().begin(), values.span<double>().end());
      }
      return std::pair(out, best.get());
    });
    expect_well(outcomes);
    Session session(plain());
    const HostArray x =
        session.compute({random::normal({60, 40}, {.chunks = {13, 9}, .seed = 2})})[0];
    for (std::size_t i = 0; i < 60; ++i) {
      double total = 0.0;
      for (std::size_t c = 0; c < 40; ++c)
        total += x.span<double>()[40 * i + c] * (i / 5 % 2 == 0 ? 2.0 : 1.0);
      EXPECT_NEAR(outcomes[0].value.first[i], total * (1.0 + static_cast<double>(i / 5)), 1e-9);
    }
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.value, outcomes[0].value);
    EXPECT_EQ(tally.runs(), 12);
    EXPECT_EQ(tally.ranks(), static_cast<std::size_t>(std::min(ranks, 12)));
  }
}

// Values that were not asked for stay with the rank that has them, until they are.
TEST(DelayedRanks, WhatWasComputedOnTheWayIsThereForLaterCalls) {
  for (const int ranks : {2, 3, 4}) {
    SCOPED_TRACE(ranks);
    Tally tally;
    const auto outcomes = on_ranks(ranks, plain(), [&](int rank, Session&) {
      std::vector<Delayed<std::string>> parts;
      std::vector<Delayed<std::size_t>> sizes;
      for (int i = 0; i < 20; ++i) {
        parts.push_back(delayed(
            [&tally, rank](int k) {
              tally.note(rank);
              return std::string(static_cast<std::size_t>(k) * 5000, static_cast<char>('a' + k));
            },
            i));
        sizes.push_back(delayed([](const std::string& text) { return text.size(); }, parts.back()));
      }
      compute(sizes);
      std::vector<std::string> out{std::to_string(sizes[19].get())};
      // In another order, by calls of both kinds, and by hand.
      for (int i = 19; i > 14; --i) out.push_back(parts[static_cast<std::size_t>(i)].get());
      const auto longer = delayed([](const std::string& a, const std::string& b) { return a + b; },
                                  parts[3], parts[12]);
      out.push_back(delayed([](const std::string& a,
                               const HostArray& b) { return a + std::to_string(b.item<int>()); },
                            parts[7], sum(ones({9}, {.chunks = {4}})))
                        .get());
      out.push_back(longer.get());
      out.push_back(parts[3].get());
      return out;
    });
    expect_well(outcomes);
    const std::vector<std::string>& got = outcomes[0].value;
    ASSERT_EQ(got.size(), 9U);
    EXPECT_EQ(got[0], "95000");
    EXPECT_EQ(got[1], std::string(95000, 't'));
    EXPECT_EQ(got[6], std::string(35000, 'h') + "9");
    EXPECT_EQ(got[7], std::string(15000, 'd') + std::string(60000, 'm'));
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.value, got);
    EXPECT_EQ(tally.runs(), 20);
  }
}

TEST(DelayedRanks, TokensAskForACallBesideArrays) {
  Tally tally;
  const auto outcomes = on_ranks(3, plain(), [&](int rank, Session& session) {
    const auto call = delayed([&tally, rank] {
      tally.note(rank);
      return 7;
    });
    const auto nothing = delayed([](int) {}, call);
    const std::vector<HostArray> got =
        session.compute({call.token(), nothing.token(), sum(ones({30}, {.chunks = {4}}))});
    nothing.get();
    return std::tuple(got[0].item<bool>() && got[1].item<bool>(), got[2].item<double>(),
                      call.get());
  });
  expect_well(outcomes);
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.value, std::tuple(true, 30.0, 7));
  EXPECT_EQ(tally.runs(), 1);
}

// What fails on one rank fails on all, and may be tried again: all of it.
TEST(DelayedRanks, AFailedCallFailsOnAllRanksAndMayBeTriedAgain) {
  for (const int ranks : {2, 4}) {
    std::atomic<int> attempts{0};
    const auto outcomes = on_ranks(ranks, plain(), [&](int, Session&) {
      std::vector<Delayed<int>> calls;
      for (int i = 0; i < 30; ++i) calls.push_back(delayed([](int k) { return k; }, i));
      const auto bad = delayed(
          [&attempts](int a, int b) {
            if (attempts++ == 0) throw std::runtime_error("no such day: " + std::to_string(a + b));
            return a + b;
          },
          calls[4], calls[28]);
      const auto last = delayed([](int v) { return v + 1; }, bad);
      std::string error;
      try {
        last.get();
      } catch (const Error& e) {
        error = e.what();
      }
      return std::tuple(error, last.get(), calls[9].get(), calls[4].get());
    });
    expect_well(outcomes);
    for (const auto& outcome : outcomes) {
      EXPECT_NE(std::get<0>(outcome.value).find("no such day: 32"), std::string::npos)
          << std::get<0>(outcome.value);
      EXPECT_EQ(std::get<1>(outcome.value), 33);
      EXPECT_EQ(std::get<2>(outcome.value), 9);
      EXPECT_EQ(std::get<3>(outcome.value), 4);
    }
    EXPECT_EQ(attempts, 2);
  }
}

struct Handle {
  std::shared_ptr<int> what;
};

TEST(DelayedRanks, WhatCannotBeWrittenIsRefusedBeforeAnythingRuns) {
  Tally tally;
  const auto outcomes = on_ranks(2, plain(), [&](int rank, Session&) {
    const auto opened = delayed([&tally, rank] {
      tally.note(rank);
      return Handle{std::make_shared<int>(3)};
    });
    std::string error;
    try {
      delayed([](const Handle& h) { return *h.what; }, opened).get();
    } catch (const InvalidArgument& e) {
      error = e.what();
    }
    return std::pair(error, delayed([](int a) { return a + 1; }, 4).get());
  });
  expect_well(outcomes);
  for (const auto& outcome : outcomes) {
    EXPECT_NE(outcome.value.first.find("what a call returns may go to other ranks"),
              std::string::npos)
        << outcome.value.first;
    EXPECT_NE(outcome.value.first.find("Handle"), std::string::npos) << outcome.value.first;
    EXPECT_EQ(outcome.value.second, 5);
  }
  EXPECT_EQ(tally.runs(), 0);
}

/// Of which only the part that counts is written, and which may fail on either way.
struct Words {
  std::map<std::string, int> counts;
  std::unique_ptr<int> cache;
  bool breaks_when_read = false;
};

}  // namespace

template <>
struct Serializer<Words> {
  static void write(ByteWriter& to, const Words& words) {
    if (words.counts.contains("unwritable")) throw std::runtime_error("no way to write that");
    to.write(words.counts);
    to.write(words.breaks_when_read);
  }
  static Words read(ByteReader& from) {
    Words out{from.read<std::map<std::string, int>>(), nullptr, false};
    if (from.read<bool>()) from.read<std::string>();
    return out;
  }
};

namespace {

TEST(DelayedRanks, TypesOfTheProgramAreWrittenAsItSays) {
  const auto outcomes = on_ranks(2, plain(), [&](int, Session&) {
    const auto count = [](const std::string& text, bool breaks) {
      Words out;
      for (const char c : text) ++out.counts[std::string(1, c)];
      if (text == "unwritable") out.counts[text] = 1;
      out.breaks_when_read = breaks;
      return out;
    };
    std::vector<Delayed<Words>> words;
    for (int i = 0; i < 8; ++i) words.push_back(delayed(count, "hello" + std::to_string(i), false));
    const auto both = delayed(
        [](const Words& a, const Words& b) { return a.counts.at("l") * 10 + b.counts.at("7"); },
        words[0], words[7]);
    std::vector<std::string> errors;
    for (const bool breaks : {false, true}) {
      try {
        // On one rank or the other it goes to another one.
        const auto a = delayed(count, std::string(breaks ? "x" : "unwritable"), breaks);
        a.get();
        errors.emplace_back(a.get().counts.at("x") == 1 ? "read" : "");
      } catch (const Error& e) {
        errors.emplace_back(e.what());
      }
    }
    return std::pair(both.get(), errors);
  });
  for (const auto& outcome : outcomes) {
    if (!outcome.error.empty()) {
      ADD_FAILURE() << outcome.error;
      continue;
    }
    EXPECT_EQ(outcome.value.first, 21);
    EXPECT_NE(outcome.value.second[0].find("no way to write that"), std::string::npos)
        << outcome.value.second[0];
  }
  // What one rank cannot read fails on both.
  bool read_error = false;
  for (const auto& outcome : outcomes) {
    const std::string& error = outcome.value.second[1];
    EXPECT_NE(error, "read");
    read_error = read_error || error.find("a value is read as it was written") != std::string::npos;
  }
  EXPECT_TRUE(read_error);
}

// What a function does to itself, it does to a copy.
TEST(DelayedRanks, AFunctionBeginsAnewWhenItIsTriedAgain) {
  const auto outcomes = on_ranks(3, plain(), [&](int rank, Session&) {
    const std::vector<int> held(1000, 7);
    const auto first = delayed([held]() mutable { return std::move(held); });
    const auto sized = delayed(
        [rank, tries = std::make_shared<int>(0)](const std::vector<int>& v) {
          if ((*tries)++ == 0) throw std::runtime_error("not yet on rank " + std::to_string(rank));
          return v.size();
        },
        first);
    std::string error;
    try {
      sized.get();
    } catch (const Error& e) {
      error = e.what();
    }
    EXPECT_NE(error.find("not yet"), std::string::npos) << error;
    return sized.get();
  });
  expect_well(outcomes);
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.value, 1000U);
}

// A rank that throws once all have got through knows the same of the calls as the others.
TEST(DelayedRanks, WhatOneRankThrowsAtTheEndIsItsOwnMatter) {
  Tally tally;
  const auto outcomes = on_ranks(3, plain(), [&](int rank, Session& session) {
    const auto part = delayed([&tally, rank] {
      tally.note(rank);
      return std::string(50000, 'p');
    });
    const auto size = delayed([](const std::string& text) { return text.size(); }, part);
    std::string error;
    RunOptions options;
    if (rank == 1) {
      options.progress = [](std::int64_t done, std::int64_t total) {
        if (done == total) throw std::runtime_error("no more");
      };
    }
    try {
      compute(std::vector{size}, options);
    } catch (const std::exception& e) {
      error = e.what();
    }
    const std::size_t length = part.get().size();
    return std::tuple(error, size.get(), length,
                      session.compute({sum(ones({4}))})[0].item<double>());
  });
  expect_well(outcomes);
  for (std::size_t r = 0; r < 3; ++r) {
    EXPECT_EQ(std::get<0>(outcomes[r].value).empty(), r != 1) << std::get<0>(outcomes[r].value);
    EXPECT_EQ(std::get<1>(outcomes[r].value), 50000U);
    EXPECT_EQ(std::get<2>(outcomes[r].value), 50000U);
  }
  EXPECT_EQ(tally.runs(), 1);
}

TEST(DelayedRanks, ManyCallsBesideTightBudgets) {
  SessionOptions options = plain();
  options.device_memory_bytes = std::size_t{256} << 10;
  options.disk_memory_bytes = std::size_t{16} << 20;
  const auto outcomes = on_ranks(3, options, [&](int, Session&) {
    std::vector<Delayed<std::int64_t>> calls;
    for (int i = 0; i < 3000; ++i) {
      calls.push_back(
          i < 2 ? delayed([](int k) { return std::int64_t{k}; }, i)
                : delayed([](std::int64_t a, std::int64_t b) { return (a + b) % 1'000'007; },
                          calls[static_cast<std::size_t>(i - 1)],
                          calls[static_cast<std::size_t>(i * 7 % (i - 1))]));
    }
    const Array x = random::normal({400, 200}, {.chunks = {50, 50}, .seed = 3});
    const auto mixed =
        delayed([](const HostArray& a,
                   std::int64_t b) { return a.item<double>() + static_cast<double>(b); },
                sum(x), calls.back());
    return std::pair(calls.back().get(), mixed.get());
  });
  expect_well(outcomes);
  std::vector<std::int64_t> wanted;
  for (std::size_t i = 0; i < 3000; ++i)
    wanted.push_back(i < 2 ? static_cast<std::int64_t>(i)
                           : (wanted[i - 1] + wanted[i * 7 % (i - 1)]) % 1'000'007);
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.value.first, wanted.back());
    EXPECT_EQ(outcome.value, outcomes[0].value);
  }
}

}  // namespace
}  // namespace tessera
