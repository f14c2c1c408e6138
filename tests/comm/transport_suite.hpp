#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/transport.hpp"
#include "tessera/error.hpp"

// What every Transport promises. Another one includes this and adds one line:
// INSTANTIATE_TEST_SUITE_P(Ucx, TransportConformance, testing::Values(TransportCase{...}),
// transport_name);

namespace tessera::comm {

struct TransportCase {
  std::string name;
  std::function<std::shared_ptr<Transport>()> make;
  /// Addresses between which blocks can be copied, any to any.
  std::vector<BlockAddress> reached;
  /// One that is not reached.
  BlockAddress unreached;
};

inline void PrintTo(const TransportCase& value, std::ostream* out) { *out << value.name; }

inline std::string transport_name(const testing::TestParamInfo<TransportCase>& info) {
  return info.param.name;
}

class TransportConformance : public testing::TestWithParam<TransportCase> {
 protected:
  using Bytes = std::vector<std::byte>;
  static Bytes pattern(std::size_t size, std::size_t seed) {
    Bytes out(size);
    for (std::size_t i = 0; i < size; ++i)
      out[i] = static_cast<std::byte>((i * 131 + seed * 31 + (i >> 8)) & 0xFF);
    return out;
  }
  static Transfer transfer(const BlockAddress& from, const BlockAddress& to, const Bytes& source,
                           Bytes& target, std::size_t offset) {
    return {from, to, source.data(), target.data() + offset, source.size(), 7, 3};
  }
};

TEST_P(TransportConformance, EveryByteArrivesAndNoOtherChanges) {
  const auto transport = GetParam().make();
  constexpr std::size_t kMargin = 64;
  std::size_t seed = 0;
  for (const BlockAddress& from : GetParam().reached) {
    for (const BlockAddress& to : GetParam().reached) {
      for (const std::size_t size : {0u, 1u, 7u, 64u, 4097u, 1u << 20}) {
        SCOPED_TRACE(testing::Message()
                     << size << " bytes from " << to_string(from) << " to " << to_string(to));
        const Bytes source = pattern(size, ++seed);
        Bytes expected(size + 2 * kMargin, std::byte{0xCD});
        Bytes target = expected;
        std::copy(source.begin(), source.end(), expected.begin() + kMargin);
        transport->copy(transfer(from, to, source, target, kMargin));
        EXPECT_EQ(target, expected);
        EXPECT_EQ(source, pattern(size, seed));
      }
    }
  }
}

TEST_P(TransportConformance, ABlockOfNoBytesNeedsNoMemory) {
  const BlockAddress& end = GetParam().reached.front();
  GetParam().make()->copy({end, end, nullptr, nullptr, 0, 0, 0});
}

TEST_P(TransportConformance, SeveralThreadsCopyAtOnce) {
  const auto transport = GetParam().make();
  const std::vector<BlockAddress>& ends = GetParam().reached;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 200; ++i) {
        const Bytes source = pattern(1000 + i, t * 1000 + i);
        Bytes target(source.size());
        transport->copy(
            transfer(ends[i % ends.size()], ends[(i + t) % ends.size()], source, target, 0));
        wrong[t] += target == source ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_P(TransportConformance, RefusesWhatItDoesNotReachAndNamesBothEnds) {
  const auto transport = GetParam().make();
  const BlockAddress& here = GetParam().reached.back();
  const BlockAddress& there = GetParam().unreached;
  const Bytes source = pattern(100, 1);
  for (const bool away : {true, false}) {
    Bytes target(100, std::byte{0xCD});
    const BlockAddress& from = away ? here : there;
    const BlockAddress& to = away ? there : here;
    try {
      transport->copy(transfer(from, to, source, target, 0));
      ADD_FAILURE() << "nothing thrown";
    } catch (const CommError& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find("block 3 of array 7"), std::string::npos) << text;
      EXPECT_NE(text.find("from " + to_string(from) + " to " + to_string(to)), std::string::npos)
          << text;
    }
    EXPECT_EQ(target, Bytes(100, std::byte{0xCD}));
    transport->copy(transfer(here, here, source, target, 0));
    EXPECT_EQ(target, source);
  }
}

}  // namespace tessera::comm
