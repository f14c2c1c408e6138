#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "bodies.hpp"
#include "comm/sockets/peer_memory.hpp"
#include "core/environment.hpp"
#include "inbox.hpp"
#include "memory_worlds.hpp"
#include "socket_worlds.hpp"
#include "tessera/error.hpp"
#include "ucx_worlds.hpp"

namespace tessera::comm {
namespace {

using namespace std::chrono_literals;

/// What a way of carrying messages is made with.
struct Case {
  const char* name;
  std::function<std::vector<std::unique_ptr<World>>(int)> make;
  std::function<std::string()> missing = [] { return std::string(); };  // what this machine lacks
};

class MessengerConformance : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string what = GetParam().missing(); !what.empty()) GTEST_SKIP() << what;
  }
  void start(int ranks) {
    inboxes_ = std::vector<Inbox>(static_cast<std::size_t>(ranks));
    worlds_ = GetParam().make(ranks);
    for (std::size_t r = 0; r < worlds_.size(); ++r) worlds_[r]->messenger()->start(inboxes_[r]);
  }
  Messenger& at(std::size_t rank) { return *worlds_[rank]->messenger(); }
  /// Counts a body that is its sender's again.
  Messenger::Done counted() {
    return [this](const std::exception_ptr& failure) {
      EXPECT_FALSE(failure);
      ++done_;
    };
  }
  /// Whether that many are. Bodies must not go before.
  bool all_done(int count) const {
    for (int i = 0; i < 20'000 && done_ < count; ++i) std::this_thread::sleep_for(1ms);
    return done_ == count;
  }
  std::atomic<int> done_{0};
  std::vector<Inbox> inboxes_;
  std::vector<std::unique_ptr<World>> worlds_;
};

TEST_P(MessengerConformance, MessagesWithoutBodyComeInOrder) {
  start(2);
  constexpr std::uint64_t kCount = 20'000;
  for (std::uint64_t i = 0; i < kCount; ++i)
    at(0).send(Rank{1}, {5, 6, 7, i, i * i}, nullptr, 0, {});
  ASSERT_TRUE(inboxes_[1].wait([&] { return inboxes_[1].messages.size() == kCount; }));
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const Envelope& e = inboxes_[1].messages[i].envelope;
    ASSERT_EQ(e.kind, 5u);
    ASSERT_EQ(e.flags, 6u);
    ASSERT_EQ(e.step, 7u);
    ASSERT_EQ(e.a, i);
    ASSERT_EQ(e.b, i * i);
  }
}

TEST_P(MessengerConformance, BodiesArriveWholeWhateverTheirSize) {
  start(2);
  const std::size_t sizes[] = {1, 2, 47, 48, 49, 4095, 65'537, 1'000'003, std::size_t{64} << 20,
                               3, 0};
  std::vector<std::vector<std::byte>> bodies;
  for (std::size_t i = 0; i < std::size(sizes); ++i) bodies.push_back(pattern(sizes[i], i));
  for (std::size_t i = 0; i < std::size(sizes); ++i)
    at(0).send(Rank{1}, {0, 0, 0, 0, i}, bodies[i].data(), bodies[i].size(), counted());
  ASSERT_TRUE(inboxes_[1].wait([&] { return inboxes_[1].messages.size() == std::size(sizes); }));
  ASSERT_TRUE(all_done(std::size(sizes)));
  for (const Inbox::Message& message : inboxes_[1].messages) {
    ASSERT_TRUE(same(message.body, bodies[message.envelope.b])) << message.envelope.b;
  }
}

/// Memory that nobody has written to.
using Bytes = std::unique_ptr<std::byte, void (*)(void*)>;
Bytes untouched(std::size_t bytes) {
  return {static_cast<std::byte*>(std::malloc(bytes)), std::free};
}

/// Takes one body into memory that is there already: zeroing gigabytes would take longer than a
/// rank may be silent.
class OneBody final : public Receiver {
 public:
  explicit OneBody(std::size_t bytes) : memory(untouched(bytes)) {}
  std::byte* target(Rank, const Envelope&, std::size_t) noexcept override { return memory.get(); }
  void arrived(Rank, const Envelope&, std::size_t bytes) noexcept override {
    came.set_value(bytes);
  }
  void lost(Rank, const std::string& why) noexcept override {
    if (gone++ == 0) ADD_FAILURE() << why;
  }
  const Bytes memory;
  std::promise<std::size_t> came;
  std::atomic<int> gone{0};
};

// More bytes than 32 bits count. It takes seconds and 8 GiB: comm_large_test asks for it.
TEST_P(MessengerConformance, ABodyOfFourGibibytesArrivesWhole) {
  if (std::getenv("TESSERA_TEST_LARGE") == nullptr) GTEST_SKIP() << "comm_large_test runs this";
  constexpr std::size_t kBytes = (std::size_t{4} << 30) + 13;
  if (core::available_memory_bytes() < 3 * kBytes) GTEST_SKIP() << "not enough memory";
  const Bytes body = untouched(kBytes);
  constexpr std::size_t kStep = 1009;
  for (std::size_t i = 0; i < kBytes; i += kStep)
    body.get()[i] = static_cast<std::byte>(i * 7 >> 3);
  body.get()[kBytes - 1] = std::byte{77};
  OneBody inboxes[] = {OneBody(1), OneBody(kBytes)};
  auto worlds = GetParam().make(2);
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  std::promise<void> sent;
  worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, 0}, body.get(), kBytes,
                               [&](const std::exception_ptr& failure) {
                                 EXPECT_FALSE(failure);
                                 sent.set_value();
                               });
  auto came = inboxes[1].came.get_future();
  ASSERT_EQ(came.wait_for(120s), std::future_status::ready);
  EXPECT_EQ(came.get(), kBytes);
  ASSERT_EQ(sent.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(std::memcmp(inboxes[1].memory.get(), body.get(), kBytes), 0);
  inboxes[0].gone = inboxes[1].gone = 1;  // the end of the worlds is no loss
}

TEST_P(MessengerConformance, ABodyThatNobodyWantsIsDroppedAndTheNextOneIsRight) {
  start(2);
  const auto first = pattern(300'000, 1);
  const auto second = pattern(300'000, 2);
  // The bodies stay until their sender has them back, whether they are wanted or not.
  std::promise<void> done[2];
  at(0).send(Rank{1}, {0, Inbox::kDrop, 0, 0, 1}, first.data(), first.size(),
             [&](const std::exception_ptr&) { done[0].set_value(); });
  at(0).send(Rank{1}, {0, 0, 0, 0, 2}, second.data(), second.size(),
             [&](const std::exception_ptr&) { done[1].set_value(); });
  ASSERT_TRUE(inboxes_[1].wait([&] { return inboxes_[1].messages.size() == 2; }));
  for (std::promise<void>& one : done)
    ASSERT_EQ(one.get_future().wait_for(20s), std::future_status::ready);
  for (const Inbox::Message& message : inboxes_[1].messages) {
    if (message.envelope.b == 2) {
      EXPECT_TRUE(same(message.body, second));
    }
  }
}

TEST_P(MessengerConformance, AllSendToAllAtOnce) {
  constexpr std::size_t kRanks = 5;
  constexpr std::size_t kEach = 60;
  start(kRanks);
  std::mt19937_64 random(3);
  std::vector<std::vector<std::byte>> bodies;
  for (std::size_t i = 0; i < kEach; ++i) bodies.push_back(pattern(random() % 200'000, i));
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < kRanks; ++r) {
    threads.emplace_back([&, r] {
      for (std::size_t i = 0; i < kEach; ++i) {
        for (std::size_t to = 0; to < kRanks; ++to) {
          if (to != r)
            at(r).send(Rank{static_cast<std::int32_t>(to)}, {0, 0, 0, 0, i}, bodies[i].data(),
                       bodies[i].size(), counted());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (Inbox& inbox : inboxes_) {
    ASSERT_TRUE(inbox.wait([&] { return inbox.messages.size() == kEach * (kRanks - 1); }));
    for (const Inbox::Message& message : inbox.messages)
      ASSERT_TRUE(same(message.body, bodies[message.envelope.b]));
  }
  ASSERT_TRUE(all_done(kRanks * (kRanks - 1) * kEach));
}

TEST_P(MessengerConformance, AReceiverMaySendFromItsCalls) {
  start(2);
  inboxes_[1].echo = &at(1);
  constexpr std::uint64_t kCount = 3000;
  for (std::uint64_t i = 0; i < kCount; ++i) at(0).send(Rank{1}, {1, 0, 0, i, 0}, nullptr, 0, {});
  ASSERT_TRUE(inboxes_[0].wait([&] { return inboxes_[0].messages.size() == kCount; }));
  EXPECT_EQ(inboxes_[0].messages.back().envelope.a, kCount - 1);
}

TEST_P(MessengerConformance, ASlowReceiverLosesNothing) {
  start(2);
  inboxes_[1].slow = 2000us;
  inboxes_[1].held = true;
  const auto body = pattern(1'000'000, 9);
  for (std::uint64_t i = 0; i < 60; ++i)
    at(0).send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(), counted());
  EXPECT_LT(done_, 60) << "the sender went on as if all had been taken";
  inboxes_[1].held = false;
  ASSERT_TRUE(inboxes_[1].wait([&] { return inboxes_[1].messages.size() == 60; }));
  ASSERT_TRUE(all_done(60));
  for (const Inbox::Message& message : inboxes_[1].messages) ASSERT_TRUE(same(message.body, body));
}

TEST_P(MessengerConformance, WhoLeavesIsLostOnceAndNothingIsLeftWaiting) {
  start(3);
  worlds_[2].reset();
  for (std::size_t r = 0; r < 2; ++r) {
    ASSERT_TRUE(inboxes_[r].wait([&] { return !inboxes_[r].losses[2].empty(); }));
    EXPECT_EQ(inboxes_[r].losses[2], std::vector<std::string>{"it has left"});
  }
  const auto body = pattern(5'000'000, 1);
  std::promise<std::exception_ptr> ended;
  at(0).send(Rank{2}, {}, body.data(), body.size(),
             [&](const std::exception_ptr& failure) { ended.set_value(failure); });
  EXPECT_THROW(std::rethrow_exception(ended.get_future().get()), CommError);
  at(0).send(Rank{1}, {0, 0, 0, 4, 0}, nullptr, 0, {});
  EXPECT_TRUE(inboxes_[1].wait([&] { return inboxes_[1].messages.size() == 1; }));
}

TEST_P(MessengerConformance, MessagesGoToOtherRanksOfTheWorld) {
  start(2);
  for (const int to : {0, 2, -1})
    EXPECT_THROW(at(0).send(Rank{to}, {}, nullptr, 0, {}), InvalidArgument);
}

std::vector<std::unique_ptr<World>> socket_worlds(int ranks, bool tcp, SocketOptions options = {}) {
  std::vector<std::unique_ptr<World>> out;
  for (auto& world : make_socket_worlds(ranks, options, tcp)) out.push_back(std::move(world));
  return out;
}

/// Ranks that read each other's memory.
SocketOptions near(int ranks) {
  SocketOptions out;
  out.readable.assign(static_cast<std::size_t>(ranks), ::getpid());
  return out;
}

std::vector<std::unique_ptr<World>> ucx_worlds(int ranks) {
  std::string problem;
  std::vector<std::unique_ptr<World>> out;
  for (auto& world : make_ucx_worlds(ranks, *find_ucx(problem))) out.push_back(std::move(world));
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, MessengerConformance,
    ::testing::Values(Case{"Memory", [](int ranks) { return MemoryWorlds::make(ranks, 5); }},
                      Case{"Sockets", [](int ranks) { return socket_worlds(ranks, false); }},
                      Case{"Tcp", [](int ranks) { return socket_worlds(ranks, true); }},
                      Case{"PeerMemory",
                           [](int ranks) { return socket_worlds(ranks, false, near(ranks)); }},
                      Case{"Ucx", ucx_worlds, no_ucx}),
    [](const auto& info) { return info.param.name; });

// Sockets
// -------------------------------------------------------------------------------------------------

TEST(SocketMessenger, AClosedConnectionIsNoticedAtOnceAndEndsWhatWaits) {
  Inbox inboxes[2];
  auto worlds = make_socket_worlds(2);
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  inboxes[1].slow = 100'000us;
  const auto body = pattern(std::size_t{32} << 20, 1);
  std::atomic<int> failed{0};
  for (std::uint64_t i = 0; i < 3; ++i) {
    worlds[0]->messenger()->send(
        Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(),
        [&](const std::exception_ptr& failure) { failed += failure ? 1 : 0; });
  }
  const auto begin = std::chrono::steady_clock::now();
  worlds[0]->cut(1);
  ASSERT_TRUE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s) << "noticed by silence alone";
  EXPECT_GE(failed, 2);
  EXPECT_TRUE(inboxes[1].wait([&] { return inboxes[1].losses[0].size() == 1; }));
}

// A TCP connection that is closed over unread bytes takes with it what the peer has not read yet.
TEST(SocketMessenger, WhatWasSentBeforeLeavingArrivesWhateverComesBack) {
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    Inbox inboxes[2];
    auto worlds = make_socket_worlds(2, {}, true);
    for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
    inboxes[1].slow = 1000us;
    const auto body = pattern(30'000, 1);
    for (std::uint64_t i = 0; i < 20; ++i)
      worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(), {});
    std::atomic<bool> over{false};
    std::thread talker([&] {
      while (!over) worlds[1]->messenger()->send(Rank{0}, {}, nullptr, 0, {});
    });
    worlds[0].reset();
    EXPECT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
    over = true;
    talker.join();
    EXPECT_EQ(inboxes[1].losses[0], std::vector<std::string>{"it has left"});
    EXPECT_EQ(inboxes[1].messages.size(), 20U);
  }
}

TEST(SocketMessenger, OneThatNeverStartedEndsWhatItCouldNotWrite) {
  int done = 0;
  int failed = 0;
  const auto body = pattern(std::size_t{32} << 20, 1);
  {
    auto worlds = make_socket_worlds(2);
    for (std::uint64_t i = 0; i < 3; ++i) {
      worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(),
                                   [&](const std::exception_ptr& failure) {
                                     ++done;
                                     failed += failure ? 1 : 0;
                                   });
    }
    worlds[0].reset();
    EXPECT_EQ(done, 3);
    EXPECT_EQ(failed, 3);
  }
}

// Two ranks that read each other's memory and know it: the first message waits for that.
std::vector<std::unique_ptr<SocketWorld>> near_worlds(Inbox* inboxes) {
  auto worlds = make_socket_worlds(2, near(2));
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  for (std::size_t r = 0; r < 2; ++r)
    worlds[r]->messenger()->send(Rank{1 - int(r)}, {}, nullptr, 0, {});
  for (std::size_t r = 0; r < 2; ++r)
    EXPECT_TRUE(inboxes[r].wait([&] { return inboxes[r].messages.size() == 1; }));
  return worlds;
}

TEST(PeerMemory, ABodyIsTheSendersUntilItIsTaken) {
  Inbox inboxes[2];
  const auto worlds = near_worlds(inboxes);
  inboxes[1].slow = 200'000us;
  auto body = pattern(1'000'000, 1);
  const auto sent = body;
  std::promise<void> done;
  worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, 1}, body.data(), body.size(),
                               [&](const std::exception_ptr& failure) {
                                 EXPECT_FALSE(failure);
                                 done.set_value();
                               });
  auto taken = done.get_future();
  EXPECT_EQ(taken.wait_for(100ms), std::future_status::timeout) << "the body was not offered";
  ASSERT_EQ(taken.wait_for(20s), std::future_status::ready);
  std::fill(body.begin(), body.end(), std::byte{0});
  ASSERT_TRUE(inboxes[1].wait([&] { return inboxes[1].messages.size() == 2; }));
  EXPECT_TRUE(same(inboxes[1].messages[1].body, sent));
}

// What a sender has back may hold something else: a copy that ends after that is no message.
TEST(PeerMemory, WhatIsCopiedAfterTheSenderClosedIsNotTold) {
  Inbox inboxes[2];
  const auto worlds = near_worlds(inboxes);
  inboxes[1].slow = 300'000us;
  const auto body = pattern(1'000'000, 1);
  std::atomic<int> failed{0};
  worlds[0]->messenger()->send(
      Rank{1}, {0, 0, 0, 0, 1}, body.data(), body.size(),
      [&](const std::exception_ptr& failure) { failed += failure ? 1 : 0; });
  worlds[0]->cut(1);
  ASSERT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
  EXPECT_EQ(inboxes[1].messages.size(), 1U);
  ASSERT_TRUE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }));
  EXPECT_EQ(failed, 1);
}

TEST(PeerMemory, MemoryThatIsNotThereIsALostPeer) {
  Inbox inboxes[2];
  const auto worlds = near_worlds(inboxes);
  const auto* nothing = reinterpret_cast<const std::byte*>(std::uintptr_t{4096});
  worlds[0]->messenger()->send(Rank{1}, {0, 0, 0, 0, 1}, nothing, 100'000, {});
  ASSERT_TRUE(inboxes[1].wait([&] { return !inboxes[1].losses[0].empty(); }));
  ASSERT_TRUE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }));
}

// Memory that its owner can read and send, and nobody else can read, like a driver's.
TEST(PeerMemory, ABodyThatCannotBeReadIsSent) {
#ifdef SYS_memfd_secret
  const Socket secret(static_cast<int>(::syscall(SYS_memfd_secret, 0)));
  constexpr std::size_t kBytes = 1'000'000;
  void* memory = MAP_FAILED;
  if (secret && ::ftruncate(secret.handle(), kBytes) == 0)
    memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, secret.handle(), 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no secret memory here: " << std::strerror(errno);
  Inbox inboxes[2];
  const auto worlds = near_worlds(inboxes);
  const auto body = pattern(kBytes, 1);
  std::memcpy(memory, body.data(), kBytes);
  std::atomic<int> done{0};
  for (std::uint64_t n = 1; n <= 3; ++n) {
    worlds[0]->messenger()->send(
        Rank{1}, {0, 0, 0, 0, n}, static_cast<std::byte*>(memory), kBytes,
        [&](const std::exception_ptr& failure) { done += failure ? 0 : 1; });
  }
  ASSERT_TRUE(inboxes[1].wait([&] { return inboxes[1].messages.size() == 4; }));
  for (std::size_t n = 1; n <= 3; ++n) EXPECT_TRUE(same(inboxes[1].messages[n].body, body));
  for (int i = 0; i < 2000 && done != 3; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(done, 3);
  ::munmap(memory, kBytes);
#else
  GTEST_SKIP() << "this system has no secret memory";
#endif
}

TEST(PeerMemory, IsReadOnlyWhereTheProbeIsFound) {
  const MemoryPass mine = memory_pass();
  EXPECT_TRUE(can_read(mine));
  MemoryPass other = mine;
  other.probe += 1;
  EXPECT_FALSE(can_read(other));
  other = mine;
  other.machine = "elsewhere";
  EXPECT_FALSE(can_read(other));
  other = mine;
  other.probe_address = 4096;
  EXPECT_FALSE(can_read(other));
}

TEST(SocketMessenger, SilenceIsNoticed) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const Socket other(pair[1]);
  std::vector<Socket> sockets(2);
  sockets[1] = Socket(pair[0]);
  Inbox inbox;
  SocketMessenger messenger(Rank{0}, std::move(sockets), {"a", "b"}, {20ms, 200ms});
  messenger.start(inbox);
  ASSERT_TRUE(inbox.wait([&] { return !inbox.losses[1].empty(); }, 3s));
  EXPECT_EQ(inbox.losses[1][0].find("nothing was heard of it for "), 0u) << inbox.losses[1][0];
}

TEST(SocketMessenger, HeartbeatsKeepAQuietPeer) {
  Inbox inboxes[2];
  auto worlds = make_socket_worlds(2, {50ms, 1500ms});
  for (std::size_t r = 0; r < 2; ++r) worlds[r]->messenger()->start(inboxes[r]);
  EXPECT_FALSE(inboxes[0].wait([&] { return !inboxes[0].losses[1].empty(); }, 3s));
}

TEST(SocketMessenger, WhatIsNoMessageIsALostPeer) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const Socket other(pair[1]);
  std::vector<Socket> sockets(2);
  sockets[1] = Socket(pair[0]);
  Inbox inbox;
  SocketMessenger messenger(Rank{0}, std::move(sockets), {"a", "b"}, {});
  messenger.start(inbox);
  const std::string text(100, 'x');
  ASSERT_EQ(::send(other.handle(), text.data(), text.size(), 0), 100);
  ASSERT_TRUE(inbox.wait([&] { return !inbox.losses[1].empty(); }, 3s));
  EXPECT_EQ(inbox.losses[1][0], "it sent what is no message");
}

}  // namespace
}  // namespace tessera::comm
