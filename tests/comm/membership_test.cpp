#include "comm/membership.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <utility>

namespace tessera::comm {
namespace {

TEST(Membership, IsAgreedOnWhenAllThatAreLeftSayTheSame) {
  Membership one(Rank{0}, 4);
  EXPECT_TRUE(one.agreed());
  EXPECT_TRUE(one.lose(Rank{2}));
  EXPECT_FALSE(one.lose(Rank{2})) << "it was known";
  EXPECT_FALSE(one.agreed());
  one.hear(Rank{1}, Rank{2}, {}, false);
  EXPECT_FALSE(one.agreed());
  one.hear(Rank{2}, Rank{0}, {}, false);  // the lost one is not listened to
  one.hear(Rank{3}, Rank{2}, {}, false);
  EXPECT_TRUE(one.agreed());
  EXPECT_EQ(one.members(), (std::vector<std::int32_t>{0, 1, 3}));
  one.hear(Rank{3}, Rank{1}, {}, false);
  EXPECT_FALSE(one.agreed()) << "another has lost one more";
}

TEST(Membership, FindsTheStepThatAllHaveEnded) {
  const auto ended_by = [](Attempt mine, Attempt first, Attempt second) {
    Membership out(Rank{0}, 4);
    out.end(mine);
    out.lose(Rank{3});
    out.hear(Rank{1}, Rank{3}, first, false);
    out.hear(Rank{2}, Rank{3}, second, false);
    return out.ended_by_all().step;
  };
  EXPECT_EQ(ended_by({0, 0}, {0, 0}, {0, 0}), 0u);
  EXPECT_EQ(ended_by({5, 0}, {5, 0}, {5, 0}), 5u);
  EXPECT_EQ(ended_by({5, 0}, {4, 0}, {5, 0}), 4u) << "one is not through";
  EXPECT_EQ(ended_by({5, 0}, {6, 0}, {5, 0}), 5u) << "one is through with the next";
  EXPECT_EQ(ended_by({5, 1}, {5, 2}, {5, 2}), 4u) << "what they have is of different attempts";
  EXPECT_EQ(ended_by({4, 1}, {5, 2}, {5, 1}), 4u) << "those that are ahead do not matter";
}

// A rank may have told of its failure to some alone before it was lost.
TEST(Membership, OneThatHasHeardOfAFailureTellsAll) {
  Membership heard(Rank{0}, 3);
  heard.end({5, 0});
  heard.fail({5, 0});
  EXPECT_TRUE(heard.failed({5, 0}));
  EXPECT_FALSE(heard.failed({4, 0}));
  Membership other(Rank{1}, 3);
  other.end({5, 0});
  EXPECT_FALSE(other.failed({5, 0}));
  EXPECT_TRUE(heard.lose(Rank{2}));
  EXPECT_TRUE(other.lose(Rank{2}));
  other.hear(Rank{0}, Rank{2}, heard.ended(), heard.failed(heard.ended()));
  EXPECT_TRUE(other.agreed());
  EXPECT_EQ(other.ended_by_all(), (Attempt{5, 0}));
  EXPECT_TRUE(other.failed({5, 0}));
  EXPECT_FALSE(other.failed({5, 1})) << "the next attempt";
  // What a rank that is lost had heard is lost with it.
  other.lose(Rank{0});
  EXPECT_FALSE(other.failed({5, 0}));
}

TEST(Membership, AMajorityIsOneOfThoseThatWereThere) {
  const auto holds = [](std::int32_t ranks, std::int32_t lost, Attempt ended) {
    Membership out(Rank{0}, ranks);
    out.end(ended);
    for (std::int32_t r = 1; r <= lost; ++r) {
      out.lose(Rank{r});
      for (std::int32_t other = 1; other < ranks; ++other)
        out.hear(Rank{other}, Rank{r}, ended, false);
    }
    return out.has_majority();
  };
  EXPECT_TRUE(holds(3, 1, {}));
  EXPECT_FALSE(holds(2, 1, {})) << "half is not more than half";
  EXPECT_FALSE(holds(4, 2, {}));
  EXPECT_TRUE(holds(4, 2, {7, 1})) << "one was gone when the last step ended";
}

// Ranks that learn of losses in any order, and hear of them in any order of senders, come to the
// same, and never agree on two sets of one size.
TEST(Membership, ComesToTheSameInWhateverOrderWordsCome) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto ranks = static_cast<std::int32_t>(3 + random() % 5);
    const auto losses = static_cast<std::int32_t>(1 + random() % 3);
    std::vector<Membership> all;
    for (std::int32_t r = 0; r < ranks; ++r) all.emplace_back(Rank{r}, ranks);
    // From whom to whom: words come in the order in which they were sent.
    struct Word {
      Rank lost;
      Attempt ended;
    };
    std::map<std::pair<std::int32_t, std::int32_t>, std::deque<Word>> words;
    std::map<std::uint32_t, std::vector<std::int32_t>> agreed;
    const auto is_dead = [&](std::int32_t rank) { return rank < losses; };  // from the start
    const auto learn = [&](std::int32_t rank, Rank lost) {
      Membership& mine = all[static_cast<std::size_t>(rank)];
      mine.end({random() % 2 + 3, 0});
      if (!mine.lose(lost)) return;
      for (std::int32_t to = 0; to < ranks; ++to) {
        if (to != rank && !is_dead(to)) words[{rank, to}].push_back({lost, mine.ended()});
      }
    };
    std::vector<std::pair<std::int32_t, Rank>> news;
    for (std::int32_t rank = losses; rank < ranks; ++rank) {
      for (std::int32_t lost = 0; lost < losses; ++lost) news.emplace_back(rank, Rank{lost});
    }
    std::shuffle(news.begin(), news.end(), random);
    for (;;) {
      std::vector<std::pair<std::int32_t, std::int32_t>> open;
      for (const auto& [route, queue] : words) {
        if (!queue.empty()) open.push_back(route);
      }
      if (open.empty() && news.empty()) break;
      if (open.empty() || (!news.empty() && random() % 3 == 0)) {
        const auto [rank, lost] = news.back();
        news.pop_back();
        learn(rank, lost);
      } else {
        const auto [from, to] = open[random() % open.size()];
        const Word word = words[{from, to}].front();
        words[{from, to}].pop_front();
        all[static_cast<std::size_t>(to)].hear(Rank{from}, word.lost, word.ended, false);
        learn(to, word.lost);
      }
      for (std::int32_t rank = losses; rank < ranks; ++rank) {
        const Membership& mine = all[static_cast<std::size_t>(rank)];
        if (!mine.agreed() || mine.lost_count() == 0) continue;
        const auto [it, fresh] = agreed.try_emplace(mine.lost_count(), mine.members());
        ASSERT_EQ(it->second, mine.members());
      }
    }
    const Membership& first = all[static_cast<std::size_t>(losses)];
    for (std::int32_t rank = losses; rank < ranks; ++rank) {
      const Membership& mine = all[static_cast<std::size_t>(rank)];
      ASSERT_TRUE(mine.agreed());
      ASSERT_EQ(mine.members(), first.members());
      ASSERT_EQ(mine.ended_by_all(), first.ended_by_all());
      ASSERT_EQ(mine.has_majority(), first.has_majority());
    }
  }
}

}  // namespace
}  // namespace tessera::comm
