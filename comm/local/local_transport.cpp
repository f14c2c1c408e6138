#include "comm/local/local_transport.hpp"

#include <cstring>

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {

void LocalTransport::copy(const Transfer& transfer) {
  const auto reaches = [this](const BlockAddress& end) {
    return end.rank == rank_ && end.place.tier != device::Tier::kDisk;
  };
  if (!reaches(transfer.from) || !reaches(transfer.to)) {
    throw CommError(core::text("[transport] a local copy has both ends in the memory of rank ",
                               rank_.number, "; got block ", transfer.block, " of array ",
                               transfer.array, ", ", format_bytes(transfer.size_bytes), ", from ",
                               to_string(transfer.from), " to ", to_string(transfer.to),
                               "; try a transport that reaches both"));
  }
  if (transfer.queue != nullptr) {
    transfer.queue->copy(transfer.target, transfer.source, transfer.size_bytes);
    return;
  }
  if (transfer.size_bytes > 0) std::memcpy(transfer.target, transfer.source, transfer.size_bytes);
}

Transport& local_transport() {
  static LocalTransport transport{Rank{0}};
  return transport;
}

std::unique_ptr<Transport> make_local_transport(Rank rank) {
  return std::make_unique<LocalTransport>(rank);
}

}  // namespace tessera::comm
