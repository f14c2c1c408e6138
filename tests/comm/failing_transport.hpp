#pragma once

#include <atomic>
#include <cstdint>

#include "comm/transport.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {

/// Copies within this process, of which the n-th (from 1) fails after half of its bytes, or it and
/// all later ones.
class FailingTransport final : public Transport {
 public:
  explicit FailingTransport(std::uint64_t nth = 0, bool persistent = false)
      : nth_(nth), persistent_(persistent) {}

  void copy(const Transfer& transfer) override {
    const std::uint64_t number = ++copies_;
    if (nth_ == 0 || number < nth_ || (number > nth_ && !persistent_)) {
      local_transport().copy(transfer);
      return;
    }
    Transfer half = transfer;
    half.size_bytes /= 2;
    local_transport().copy(half);
    throw CommError("[test] the link broke from " + to_string(transfer.from) + " to " +
                    to_string(transfer.to));
  }
  void heal() { nth_ = 0; }
  /// The n-th copy from now on fails.
  void fail_at(std::uint64_t nth) {
    copies_ = 0;
    nth_ = nth;
  }
  std::uint64_t copies() const { return copies_; }

 private:
  std::atomic<std::uint64_t> nth_;
  const bool persistent_;
  std::atomic<std::uint64_t> copies_{0};
};

}  // namespace tessera::comm
