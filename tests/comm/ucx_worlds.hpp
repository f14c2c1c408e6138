#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/ucx/ucx_library.hpp"
#include "comm/ucx/ucx_messenger.hpp"
#include "socket_worlds.hpp"

namespace tessera::comm {

/// A rank in this process whose long bodies go through UCX on loopback.
class UcxWorld final : public World {
 public:
  explicit UcxWorld(const TesseraUcxApi& api) : messenger_(api, "lo", "127.0.0.1") {}
  Rank rank() const noexcept override { return messenger_.rank(); }
  std::int32_t ranks() const noexcept override { return messenger_.ranks(); }
  const std::string& host(Rank) const override { return host_; }
  std::uint64_t job_number() const noexcept override { return 17; }
  Messenger* messenger() noexcept override { return &messenger_; }
  UcxMessenger& ucx() noexcept { return messenger_; }

 private:
  const std::string host_ = "here";
  UcxMessenger messenger_;
};

/// Why this machine has none; empty where it has.
inline std::string no_ucx() {
  std::string problem;
  find_ucx(problem);
  return problem;
}

/// Ranks that may have another key than the others.
inline std::vector<std::unique_ptr<UcxWorld>> make_ucx_worlds(
    int ranks, const TesseraUcxApi& api, const std::vector<std::uint64_t>& keys = {},
    std::vector<std::vector<int>>* handles = nullptr, SocketOptions options = {}) {
  const auto count = static_cast<std::size_t>(ranks);
  std::vector<std::vector<Socket>> ends = connect_all(count, false);
  std::vector<std::unique_ptr<UcxWorld>> out;
  std::vector<std::string> addresses;
  for (std::size_t r = 0; r < count; ++r) {
    out.push_back(std::make_unique<UcxWorld>(api));
    addresses.push_back(out.back()->ucx().address());
  }
  const std::vector<std::string> hosts(count, "here");
  for (std::size_t r = 0; r < count; ++r) {
    if (handles != nullptr) {
      handles->emplace_back();
      for (const Socket& socket : ends[r]) handles->back().push_back(socket.handle());
    }
    auto control = std::make_unique<SocketMessenger>(Rank{static_cast<std::int32_t>(r)},
                                                     std::move(ends[r]), hosts, options);
    out[r]->ucx().connect(std::move(control), addresses, hosts, keys.empty() ? 17 : keys[r]);
  }
  return out;
}

}  // namespace tessera::comm
