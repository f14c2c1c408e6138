#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/messenger.hpp"

namespace tessera::comm {

using namespace std::chrono_literals;

/// Keeps what arrives. Bodies go into memory of its own.
class Inbox final : public Receiver {
 public:
  struct Message {
    Rank from;
    Envelope envelope;
    std::vector<std::byte> body;
  };
  std::byte* target(Rank from, const Envelope& envelope, std::size_t bytes) noexcept override {
    while (held) std::this_thread::sleep_for(1ms);
    if (slow > 0us) std::this_thread::sleep_for(slow);
    if (envelope.flags == kDrop) return nullptr;
    const std::lock_guard lock(mutex_);
    auto& body = bodies_[{from.number, envelope.b}];
    body.resize(bytes);
    return body.data();
  }
  void arrived(Rank from, const Envelope& envelope, std::size_t bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    Message message{from, envelope, {}};
    if (bytes > 0 && envelope.flags != kDrop)
      message.body = std::move(bodies_[{from.number, envelope.b}]);
    if (echo != nullptr && envelope.kind == 1)
      echo->send(from, {2, 0, envelope.step, envelope.a, envelope.b}, nullptr, 0, {});
    messages.push_back(std::move(message));
    changed_.notify_all();
  }
  void lost(Rank rank, const std::string& why) noexcept override {
    const std::lock_guard lock(mutex_);
    losses[rank.number].push_back(why);
    changed_.notify_all();
  }
  template <typename P>
  bool wait(P predicate, std::chrono::seconds limit = 20s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, predicate);
  }
  static constexpr std::uint32_t kDrop = 7;
  std::vector<Message> messages;
  std::map<int, std::vector<std::string>> losses;
  std::chrono::microseconds slow{0};
  std::atomic<bool> held{false};  // nothing is taken until it is not
  Messenger* echo = nullptr;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<int, std::uint64_t>, std::vector<std::byte>> bodies_;
};

}  // namespace tessera::comm
