#pragma once

#include <string_view>
#include <vector>

#include "device/device.hpp"

// The value of TESSERA_DEVICES: which devices a session uses.

namespace tessera::device {

/// All CUDA devices of the machine, in a DeviceId.
inline constexpr int kAllDevices = -1;

/// The devices that a text names, all of one kind: "host" is one host device, "host:4" four virtual ones
/// that share the machine's cores, each with its own budget; "cuda:0", "cuda:0-3" or "cuda:0,2" are GPUs
/// by CUDA's numbers, and "cuda:*" (or "cuda") all there are, whose number is kAllDevices.
/// \throws InvalidArgument naming TESSERA_DEVICES for anything else.
std::vector<DeviceId> parse_devices(std::string_view text);

}  // namespace tessera::device
