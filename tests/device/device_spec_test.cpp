#include "device/device_spec.hpp"

#include <gtest/gtest.h>

#include "tessera/error.hpp"

namespace tessera::device {
namespace {

std::string error_of(const char* text) {
  try {
    parse_devices(text);
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return {};
}

TEST(DeviceSpec, HostIsOneDevice) {
  const std::vector<DeviceId> devices = parse_devices("host");
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(to_string(devices[0]), "host:0");
}

TEST(DeviceSpec, ACountMakesVirtualDevices) {
  const std::vector<DeviceId> devices = parse_devices("host:4");
  ASSERT_EQ(devices.size(), 4u);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(devices[static_cast<std::size_t>(i)], (DeviceId{DeviceKind::kHost, i}));
  EXPECT_EQ(parse_devices("host:1").size(), 1u);
  EXPECT_EQ(parse_devices("host:1024").size(), 1024u);
}

TEST(DeviceSpec, GpusGoByCudasNumbers) {
  const auto numbers = [](const char* text) {
    std::vector<int> out;
    for (const DeviceId& id : parse_devices(text)) {
      EXPECT_EQ(id.kind, DeviceKind::kCuda);
      out.push_back(id.number);
    }
    return out;
  };
  EXPECT_EQ(numbers("cuda:0"), (std::vector<int>{0}));
  EXPECT_EQ(numbers("cuda:0-3"), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(numbers("cuda:2,0"), (std::vector<int>{2, 0}));
  EXPECT_EQ(numbers("cuda:0-1,3,5-6"), (std::vector<int>{0, 1, 3, 5, 6}));
  EXPECT_EQ(numbers("cuda"), (std::vector<int>{kAllDevices}));
  EXPECT_EQ(numbers("cuda:*"), (std::vector<int>{kAllDevices}));
  EXPECT_EQ(to_string(parse_devices("cuda:1").front()), "cuda:1");
}

TEST(DeviceSpec, RefusesWhatCannotBeMeant) {
  for (const char* text :
       {"", "Host", "host ", " host", "host:", "host:0", "host:-1", "host:+2", "host:04",
        "host:1025", "host:4x", "host:99999999999", "host:0-3", "host,host", "gpu", "null:2", "cuda:",
        "cuda:-1", "cuda:1-0", "cuda:0-", "cuda:0,", "cuda:0,0", "cuda:0-2,1", "cuda:00", "cuda:0 1",
        "cuda:0,host", "CUDA:0", "cuda0"}) {
    EXPECT_EQ(error_of(text),
              std::string("[TESSERA_DEVICES] devices are host, host:<count> with a count of 1 to 1024, or "
                          "cuda:<numbers> such as cuda:0, cuda:0-3, cuda:0,2 or cuda:*; got \"") +
                  text + "\"; try host or host:4");
  }
}

}  // namespace
}  // namespace tessera::device
