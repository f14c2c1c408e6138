#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace tessera::comm {

/// An open socket, closed with its owner.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int handle) noexcept : handle_(handle) {}
  Socket(Socket&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  int handle() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ >= 0; }

 private:
  int handle_ = -1;
};

using Deadline = std::chrono::steady_clock::time_point;

/// A listening socket at a numeric or named host; port 0 takes a free one.
/// \throws CommError naming host and port.
Socket listen_at(const std::string& host, std::uint16_t port);
/// The numeric address of a network interface of this machine by its name; without a name, of the
/// first one through which other machines may reach this one. \throws InvalidArgument naming the
/// interfaces that there are.
std::string interface_address(const std::string& name);
/// The next connection. An empty socket when the deadline has passed.
Socket accept_until(const Socket& listener, Deadline deadline);
/// Tries until somebody listens there. \throws CommError when the deadline has passed.
Socket connect_until(const std::string& host, std::uint16_t port, Deadline deadline);
/// Numeric address and port of this end, and whether it is a loopback address.
struct LocalAddress {
  std::string host;
  std::uint16_t port = 0;
  bool loopback = false;
};
LocalAddress local_address(const Socket& socket);

/// A text of at most 1 MiB. \throws CommError when the other end closes or the deadline passes.
void send_text(const Socket& socket, const std::string& text, Deadline deadline);
std::string receive_text(const Socket& socket, Deadline deadline);

}  // namespace tessera::comm
