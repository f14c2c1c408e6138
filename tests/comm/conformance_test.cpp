#include "comm/local/local_transport.hpp"
#include "transport_suite.hpp"

namespace tessera::comm {
namespace {

using device::Tier;

constexpr BlockAddress at(int rank, Tier tier, device::DeviceIndex device) {
  return {Rank{rank}, {tier, device}};
}

TransportCase local(const char* name, int rank, const BlockAddress& unreached) {
  return {name,
          [] { return std::make_shared<LocalTransport>(); },
          {at(rank, Tier::kDevice, 0), at(rank, Tier::kDevice, 5), at(rank, Tier::kHost, 0)},
          unreached};
}

INSTANTIATE_TEST_SUITE_P(Local, TransportConformance,
                         testing::Values(local("first", 0, at(1, Tier::kDevice, 0)),
                                         local("third", 2, at(0, Tier::kHost, 0)),
                                         local("no_disk", 0, at(0, Tier::kDisk, 0))),
                         transport_name);

TEST(LocalTransport, SaysWhatItReaches) {
  std::byte bytes[800] = {};
  try {
    local_transport().copy(
        {at(0, Tier::kDevice, 1), at(2, Tier::kHost, 0), bytes, bytes, sizeof bytes, 4, 12});
    FAIL();
  } catch (const CommError& e) {
    EXPECT_STREQ(
        e.what(),
        "[transport] a local copy has both ends in the memory of one rank; got block 12 of "
        "array 4, 800 B, from rank 0, device 1 to rank 2, host tier; try a transport that "
        "reaches both");
  }
}

TEST(BlockAddress, ReadsAsRankAndPlace) {
  EXPECT_EQ(to_string(at(0, Tier::kDevice, 3)), "rank 0, device 3");
  EXPECT_EQ(to_string(at(12, Tier::kHost, 3)), "rank 12, host tier");
  EXPECT_EQ(to_string(at(1, Tier::kDisk, 0)), "rank 1, disk tier");
}

}  // namespace
}  // namespace tessera::comm
