#include "comm/ucx/ucx_messenger.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

// Shorter bodies are sooner there by the socket.
constexpr std::size_t kLeastBytes = std::size_t{16} << 10;
// How long the socket has to notice what became of a peer that UCX has lost.
constexpr std::chrono::milliseconds kGrace{1000};
// How long a rank that leaves waits for those who have not connected with it, and one that stops
// listening for those who were lost while they may have been about to.
constexpr std::chrono::milliseconds kComing{500};
// How long a body waits for UCX to connect.
constexpr std::chrono::seconds kPatience{5};
constexpr int kWaitMs = 100;
// A word between messengers: the body of this number is here.
constexpr std::uint32_t kTaken = kFirstOwnKind;

std::string to_hex(const void* bytes, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<const unsigned char*>(bytes)[i];
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::string from_hex(const std::string& text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    out += static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1]));
  return out;
}

}  // namespace

UcxMessenger::UcxMessenger(const TesseraUcxApi& api, const char* net_devices,
                           const std::string& host)
    : api_(api) {
  const TesseraUcxEvents events = {this,          when_came, when_target,
                                   when_received, when_sent, when_failed};
  const int status = api_.open(net_devices, host.c_str(), &events, &worker_);
  if (status != 0) {
    throw CommError(core::text("[TESSERA_TRANSPORT] UCX must start; got ", api_.error_text(status),
                               "; try TESSERA_TRANSPORT=tcp"));
  }
}

UcxMessenger::~UcxMessenger() {
  if (thread_.joinable()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, control_->options().silence, [this] { return bodies_.empty(); });
    }
    // Peers are told, and may still be reading what was sent.
    control_->close();
    over_.store(true);
    wake();
    thread_.join();
  }
  control_.reset();
  for (const auto& peer : peers_) {
    if (peer != nullptr) peer->closed = true;
  }
  api_.destroy(worker_);
  fail_bodies(nullptr, "this rank left");
}

std::string UcxMessenger::address() const {
  const void* bytes = nullptr;
  std::size_t count = 0;
  api_.address(worker_, &bytes, &count);
  return to_hex(bytes, count);
}

void UcxMessenger::connect(std::unique_ptr<SocketMessenger> control,
                           const std::vector<std::string>& addresses,
                           const std::vector<std::string>& hosts, std::uint64_t key) {
  control_ = std::move(control);
  key_ = key;
  for (std::size_t r = 0; r < addresses.size(); ++r) {
    peers_.push_back(nullptr);
    if (addresses[r].empty() || static_cast<std::int32_t>(r) == rank().number) continue;
    auto peer = std::make_unique<Peer>();
    peer->rank = Rank{static_cast<std::int32_t>(r)};
    peer->host = hosts[r];
    const std::vector<pid_t>& readable = control_->options().readable;
    peer->near = r < readable.size() && readable[r] != 0;
    // Those after it come to this rank.
    int status = 0;
    if (static_cast<std::int32_t>(r) < rank().number && !peer->near) {
      const std::string address = from_hex(addresses[r]);
      const Header hello = {key_, 0, rank().number, 0, {}};
      status = api_.connect(worker_, address.data(), address.size(), &hello, sizeof hello,
                            peer.get(), &peer->ucx);
    }
    if (status != 0) {
      throw CommError(core::text("[TESSERA_TRANSPORT] UCX must reach rank ", r, " on ", hosts[r],
                                 "; got ", api_.error_text(status), "; try TESSERA_TRANSPORT=tcp"));
    }
    peers_.back() = std::move(peer);
  }
}

void UcxMessenger::start(Receiver& receiver) {
  receiver_ = &receiver;
  control_->start(*this);
  thread_ = std::thread([this] { run(); });
}

void UcxMessenger::wake() { api_.wake(worker_); }

// Sending
// -------------------------------------------------------------------------------------------------

void UcxMessenger::send(Rank to, const Envelope& envelope, const std::byte* body, std::size_t bytes,
                        Done done) {
  const bool known = to.number >= 0 && static_cast<std::size_t>(to.number) < peers_.size();
  Peer* peer = known ? peers_[static_cast<std::size_t>(to.number)].get() : nullptr;
  if (peer != nullptr && !peer->near && bytes >= kLeastBytes) {
    const std::unique_lock lock(mutex_);
    if (!peer->lost && !peer->by_socket) {
      const std::uint64_t id = next_id_++;
      bodies_[id] = {peer, {key_, id, rank().number, 0, envelope}, body, bytes, std::move(done)};
      queue_.push_back(id);
      if (queue_.size() == 1) wake();
      return;
    }
  }
  control_->send(to, envelope, body, bytes, std::move(done));
}

void UcxMessenger::send_queued() {
  for (;;) {
    Body body;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) return;
      const auto found = bodies_.find(queue_.front());
      queue_.pop_front();
      if (found == bodies_.end()) continue;  // it failed with its receiver
      body.to = found->second.to;
      body.header = found->second.header;
      body.data = found->second.data;
      body.bytes = found->second.bytes;
    }
    Peer& peer = *body.to;
    // It fails when the loss is told.
    if (peer.closed || (peer.came && !peer.why_failed.empty())) continue;
    if (!peer.came) {
      if (peer.waiting.empty()) peer.waits_since = Clock::now();
      peer.waiting.push_back(body.header.id);
      continue;
    }
    ++peer.leaving;
    const int status = api_.send(worker_, peer.ucx, &body.header, sizeof body.header, body.data,
                                 body.bytes, reinterpret_cast<void*>(body.header.id));
    if (status == 0) continue;
    --peer.leaving;
    note_failure(peer, status);
  }
}

void UcxMessenger::finish(std::uint64_t id, bool sent) {
  Done done;
  {
    const std::lock_guard lock(mutex_);
    const auto found = bodies_.find(id);
    if (found == bodies_.end()) return;
    Body& body = found->second;
    (sent ? body.sent : body.taken) = true;
    if (!body.sent || !body.taken) return;
    done = std::move(body.done);
    bodies_.erase(found);
    changed_.notify_all();
  }
  if (done) done(nullptr);
}

// Of one receiver, or of all.
void UcxMessenger::fail_bodies(const Peer* to, const std::string& why) {
  std::vector<std::pair<Done, const Peer*>> failed;
  {
    const std::lock_guard lock(mutex_);
    for (auto i = bodies_.begin(); i != bodies_.end();) {
      if (to != nullptr && i->second.to != to) {
        ++i;
        continue;
      }
      failed.emplace_back(std::move(i->second.done), i->second.to);
      i = bodies_.erase(i);
    }
    changed_.notify_all();
  }
  for (const auto& [done, peer] : failed) {
    if (done) {
      done(std::make_exception_ptr(CommError(
          core::text("[comm] rank ", peer->rank.number, " on ", peer->host, " is lost: ", why))));
    }
  }
}

// The sockets' news
// -------------------------------------------------------------------------------------------------

std::byte* UcxMessenger::target(Rank from, const Envelope& envelope, std::size_t bytes) noexcept {
  const std::lock_guard lock(serial_);
  return receiver_->target(from, envelope, bytes);
}

void UcxMessenger::arrived(Rank from, const Envelope& envelope, std::size_t bytes) noexcept {
  if (envelope.kind == kTaken) return finish(envelope.a, false);
  const std::lock_guard lock(serial_);
  receiver_->arrived(from, envelope, bytes);
}

// Told when UCX has let go of all memory that has to do with the rank.
void UcxMessenger::lost(Rank rank, const std::string& why) noexcept {
  Peer* peer = peers_[static_cast<std::size_t>(rank.number)].get();
  if (peer == nullptr) {
    const std::lock_guard lock(serial_);
    receiver_->lost(rank, why);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    peer->why_lost = why;
    peer->lost = true;
  }
  wake();
}

// The thread
// -------------------------------------------------------------------------------------------------

void UcxMessenger::run() {
  while (!over_.load()) {
    send_queued();
    while (api_.progress(worker_) != 0) {
    }
    close_lost();
    for (const auto& peer : peers_) {
      if (peer != nullptr) give_up(*peer);
    }
    if (listens_) stop_listening();
    bool idle = true;
    {
      const std::lock_guard lock(mutex_);
      idle = queue_.empty();
    }
    if (idle) api_.wait(worker_, kWaitMs);
  }
  // UCX (1.13) falls over who is about to connect when it stops listening.
  for (const auto end = Clock::now() + kComing; listens_ && Clock::now() < end; stop_listening()) {
    if (api_.progress(worker_) == 0) api_.wait(worker_, 10);
    close_lost();
  }
  close_lost();
}

// When all have come who are to.
void UcxMessenger::stop_listening() {
  for (auto r = static_cast<std::size_t>(rank().number) + 1; r < peers_.size(); ++r) {
    const Peer* peer = peers_[r].get();
    if (peer == nullptr || peer->near || peer->came) continue;
    if (!peer->closed || Clock::now() - peer->gone < kComing) return;
  }
  api_.stop_listening(worker_);
  listens_ = false;
}

// A peer with which UCX does not connect gets its bodies by socket. It may itself be connected and
// send by UCX.
void UcxMessenger::give_up(Peer& peer) {
  if (peer.came || peer.closed) return;
  const bool late =
      !peer.waiting.empty() && (peer.by_socket || Clock::now() - peer.waits_since > kPatience);
  if (peer.why_failed.empty() && !late) return;
  if (!peer.by_socket) {
    const std::string why = peer.why_failed.empty() ? "it does not answer" : peer.why_failed;
    core::log(core::LogLevel::kWarning,
              core::text("blocks for rank ", peer.rank.number, " on ", peer.host,
                         " go over TCP: UCX does not connect: ", why,
                         "; try a TESSERA_INTERFACE of a network in UCX_NET_DEVICES"));
  }
  if (!std::exchange(peer.why_failed, {}).empty() && peer.ucx != nullptr)
    api_.close(worker_, std::exchange(peer.ucx, nullptr));
  peer.failed = Clock::time_point::max();
  std::vector<Body> bodies;
  {
    const std::lock_guard lock(mutex_);
    peer.by_socket = true;
    for (const std::uint64_t id : std::exchange(peer.waiting, {})) {
      const auto found = bodies_.find(id);
      if (found == bodies_.end()) continue;
      bodies.push_back(std::move(found->second));
      bodies_.erase(found);
    }
    changed_.notify_all();
  }
  for (Body& body : bodies)
    control_->send(peer.rank, body.header.envelope, body.data, body.bytes, std::move(body.done));
}

void UcxMessenger::close_lost() {
  for (const auto& owned : peers_) {
    if (owned == nullptr) continue;
    Peer& peer = *owned;
    bool is_lost = false;
    {
      const std::lock_guard lock(mutex_);
      is_lost = peer.lost;
    }
    if (!is_lost && peer.came && Clock::now() > peer.failed &&
        Clock::now() - peer.failed > kGrace) {
      control_->cut(peer.rank, "UCX says: " + peer.why_failed);
      peer.failed = Clock::time_point::max();
    }
    if (!is_lost || peer.why_lost.empty()) continue;
    if (!std::exchange(peer.closed, true)) peer.gone = Clock::now();
    if (peer.ucx != nullptr) api_.close(worker_, std::exchange(peer.ucx, nullptr));
    if (peer.coming > 0 || peer.leaving > 0) continue;
    const std::string why = std::exchange(peer.why_lost, {});
    fail_bodies(&peer, why);
    const std::lock_guard lock(serial_);
    receiver_->lost(peer.rank, why);
  }
}

void UcxMessenger::note_failure(Peer& peer, int status) {
  if (!peer.why_failed.empty()) return;
  peer.why_failed = api_.error_text(status);
  peer.failed = Clock::now();
}

UcxMessenger::Peer* UcxMessenger::find_peer(const Header& header) {
  const auto from = static_cast<std::size_t>(header.from);
  return header.key == key_ && from < peers_.size() ? peers_[from].get() : nullptr;
}

void* UcxMessenger::when_came(void* context, void* name, const void* hello, std::size_t hello_bytes,
                              TesseraUcxPeer* ucx) {
  auto* self = static_cast<UcxMessenger*>(context);
  Header is;
  if (hello_bytes != sizeof is) return nullptr;
  std::memcpy(&is, hello, sizeof is);
  auto* peer = static_cast<Peer*>(name);
  if (peer != nullptr) {
    if (is.key != self->key_ || is.from != self->rank().number || peer->closed) return nullptr;
  } else {
    peer = self->find_peer(is);
    if (peer == nullptr || peer->ucx != nullptr || peer->closed) return nullptr;
    peer->ucx = ucx;
  }
  peer->came = true;
  const std::lock_guard lock(self->mutex_);
  for (const std::uint64_t id : std::exchange(peer->waiting, {})) self->queue_.push_back(id);
  return peer;
}

void* UcxMessenger::when_target(void* context, const void* header, std::size_t header_bytes,
                                std::size_t bytes, void** token) {
  auto* self = static_cast<UcxMessenger*>(context);
  Header is;
  if (header_bytes != sizeof is) return nullptr;
  std::memcpy(&is, header, sizeof is);
  Peer* known = self->find_peer(is);
  if (known == nullptr || known->closed) return nullptr;
  Peer& peer = *known;
  std::byte* out = nullptr;
  {
    const std::lock_guard lock(self->serial_);
    out = self->receiver_->target(peer.rank, is.envelope, bytes);
  }
  auto* coming = new Coming{self, &peer, is.envelope, bytes, is.id};
  ++peer.coming;
  *token = coming;
  if (out == nullptr) when_received(context, coming, 0);
  return out;
}

void UcxMessenger::when_received(void* context, void* token, int status) {
  auto* self = static_cast<UcxMessenger*>(context);
  const std::unique_ptr<Coming> coming(static_cast<Coming*>(token));
  --coming->from->coming;
  if (status != 0) return self->note_failure(*coming->from, status);
  if (coming->from->closed) return;
  self->control_->send(coming->from->rank, {kTaken, 0, 0, coming->id, 0}, nullptr, 0, {});
  const std::lock_guard lock(self->serial_);
  self->receiver_->arrived(coming->from->rank, coming->envelope, coming->bytes);
}

void UcxMessenger::when_sent(void* context, void* token, int status) {
  auto* self = static_cast<UcxMessenger*>(context);
  const auto id = reinterpret_cast<std::uint64_t>(token);
  {
    const std::lock_guard lock(self->mutex_);
    const auto found = self->bodies_.find(id);
    if (found != self->bodies_.end()) {
      --found->second.to->leaving;
      if (status != 0) self->note_failure(*found->second.to, status);
    }
  }
  if (status == 0) self->finish(id, true);
}

void UcxMessenger::when_failed(void* context, void* peer, int status) {
  static_cast<UcxMessenger*>(context)->note_failure(*static_cast<Peer*>(peer), status);
}

}  // namespace tessera::comm
