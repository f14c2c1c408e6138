#include "scheduler/executor/exchange.hpp"

#include <algorithm>
#include <utility>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::scheduler {

namespace {
enum Kind : std::uint32_t {
  kBegin,
  kAnnounce,
  kPull,
  kBlock,
  kEnd,
  kDirect,
  kLink,
  kLost,
  kQuiet,
  kValue
};

constexpr std::size_t kMostText = std::size_t{64} << 10;
constexpr int kDeviceShift = 32;  // beside a slot
constexpr int kBlockShift = 32;   // of a call's block, beside its slot
constexpr int kLostShift = 32;    // of an attempt's losses, beside a rank
// Attempts are numbers on their way, in their order.
constexpr int kStepShift = 24;

std::uint64_t word(const comm::Attempt& attempt) {
  return attempt.step << kStepShift | attempt.lost;
}
comm::Attempt attempt_of(std::uint64_t word) {
  return {word >> kStepShift,
          static_cast<std::uint32_t>(word & ((std::uint64_t{1} << kStepShift) - 1))};
}

// Texts have a number of their own among those of their sender: several may be on their way.
std::uint64_t text_key(comm::Rank from, std::uint64_t number) {
  return static_cast<std::uint64_t>(from.number) << 40 | number;
}
bool is_text(const comm::Envelope& envelope) {
  return envelope.kind == kBegin || envelope.kind == kEnd || envelope.kind == kLink ||
         envelope.kind == kValue;
}

comm::Rank place_in(const std::vector<std::int32_t>& members, comm::Rank of_world) noexcept {
  const auto found = std::lower_bound(members.begin(), members.end(), of_world.number);
  if (found == members.end() || *found != of_world.number) return {-1};
  return {static_cast<std::int32_t>(found - members.begin())};
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

Exchange::Exchange(comm::World& world)
    : world_(world),
      messenger_(*world.messenger()),
      recovers_(world.recovers()),
      membership_(world.rank(), world.ranks()),
      peers_(static_cast<std::size_t>(world.ranks())) {
  team_ = membership_.members();
}

// A step and its attempts
// -------------------------------------------------------------------------------------------------

Exchange::Step::Step(Exchange& exchange) : exchange_(exchange), turn_(exchange.turn_) {
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.heard_ = false;
  links_ = exchange_.links_.lock();
  attempt_.step = ++exchange_.steps_;
  exchange_.attempt_ = word(attempt_);
  for (std::int32_t rank = 0; rank < exchange_.world_.ranks(); ++rank) members_.push_back(rank);
  self_ = exchange_.world_.rank();
  exchange_.members_ = members_;
  const std::lock_guard members(exchange_.members_mutex_);
  before_ = exchange_.membership_.ended();
  told_ = before_.lost;  // nobody begins the step with fewer losses
}

Exchange::Step::~Step() {
  hush();
  try {
    end("it gave up");
  } catch (...) {
    // The others hear of it when this rank goes.
  }
}

void Exchange::Step::begin() {
  if (!recovers()) return;
  std::uint32_t lost = 0;
  std::string refusal;
  {
    std::unique_lock lock(exchange_.members_mutex_);
    comm::Membership& membership = exchange_.membership_;
    exchange_.members_changed_.wait(lock,
                                    [&] { return membership.agreed() || exchange_.no_going_on(); });
    if (membership.lost_count() > 0 || !exchange_.expelled_.empty())
      refusal = exchange_.why_too_few();
    lost = membership.lost_count();
    members_ = membership.members();
    if (refusal.empty()) membership.end(before_);
  }
  self_ = here(exchange_.world_.rank());
  // Others may have begun attempts that this rank was too late for, and wait for their end.
  for (; told_ < lost; ++told_)
    post_all(kEnd, static_cast<std::uint32_t>(How::kAgain), {attempt_.step, told_}, 0, {});
  {
    const std::lock_guard lock(exchange_.mutex_);
    attempt_.lost = lost;
    ended_ = false;
    ended_well_ = false;
    exchange_.attempt_ = word(attempt_);
    exchange_.members_ = members_;
    exchange_.heard_ = false;
  }
  if (refusal.empty()) return;
  end(refusal);
  throw CommError(refusal);
}

bool Exchange::Step::over() {
  if (!recovers()) return true;
  if (!settle()) return false;
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.team_ = members_;
  return true;
}

void Exchange::Step::check() const {
  if (!recovers()) return;
  const std::lock_guard lock(exchange_.members_mutex_);
  if (!exchange_.membership_.failed(attempt_)) return;
  throw CommError(
      "[comm] what fails on one rank fails on all; got a failure on a rank that is lost now, of "
      "which others have heard; try the error of theirs");
}

bool Exchange::Step::settle() {
  std::unique_lock lock(exchange_.members_mutex_);
  comm::Membership& membership = exchange_.membership_;
  const auto others_are = [&](const auto& what) {
    return std::all_of(members_.begin(), members_.end(), [&](std::int32_t rank) {
      return rank == in_world(self_).number || what(comm::Rank{rank});
    });
  };
  const auto peer = [&](comm::Rank rank) -> const Peer& {
    return exchange_.peers_[static_cast<std::size_t>(rank.number)];
  };
  const auto wait = [&](const auto& until) {
    bool so = false;
    exchange_.members_changed_.wait(lock,
                                    [&] { return (so = until()) || exchange_.no_going_on(); });
    return so;
  };
  const auto all_ended = [&] {
    return others_are([&](comm::Rank rank) {
      return membership.is_lost(rank) || peer(rank).has_left || peer(rank).ended >= attempt_;
    });
  };
  // What ranks that leave have not got through fails on all.
  if (!wait(all_ended)) return true;
  const bool again = membership.lost_count() > attempt_.lost ||
                     !others_are([&](comm::Rank rank) { return peer(rank).given_up != attempt_; });
  if (!again) return true;
  const auto agreed = [&] {
    return membership.lost_count() > attempt_.lost && membership.agreed();
  };
  if (!wait(agreed)) return true;
  if (membership.ended_by_all().step >= attempt_.step) return true;
  // From now on this is what it says with another loss.
  membership.end(before_);
  return false;
}

comm::Rank Exchange::Step::here(comm::Rank of_world) const noexcept {
  return place_in(members_, of_world);
}

void Exchange::Step::listen(ExchangeClient& client, std::uint64_t fingerprint,
                            const std::string& what) {
  post_all(kBegin, 0, attempt_, fingerprint, what);
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.client_ = &client;
  exchange_.heard_ = true;
  std::vector<Message> early;
  early.swap(exchange_.early_);
  for (Message& message : early) {
    if (message.envelope.step > exchange_.attempt_) {
      exchange_.early_.push_back(std::move(message));
    } else {
      exchange_.tell(message);
    }
  }
  for (const auto& [rank, why] : exchange_.lost_) {
    const comm::Rank member = here(rank);
    if (member.number >= 0) client.peer_lost(member, why);
  }
}

void Exchange::Step::hush() {
  const std::lock_guard lock(exchange_.mutex_);
  exchange_.client_ = nullptr;
  exchange_.heard_ = true;
}

void Exchange::Step::announce(comm::Rank to, BlockKey key) {
  exchange_.messenger_.send(in_world(to),
                            {kAnnounce, 0, word(attempt_), static_cast<std::uint64_t>(key.slot),
                             static_cast<std::uint64_t>(key.block)},
                            nullptr, 0, {});
}

void Exchange::Step::announce(comm::Rank to, BlockKey key,
                              const std::shared_ptr<const std::string>& value,
                              comm::Messenger::Done done) {
  const std::uint64_t slot = static_cast<std::uint32_t>(key.slot);
  const auto block = static_cast<std::uint64_t>(key.block);
  exchange_.post(in_world(to), {kValue, 0, word(attempt_), slot | block << kBlockShift, 0}, value,
                 std::move(done));
}

void Exchange::Step::pull(comm::Rank to, BlockKey key, std::uint32_t request, std::int32_t device) {
  const std::uint64_t slot = static_cast<std::uint32_t>(key.slot);
  const std::uint64_t target = static_cast<std::uint32_t>(device);
  exchange_.messenger_.send(in_world(to),
                            {kPull, request, word(attempt_), slot | target << kDeviceShift,
                             static_cast<std::uint64_t>(key.block)},
                            nullptr, 0, {});
}

bool Exchange::Step::send_direct(comm::Route route, std::uint32_t request, const std::byte* data,
                                 std::size_t bytes, comm::Messenger::Done done) {
  if (links_ == nullptr) return false;
  route.peer = in_world(route.peer);
  const auto announce = [&](std::uint64_t link) {
    exchange_.messenger_.send(route.peer, {kDirect, request, word(attempt_), bytes, link}, nullptr,
                              0, {});
  };
  return links_->send(route, data, bytes, announce, std::move(done));
}

void Exchange::Step::send_block(comm::Rank to, std::uint32_t request, const std::byte* data,
                                std::size_t bytes, comm::Messenger::Done done) {
  exchange_.messenger_.send(in_world(to), {kBlock, request, word(attempt_), 0, 0}, data, bytes,
                            std::move(done));
}

void Exchange::Step::quiet(bool is) { post_all(kQuiet, is ? 1 : 0, attempt_, 0, {}); }

void Exchange::Step::end() { tell_end(How::kWell, {}); }

void Exchange::Step::end(const std::string& failure) { tell_end(How::kFailed, failure); }

// Whoever knows of a loss has not got through, whatever it came to: others count on what it has
// told them with the loss.
void Exchange::Step::tell_end(How how, const std::string& text) {
  if (std::exchange(ended_, true)) return;
  if (recovers()) {
    const std::lock_guard lock(exchange_.members_mutex_);
    if (exchange_.membership_.lost_count() > attempt_.lost) {
      how = How::kAgain;
    } else {
      exchange_.membership_.end(attempt_);
      if (how == How::kFailed) exchange_.membership_.fail(attempt_);
    }
    told_ = std::max(told_, attempt_.lost + 1);
  }
  post_all(kEnd, static_cast<std::uint32_t>(how), attempt_, 0, text);
}

void Exchange::Step::post_all(std::uint32_t kind, std::uint32_t flags, comm::Attempt attempt,
                              std::uint64_t a, const std::string& text) {
  const auto kept = std::make_shared<const std::string>(text.substr(0, kMostText));
  for (const std::int32_t rank : members_) {
    if (rank != exchange_.world_.rank().number)
      exchange_.post(comm::Rank{rank}, {kind, flags, word(attempt), a, 0}, kept);
  }
}

std::uint64_t Exchange::steps() {
  const std::lock_guard lock(mutex_);
  return steps_;
}

std::vector<std::int32_t> Exchange::team() {
  const std::lock_guard lock(mutex_);
  return team_;
}

bool Exchange::holds() const {
  const std::lock_guard lock(members_mutex_);
  return expelled_.empty() && membership_.has_majority();
}

void Exchange::post(comm::Rank to, comm::Envelope envelope,
                    const std::shared_ptr<const std::string>& text, comm::Messenger::Done done) {
  envelope.b = ++texts_;
  messenger_.send(to, envelope, reinterpret_cast<const std::byte*>(text->data()), text->size(),
                  [text, done = std::move(done)](const std::exception_ptr& failure) {
                    if (done) done(failure);
                  });
}

std::shared_ptr<comm::DeviceLinks> Exchange::links(
    const std::function<std::shared_ptr<comm::DeviceLinks>(comm::DeviceLinks::Tell)>& open) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<comm::DeviceLinks> links = links_.lock();
  if (links == nullptr) {
    links = open([this](comm::Rank to, const std::string& text) {
      post(to, {kLink, 0, 0, 0, 0}, std::make_shared<const std::string>(text));
    });
    links_ = links;
  }
  return links;
}

// What others tell
// -------------------------------------------------------------------------------------------------

comm::Rank Exchange::here(comm::Rank of_world) const noexcept {
  return place_in(members_, of_world);
}

// Null for what is not of the attempt, or not from one of its ranks.
ExchangeClient* Exchange::client_of(comm::Rank from,
                                    const comm::Envelope& envelope) const noexcept {
  return envelope.step == attempt_ && here(from).number >= 0 ? client_ : nullptr;
}

// A message that nobody waits for, as after an error, ends its link.
void Exchange::begin_direct(comm::Rank from, const comm::Envelope& envelope) {
  const std::shared_ptr<comm::DeviceLinks> links = links_.lock();
  if (links == nullptr) return;
  const std::uint32_t request = envelope.flags;
  ExchangeClient* client = client_of(from, envelope);
  std::byte* target =
      client != nullptr ? client->direct_target(here(from), request, envelope.a) : nullptr;
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
    if (bytes > kMostText && envelope.kind != kValue) return nullptr;
    try {
      std::string& text = incoming_[text_key(from, envelope.b)];
      text.resize(bytes);
      return reinterpret_cast<std::byte*>(text.data());
    } catch (const std::exception&) {
      return nullptr;
    }
  }
  ExchangeClient* client = client_of(from, envelope);
  if (envelope.kind != kBlock || client == nullptr) return nullptr;
  return client->block_target(here(from), envelope.flags, bytes);
}

void Exchange::arrived(comm::Rank from, const comm::Envelope& envelope,
                       std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  Message message{from, envelope, {}};
  if (is_text(envelope) && bytes > 0) {
    auto node = incoming_.extract(text_key(from, envelope.b));
    if (!node.empty()) message.text = std::move(node.mapped());
    if (envelope.kind == kValue && message.text.size() != bytes) message.envelope.flags = 1;
  }
  if (envelope.kind == kEnd && !note_end(from, envelope)) return;
  if (envelope.kind == kLink) {
    if (const auto links = links_.lock()) links->hear(from, message.text);
  } else if (envelope.kind == kLost) {
    hear_loss(from, envelope);
  } else if (envelope.kind == kDirect) {
    begin_direct(from, envelope);
  } else if (envelope.step > attempt_ || (envelope.step == attempt_ && !heard_)) {
    early_.push_back(std::move(message));
  } else {
    tell(message, bytes);
  }
}

void Exchange::tell(Message& message, std::size_t bytes) noexcept {
  const comm::Envelope& e = message.envelope;
  ExchangeClient* client = client_of(message.from, e);
  if (client == nullptr) return;
  const comm::Rank from = here(message.from);
  const BlockKey key{static_cast<SlotIndex>(e.a & 0xffffffff), static_cast<std::int64_t>(e.b)};
  switch (e.kind) {
    case kBegin:
      return client->peer_begins(from, e.a, message.text);
    case kAnnounce:
      return client->peer_announces(from, key);
    case kValue: {
      const BlockKey call{static_cast<SlotIndex>(e.a & 0xffffffff),
                          static_cast<std::int64_t>(e.a >> kBlockShift)};
      std::optional<std::string> value;
      if (e.flags == 0) value = std::move(message.text);
      return client->peer_sends_value(from, call, std::move(value));
    }
    case kPull:
      return client->peer_pulls(from, key, e.flags, static_cast<std::int32_t>(e.a >> kDeviceShift));
    case kBlock:
      return client->block_arrived(from, e.flags, bytes);
    case kQuiet:
      return client->peer_is_quiet(from, e.flags != 0);
    case kEnd: {
      const bool again = e.flags == static_cast<std::uint32_t>(How::kAgain);
      return client->peer_ends(from, e.flags != 0 ? &message.text : nullptr, again);
    }
    default:
      return;
  }
}

// Losses
// -------------------------------------------------------------------------------------------------

void Exchange::lost(comm::Rank rank, const std::string& why) noexcept {
  const std::lock_guard lock(mutex_);
  // One that leaves by itself has seen all ranks through, or an error that they cannot help.
  if (recovers_ && why != comm::kHasLeft) {
    learn_loss(rank, why);
  } else {
    const std::lock_guard members(members_mutex_);
    peers_[static_cast<std::size_t>(rank.number)].has_left = true;
    members_changed_.notify_all();
  }
  lost_.emplace_back(rank, why);
  if (const auto links = links_.lock()) links->lost(rank);
  const comm::Rank member = here(rank);
  if (client_ != nullptr && member.number >= 0) client_->peer_lost(member, why);
}

// Of this rank's own news, or another's. All are told, the lost one, too, which may only be
// believed to be.
void Exchange::learn_loss(comm::Rank rank, const std::string& why) {
  comm::Attempt ended;
  bool failed = false;
  std::vector<std::int32_t> others;
  {
    const std::lock_guard lock(members_mutex_);
    if (!expelled_.empty() || !membership_.lose(rank)) return;
    peers_[static_cast<std::size_t>(rank.number)].why_lost = why;
    ended = membership_.ended();
    failed = membership_.failed(ended);
    others = membership_.members();
    members_changed_.notify_all();
  }
  core::log(core::LogLevel::kWarning,
            core::text("rank ", rank.number, " on ", world_.host(rank), " is lost: ", why, "; ",
                       others.size(), " of ", world_.ranks(), " ranks are left"));
  others.push_back(rank.number);
  const std::uint64_t who = static_cast<std::uint32_t>(rank.number);
  for (const std::int32_t to : others) {
    if (to == world_.rank().number) continue;
    const std::uint64_t losses = ended.lost;
    messenger_.send(comm::Rank{to},
                    {kLost, failed ? 1u : 0u, 0, who | losses << kLostShift, ended.step}, nullptr,
                    0, {});
  }
}

void Exchange::hear_loss(comm::Rank from, const comm::Envelope& envelope) {
  const comm::Rank lost{static_cast<std::int32_t>(envelope.a & 0xffffffff)};
  const comm::Attempt ended{envelope.b, static_cast<std::uint32_t>(envelope.a >> kLostShift)};
  if (!recovers_ || lost.number < 0 || lost.number >= world_.ranks()) return;
  {
    const std::lock_guard lock(members_mutex_);
    if (membership_.is_lost(from)) return;
    if (lost == world_.rank()) {
      expelled_ = core::text("rank ", from.number, " on ", world_.host(from));
    } else {
      membership_.hear(from, lost, ended, envelope.flags != 0);
    }
    members_changed_.notify_all();
  }
  if (lost == world_.rank()) {
    for (std::int32_t rank = 0; rank < world_.ranks(); ++rank) {
      if (rank != lost.number) messenger_.cut(comm::Rank{rank}, "it has given this rank up");
    }
    return;
  }
  const std::string why = core::text("rank ", from.number, " has lost it");
  learn_loss(lost, why);
  messenger_.cut(lost, why);
}

// False for one that is lost, which others may have heard less of.
bool Exchange::note_end(comm::Rank from, const comm::Envelope& envelope) {
  const comm::Attempt attempt = attempt_of(envelope.step);
  const std::lock_guard lock(members_mutex_);
  if (membership_.is_lost(from)) return false;
  Peer& peer = peers_[static_cast<std::size_t>(from.number)];
  peer.ended = std::max(peer.ended, attempt);
  if (envelope.flags == static_cast<std::uint32_t>(How::kAgain))
    peer.given_up = std::max(peer.given_up, attempt);
  if (envelope.flags == static_cast<std::uint32_t>(How::kFailed)) membership_.fail(attempt);
  members_changed_.notify_all();
  return true;
}

// Both: members_mutex_ is held. A rank that leaves while others miss it already is lost.
bool Exchange::no_going_on() const noexcept {
  if (!expelled_.empty()) return true;
  for (std::size_t rank = 0; rank < peers_.size(); ++rank) {
    if (peers_[rank].has_left && !membership_.is_lost({static_cast<std::int32_t>(rank)}))
      return true;
  }
  return false;
}

std::string Exchange::why_too_few() const {
  if (!expelled_.empty()) {
    return core::text("[comm] a rank goes on while the others hear of it; got ", expelled_,
                      ", which has given rank ", world_.rank().number,
                      " up; try a longer TESSERA_RANK_TIMEOUT");
  }
  if (membership_.agreed() && membership_.has_majority()) return {};
  const bool enough = membership_.has_majority();
  std::string missed;
  for (std::int32_t rank = 0; rank < world_.ranks(); ++rank) {
    const Peer& peer = peers_[static_cast<std::size_t>(rank)];
    if (enough ? !peer.has_left : !membership_.is_lost(comm::Rank{rank}) && !peer.has_left)
      continue;
    missed +=
        core::text(missed.empty() ? "" : ", ", "rank ", rank, " on ", world_.host(comm::Rank{rank}),
                   " (", peer.has_left ? std::string(comm::kHasLeft) : peer.why_lost, ")");
  }
  if (enough) {
    return core::text("[comm] all ranks that are not lost must stay; got none of ", missed,
                      "; try the same calls on all ranks");
  }
  return core::text("[comm] more than half of the ranks must be left to go on; got ",
                    membership_.members().size(), " of ", world_.ranks(), " without ", missed,
                    "; try again with more ranks");
}

}  // namespace tessera::scheduler
