#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/sockets/socket_messenger.hpp"
#include "comm/world.hpp"

namespace tessera::comm {

/// A rank in this process, connected with the others by pairs of sockets.
class SocketWorld final : public World {
 public:
  SocketWorld(Rank rank, std::vector<Socket> sockets, SocketOptions options)
      : ranks_(static_cast<std::int32_t>(sockets.size())),
        handles_(handles(sockets)),
        messenger_(rank, std::move(sockets),
                   std::vector<std::string>(static_cast<std::size_t>(ranks_), "here"), options) {}
  Rank rank() const noexcept override { return messenger_.rank(); }
  std::int32_t ranks() const noexcept override { return ranks_; }
  const std::string& host(Rank) const override { return host_; }
  std::uint64_t job_number() const noexcept override { return 17; }
  Messenger* messenger() noexcept override { return &messenger_; }
  /// Cuts the connection with a rank.
  void cut(int rank) { ::shutdown(handles_[static_cast<std::size_t>(rank)], SHUT_RDWR); }
  int handle(int rank) const { return handles_[static_cast<std::size_t>(rank)]; }

 private:
  static std::vector<int> handles(const std::vector<Socket>& sockets) {
    std::vector<int> out;
    for (const Socket& socket : sockets) out.push_back(socket.handle());
    return out;
  }
  const std::string host_ = "here";
  const std::int32_t ranks_;
  const std::vector<int> handles_;
  SocketMessenger messenger_;
};

/// Two ends of one connection.
inline std::pair<Socket, Socket> connect_pair(bool tcp) {
  if (tcp) {
    const Socket listener = listen_at("127.0.0.1", 0);
    const Deadline soon = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    Socket one = connect_until("127.0.0.1", local_address(listener).port, soon);
    return {std::move(one), accept_until(listener, soon)};
  }
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) throw std::bad_alloc();
  return {Socket(pair[0]), Socket(pair[1])};
}

/// Each of some ranks connected with each other one: by rank, its end.
inline std::vector<std::vector<Socket>> connect_all(std::size_t count, bool tcp) {
  std::vector<std::vector<Socket>> ends(count);
  for (auto& row : ends) row.resize(count);
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = a + 1; b < count; ++b) {
      std::tie(ends[a][b], ends[b][a]) = connect_pair(tcp);
    }
  }
  return ends;
}

inline std::vector<std::unique_ptr<SocketWorld>> make_socket_worlds(int ranks,
                                                                    SocketOptions options = {},
                                                                    bool tcp = false) {
  const auto count = static_cast<std::size_t>(ranks);
  std::vector<std::vector<Socket>> ends = connect_all(count, tcp);
  std::vector<std::unique_ptr<SocketWorld>> out;
  for (std::size_t r = 0; r < count; ++r)
    out.push_back(std::make_unique<SocketWorld>(Rank{static_cast<std::int32_t>(r)},
                                                std::move(ends[r]), options));
  return out;
}

}  // namespace tessera::comm
