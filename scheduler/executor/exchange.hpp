#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/device_links.hpp"
#include "comm/world.hpp"
#include "scheduler/executor/block_table.hpp"

// What ranks tell each other while they compute. Ranks run the same program, so that their
// computations come in the same order: each is a step with a number. Messages of a step that a rank
// has not reached wait for it, those of one that it has left are of no use any more.
//
//   begin      what the step computes, which all ranks compare with their own
//   announce   a block that the receiver reads is there
//   pull       send me that block
//   block      its bytes
//   direct     its bytes come next on a link between two devices (comm/device_links.hpp)
//   link       what those links have to say, in no step
//   end        how the step ended here: nothing of it is sent after that

namespace tessera::scheduler {

/// What a step of this rank hears, on threads of the messenger, one call at a time. Calls must not
/// block.
class ExchangeClient {
 public:
  virtual ~ExchangeClient() = default;
  virtual void peer_begins(comm::Rank peer, std::uint64_t fingerprint,
                           const std::string& what) noexcept = 0;
  virtual void peer_announces(comm::Rank peer, BlockKey key) noexcept = 0;
  /// `device`: CUDA's number of the one that the block will be on there; negative: none.
  virtual void peer_pulls(comm::Rank peer, BlockKey key, std::uint32_t request,
                          std::int32_t device) noexcept = 0;
  /// Where the bytes of a block that was pulled go; null when it is not waited for any more.
  virtual std::byte* block_target(comm::Rank peer, std::uint32_t request,
                                  std::size_t bytes) noexcept = 0;
  virtual void block_arrived(comm::Rank peer, std::uint32_t request,
                             std::size_t bytes) noexcept = 0;
  /// The same for one that comes from device to device. From direct_target() on it is waited for
  /// whatever the peer says.
  virtual std::byte* direct_target(comm::Rank peer, std::uint32_t request,
                                   std::size_t bytes) noexcept = 0;
  virtual void direct_arrived(std::uint32_t request,
                              const std::exception_ptr& failure) noexcept = 0;
  /// `failure` says why it failed; null where all went well.
  virtual void peer_ends(comm::Rank peer, const std::string* failure) noexcept = 0;
  virtual void peer_lost(comm::Rank peer, const std::string& why) noexcept = 0;
};

/// One for each world of several ranks. Thread safe.
class Exchange final : public comm::Receiver {
 public:
  /// This rank's part in a step, from its beginning to its end, which the others are told of
  /// whatever happens here. While it lives, other threads wait for theirs.
  class Step {
   public:
    explicit Step(Exchange& exchange);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    Exchange& exchange() const noexcept { return exchange_; }
    std::uint64_t number() const noexcept { return number_; }

    /// Tells all what is computed here, and hears from now on what they tell: what has come already
    /// at once, on this thread. Until hush().
    void listen(ExchangeClient& client, std::uint64_t fingerprint, const std::string& what);
    void hush();
    void announce(comm::Rank to, BlockKey key);
    void pull(comm::Rank to, BlockKey key, std::uint32_t request, std::int32_t device);
    void send_block(comm::Rank to, std::uint32_t request, const std::byte* data, std::size_t bytes,
                    comm::Messenger::Done done);
    /// From device to device, where there is a link; else false.
    bool send_direct(const comm::Route& route, std::uint32_t request, const std::byte* data,
                     std::size_t bytes, comm::Messenger::Done done);
    /// Nothing more is sent, and all went well, or why it did not. Only the first end counts.
    void end();
    void end(const std::string& failure);

   private:
    void tell_end(bool failed, const std::string& text);
    Exchange& exchange_;
    const std::unique_lock<std::mutex> turn_;
    std::shared_ptr<comm::DeviceLinks> links_;  // null: there are none
    std::uint64_t number_ = 0;
    bool ended_ = false;
  };

  /// The world's; made and started at the first call. Null for a world of one rank.
  static std::shared_ptr<Exchange> of(comm::World& world);
  explicit Exchange(comm::World& world);
  comm::World& world() noexcept { return world_; }
  /// Those that this rank's sessions share; made by `open` where there are none. Whoever gets them
  /// keeps them for as long as its devices are in use.
  std::shared_ptr<comm::DeviceLinks> links(
      const std::function<std::shared_ptr<comm::DeviceLinks>(comm::DeviceLinks::Tell)>& open);
  /// How many steps this rank has begun.
  std::uint64_t steps();

  std::byte* target(comm::Rank from, const comm::Envelope& envelope,
                    std::size_t bytes) noexcept override;
  void arrived(comm::Rank from, const comm::Envelope& envelope,
               std::size_t bytes) noexcept override;
  void lost(comm::Rank rank, const std::string& why) noexcept override;

 private:
  struct Message {
    comm::Rank from;
    comm::Envelope envelope;
    std::string text;
  };
  void tell(const Message& message) noexcept;
  void post_all(const comm::Envelope& envelope, const std::string& text);
  void post(comm::Rank to, const comm::Envelope& envelope,
            const std::shared_ptr<const std::string>& text);
  void begin_direct(comm::Rank from, const comm::Envelope& envelope);

  comm::World& world_;
  comm::Messenger& messenger_;
  std::mutex turn_;  // held by the thread that has a step
  std::mutex mutex_;
  ExchangeClient* client_ = nullptr;
  std::uint64_t step_ = 0;
  bool heard_ = true;           // somebody listened to this step
  std::vector<Message> early_;  // of steps to come
  std::unordered_map<std::uint64_t, std::string>
      incoming_;  // texts that are arriving, by sender and number
  std::vector<std::pair<comm::Rank, std::string>> lost_;
  std::weak_ptr<comm::DeviceLinks> links_;
  std::atomic<std::uint64_t> link_texts_{0};
};

}  // namespace tessera::scheduler
