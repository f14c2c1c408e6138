#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <thread>

#include "comm/joined_world.hpp"
#include "comm/sockets/bootstrap.hpp"
#include "inbox.hpp"
#include "tessera/error.hpp"

// How ranks meet, and who is turned away.

namespace tessera::comm {
namespace {

std::uint16_t free_port() {
  const Socket socket = listen_at("127.0.0.1", 0);
  return local_address(socket).port;
}

struct Joined {
  std::unique_ptr<World> world;
  std::string error;
};

std::vector<Joined> join_all(std::vector<core::Job> jobs,
                             const std::vector<std::string>& builds = {}) {
  std::vector<Joined> out(jobs.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        out[i].world = join(jobs[i], {builds.empty() ? "build" : builds[i], ""});
      } catch (const Error& e) {
        out[i].error = e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return out;
}

std::vector<core::Job> jobs(std::int32_t ranks, double join_s = 20.0) {
  std::vector<core::Job> out;
  const std::uint16_t port = free_port();
  for (std::int32_t r = 0; r < ranks; ++r) {
    core::Job job;
    job.rank = r;
    job.ranks = ranks;
    job.host = "127.0.0.1";
    job.port = port;
    job.token = std::string(64, 'a');
    job.join_s = join_s;
    out.push_back(job);
  }
  return out;
}

void expect_all(const std::vector<Joined>& all, const std::string& text) {
  for (const Joined& one : all) EXPECT_NE(one.error.find(text), std::string::npos) << one.error;
}

// Proves the empty token, and says something else than a rank would.
void say_as_stranger(const Socket& socket, const std::string& words, Deadline deadline) {
  const std::string mine(32, 'n');
  send_text(socket, mine, deadline);
  const std::string both = receive_text(socket, deadline) + mine;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::string of = "connects" + both;
  HMAC(EVP_sha256(), "", 0, reinterpret_cast<const unsigned char*>(of.data()), of.size(), digest,
       &size);
  send_text(socket, {reinterpret_cast<const char*>(digest), size}, deadline);
  receive_text(socket, deadline);
  send_text(socket, words, deadline);
}

TEST(Join, RanksFindEachOther) {
  std::vector<Inbox> inboxes(4);
  std::vector<Joined> all = join_all(jobs(4));
  for (std::size_t r = 0; r < 4; ++r) {
    ASSERT_EQ(all[r].error, "");
    EXPECT_EQ(all[r].world->rank().number, static_cast<int>(r));
    EXPECT_EQ(all[r].world->ranks(), 4);
    EXPECT_EQ(all[r].world->job_number(), all[0].world->job_number());
    all[r].world->messenger()->start(inboxes[r]);
  }
  for (std::size_t r = 0; r < 4; ++r) {
    for (std::int32_t to = 0; to < 4; ++to) {
      if (to != static_cast<int>(r)) all[r].world->messenger()->send(Rank{to}, {}, nullptr, 0, {});
    }
  }
  for (Inbox& inbox : inboxes) EXPECT_TRUE(inbox.wait([&] { return inbox.messages.size() == 3; }));
}

TEST(Join, RanksListenAtTheInterfaceThatIsNamed) {
  std::vector<core::Job> three = jobs(3);
  for (core::Job& job : three) job.interface = "lo";
  for (const Joined& one : join_all(three)) EXPECT_EQ(one.error, "");
  EXPECT_EQ(interface_address("lo"), "127.0.0.1");
  try {
    interface_address("nowhere0");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const InvalidArgument& e) {
    EXPECT_NE(std::string(e.what()).find("got nowhere0; there are lo"), std::string::npos)
        << e.what();
  }
}

// UCX connects to the address at which a rank waits for its sockets, which must be one.
TEST(Join, ARankAtAllAddressesHasNoUcx) {
  std::vector<core::Job> two = jobs(2, 3.0);
  two[0].host = "0.0.0.0";
  for (core::Job& job : two) job.carrier = core::Carrier::kUcx;
  const std::vector<Joined> all = join_all(two);
  EXPECT_NE(all[0].error.find("this rank waits at all of its addresses; try a TESSERA_RENDEZVOUS "
                              "that names one"),
            std::string::npos)
      << all[0].error;
  EXPECT_NE(all[1].error, "");
  for (core::Job& job : two) job.carrier = core::Carrier::kTcp;
  for (const Joined& one : join_all(two)) EXPECT_EQ(one.error, "");
}

TEST(Join, AnotherTokenIsRefused) {
  auto list = jobs(3, 3.0);
  list[1].token = std::string(64, 'b');
  const std::vector<Joined> all = join_all(list);
  EXPECT_NE(all[0].error.find("all ranks of a job know its token"), std::string::npos)
      << all[0].error;
  EXPECT_NE(all[1].error.find("all ranks of a job know its token"), std::string::npos)
      << all[1].error;
  EXPECT_NE(all[2].error, "");
}

TEST(Join, AMissingRankIsNamed) {
  auto list = jobs(4, 1.0);
  list.erase(list.begin() + 2);
  expect_all(join_all(list), "within 1 s; got none of 2;");
}

TEST(Join, ARankThatIsThereTwiceIsNamed) {
  auto list = jobs(3, 5.0);
  list[2].rank = 1;
  const std::vector<Joined> all = join_all(list);
  EXPECT_NE(all[0].error.find("each rank is there once; got rank 1 on "), std::string::npos)
      << all[0].error;
}

TEST(Join, AnotherNumberOfRanksAndAnotherBuildAreRefused) {
  auto list = jobs(2, 5.0);
  list[1].ranks = 3;
  expect_all(join_all(list), "all ranks count the same ranks; got 3 of rank 1 on ");
  expect_all(join_all(jobs(2, 5.0), {"one", "two"}),
             "all ranks run the same build; got two of rank 1 on ");
}

/// Rank 0 of two joins, something happens, and rank 1 comes: both must have joined.
void expect_joined_after(const std::vector<core::Job>& list, const std::function<void()>& happens) {
  std::vector<Joined> leader(1);
  std::thread thread([&] { leader = join_all({list[0]}); });
  happens();
  const std::vector<Joined> second = join_all({list[1]});
  thread.join();
  EXPECT_EQ(leader[0].error, "");
  EXPECT_EQ(second[0].error, "");
}

TEST(Join, StrangersAreTurnedAwayAlone) {
  const auto list = jobs(2);
  expect_joined_after(list, [&] {
    const Deadline soon = std::chrono::steady_clock::now() + 5s;
    send_text(connect_until("127.0.0.1", list[0].port, soon), "GET / HTTP/1.1", soon);
  });
}

// What a stranger sends under no token at all reads like a rank's words and is none.
TEST(Join, WordsOfAnotherKindAreTurnedAwayAlone) {
  auto list = jobs(2);
  for (core::Job& job : list) job.token.clear();
  expect_joined_after(list, [&] {
    for (const char* words :
         {R"({"rank": "x"})", R"({"protocol": 1, "build": "build", "ranks": 2, "rank": 1})"}) {
      const Deadline soon = std::chrono::steady_clock::now() + 5s;
      say_as_stranger(connect_until("127.0.0.1", list[0].port, soon), words, soon);
    }
  });
}

TEST(Join, APortThatIsTakenForAMomentIsWaitedFor) {
  const auto list = jobs(2);
  auto taken = std::make_unique<Socket>(listen_at("127.0.0.1", list[0].port));
  expect_joined_after(list, [&] {
    std::this_thread::sleep_for(300ms);
    taken.reset();
  });
}

// The name of a machine that is only starting may come late: until the time is over, it is looked
// up again.
TEST(Join, ANameThatNobodyKnowsIsLookedUpUntilTheTimeIsOver) {
  const auto begin = std::chrono::steady_clock::now();
  try {
    connect_until("no-such-machine.invalid", 1, begin + 400ms);
    ADD_FAILURE() << "connected";
  } catch (const CommError& e) {
    EXPECT_NE(std::string(e.what()).find("no-such-machine.invalid"), std::string::npos) << e.what();
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 400ms);
}

}  // namespace
}  // namespace tessera::comm
