#include "scheduler/executor/exchange.hpp"

#include <utility>

#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
enum Kind : std::uint32_t { kBegin, kAnnounce, kPull, kBlock, kEnd };

// Texts have a number of their own among those of their sender: several may be on their way.
std::uint64_t text_key(comm::Rank from, std::uint64_t number) {
  return static_cast<std::uint64_t>(from.number) << 40 | number;
}
bool is_text(const comm::Envelope& envelope) {
  return envelope.kind == kBegin || envelope.kind == kEnd;
}
}  // namespace

std::shared_ptr<Exchange> Exchange::of(comm::World& world) {
  if (world.ranks() == 1) return nullptr;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (world.receiver == nullptr) {
    auto exchange = std::make_shared<Exchange>(world);
    world.receiver = exchange;
    world.messenger()->start(*exchange);
  }
  return std::static_pointer_cast<Exchange>(world.receiver);
}

Exchange::Exchange(comm::World& world) : world_(world), messenger_(*world.messenger()) {}

std::uint64_t Exchange::enter() {
  turn_.lock();
  const std::lock_guard lock(mutex_);
  heard_ = false;
  return ++step_;
}

void Exchange::listen(ExchangeClient& client) {
  const std::lock_guard lock(mutex_);
  client_ = &client;
  heard_ = true;
  std::vector<Message> later;
  for (Message& message : early_) {
    if (message.envelope.step > step_) {
      later.push_back(std::move(message));
    } else {
      tell(message);
    }
  }
  early_ = std::move(later);
  for (const auto& [rank, why] : lost_) client.peer_lost(rank, why);
}

std::uint64_t Exchange::step() {
  const std::lock_guard lock(mutex_);
  return step_;
}

void Exchange::leave() {
  {
    const std::lock_guard lock(mutex_);
    client_ = nullptr;
    heard_ = true;
  }
  turn_.unlock();
}

void Exchange::post(comm::Rank to, const comm::Envelope& envelope, const std::string& text) {
  if (text.empty()) return messenger_.send(to, envelope, nullptr, 0, {});
  auto kept = std::make_shared<std::string>(text);
  const auto* bytes = reinterpret_cast<const std::byte*>(kept->data());
  messenger_.send(to, envelope, bytes, kept->size(), [kept](const std::exception_ptr&) {});
}

void Exchange::begin(std::uint64_t step, std::uint64_t fingerprint, const std::string& what) {
  for (std::int32_t rank = 0; rank < world_.ranks(); ++rank) {
    if (rank != world_.rank().number)
      post(comm::Rank{rank}, {kBegin, 0, step, fingerprint, 2 * step}, what);
  }
}

void Exchange::announce(std::uint64_t step, comm::Rank to, BlockKey key) {
  messenger_.send(to,
                  {kAnnounce, 0, step, static_cast<std::uint64_t>(key.slot),
                   static_cast<std::uint64_t>(key.block)},
                  nullptr, 0, {});
}

void Exchange::pull(std::uint64_t step, comm::Rank to, BlockKey key, std::uint32_t request) {
  messenger_.send(to,
                  {kPull, request, step, static_cast<std::uint64_t>(key.slot),
                   static_cast<std::uint64_t>(key.block)},
                  nullptr, 0, {});
}

void Exchange::send_block(std::uint64_t step, comm::Rank to, std::uint32_t request,
                          const std::byte* data, std::size_t bytes, comm::Messenger::Done done) {
  messenger_.send(to, {kBlock, request, step, 0, 0}, data, bytes, std::move(done));
}

void Exchange::end(std::uint64_t step, const std::string& failure) {
  for (std::int32_t rank = 0; rank < world_.ranks(); ++rank) {
    if (rank != world_.rank().number)
      post(comm::Rank{rank}, {kEnd, 0, step, 0, 2 * step + 1}, failure);
  }
}

std::byte* Exchange::target(comm::Rank from, const comm::Envelope& envelope,
                            std::size_t bytes) noexcept {
  constexpr std::size_t kMostText = std::size_t{1} << 20;
  const std::lock_guard lock(mutex_);
  if (is_text(envelope)) {
    if (bytes > kMostText) return nullptr;
    std::string& text = incoming_[text_key(from, envelope.b)];
    text.resize(bytes);
    return reinterpret_cast<std::byte*>(text.data());
  }
  if (envelope.kind != kBlock || client_ == nullptr || envelope.step != step_) return nullptr;
  return client_->block_target(from, envelope.flags, bytes);
}

void Exchange::arrived(comm::Rank from, const comm::Envelope& envelope,
                       std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  Message message{from, envelope, {}};
  if (is_text(envelope) && bytes > 0) {
    auto node = incoming_.extract(text_key(from, envelope.b));
    if (!node.empty()) message.text = std::move(node.mapped());
  }
  if (envelope.step > step_ || (envelope.step == step_ && !heard_)) {
    early_.push_back(std::move(message));
  } else if (envelope.kind == kBlock && client_ != nullptr && envelope.step == step_) {
    client_->block_arrived(from, envelope.flags, bytes);
  } else {
    tell(message);
  }
}

void Exchange::tell(const Message& message) noexcept {
  const comm::Envelope& e = message.envelope;
  if (client_ == nullptr || e.step != step_) return;
  const BlockKey key{static_cast<SlotIndex>(e.a), static_cast<std::int64_t>(e.b)};
  switch (e.kind) {
    case kBegin:
      return client_->peer_begins(message.from, e.a, message.text);
    case kAnnounce:
      return client_->peer_announces(message.from, key);
    case kPull:
      return client_->peer_pulls(message.from, key, e.flags);
    case kEnd:
      return client_->peer_ends(message.from, message.text);
    default:
      return;
  }
}

void Exchange::lost(comm::Rank rank, const std::string& why) noexcept {
  const std::lock_guard lock(mutex_);
  lost_.emplace_back(rank, why);
  if (client_ != nullptr) client_->peer_lost(rank, why);
}

}  // namespace tessera::scheduler
