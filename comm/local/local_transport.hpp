#pragma once

#include "comm/transport.hpp"

namespace tessera::comm {

/// Copies between the devices and the host tier of one process.
class LocalTransport final : public Transport {
 public:
  explicit LocalTransport(Rank rank) : rank_(rank) {}
  void copy(const Transfer& transfer) override;

 private:
  const Rank rank_;
};

}  // namespace tessera::comm
