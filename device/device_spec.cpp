#include "device/device_spec.hpp"

#include <charconv>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr int kMostDevices = 1024;

}  // namespace

std::vector<DeviceId> parse_devices(std::string_view text) {
  if (text == "cuda" || text.starts_with("cuda:")) {
    throw InvalidArgument(core::text("[TESSERA_DEVICES] this build has no CUDA backend; got \"",
                                     text, "\"; try host or host:4"));
  }
  int count = 1;
  bool good = text == "host";
  if (constexpr std::string_view prefix = "host:"; text.starts_with(prefix)) {
    const char* begin = text.data() + prefix.size();
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(begin, end, count);
    good =
        error == std::errc() && rest == end && *begin != '0' && count >= 1 && count <= kMostDevices;
  }
  if (!good) {
    throw InvalidArgument(
        core::text("[TESSERA_DEVICES] devices are host, or host:<count> with a count of 1 to ",
                   kMostDevices, "; got \"", text, "\"; try host or host:4"));
  }
  std::vector<DeviceId> devices;
  for (int i = 0; i < count; ++i) devices.push_back({DeviceKind::kHost, i});
  return devices;
}

}  // namespace tessera::device
