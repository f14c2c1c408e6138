#include "comm/nccl/nccl_links.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

// Of one link: the next message is queued while these are on their way.
constexpr std::size_t kMostFlying = 4;
constexpr std::chrono::seconds kConnectWithin{60};
// Both ends queue a message at about the same time. One that is not through by then never will be:
// devices may do the work of several links in orders in which each waits for another's.
constexpr std::chrono::seconds kThroughWithin{120};
// How long the stream of an aborted link has to become quiet.
constexpr std::chrono::seconds kQuietWithin{10};
// Whoever is there answers soon, and whoever is not is given up by then.
constexpr std::chrono::seconds kAnswerWithin{60};
constexpr std::chrono::microseconds kLookEvery{20};

// Numbers are not used again, whatever becomes of the links that had them.
std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

std::shared_ptr<DeviceLinks> open_nccl_links(const TesseraCudaApi& cuda, const TesseraNcclApi& nccl,
                                             const std::string& machine, DeviceLinks::Tell tell) {
  return std::make_shared<NcclLinks>(cuda, nccl, machine, std::move(tell));
}

NcclLinks::NcclLinks(const TesseraCudaApi& cuda, const TesseraNcclApi& nccl, std::string machine,
                     Tell tell)
    : cuda_(cuda),
      nccl_(nccl),
      machine_(std::move(machine)),
      tell_(std::move(tell)),
      thread_([this] { run(); }) {}

NcclLinks::~NcclLinks() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    for (const auto& link : links_) mark_broken(*link, "this rank left", false);
  }
  changed_.notify_one();
  thread_.join();
}

std::string NcclLinks::address_of(int device) const {
  char text[32] = {};
  cuda_.device_address(device, text, sizeof text);
  return core::text(text, " of ", machine_);
}

// What ranks ask of links
// -------------------------------------------------------------------------------------------------

NcclLinks::Link* NcclLinks::find(Rank peer, std::uint64_t number, bool outgoing) {
  for (const auto& link : links_) {
    if (link->number == number && link->outgoing == outgoing && link->route.peer == peer)
      return link.get();
  }
  return nullptr;
}

bool NcclLinks::send(const Route& route, const std::byte* data, std::size_t bytes,
                     const Announce& announce, Messenger::Done done) {
  const std::lock_guard lock(mutex_);
  for (const auto& link : links_) {
    const Route& other = link->route;
    if (!link->outgoing || other.peer != route.peer || other.here != route.here ||
        other.there != route.there)
      continue;
    if (link->state != State::kReady || bytes == 0) return false;
    // NCCL takes what it only reads by the same pointer as what it writes.
    link->waiting.push_back({const_cast<std::byte*>(data), bytes, std::move(done)});
    try {
      announce(link->number);
    } catch (...) {
      // The other end may or may not have heard.
      link->waiting.pop_back();
      mark_broken(*link, "a message could not be announced", false);
      throw;
    }
    news_ = true;
    changed_.notify_one();
    return true;
  }
  request(route);
  return false;
}

// Both ends connect at once: the other one hears of it now.
void NcclLinks::request(const Route& route) {
  auto link = std::make_unique<Link>();
  link->outgoing = true;
  link->route = route;
  link->number = next_number();
  const int status = nccl_.unique_id(link->id);
  if (status != TESSERA_NCCL_OK) {
    mark_broken(*link, nccl_.error_text(status), true);
  } else {
    Word word{};
    word.kind = Word::kConnect;
    word.sender = route.here;
    word.receiver = route.there;
    word.number = link->number;
    address_of(route.here).copy(word.address, sizeof word.address - 1);
    std::memcpy(word.id, link->id, sizeof word.id);
    tell_(route.peer, std::string(reinterpret_cast<const char*>(&word), sizeof word));
  }
  links_.push_back(std::move(link));
  news_ = true;
  changed_.notify_one();
}

void NcclLinks::receive(Rank from, std::uint64_t number, std::byte* data, std::size_t bytes,
                        Messenger::Done done) {
  const std::lock_guard lock(mutex_);
  Link* link = find(from, number, false);
  if (link == nullptr) {
    links_.push_back(std::make_unique<Link>());
    link = links_.back().get();
    link->route.peer = from;
    link->number = number;
    mark_broken(*link, "it is not known here", false);
  }
  // The thread tells what becomes of it, also where the link is broken.
  link->waiting.push_back({data, bytes, std::move(done)});
  news_ = true;
  changed_.notify_one();
}

void NcclLinks::refuse(Rank from, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (Link* link = find(from, number, false))
    mark_broken(*link, "a message came that nobody waited for", false);
}

void NcclLinks::hear(Rank from, const std::string& text) noexcept {
  Word word{};
  if (text.size() != sizeof word) return;
  std::memcpy(&word, text.data(), sizeof word);
  const std::lock_guard lock(mutex_);
  if (word.kind == Word::kConnect) return accept(from, word);
  Link* link = find(from, word.number, word.outgoing == 0);
  if (link == nullptr) return tell_broken(from, word.outgoing == 0, word.number);
  mark_broken(*link, "the other end gave it up", false);
  link->answered = true;
  news_ = true;
  changed_.notify_one();
}

// Two ranks that share a device have no link there: NCCL takes each device once.
void NcclLinks::accept(Rank from, const Word& word) {
  auto link = std::make_unique<Link>();
  link->route = {from, word.receiver, word.sender};
  link->number = word.number;
  std::memcpy(link->id, word.id, sizeof word.id);
  if (address_of(word.receiver) ==
      std::string(word.address, ::strnlen(word.address, sizeof word.address)))
    mark_broken(*link, "both ends are one device", false);
  links_.push_back(std::move(link));
  news_ = true;
  changed_.notify_one();
}

void NcclLinks::lost(Rank rank) noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& link : links_) {
    if (link->route.peer != rank) continue;
    mark_broken(*link, "the rank at its other end is lost", true);
    link->heard = true;
    link->answered = true;
  }
  news_ = true;
  changed_.notify_one();
}

void NcclLinks::mark_broken(Link& link, std::string why, bool heard) {
  if (link.state == State::kBroken) return;
  link.state = State::kBroken;
  link.why = std::move(why);
  link.heard = heard;
  link.answered = heard;
  news_ = true;
  changed_.notify_one();
}

void NcclLinks::tell_broken(Rank peer, bool outgoing, std::uint64_t number) const {
  Word word{};
  word.kind = Word::kBroken;
  word.outgoing = outgoing ? 1 : 0;
  word.number = number;
  tell_(peer, std::string(reinterpret_cast<const char*>(&word), sizeof word));
}

// The thread
// -------------------------------------------------------------------------------------------------

void NcclLinks::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    news_ = false;
    bool busy = false;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& link = *links_[i];
      lock.unlock();
      busy = progress(link) || busy;
      lock.lock();
    }
    if (busy) {
      changed_.wait_for(lock, kLookEvery);
    } else if (over_ && !news_) {
      return;
    } else {
      changed_.wait(lock, [this] { return news_ || over_; });
    }
  }
}

// Whether there is more to come of it without news.
bool NcclLinks::progress(Link& link) {
  State state;
  {
    const std::lock_guard lock(mutex_);
    state = link.state;
  }
  switch (state) {
    case State::kConnecting:
      return connect(link);
    case State::kReady:
      return move(link);
    case State::kBroken:
      return clear_away(link);
  }
  return false;
}

bool NcclLinks::good(Link& link, int status, const char* call) {
  if (status == TESSERA_NCCL_OK) return true;
  fail(link, "NCCL", nccl_.error_text(status), call);
  return false;
}

bool NcclLinks::cuda_good(Link& link, int status, const char* call) {
  if (status == TESSERA_CUDA_OK) return true;
  fail(link, "CUDA", cuda_.error_text(TESSERA_CUDA_RUNTIME, status), call);
  return false;
}

void NcclLinks::fail(Link& link, const char* library, const char* text, const char* call) {
  std::string why = core::text(library, " says \"", text, "\" of ", call);
  core::log(core::LogLevel::kWarning,
            core::text("blocks between cuda:", link.route.here, " and a device of rank ",
                       link.route.peer.number, " go through the hosts: ", why));
  const std::lock_guard lock(mutex_);
  mark_broken(link, std::move(why), false);
}

bool NcclLinks::connect(Link& link) {
  if (link.comm == nullptr) {
    if (!cuda_good(link, cuda_.set_device(link.route.here), "set_device")) return true;
    if (!good(link, nccl_.connect(link.outgoing ? 0 : 1, link.id, &link.comm), "connect"))
      return true;
  }
  const int status = nccl_.state(link.comm);
  if (status == TESSERA_NCCL_IN_PROGRESS) {
    if (Clock::now() - link.since > kConnectWithin)
      fail(link, "NCCL", "the other end did not come", "connect");
    return true;
  }
  if (!good(link, status, "connect")) return true;
  if (!cuda_good(link, cuda_.stream_create(link.route.here, &link.stream), "stream_create"))
    return true;
  const std::lock_guard lock(mutex_);
  if (link.state == State::kConnecting) link.state = State::kReady;
  return true;
}

bool NcclLinks::move(Link& link) {
  while (finish_first(link)) {
  }
  while (queue_next(link)) {
  }
  return !link.flying.empty();
}

// Whether the link can take another message. One at a time is handed to NCCL, which may go on with
// it after its call has returned.
bool NcclLinks::queue_next(Link& link) {
  if (link.flying.empty() || link.flying.back().event != nullptr) {
    {
      const std::lock_guard lock(mutex_);
      if (link.state != State::kReady || link.waiting.empty() || link.flying.size() >= kMostFlying)
        return false;
      link.flying.push_back(std::move(link.waiting.front()));
      link.waiting.pop_front();
    }
    Message& message = link.flying.back();
    message.since = Clock::now();
    if (!cuda_good(link, cuda_.set_device(link.route.here), "set_device")) return false;
    const int status = link.outgoing
                           ? nccl_.send(link.comm, message.data, message.bytes, link.stream)
                           : nccl_.receive(link.comm, message.data, message.bytes, link.stream);
    if (!good(link, status, link.outgoing ? "send" : "receive")) return false;
  }
  const int status = nccl_.state(link.comm);
  if (status == TESSERA_NCCL_IN_PROGRESS || !good(link, status, "state")) return false;
  void* event = nullptr;
  if (!cuda_good(link, cuda_.event_create(link.route.here, &event), "event_create")) return false;
  link.flying.back().event = event;
  return cuda_good(link, cuda_.event_record(event, link.stream), "event_record");
}

// Whether one more message is through.
bool NcclLinks::finish_first(Link& link) {
  if (link.flying.empty()) return false;
  void* event = link.flying.front().event;
  const int status = event == nullptr ? int{TESSERA_CUDA_NOT_READY} : cuda_.event_query(event);
  if (status == TESSERA_CUDA_NOT_READY) {
    const int state = nccl_.state(link.comm);
    if (state != TESSERA_NCCL_IN_PROGRESS && !good(link, state, "state")) return false;
    if (Clock::now() - link.flying.front().since > kThroughWithin)
      fail(link, "NCCL", "a message takes too long", link.outgoing ? "send" : "receive");
    return false;
  }
  if (!cuda_good(link, status, "event_query")) return false;
  cuda_.event_destroy(event);
  const Messenger::Done done = std::move(link.flying.front().done);
  link.flying.pop_front();
  if (done) done(nullptr);
  return true;
}

// What was on a link that is broken is told once its stream has ended, or does not in a long time:
// then the device is as good as lost.
bool NcclLinks::clear_away(Link& link) {
  if (link.comm != nullptr) {
    nccl_.abort(std::exchange(link.comm, nullptr));
    link.since = Clock::now();
    const bool ended = link.stream == nullptr ||
                       cuda_.event_create(link.route.here, &link.quiet) != TESSERA_CUDA_OK ||
                       cuda_.event_record(link.quiet, link.stream) != TESSERA_CUDA_OK;
    if (ended && link.quiet != nullptr) cuda_.event_destroy(std::exchange(link.quiet, nullptr));
  }
  if (link.quiet != nullptr) {
    const bool late = Clock::now() - link.since > kQuietWithin;
    if (cuda_.event_query(link.quiet) == TESSERA_CUDA_NOT_READY && !late) return true;
    if (late) {
      core::log(core::LogLevel::kError,
                core::text("cuda:", link.route.here, " still works on a link to rank ",
                           link.route.peer.number, " that was aborted"));
    }
    cuda_.event_destroy(std::exchange(link.quiet, nullptr));
  }
  if (waits_for_answer(link)) return true;
  std::deque<Message> over = std::exchange(link.flying, {});
  std::string why;
  {
    const std::lock_guard lock(mutex_);
    std::move(link.waiting.begin(), link.waiting.end(), std::back_inserter(over));
    link.waiting.clear();
    why = link.why;
  }
  for (const Message& message : over) {
    if (message.event != nullptr) cuda_.event_destroy(message.event);
    if (!message.done) continue;
    message.done(std::make_exception_ptr(CommError(
        core::text("[comm] a link between devices must last; got the end of one: ", why))));
  }
  if (link.stream != nullptr) cuda_.stream_destroy(std::exchange(link.stream, nullptr));
  return false;
}

// A link mostly breaks because its peer is lost, of which the hosts' messages say more than NCCL:
// what was on the link is told after that, or after the peer has said that it is there.
bool NcclLinks::waits_for_answer(Link& link) {
  bool heard = false;
  {
    const std::lock_guard lock(mutex_);
    heard = std::exchange(link.heard, true);
  }
  if (!heard) tell_broken(link.route.peer, link.outgoing, link.number);
  const std::lock_guard lock(mutex_);
  const bool in_time = Clock::now() - link.since <= kAnswerWithin;
  return in_time && !over_ && !link.answered && !(link.flying.empty() && link.waiting.empty());
}

}  // namespace tessera::comm
