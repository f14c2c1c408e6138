#include "comm/local/local_transport.hpp"

#include <cstring>

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {

void LocalTransport::copy(const Transfer& transfer) {
  const bool one_rank = transfer.from.rank == transfer.to.rank;
  if (!one_rank || transfer.from.place.tier == device::Tier::kDisk ||
      transfer.to.place.tier == device::Tier::kDisk) {
    throw CommError(
        core::text("[transport] a local copy has both ends in the memory of one rank; "
                   "got block ",
                   transfer.block, " of array ", transfer.array, ", ",
                   format_bytes(transfer.size_bytes), ", from ", to_string(transfer.from), " to ",
                   to_string(transfer.to), "; try a transport that reaches both"));
  }
  const device::Place& from = transfer.from.place;
  const device::Place& to = transfer.to.place;
  const bool between_devices = from.tier == device::Tier::kDevice &&
                               to.tier == device::Tier::kDevice && from.device != to.device;
  if (transfer.queue != nullptr && between_devices) {
    transfer.queue->copy_from(from.device, transfer.target, transfer.source, transfer.size_bytes);
    return;
  }
  if (transfer.queue != nullptr) {
    transfer.queue->copy(transfer.target, transfer.source, transfer.size_bytes);
    return;
  }
  if (transfer.size_bytes > 0) std::memcpy(transfer.target, transfer.source, transfer.size_bytes);
}

Transport& local_transport() {
  static LocalTransport transport;
  return transport;
}

}  // namespace tessera::comm
