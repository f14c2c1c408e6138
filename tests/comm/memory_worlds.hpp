#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/world.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

// Worlds whose ranks are in one process and whose messages are copied by a thread of the receiver:
// bodies a while after they were sent, so that messages without one overtake them as a messenger's
// may.

namespace tessera::comm {

class MemoryWorlds {
 public:
  static std::vector<std::unique_ptr<World>> make(int ranks, std::uint64_t seed);

 private:
  struct Message {
    Rank from;
    Envelope envelope;
    const std::byte* body = nullptr;
    std::size_t bytes = 0;
    Messenger::Done done;
  };
  class Node;
  // Who is still there; guarded by its mutex.
  struct Hub {
    std::mutex mutex;
    std::vector<Node*> nodes;
  };
  class Node final : public World, public Messenger {
   public:
    Node(std::shared_ptr<Hub> hub, std::int32_t rank, std::uint64_t seed)
        : hub_(std::move(hub)),
          rank_{rank},
          ranks_(static_cast<std::int32_t>(hub_->nodes.size())),
          random_(seed) {}
    ~Node() override {
      {
        const std::lock_guard lock(hub_->mutex);
        hub_->nodes[static_cast<std::size_t>(rank_.number)] = nullptr;
        for (Node* node : hub_->nodes) {
          if (node != nullptr) node->push_lost(rank_, std::string(kHasLeft));
        }
      }
      {
        const std::lock_guard lock(mutex_);
        over_ = true;
      }
      wake_.notify_all();
      if (thread_.joinable()) thread_.join();
      for (Message& message : queue_) fail(message.done);
      for (Message& message : bodies_) fail(message.done);
    }
    Rank rank() const noexcept override { return rank_; }
    std::int32_t ranks() const noexcept override { return ranks_; }
    const std::string& host(Rank) const override { return host_; }
    std::uint64_t job_number() const noexcept override { return 17; }
    Messenger* messenger() noexcept override { return this; }

    void start(Receiver& receiver) override {
      receiver_ = &receiver;
      thread_ = std::thread([this] { deliver(); });
    }
    void send(Rank to, const Envelope& envelope, const std::byte* body, std::size_t bytes,
              Done done) override {
      if (to == rank_ || to.number < 0 || to.number >= ranks_)
        throw InvalidArgument(core::text("[comm] no such peer: ", to.number));
      {
        const std::lock_guard lock(hub_->mutex);
        Node* node = hub_->nodes[static_cast<std::size_t>(to.number)];
        if (node != nullptr) return node->push({rank_, envelope, body, bytes, std::move(done)});
      }
      fail(done);
    }
    void cut(Rank rank, const std::string& why) override {
      const std::lock_guard lock(hub_->mutex);
      push_lost(rank, why);
      Node* node = hub_->nodes[static_cast<std::size_t>(rank.number)];
      if (node != nullptr) node->push_lost(rank_, "its connection closed");
    }

   private:
    static void fail(const Done& done) {
      if (done) done(std::make_exception_ptr(CommError("[comm] the receiver has left")));
    }
    void push(Message message) {
      const std::lock_guard lock(mutex_);
      (message.bytes > 0 ? bodies_ : queue_).push_back(std::move(message));
      wake_.notify_all();
    }
    void push_lost(Rank rank, const std::string& why) {
      const std::lock_guard lock(mutex_);
      lost_.emplace_back(rank, why);
      wake_.notify_all();
    }
    void deliver() {
      std::unique_lock lock(mutex_);
      for (;;) {
        wake_.wait(lock, [this] {
          return over_ || !queue_.empty() || !bodies_.empty() || !lost_.empty();
        });
        if (over_) return;
        const bool body = !bodies_.empty() && (queue_.empty() || random_() % 4 == 0);
        std::deque<Message>& from = body ? bodies_ : queue_;
        if (from.empty()) {
          const auto [gone, why] = lost_.front();
          lost_.pop_front();
          lock.unlock();
          receiver_->lost(gone, why);
          lock.lock();
          continue;
        }
        const std::size_t which = body ? random_() % from.size() : 0;
        Message message = std::move(from[which]);
        from.erase(from.begin() + static_cast<std::ptrdiff_t>(which));
        lock.unlock();
        if (body) {
          std::byte* target = receiver_->target(message.from, message.envelope, message.bytes);
          if (target != nullptr) std::memcpy(target, message.body, message.bytes);
        }
        if (message.done) message.done(nullptr);
        receiver_->arrived(message.from, message.envelope, message.bytes);
        lock.lock();
      }
    }

    const std::shared_ptr<Hub> hub_;
    const Rank rank_;
    const std::int32_t ranks_;
    const std::string host_ = "here";
    Receiver* receiver_ = nullptr;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Message> queue_;
    std::deque<Message> bodies_;
    std::deque<std::pair<Rank, std::string>> lost_;
    std::mt19937_64 random_;
    bool over_ = false;
    std::thread thread_;
  };
};

inline std::vector<std::unique_ptr<World>> MemoryWorlds::make(int ranks, std::uint64_t seed) {
  auto hub = std::make_shared<Hub>();
  hub->nodes.resize(static_cast<std::size_t>(ranks));
  std::vector<std::unique_ptr<World>> out;
  for (int r = 0; r < ranks; ++r) {
    auto node = std::make_unique<Node>(hub, r, seed + static_cast<std::uint64_t>(r));
    hub->nodes[static_cast<std::size_t>(r)] = node.get();
    out.push_back(std::move(node));
  }
  return out;
}

}  // namespace tessera::comm
