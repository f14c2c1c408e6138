#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "device/place.hpp"

namespace tessera::comm {

/// Number of a process among those that compute together.
struct Rank {
  std::int32_t number = 0;
  auto operator<=>(const Rank&) const = default;
};

/// Where a block lies: its rank follows from the plan and all ranks know it, the place inside is
/// that rank's private matter and may change.
struct BlockAddress {
  Rank rank;
  device::Place place;
  bool operator==(const BlockAddress&) const = default;
};

/// "rank 0, device 1", "rank 0, host tier".
std::string to_string(const BlockAddress& address);

}  // namespace tessera::comm
