#include "comm/nccl/nccl_links.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <numeric>
#include <random>
#include <thread>

#include "tessera/error.hpp"
#include "tests/cuda/simulated_cuda.hpp"
#include "tests/cuda/simulated_nccl.hpp"

// Links between the devices of one simulated machine, whose ranks are objects here. Words and
// announcements are handed over at once, in order, as a messenger's are.

namespace tessera::testing {
namespace {

using namespace std::chrono_literals;
using comm::DeviceLinks;
using comm::Rank;

constexpr int kRanks = 3;

class NcclLinksTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void start() {
    for (int r = 0; r < kRanks; ++r) {
      links_[r] = comm::open_nccl_links(machine_.api(), nccl_.api(), machines_[r],
                                        [this, r](Rank to, const std::string& text) {
                                          const std::lock_guard lock(words_mutex_);
                                          words_.push_back({r, to.number, text});
                                        });
    }
    start_postman();
  }
  void start_postman() {
    over_ = false;
    postman_ = std::thread([this] { deliver(); });
  }
  void stop_postman() {
    over_ = true;
    postman_.join();
  }
  void TearDown() override {
    stop_postman();
    for (auto& links : links_) links.reset();
    EXPECT_EQ(machine_.misuse(), "");
    EXPECT_EQ(machine_.bytes_in_use(), 0U);
  }
  // Words arrive later, in the order in which they were said.
  void deliver() {
    while (!over_) {
      std::vector<Said> some;
      {
        const std::lock_guard lock(words_mutex_);
        some.swap(words_);
      }
      for (const Said& said : some) {
        if (const auto links = links_[said.to]) links->hear(Rank{said.from}, said.text);
      }
      std::this_thread::sleep_for(100us);
    }
  }

  std::byte* memory(int device, std::size_t bytes) {
    void* pool = nullptr;
    void* data = nullptr;
    EXPECT_EQ(machine_.api().pool_create(device, &pool), 0);
    EXPECT_EQ(machine_.api().pool_allocate(&data, bytes, pool, nullptr), 0);
    machine_.api().pool_destroy(pool);
    return static_cast<std::byte*>(data);
  }
  void release(void* data) { EXPECT_EQ(machine_.api().pool_free(data, nullptr), 0); }

  /// Sends and receives; nothing where there is no link. Rank r's device is r, here and there.
  struct Ends {
    std::future<std::exception_ptr> sent, received;
  };
  bool transfer(int from, int to, const std::byte* data, std::byte* target, std::size_t bytes,
                Ends& ends, std::size_t expected) {
    auto sent = std::make_shared<std::promise<std::exception_ptr>>();
    auto received = std::make_shared<std::promise<std::exception_ptr>>();
    ends.sent = sent->get_future();
    ends.received = received->get_future();
    std::vector<std::uint64_t> announced;
    const bool goes = links_[from]->send(
        {Rank{to}, from, to}, data, bytes, [&](std::uint64_t link) { announced.push_back(link); },
        [sent](std::exception_ptr failure) { sent->set_value(failure); });
    EXPECT_EQ(announced.size(), goes ? 1U : 0U);
    if (goes) {
      links_[to]->receive(Rank{from}, announced[0], target, expected,
                          [received](std::exception_ptr failure) { received->set_value(failure); });
    }
    return goes;
  }
  bool transfer(int from, int to, const std::byte* data, std::byte* target, std::size_t bytes,
                Ends& ends) {
    return transfer(from, to, data, target, bytes, ends, bytes);
  }
  /// Until there is a link, for at most ten seconds.
  bool connect(int from, int to) {
    std::byte* data = memory(from, 64);
    std::byte* target = memory(to, 64);
    bool done = false;
    for (int i = 0; i < 10'000 && !done; ++i) {
      Ends ends;
      if (transfer(from, to, data, target, 64, ends)) {
        done = ends.sent.get() == nullptr && ends.received.get() == nullptr;
        break;
      }
      std::this_thread::sleep_for(1ms);
    }
    release(data);
    release(target);
    return done;
  }

  struct Said {
    int from;
    int to;
    std::string text;
  };
  const char* machines_[kRanks] = {"one", "one", "two"};
  SimulatedCuda machine_{{.devices = kRanks}};
  SimulatedNccl nccl_;
  std::shared_ptr<DeviceLinks> links_[kRanks];
  std::mutex words_mutex_;
  std::vector<Said> words_;
  std::atomic<bool> over_{false};
  std::thread postman_;
};

TEST_F(NcclLinksTest, AMessageTakesAnotherWayUntilThereIsALink) {
  std::byte* data = memory(0, 64);
  Ends ends;
  EXPECT_FALSE(transfer(0, 1, data, data, 64, ends));
  release(data);
  EXPECT_TRUE(connect(0, 1));
  EXPECT_EQ(nccl_.links(), 2);
}

TEST_F(NcclLinksTest, ManyMessagesBetweenAllArriveWholeAndInOrder) {
  for (int from = 0; from < kRanks; ++from) {
    for (int to = 0; to < kRanks; ++to)
      ASSERT_TRUE(from == to || connect(from, to)) << from << " to " << to;
  }
  std::mt19937 random(7);
  struct Transfer {
    Ends ends;
    std::byte* data;
    std::byte* target;
    std::size_t bytes;
    std::uint8_t fill;
  };
  std::vector<Transfer> all;
  for (int i = 0; i < 300; ++i) {
    const int from = static_cast<int>(random() % kRanks);
    const int to =
        static_cast<int>((static_cast<unsigned>(from) + 1 + random() % (kRanks - 1)) % kRanks);
    Transfer t;
    t.bytes = 1 + random() % 5000;
    t.data = memory(from, t.bytes);
    t.target = memory(to, t.bytes);
    t.fill = static_cast<std::uint8_t>(random());
    std::memset(t.data, t.fill, t.bytes);
    ASSERT_TRUE(transfer(from, to, t.data, t.target, t.bytes, t.ends));
    all.push_back(std::move(t));
  }
  for (Transfer& t : all) {
    EXPECT_EQ(t.ends.sent.get(), nullptr);
    EXPECT_EQ(t.ends.received.get(), nullptr);
    EXPECT_EQ(static_cast<std::uint8_t>(t.target[0]), t.fill);
    EXPECT_EQ(std::memcmp(t.data, t.target, t.bytes), 0);
    release(t.data);
    release(t.target);
  }
  EXPECT_GE(nccl_.messages(), 300);
}

// All that is on a link ends with an error at both ends, and later messages take another way; other
// links go on.
TEST_F(NcclLinksTest, ALinkThatFailsEndsAtBothEndsAndForEver) {
  ASSERT_TRUE(connect(0, 1));
  ASSERT_TRUE(connect(1, 0));
  std::byte* data = memory(0, 1000);
  std::byte* target = memory(1, 1000);
  nccl_.fail_message(3);
  std::vector<Ends> ends(5);
  std::size_t begun = 0;
  for (Ends& e : ends) begun += transfer(0, 1, data, target, 1000, e) ? 1 : 0;
  ASSERT_GT(begun, 0U);
  std::size_t failed = 0;
  for (std::size_t i = 0; i < begun; ++i) {
    ASSERT_EQ(ends[i].sent.wait_for(20s), std::future_status::ready) << i;
    ASSERT_EQ(ends[i].received.wait_for(20s), std::future_status::ready) << i;
    const std::exception_ptr why = ends[i].received.get();
    failed += why != nullptr ? 1 : 0;
    if (why == nullptr) continue;
    try {
      std::rethrow_exception(why);
    } catch (const CommError& e) {
      EXPECT_NE(std::string(e.what()).find("a link between devices must last"), std::string::npos)
          << e.what();
    }
  }
  EXPECT_GT(failed, 0U);
  Ends none;
  EXPECT_FALSE(transfer(0, 1, data, target, 1000, none));
  EXPECT_TRUE(connect(1, 0));
  release(data);
  release(target);
}

// Why a link broke is often that its peer is lost, which is known from elsewhere a little later.
TEST_F(NcclLinksTest, WhatWasOnALinkIsToldAfterWhatBecameOfItsPeer) {
  const char* const ends[] = {"the peer is lost", "it answers", "this rank leaves"};
  for (const char* end : ends) {
    SCOPED_TRACE(end);
    ASSERT_TRUE(connect(0, 1));
    std::byte* data = memory(0, 1000);
    // Rank 1 says nothing any more, and NCCL notices first.
    stop_postman();
    nccl_.fail_message(1);
    std::promise<std::exception_ptr> promise;
    ASSERT_TRUE(links_[0]->send(
        {Rank{1}, 0, 1}, data, 1000, [](std::uint64_t) {},
        [&](std::exception_ptr failure) { promise.set_value(failure); }));
    auto sent = promise.get_future();
    EXPECT_EQ(sent.wait_for(200ms), std::future_status::timeout);
    if (end == ends[0]) links_[0]->lost(Rank{1});
    if (end == ends[1]) start_postman();
    if (end == ends[2]) links_[0].reset();
    ASSERT_EQ(sent.wait_for(20s), std::future_status::ready);
    EXPECT_NE(sent.get(), nullptr);
    release(data);
    if (end == ends[1]) stop_postman();
    for (auto& links : links_) links.reset();
    words_.clear();
    start();
  }
}

TEST_F(NcclLinksTest, AMessageOfAnotherSizeThanExpectedIsAnError) {
  ASSERT_TRUE(connect(0, 1));
  std::byte* data = memory(0, 1000);
  std::byte* target = memory(1, 2000);
  Ends ends;
  ASSERT_TRUE(transfer(0, 1, data, target, 1000, ends, 2000));
  EXPECT_NE(ends.sent.get(), nullptr);
  EXPECT_NE(ends.received.get(), nullptr);
  release(data);
  release(target);
}

TEST_F(NcclLinksTest, AMessageThatIsRefusedEndsTheLink) {
  ASSERT_TRUE(connect(0, 1));
  std::byte* data = memory(0, 1000);
  std::promise<std::exception_ptr> sent;
  ASSERT_TRUE(links_[0]->send(
      {Rank{1}, 0, 1}, data, 1000, [&](std::uint64_t link) { links_[1]->refuse(Rank{0}, link); },
      [&](std::exception_ptr failure) { sent.set_value(failure); }));
  EXPECT_NE(sent.get_future().get(), nullptr);
  release(data);
}

TEST_F(NcclLinksTest, WhatWaitsForALostRankEnds) {
  ASSERT_TRUE(connect(0, 1));
  ASSERT_TRUE(connect(0, 2));
  std::byte* data = memory(0, 1000);
  std::promise<std::exception_ptr> sent;
  // Never received.
  ASSERT_TRUE(links_[0]->send(
      {Rank{1}, 0, 1}, data, 1000, [](std::uint64_t) {},
      [&](std::exception_ptr failure) { sent.set_value(failure); }));
  auto ended = sent.get_future();
  EXPECT_EQ(ended.wait_for(50ms), std::future_status::timeout);
  links_[0]->lost(Rank{1});
  ASSERT_EQ(ended.wait_for(20s), std::future_status::ready);
  EXPECT_NE(ended.get(), nullptr);
  EXPECT_TRUE(connect(0, 2));
  release(data);
}

// NCCL takes each device once: two ranks that share one have no link there.
TEST_F(NcclLinksTest, OneDeviceHasNoLinkToItself) {
  std::byte* data = memory(0, 64);
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(links_[0]->send({Rank{1}, 0, 0}, data, 64, [](std::uint64_t) {}, {}));
    std::this_thread::sleep_for(1ms);
  }
  release(data);
}

// Addresses are a machine's own: the same one of another machine is another device.
TEST_F(NcclLinksTest, DevicesOfTwoMachinesMayHaveOneAddress) {
  std::byte* data = memory(0, 64);
  std::byte* target = memory(0, 64);
  bool linked = false;
  for (int i = 0; i < 10'000 && !linked; ++i) {
    std::promise<std::exception_ptr> sent, received;
    linked = links_[0]->send(
        {Rank{2}, 0, 0}, data, 64,
        [&](std::uint64_t link) {
          links_[2]->receive(Rank{0}, link, target, 64,
                             [&](std::exception_ptr failure) { received.set_value(failure); });
        },
        [&](std::exception_ptr failure) { sent.set_value(failure); });
    if (linked) {
      EXPECT_EQ(sent.get_future().get(), nullptr);
      EXPECT_EQ(received.get_future().get(), nullptr);
    }
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(linked);
  release(data);
  release(target);
}

TEST_F(NcclLinksTest, WhatNcclRefusesTakesAnotherWay) {
  nccl_.refuse_links();
  std::byte* data = memory(0, 64);
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(links_[0]->send({Rank{1}, 0, 1}, data, 64, [](std::uint64_t) {}, {}));
    std::this_thread::sleep_for(1ms);
  }
  release(data);
  for (int i = 0; i < 10'000 && nccl_.links() > 0; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(nccl_.links(), 0);
}

// What cannot be loaded or used says why.
TEST(NcclLibrary, IsThereOrSaysWhyNot) {
  std::string problem;
  const TesseraNcclApi* api = comm::find_nccl(problem);
  EXPECT_EQ(api == nullptr, !problem.empty()) << problem;
  if (api == nullptr) GTEST_SKIP() << problem;
  EXPECT_EQ(std::string(api->library_version()).find("NCCL 2."), 0U) << api->library_version();
  char first[TESSERA_NCCL_ID_BYTES];
  char second[TESSERA_NCCL_ID_BYTES];
  ASSERT_EQ(api->unique_id(first), 0);
  ASSERT_EQ(api->unique_id(second), 0);
  EXPECT_NE(std::memcmp(first, second, sizeof first), 0);
}

}  // namespace
}  // namespace tessera::testing
