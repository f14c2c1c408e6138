#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/address.hpp"
#include "device/device.hpp"

// How the bytes of a block get from one address to another. Owned: the copy itself, which way it
// takes, and the error when it fails. Not owned: which block moves where and when, the reservation
// for it and the life of both ends' memory (scheduler/executor), and disks, which are tiers of
// their own (device/).
//
// A copy between memories of the host is complete when the call returns; one to or from a device is
// put on the queue that comes with it, and complete when that is. Its failure is what the call
// throws, or the queue's. Who wants it beside the computation gives it a thread or a stream: the
// event of that work is the copy's.

namespace tessera::comm {

struct Transfer {
  BlockAddress from;
  BlockAddress to;
  const std::byte* source = nullptr;
  std::byte* target = nullptr;
  std::size_t size_bytes = 0;
  std::int64_t array = 0;  ///< names the block in errors, with the next
  std::int64_t block = 0;
  device::Queue* queue =
      nullptr;  ///< of a device that one end lies on; null between memories of the host
};

/// Thread safe.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Copies the block; its bytes are at the target when this returns, or when the queue's work is
  /// done. The source stays as it is. \throws CommError naming the block and both ends when they
  /// are not reached or a link fails.
  virtual void copy(const Transfer& transfer) = 0;
};

/// Between the memories of this process.
Transport& local_transport();

}  // namespace tessera::comm
