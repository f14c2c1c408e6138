#pragma once

#include "comm/transport.hpp"

namespace tessera::comm {

/// Copies between the devices and the host tier of one process.
class LocalTransport final : public Transport {
 public:
  void copy(const Transfer& transfer) override;
};

}  // namespace tessera::comm
