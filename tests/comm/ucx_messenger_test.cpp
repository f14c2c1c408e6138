#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

#include "bodies.hpp"
#include "inbox.hpp"
#include "tessera/error.hpp"
#include "ucx_worlds.hpp"

// What is UCX's own of messages over it: losses, who connects, and where it does not.

namespace tessera::comm {
namespace {

using namespace std::chrono_literals;

class Ucx : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string what = no_ucx(); !what.empty()) GTEST_SKIP() << what;
    std::string problem;
    api_ = find_ucx(problem);
  }
  const TesseraUcxApi* api_ = nullptr;
};

const TesseraUcxApi* real_ucx;
TesseraUcxApi slow_ucx;
unsigned progress_slowly(TesseraUcxWorker* worker) {
  std::this_thread::sleep_for(5ms);
  return real_ucx->progress(worker);
}

// A peer is lost by its socket; bodies on their way to it end then, and none is told after that.
TEST_F(Ucx, AClosedConnectionEndsBodiesOnTheirWay) {
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    Inbox inboxes[2];
    std::vector<std::vector<int>> handles;
    auto worlds = make_ucx_worlds(2, *api_, {}, &handles);
    for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
    const auto body = pattern(std::size_t{64} << 20, 1);
    std::atomic<int> ended{0};
    for (std::uint64_t i = 0; i < 3; ++i) {
      worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(),
                                   [&](const std::exception_ptr&) { ++ended; });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(7 * round));
    ::shutdown(handles[0][1], SHUT_RDWR);
    ASSERT_TRUE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }));
    EXPECT_EQ(ended, 3);
    ASSERT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
    const std::size_t told = inboxes[1].messages.size();
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(inboxes[1].messages.size(), told);
    for (const Inbox::Message& message : inboxes[1].messages) EXPECT_TRUE(same(message.body, body));
  }
}

// Both ends give up the other while bytes go both ways; the threads of UCX are held up, so that
// many are under way still.
TEST_F(Ucx, BothEndsCloseWhileBytesGoBothWays) {
  slow_ucx = *api_;
  slow_ucx.progress = progress_slowly;
  real_ucx = api_;
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    Inbox inboxes[2];
    std::vector<std::vector<int>> handles;
    const auto body = pattern(std::size_t{64} << 20, 1);
    std::atomic<int> ended{0};
    auto worlds = make_ucx_worlds(2, slow_ucx, {}, &handles);
    for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
    for (std::uint64_t i = 0; i < 3; ++i) {
      for (int r = 0; r < 2; ++r) {
        worlds[static_cast<std::size_t>(r)]->messenger()->send(
            Rank{1 - r}, {0, 0, 0, 0, i}, body.data(), body.size(),
            [&](const std::exception_ptr&) { ++ended; });
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 * round));
    ::shutdown(handles[0][1], SHUT_RDWR);
    for (int r = 0; r < 2; ++r)
      ASSERT_TRUE(inboxes[r].wait([&] { return !inboxes[r].losses[1 - r].empty(); }));
    EXPECT_EQ(ended, 6);
    for (const Inbox& inbox : inboxes) {
      for (const Inbox::Message& message : inbox.messages) EXPECT_TRUE(same(message.body, body));
    }
  }
}

TEST_F(Ucx, WhatWasSentBeforeLeavingArrives) {
  for (int round = 0; round < 10; ++round) {
    Inbox inboxes[2];
    auto worlds = make_ucx_worlds(2, *api_);
    for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
    const auto body = pattern(3'000'000, 1);
    for (std::uint64_t i = 0; i < 10; ++i)
      worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(), {});
    worlds[0].reset();
    ASSERT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
    EXPECT_EQ(inboxes[1].losses[0], std::vector<std::string>{"it has left"});
    EXPECT_EQ(inboxes[1].messages.size(), 10U);
  }
}

// One end refuses the other without a word: what it sends waits for it a while.
TEST_F(Ucx, WhereItDoesNotConnectBodiesGoBySocket) {
  Inbox inboxes[2];
  const auto body = pattern(1'000'000, 1);
  auto worlds = make_ucx_worlds(2, *api_, {17, 18});
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  for (std::uint64_t i = 0; i < 3; ++i) {
    for (std::size_t r = 0; r < 2; ++r) {
      const Rank other{1 - static_cast<std::int32_t>(r)};
      worlds[r]->messenger()->send(other, {0, 0, 0, 0, i}, body.data(), body.size(), {});
    }
  }
  for (const Inbox& inbox : inboxes) {
    ASSERT_TRUE(const_cast<Inbox&>(inbox).wait([&] { return inbox.messages.size() == 3; }));
    for (const Inbox::Message& message : inbox.messages) EXPECT_TRUE(same(message.body, body));
    EXPECT_TRUE(inbox.losses.empty());
  }
  // From now on at once.
  const auto begin = std::chrono::steady_clock::now();
  worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, 4}, body.data(), body.size(), {});
  ASSERT_TRUE(inboxes[1].wait([&] { return inboxes[1].messages.size() == 4; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

/// Somebody who knows where a rank waits and speaks UCX.
class Stranger {
 public:
  // As ranks say it: the job's key, a body's number, the sender, a reserved word, the envelope.
  struct Words {
    std::uint64_t key = 0;
    std::uint64_t id = 1;
    std::int32_t from = 0;
    std::uint32_t reserved = 0;
    Envelope envelope;
  };
  explicit Stranger(const TesseraUcxApi& api) : api_(api) {
    const TesseraUcxEvents events = {this, came, target, received, sent, failed};
    EXPECT_EQ(api_.open("lo", "127.0.0.1", &events, &worker_), 0);
  }
  ~Stranger() { api_.destroy(worker_); }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  TesseraUcxPeer* connect(const std::string& address, const void* hello, std::size_t bytes) {
    std::string at;
    for (std::size_t i = 0; i < address.size(); i += 2)
      at += static_cast<char>(std::stoi(address.substr(i, 2), nullptr, 16));
    TesseraUcxPeer* peer = nullptr;
    EXPECT_EQ(api_.connect(worker_, at.data(), at.size(), hello, bytes, this, &peer), 0);
    return peer;
  }
  void send(TesseraUcxPeer* peer, const Words& words, const std::vector<std::byte>& body) {
    api_.send(worker_, peer, &words, sizeof words, body.data(), body.size(), nullptr);
  }
  void progress(std::chrono::milliseconds time) {
    for (const auto end = std::chrono::steady_clock::now() + time;
         std::chrono::steady_clock::now() < end;) {
      if (api_.progress(worker_) == 0) api_.wait(worker_, 5);
    }
  }
  int welcomes = 0;

 private:
  static void* came(void* self, void* name, const void*, std::size_t, TesseraUcxPeer*) {
    ++static_cast<Stranger*>(self)->welcomes;
    return name;
  }
  static void* target(void*, const void*, std::size_t, std::size_t, void**) { return nullptr; }
  static void received(void*, void*, int) {}
  static void sent(void*, void*, int) {}
  static void failed(void*, void*, int) {}
  const TesseraUcxApi& api_;
  TesseraUcxWorker* worker_ = nullptr;
};

// Whoever reaches the port of a rank and does not know the job's number is not listened to.
TEST_F(Ucx, StrangersAreNotHeard) {
  Inbox inboxes[2];
  const auto body = pattern(1'000'000, 1);
  auto worlds = make_ucx_worlds(2, *api_, {17, 17});
  worlds[0]->messenger()->start(inboxes[0]);
  {
    Stranger stranger(*api_);
    const std::string address = worlds[0]->ucx().address();
    const auto word = [](std::uint64_t key, std::int32_t from) {
      Stranger::Words words;
      words.key = key;
      words.from = from;
      return words;
    };
    for (const Stranger::Words& hello : {word(18, 1), word(17, 2), word(17, -1), word(17, 0)}) {
      TesseraUcxPeer* peer = stranger.connect(address, &hello, sizeof hello);
      stranger.progress(100ms);
      stranger.send(peer, hello, body);
      stranger.progress(50ms);
    }
    stranger.connect(address, "hello", 5);
    stranger.progress(100ms);
    EXPECT_EQ(stranger.welcomes, 0);
  }
  EXPECT_TRUE(inboxes[0].messages.empty());
  worlds[1]->messenger()->start(inboxes[1]);
  for (std::size_t r = 0; r < 2; ++r) {
    const Rank other{1 - static_cast<std::int32_t>(r)};
    worlds[r]->messenger()->send(other, {0, 0, 0, 0, 1}, body.data(), body.size(), {});
  }
  for (Inbox& inbox : inboxes) {
    ASSERT_TRUE(inbox.wait([&] { return !inbox.messages.empty(); }));
    EXPECT_EQ(inbox.messages.size(), 1U);
    EXPECT_TRUE(same(inbox.messages[0].body, body));
  }
}

// UCX falls over words that are not its own: it listens until all have come.
TEST_F(Ucx, NobodyConnectsWhenAllHaveCome) {
  Inbox inboxes[2];
  auto worlds = make_ucx_worlds(2, *api_);
  const std::string address = worlds[0]->ucx().address();  // of IPv4: family, port, host
  const auto port = static_cast<std::uint16_t>(std::stoi(address.substr(4, 4), nullptr, 16));
  connect_until("127.0.0.1", port, std::chrono::steady_clock::now() + 5s);
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  const auto body = pattern(1'000'000, 1);
  for (std::size_t r = 0; r < 2; ++r) {
    const Rank other{1 - static_cast<std::int32_t>(r)};
    worlds[r]->messenger()->send(other, {0, 0, 0, 0, 1}, body.data(), body.size(), {});
  }
  for (Inbox& inbox : inboxes) ASSERT_TRUE(inbox.wait([&] { return inbox.messages.size() == 1; }));
  std::this_thread::sleep_for(100ms);
  EXPECT_THROW(connect_until("127.0.0.1", port, std::chrono::steady_clock::now() + 50ms),
               CommError);
}

// UCX whose first message breaks: the socket knows nothing of it.
TesseraUcxApi broken_ucx;
std::atomic<int> sends{0};
int refuse_third(TesseraUcxWorker* worker, TesseraUcxPeer* peer, const void* header,
                 std::size_t header_bytes, const void* body, std::size_t bytes, void* token) {
  constexpr int kUnreachable = -6;
  if (++sends >= 3) return kUnreachable;
  return real_ucx->send(worker, peer, header, header_bytes, body, bytes, token);
}

TEST_F(Ucx, APeerThatOnlyUcxLosesIsLostOnBothEnds) {
  real_ucx = api_;
  broken_ucx = *api_;
  broken_ucx.send = refuse_third;
  sends = 0;
  Inbox inboxes[2];
  auto worlds = make_ucx_worlds(2, broken_ucx);
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  const auto body = pattern(100'000, 1);
  std::atomic<int> failed{0};
  for (std::uint64_t i = 0; i < 4; ++i) {
    worlds[0]->messenger()->send(
        Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(),
        [&](const std::exception_ptr& failure) { failed += failure ? 1 : 0; });
  }
  ASSERT_TRUE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }));
  EXPECT_EQ(inboxes[0].losses[1][0].find("UCX says: "), 0U) << inboxes[0].losses[1][0];
  EXPECT_EQ(failed, 2);
  ASSERT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
  EXPECT_EQ(inboxes[1].messages.size(), 2U);
}

}  // namespace
}  // namespace tessera::comm
