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

TEST(DeviceSpec, RefusesWhatCannotBeMeant) {
  for (const char* text :
       {"", "Host", "host ", " host", "host:", "host:0", "host:-1", "host:+2", "host:04",
        "host:1025", "host:4x", "host:99999999999", "host:0-3", "host,host", "gpu", "null:2"}) {
    EXPECT_EQ(error_of(text), std::string("[TESSERA_DEVICES] devices are host, or host:<count> "
                                          "with a count of 1 to 1024; got \"") +
                                  text + "\"; try host or host:4");
  }
}

TEST(DeviceSpec, SaysThatThereIsNoCudaBackend) {
  for (const char* text : {"cuda", "cuda:0", "cuda:0-7"}) {
    EXPECT_EQ(error_of(text),
              std::string("[TESSERA_DEVICES] this build has no CUDA backend; got \"") + text +
                  "\"; try host or host:4");
  }
}

}  // namespace
}  // namespace tessera::device
