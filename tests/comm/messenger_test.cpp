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

std::vector<std::byte> pattern(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; i += 1 + bytes / 5000)
    out[i] = static_cast<std::byte>(random());
  return out;
}

// At once: comparing one by one takes most of a test's time under sanitizers.
bool same(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

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
  const auto body = pattern(1'000'000, 9);
  for (std::uint64_t i = 0; i < 60; ++i)
    at(0).send(Rank{1}, {0, 0, 0, 0, i}, body.data(), body.size(), counted());
  EXPECT_LT(done_, 60) << "the sender went on as if all had been taken";
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

std::string no_ucx() {
  std::string problem;
  find_ucx(problem);
  return problem;
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
