#include "scheduler/executor/exchange.hpp"

#include <utility>

#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
enum Kind : std::uint32_t { kBegin, kAnnounce, kPull, kBlock, kEnd, kDirect, kLink };

constexpr std::size_t kMostText = std::size_t{64} << 10;

// Texts have a number of their own among those of their sender: several may be on their way.
std::uint64_t text_key(comm::Rank from, std::uint64_t number) {
  return static_cast<std::uint64_t>(from.number) << 40 | number;
}
bool is_text(const comm::Envelope& envelope) {
  return envelope.kind == kBegin || envelope.kind == kEnd || envelope.kind == kLink;
}
constexpr std::uint64_t kFirstLinkText = std::uint64_t{1} << 39;
constexpr int kDeviceShift = 32;  // beside a slot
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

Exchange::Step::Step(Exchange& exchange) : exchange_(exchange), turn_(exchange.turn_) {
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.heard_ = false;
  links_ = exchange_.links_.lock();
  number_ = ++exchange_.step_;
}

Exchange::Step::~Step() {
  hush();
  try {
    end("it gave up");
  } catch (...) {
    // The others hear of it when this rank goes.
  }
}

void Exchange::Step::listen(ExchangeClient& client, std::uint64_t fingerprint,
                            const std::string& what) {
  exchange_.post_all({kBegin, 0, number_, fingerprint, 2 * number_}, what);
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.client_ = &client;
  exchange_.heard_ = true;
  std::vector<Message> early;
  early.swap(exchange_.early_);
  for (Message& message : early) {
    if (message.envelope.step > number_) {
      exchange_.early_.push_back(std::move(message));
    } else {
      exchange_.tell(message);
    }
  }
  for (const auto& [rank, why] : exchange_.lost_) client.peer_lost(rank, why);
}

void Exchange::Step::hush() {
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.client_ = nullptr;
  exchange_.heard_ = true;
}

void Exchange::Step::announce(comm::Rank to, BlockKey key) {
  exchange_.messenger_.send(to,
                            {kAnnounce, 0, number_, static_cast<std::uint64_t>(key.slot),
                             static_cast<std::uint64_t>(key.block)},
                            nullptr, 0, {});
}

void Exchange::Step::pull(comm::Rank to, BlockKey key, std::uint32_t request, std::int32_t device) {
  const std::uint64_t slot = static_cast<std::uint32_t>(key.slot);
  const std::uint64_t target = static_cast<std::uint32_t>(device);
  exchange_.messenger_.send(to,
                            {kPull, request, number_, slot | target << kDeviceShift,
                             static_cast<std::uint64_t>(key.block)},
                            nullptr, 0, {});
}

bool Exchange::Step::send_direct(const comm::Route& route, std::uint32_t request,
                                 const std::byte* data, std::size_t bytes,
                                 comm::Messenger::Done done) {
  if (links_ == nullptr) return false;
  const auto announce = [&](std::uint64_t link) {
    exchange_.messenger_.send(route.peer, {kDirect, request, number_, bytes, link}, nullptr, 0, {});
  };
  return links_->send(route, data, bytes, announce, std::move(done));
}

void Exchange::Step::send_block(comm::Rank to, std::uint32_t request, const std::byte* data,
                                std::size_t bytes, comm::Messenger::Done done) {
  exchange_.messenger_.send(to, {kBlock, request, number_, 0, 0}, data, bytes, std::move(done));
}

void Exchange::Step::end() { tell_end(false, {}); }

void Exchange::Step::end(const std::string& failure) { tell_end(true, failure); }

void Exchange::Step::tell_end(bool failed, const std::string& text) {
  if (std::exchange(ended_, true)) return;
  exchange_.post_all({kEnd, failed ? 1u : 0u, number_, 0, 2 * number_ + 1}, text);
}

std::uint64_t Exchange::steps() {
  const std::lock_guard lock(mutex_);
  return step_;
}

void Exchange::post_all(const comm::Envelope& envelope, const std::string& text) {
  const auto kept = std::make_shared<const std::string>(text.substr(0, kMostText));
  for (std::int32_t rank = 0; rank < world_.ranks(); ++rank) {
    if (rank != world_.rank().number) post(comm::Rank{rank}, envelope, kept);
  }
}

void Exchange::post(comm::Rank to, const comm::Envelope& envelope,
                    const std::shared_ptr<const std::string>& text) {
  messenger_.send(to, envelope, reinterpret_cast<const std::byte*>(text->data()), text->size(),
                  [text](const std::exception_ptr&) {});
}

std::shared_ptr<comm::DeviceLinks> Exchange::links(
    const std::function<std::shared_ptr<comm::DeviceLinks>(comm::DeviceLinks::Tell)>& open) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<comm::DeviceLinks> links = links_.lock();
  if (links == nullptr) {
    links = open([this](comm::Rank to, const std::string& text) {
      post(to, {kLink, 0, 0, 0, kFirstLinkText + ++link_texts_},
           std::make_shared<const std::string>(text));
    });
    links_ = links;
  }
  return links;
}

// A message that nobody waits for, as after an error, ends its link.
void Exchange::begin_direct(comm::Rank from, const comm::Envelope& envelope) {
  const std::shared_ptr<comm::DeviceLinks> links = links_.lock();
  if (links == nullptr) return;
  const std::uint32_t request = envelope.flags;
  std::byte* target = client_ != nullptr && envelope.step == step_
                          ? client_->direct_target(from, request, envelope.a)
                          : nullptr;
  if (target == nullptr) return links->refuse(from, envelope.b);
  links->receive(from, envelope.b, target, envelope.a,
                 [this, request](const std::exception_ptr& failure) {
                   const std::lock_guard lock(mutex_);
                   if (client_ != nullptr) client_->direct_arrived(request, failure);
                 });
}

std::byte* Exchange::target(comm::Rank from, const comm::Envelope& envelope,
                            std::size_t bytes) noexcept {
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
  if (envelope.kind == kLink) {
    if (const auto links = links_.lock()) links->hear(from, message.text);
  } else if (envelope.kind == kDirect) {
    begin_direct(from, envelope);
  } else if (envelope.step > step_ || (envelope.step == step_ && !heard_)) {
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
  const BlockKey key{static_cast<SlotIndex>(e.a & 0xffffffff), static_cast<std::int64_t>(e.b)};
  switch (e.kind) {
    case kBegin:
      return client_->peer_begins(message.from, e.a, message.text);
    case kAnnounce:
      return client_->peer_announces(message.from, key);
    case kPull:
      return client_->peer_pulls(message.from, key, e.flags,
                                 static_cast<std::int32_t>(e.a >> kDeviceShift));
    case kEnd:
      return client_->peer_ends(message.from, e.flags != 0 ? &message.text : nullptr);
    default:
      return;
  }
}

void Exchange::lost(comm::Rank rank, const std::string& why) noexcept {
  const std::lock_guard lock(mutex_);
  lost_.emplace_back(rank, why);
  if (const auto links = links_.lock()) links->lost(rank);
  if (client_ != nullptr) client_->peer_lost(rank, why);
}

}  // namespace tessera::scheduler
