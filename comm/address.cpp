#include "comm/address.hpp"

#include "core/text.hpp"

namespace tessera::comm {

std::string to_string(const BlockAddress& address) {
  switch (address.place.tier) {
    case device::Tier::kDevice:
      return core::text("rank ", address.rank.number, ", device ", address.place.device);
    case device::Tier::kHost:
      return core::text("rank ", address.rank.number, ", host tier");
    case device::Tier::kDisk:
      break;
  }
  return core::text("rank ", address.rank.number, ", disk tier");
}

}  // namespace tessera::comm
