#pragma once

#include <cstdint>

namespace tessera::device {

/// Number of a device among those of its process.
using DeviceIndex = std::uint16_t;
inline constexpr DeviceIndex kNoDevice = 0xffff;

enum class Tier : std::uint8_t { kDevice, kHost, kDisk };

/// Where a block lies inside a process.
struct Place {
  Tier tier = Tier::kDevice;
  DeviceIndex device = 0;  ///< in the tiers below: where it was made
  bool operator==(const Place&) const = default;
};

}  // namespace tessera::device
