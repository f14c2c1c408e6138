#pragma once

#include <string_view>
#include <vector>

#include "device/device.hpp"

// The value of TESSERA_DEVICES: which devices a session uses.

namespace tessera::device {

/// The devices that a text such as "host" or "host:4" names: "host" is one host device, "host:4"
/// four virtual ones that share the machine's cores, each with its own budget.
/// \throws InvalidArgument naming TESSERA_DEVICES for anything else, and for CUDA devices, which
/// this build has no backend for.
std::vector<DeviceId> parse_devices(std::string_view text);

}  // namespace tessera::device
