#include "device/device_spec.hpp"

#include <algorithm>
#include <charconv>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr int kMostDevices = 1024;

[[noreturn]] void refuse(std::string_view text) {
  throw InvalidArgument(core::text(
      "[TESSERA_DEVICES] devices are host, host:<count> with a count of 1 to ", kMostDevices,
      ", or cuda:<numbers> such as cuda:0, cuda:0-3, cuda:0,2 or cuda:*; got \"", text,
      "\"; try host or host:4"));
}

// A whole number without leading zeros, below kMostDevices; takes it off the text.
int take_number(std::string_view& rest, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  const auto length = static_cast<std::size_t>(end - rest.data());
  if (error != std::errc() || value < 0 || value > kMostDevices || (length > 1 && rest[0] == '0'))
    refuse(text);
  rest.remove_prefix(length);
  return value;
}

std::vector<DeviceId> parse_cuda(std::string_view rest, std::string_view text) {
  std::vector<DeviceId> devices;
  for (;;) {
    const int first = take_number(rest, text);
    int last = first;
    if (rest.starts_with("-")) {
      rest.remove_prefix(1);
      last = take_number(rest, text);
    }
    if (last < first) refuse(text);
    for (int number = first; number <= last; ++number) {
      const DeviceId id{DeviceKind::kCuda, number};
      if (std::find(devices.begin(), devices.end(), id) != devices.end()) refuse(text);
      devices.push_back(id);
    }
    if (rest.empty()) return devices;
    if (!rest.starts_with(",")) refuse(text);
    rest.remove_prefix(1);
  }
}

}  // namespace

std::vector<DeviceId> parse_devices(std::string_view text) {
  if (text == "cuda" || text == "cuda:*") return {{DeviceKind::kCuda, kAllDevices}};
  if (constexpr std::string_view prefix = "cuda:"; text.starts_with(prefix))
    return parse_cuda(text.substr(prefix.size()), text);
  int count = 1;
  if (constexpr std::string_view prefix = "host:"; text.starts_with(prefix)) {
    std::string_view rest = text.substr(prefix.size());
    count = take_number(rest, text);
    if (!rest.empty() || count < 1) refuse(text);
  } else if (text != "host") {
    refuse(text);
  }
  std::vector<DeviceId> devices;
  for (int i = 0; i < count; ++i) devices.push_back({DeviceKind::kHost, i});
  return devices;
}

}  // namespace tessera::device
