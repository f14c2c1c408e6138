#include "comm/sockets/socket.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

constexpr std::size_t kMostText = std::size_t{1} << 20;

[[noreturn]] void fail(const std::string& what, const std::string& reason) {
  throw CommError(core::text("[comm] ", what, ": ", reason));
}

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Addresses look_up(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (status != 0) {
    fail(core::text("the address of a rank must be known; got ", host), ::gai_strerror(status));
  }
  return Addresses(list);
}

void no_delay(int handle) {
  const int on = 1;
  ::setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Waits until the socket is ready; false when the deadline has passed.
bool wait_for(int handle, short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() < 0) return false;
    pollfd poll{handle, events, 0};
    const int ready =
        ::poll(&poll, 1, static_cast<int>(std::min<long long>(left.count() + 1, 1000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) fail("waiting for another rank", std::strerror(errno));
  }
}

void transfer(const Socket& socket, void* data, std::size_t bytes, bool out, Deadline deadline) {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    if (!wait_for(socket.handle(), out ? POLLOUT : POLLIN, deadline))
      fail("another rank must answer in time", "it did not; try a longer TESSERA_JOIN_TIMEOUT");
    const ssize_t moved = out ? ::send(socket.handle(), at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : ::recv(socket.handle(), at, bytes, MSG_DONTWAIT);
    if (moved == 0) fail("another rank must stay while ranks join", "its connection closed");
    if (moved < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      fail("another rank must stay while ranks join", std::strerror(errno));
    }
    at += moved;
    bytes -= static_cast<std::size_t>(moved);
  }
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

Socket::~Socket() {
  if (handle_ >= 0) ::close(handle_);
}

Socket listen_at(const std::string& host, std::uint16_t port) {
  const Addresses list = look_up(host, port);
  std::string reason;
  for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol));
    if (!socket) continue;
    const int on = 1;
    ::setsockopt(socket.handle(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.handle(), a->ai_addr, a->ai_addrlen) == 0 &&
        ::listen(socket.handle(), SOMAXCONN) == 0) {
      return socket;
    }
    reason = std::strerror(errno);
  }
  fail(core::text("rank 0 listens where the others look for it; got ", host, ":", port), reason);
}

std::string interface_address(const std::string& name) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0)
    fail("the system must list its network interfaces", std::strerror(errno));
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  std::string known;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_UP) == 0)
      continue;
    const bool wanted = name.empty() ? (i->ifa_flags & IFF_LOOPBACK) == 0 : name == i->ifa_name;
    if (wanted) {
      char text[INET_ADDRSTRLEN] = {};
      ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(i->ifa_addr)->sin_addr, text,
                  sizeof text);
      return text;
    }
    known += core::text(known.empty() ? "" : ", ", i->ifa_name);
  }
  throw InvalidArgument(
      core::text("[TESSERA_INTERFACE] a network interface of this machine that is up and has an "
                 "IPv4 address; got ",
                 name.empty() ? "none but loopback" : name, "; there are ", known));
}

Socket accept_until(const Socket& listener, Deadline deadline) {
  while (wait_for(listener.handle(), POLLIN, deadline)) {
    Socket socket(::accept4(listener.handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;
    no_delay(socket.handle());
    return socket;
  }
  return {};
}

Socket connect_until(const std::string& host, std::uint16_t port, Deadline deadline) {
  std::string reason = "the time was over";
  do {
    Addresses list;
    try {
      list = look_up(host, port);
    } catch (const CommError& e) {
      reason = e.what();  // the name of a machine that is only starting may come later
    }
    for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
      Socket socket(
          ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
      if (!socket) continue;
      int error = ::connect(socket.handle(), a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
      if (error == EINPROGRESS && wait_for(socket.handle(), POLLOUT, deadline)) {
        socklen_t size = sizeof error;
        ::getsockopt(socket.handle(), SOL_SOCKET, SO_ERROR, &error, &size);
      }
      if (error == 0) {
        no_delay(socket.handle());
        return socket;
      }
      reason = std::strerror(error);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  } while (std::chrono::steady_clock::now() < deadline);
  fail(core::text("another rank must listen; got ", host, ":", port),
       reason + "; try TESSERA_RENDEZVOUS, or a longer TESSERA_JOIN_TIMEOUT");
}

LocalAddress local_address(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket.handle(), reinterpret_cast<sockaddr*>(&address), &size);
  LocalAddress out;
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    out.port = ntohs(v6.sin6_port);
    out.loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
  } else {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    out.port = ntohs(v4.sin_port);
    out.loopback = (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  out.host = text;
  return out;
}

void send_text(const Socket& socket, const std::string& text, Deadline deadline) {
  std::uint32_t size = htonl(static_cast<std::uint32_t>(text.size()));
  transfer(socket, &size, sizeof size, true, deadline);
  transfer(socket, const_cast<char*>(text.data()), text.size(), true, deadline);
}

std::string receive_text(const Socket& socket, Deadline deadline) {
  std::uint32_t size = 0;
  transfer(socket, &size, sizeof size, false, deadline);
  size = ntohl(size);
  if (size > kMostText) fail("what joins must be a rank", "it sent something else");
  std::string text(size, '\0');
  transfer(socket, text.data(), text.size(), false, deadline);
  return text;
}

}  // namespace tessera::comm
