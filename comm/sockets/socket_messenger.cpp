#include "comm/sockets/socket_messenger.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/sockets/peer_memory.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

// Read from one peer before others have their turn.
constexpr std::size_t kTurnBytes = std::size_t{4} << 20;
constexpr std::size_t kScratchBytes = std::size_t{64} << 10;
// Shorter bodies reach a peer sooner behind their header than by a way back and forth.
constexpr std::size_t kOfferBytes = std::size_t{16} << 10;
// How long a rank that leaves waits for its peers to close.
constexpr std::chrono::milliseconds kLeave{2000};
constexpr std::size_t kMostBodyBytes = std::size_t{1} << 40;

void wake(const Socket& event) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(event.handle(), &one, sizeof one);
}

}  // namespace

SocketMessenger::SocketMessenger(Rank self, std::vector<Socket> sockets,
                                 std::vector<std::string> hosts, SocketOptions options)
    : self_(self),
      options_(options),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      scratch_(kScratchBytes) {
  if (!epoll_ || !wake_) {
    throw CommError(core::text("[comm] the system must grant handles for messages; got ",
                               std::strerror(errno)));
  }
  for (std::size_t r = 0; r < sockets.size(); ++r) {
    peers_.push_back(nullptr);
    if (!sockets[r]) continue;
    auto peer = std::make_unique<Peer>();
    peer->rank = Rank{static_cast<std::int32_t>(r)};
    peer->host = hosts[r];
    peer->socket = std::move(sockets[r]);
    peer->readable = r < options_.readable.size() ? options_.readable[r] : 0;
    peer->last_heard = peer->last_written = Clock::now();
    const int handle = peer->socket.handle();
    ::fcntl(handle, F_SETFL, ::fcntl(handle, F_GETFL) | O_NONBLOCK);
    peers_.back() = std::move(peer);
  }
}

void SocketMessenger::close() {
  if (closing_.exchange(true)) return;
  for (const auto& peer : peers_) {
    if (peer != nullptr) post(*peer, Frame::kGoodbye);
  }
  over_.store(true);
  wake(wake_);
  if (!thread_.joinable()) {
    for (const auto& peer : peers_) {
      if (peer == nullptr) continue;
      write_queued(*peer);
      give_up(*peer, "this rank left");
    }
    return;
  }
  thread_.join();
}

void SocketMessenger::start(Receiver& receiver) {
  receiver_ = &receiver;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  ::epoll_ctl(epoll_.handle(), EPOLL_CTL_ADD, wake_.handle(), &event);
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    peer->last_heard = Clock::now();
    event.data.ptr = peer.get();
    ::epoll_ctl(epoll_.handle(), EPOLL_CTL_ADD, peer->socket.handle(), &event);
    if (peer->readable != 0) post(*peer, Frame::kReadsYou);
  }
  thread_ = std::thread([this] { run(); });
}

CommError SocketMessenger::lost_error(const Peer& peer, const std::string& why) const {
  return CommError(
      core::text("[comm] rank ", peer.rank.number, " on ", peer.host, " is lost: ", why));
}

// Sending
// -------------------------------------------------------------------------------------------------

void SocketMessenger::send(Rank to, const Envelope& envelope, const std::byte* body,
                           std::size_t bytes, Done done) {
  if (to.number < 0 || to.number >= ranks() || to == self_) {
    throw InvalidArgument(core::text("[comm] a message goes to another rank of the world's ",
                                     ranks(), "; got ", to.number, " on rank ", self_.number));
  }
  Outgoing message;
  message.header.envelope = envelope;
  message.header.bytes = bytes;
  message.body = body;
  message.done = std::move(done);
  post(*peers_[static_cast<std::size_t>(to.number)], std::move(message));
}

// What a socket takes at once is written here, which saves waking the thread.
void SocketMessenger::post(Peer& peer, Outgoing message) {
  std::vector<Done> sent;
  Done refused;
  bool ask = false;
  {
    const std::lock_guard lock(peer.mutex);
    if (peer.lost) {
      refused = std::move(message.done);
    } else {
      if (peer.reads_us && message.header.body_behind() >= kOfferBytes) {
        message.header.frame = Frame::kOffer;
        message.header.address = reinterpret_cast<std::uint64_t>(message.body);
        peer.offered.push_back({message.header, message.body, 0, std::exchange(message.done, {})});
      }
      peer.queue.push_back(std::move(message));
      if (peer.queue.size() == 1) write(peer, sent);
      ask = !peer.queue.empty() && !std::exchange(peer.asked, true);
    }
  }
  if (ask) wake(wake_);
  for (const Done& done : sent) done(nullptr);
  if (refused) refused(std::make_exception_ptr(lost_error(peer, "it was lost before")));
}

void SocketMessenger::post(Peer& peer, Frame frame) {
  Outgoing message;
  message.header.frame = frame;
  post(peer, std::move(message));
}

// A broken socket shows when the thread reads from it.
bool SocketMessenger::write(Peer& peer, std::vector<Done>& sent) {
  while (!peer.queue.empty()) {
    Outgoing& message = peer.queue.front();
    const std::size_t body = message.header.body_behind();
    const std::size_t all = sizeof(Header) + body;
    iovec parts[2];
    int count = 0;
    std::size_t skip = message.written;
    if (skip < sizeof(Header)) {
      parts[count++] = {reinterpret_cast<char*>(&message.header) + skip, sizeof(Header) - skip};
      skip = 0;
    } else {
      skip -= sizeof(Header);
    }
    if (body > skip) {
      parts[count++] = {const_cast<std::byte*>(message.body) + skip, body - skip};
    }
    msghdr header{};
    header.msg_iov = parts;
    header.msg_iovlen = static_cast<std::size_t>(count);
    const ssize_t n = ::sendmsg(peer.socket.handle(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
      // Half a message cannot be taken back: the thread will see the connection closed.
      if (!full) ::shutdown(peer.socket.handle(), SHUT_RDWR);
      return full;
    }
    message.written += static_cast<std::size_t>(n);
    peer.last_written = Clock::now();
    if (message.written < all) return true;
    if (message.done) sent.push_back(std::move(message.done));
    peer.queue.pop_front();
  }
  return true;
}

void SocketMessenger::write_queued(Peer& peer) {
  std::vector<Done> sent;
  bool left = false;
  {
    const std::lock_guard lock(peer.mutex);
    if (peer.lost) return;
    write(peer, sent);
    left = !peer.queue.empty();
    peer.asked = left;
  }
  if (receiver_ != nullptr) watch(peer, left);
  for (const Done& done : sent) done(nullptr);
}

void SocketMessenger::watch(Peer& peer, bool writable) {
  epoll_event event{};
  event.events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &peer;
  ::epoll_ctl(epoll_.handle(), EPOLL_CTL_MOD, peer.socket.handle(), &event);
}

// The thread
// -------------------------------------------------------------------------------------------------

void SocketMessenger::run() {
  constexpr int kEvents = 64;
  epoll_event events[kEvents];
  const auto beat_every = std::max(std::chrono::milliseconds(10), options_.heartbeat / 2);
  Clock::time_point next_beat = Clock::now() + beat_every;
  Clock::time_point end = Clock::time_point::max();
  bool leaving = false;
  for (;;) {
    if (over_.load()) {
      if (end == Clock::time_point::max()) end = Clock::now() + options_.silence;
      if (!leaving && (all_written() || Clock::now() >= end)) {
        // What is still coming is read until the peers have closed, too: a connection that is
        // closed over unread bytes takes with it what the peer has not read yet.
        leaving = true;
        end = Clock::now() + std::min<std::chrono::milliseconds>(options_.silence, kLeave);
        for (const auto& peer : peers_) {
          if (peer != nullptr && !peer->gone) ::shutdown(peer->socket.handle(), SHUT_WR);
        }
      }
      const bool alone = std::all_of(peers_.begin(), peers_.end(), [](const auto& peer) {
        return peer == nullptr || peer->gone;
      });
      if (leaving && (alone || Clock::now() >= end)) break;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(next_beat - Clock::now());
    const bool copying = std::any_of(peers_.begin(), peers_.end(), [](const auto& peer) {
      return peer != nullptr && !peer->gone && peer->copies();
    });
    const long long wait_ms = copying ? 0 : std::max<long long>(0, left.count() + 1);
    const int ready = ::epoll_wait(epoll_.handle(), events, kEvents, static_cast<int>(wait_ms));
    for (int i = 0; i < ready; ++i) {
      auto* peer = static_cast<Peer*>(events[i].data.ptr);
      if (peer == nullptr) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t n = ::read(wake_.handle(), &count, sizeof count);
        for (const auto& other : peers_) {
          if (other != nullptr && !other->gone) write_queued(*other);
        }
        continue;
      }
      if (peer->gone) continue;
      if ((events[i].events & EPOLLOUT) != 0) write_queued(*peer);
      if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read(*peer);
    }
    // No event tells that there is more to copy.
    for (const auto& peer : peers_) {
      if (copying && peer != nullptr && !peer->gone && peer->copies()) read(*peer);
    }
    if (Clock::now() >= next_beat) {
      next_beat = Clock::now() + beat_every;
      if (!leaving) beat();
    }
  }
  for (const auto& peer : peers_) {
    if (peer == nullptr || peer->gone) continue;
    give_up(*peer, "this rank left");
    peer->socket = {};
  }
}

bool SocketMessenger::all_written() {
  return std::all_of(peers_.begin(), peers_.end(), [](const auto& peer) {
    if (peer == nullptr || peer->gone) return true;
    const std::lock_guard lock(peer->mutex);
    return peer->queue.empty() && peer->offered.empty();
  });
}

void SocketMessenger::beat() {
  const Clock::time_point now = Clock::now();
  for (const auto& peer : peers_) {
    if (peer == nullptr || peer->gone) continue;
    // What has come while this thread was busy counts.
    char byte = 0;
    const bool silent = now - peer->last_heard > options_.silence &&
                        ::recv(peer->socket.handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
    if (silent) {
      const auto seconds = std::chrono::duration<double>(now - peer->last_heard).count();
      lose(*peer, core::text("nothing was heard of it for ", seconds, " s"));
      continue;
    }
    bool due = false;
    {
      const std::lock_guard lock(peer->mutex);
      due = peer->queue.empty() && now - peer->last_written >= options_.heartbeat / 2;
    }
    if (due) post(*peer, Frame::kHeartbeat);
  }
}

void SocketMessenger::read(Peer& peer) {
  std::size_t turn = 0;
  while (!peer.gone && turn < kTurnBytes) {
    if (peer.copies()) {
      if (!copy_some(peer)) return;
      turn += kTurnBytes;
    } else {
      const ssize_t n = read_some(peer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (n <= 0) return lose(peer, n == 0 ? "its connection closed" : std::strerror(errno));
      turn += static_cast<std::size_t>(n);
      const bool was_header = !peer.in_body();
      (was_header ? peer.header_bytes : peer.body_bytes) += static_cast<std::size_t>(n);
      if (was_header && peer.in_body() && !take_header(peer)) return;
    }
    peer.last_heard = Clock::now();
    if (peer.in_body() && (!peer.header.has_body() || peer.body_bytes == peer.header.bytes))
      finish_message(peer);
  }
}

ssize_t SocketMessenger::read_some(Peer& peer) {
  if (!peer.in_body()) {
    return ::recv(peer.socket.handle(), reinterpret_cast<char*>(&peer.header) + peer.header_bytes,
                  sizeof(Header) - peer.header_bytes, 0);
  }
  const std::size_t left = peer.header.bytes - peer.body_bytes;
  if (peer.target == nullptr)
    return ::recv(peer.socket.handle(), scratch_.data(), std::min(left, scratch_.size()), 0);
  return ::recv(peer.socket.handle(), peer.target + peer.body_bytes, std::min(left, kTurnBytes), 0);
}

// A peer that closes has the memory back: what was copied since may be something else. False when
// the peer is gone.
bool SocketMessenger::copy_some(Peer& peer) {
  const std::size_t left = peer.header.bytes - peer.body_bytes;
  const std::size_t bytes = peer.target == nullptr ? left : std::min(left, kTurnBytes);
  try {
    if (peer.target != nullptr) {
      if (!read_memory(peer.readable, peer.header.address + peer.body_bytes,
                       peer.target + peer.body_bytes, bytes)) {
        peer.header_bytes = 0;
        post(peer, Frame::kRefused);
        return true;
      }
    }
  } catch (const CommError& e) {
    lose(peer, e.what());
    return false;
  }
  pollfd hung_up{peer.socket.handle(), POLLRDHUP, 0};
  if (::poll(&hung_up, 1, 0) != 0) {
    lose(peer, "its connection closed");
    return false;
  }
  peer.body_bytes += bytes;
  return true;
}

// False when the peer is gone.
bool SocketMessenger::take_header(Peer& peer) {
  const Header& header = peer.header;
  peer.body_bytes = 0;
  peer.target = nullptr;
  const bool known = header.frame >= Frame::kMessage && header.frame <= Frame::kRefused;
  const bool may_come = header.frame != Frame::kOffer || peer.readable != 0;
  if (!known || !may_come || header.bytes > kMostBodyBytes ||
      (!header.has_body() && header.bytes > 0)) {
    lose(peer, "it sent what is no message");
    return false;
  }
  if (header.frame == Frame::kGoodbye) {
    lose(peer, std::string(kHasLeft));
    return false;
  }
  if (header.bytes > 0) peer.target = receiver_->target(peer.rank, header.envelope, header.bytes);
  return true;
}

void SocketMessenger::finish_message(Peer& peer) {
  const Header header = peer.header;
  peer.header_bytes = 0;
  peer.body_bytes = 0;
  switch (header.frame) {
    case Frame::kOffer:
      post(peer, Frame::kTaken);
      [[fallthrough]];
    case Frame::kMessage:
      receiver_->arrived(peer.rank, header.envelope, header.bytes);
      break;
    case Frame::kReadsYou: {
      const std::lock_guard lock(peer.mutex);
      peer.reads_us = true;
      break;
    }
    case Frame::kTaken:
    case Frame::kRefused:
      end_offer(peer, header.frame == Frame::kTaken);
      break;
    case Frame::kHeartbeat:
    case Frame::kGoodbye:
      break;
  }
}

// What cannot be read where it lies is sent; nothing more is offered to that peer then.
void SocketMessenger::end_offer(Peer& peer, bool taken) {
  Outgoing offer;
  {
    const std::lock_guard lock(peer.mutex);
    if (peer.offered.empty()) return;
    offer = std::move(peer.offered.front());
    peer.offered.pop_front();
    peer.reads_us = peer.reads_us && taken;
  }
  if (!taken) {
    offer.header.frame = Frame::kMessage;
    post(peer, std::move(offer));
  } else if (offer.done) {
    offer.done(nullptr);
  }
}

// Nothing more is sent to a peer, and what was to be ends with an error.
void SocketMessenger::give_up(Peer& peer, const std::string& why) {
  peer.gone = true;
  std::deque<Done> unsent;
  {
    const std::lock_guard lock(peer.mutex);
    peer.lost = true;
    for (Outgoing& offer : peer.offered) unsent.push_back(std::move(offer.done));
    peer.offered.clear();
    for (Outgoing& message : peer.queue) unsent.push_back(std::move(message.done));
    peer.queue.clear();
  }
  for (const Done& done : unsent) {
    if (done) done(std::make_exception_ptr(lost_error(peer, why)));
  }
}

void SocketMessenger::cut(Rank rank, const std::string& why) {
  Peer& peer = *peers_[static_cast<std::size_t>(rank.number)];
  const std::lock_guard lock(peer.mutex);
  if (peer.lost) return;
  peer.why_cut = why;
  // The thread notices that the connection has closed.
  ::shutdown(peer.socket.handle(), SHUT_RDWR);
}

void SocketMessenger::lose(Peer& peer, const std::string& seen) {
  // Peers close when this rank has said goodbye.
  std::string why = closing_.load() ? std::string(kHasLeft) : seen;
  {
    const std::lock_guard lock(peer.mutex);
    if (!peer.why_cut.empty()) why = peer.why_cut;
  }
  ::epoll_ctl(epoll_.handle(), EPOLL_CTL_DEL, peer.socket.handle(), nullptr);
  ::shutdown(peer.socket.handle(), SHUT_RDWR);
  give_up(peer, why);
  receiver_->lost(peer.rank, why);
}

}  // namespace tessera::comm
