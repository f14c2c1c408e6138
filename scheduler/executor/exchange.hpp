#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/device_links.hpp"
#include "comm/membership.hpp"
#include "comm/world.hpp"
#include "scheduler/executor/block_table.hpp"

// What ranks tell each other while they compute. Ranks run the same program, so that their
// computations come in the same order: each is a step with a number. Messages of a step that a rank
// has not reached wait for it, those of one that it has left are of no use any more.
//
// Where the world recovers from losses, a step may take several attempts: when a rank is lost,
// those that are left agree on who they are (comm/membership.hpp), and begin the step again unless
// all of them have got through it. A rank leaves a step when all others have ended it in the same
// attempt or are lost, so that none is left alone with it. What is sent belongs to one attempt.
// Ranks of an attempt are numbered from 0 among those that take part: these are the numbers that
// clients know.
//
//   begin      what the step computes, which all ranks compare with their own
//   announce   a block that the receiver reads is there
//   value      a block that holds nothing is there, and what stands for it: a delayed call's value
//   pull       send me that block
//   block      its bytes
//   direct     its bytes come next on a link between two devices (comm/device_links.hpp)
//   link       what those links have to say, in no step
//   end        how the attempt ended here: nothing of it is sent after that
//   lost       a rank is, and what the sender had ended, and how, when it learned that

namespace tessera::scheduler {

/// What a step of this rank hears, on threads of the messenger, one call at a time. Calls must not
/// block.
class ExchangeClient {
 public:
  virtual ~ExchangeClient() = default;
  virtual void peer_begins(comm::Rank peer, std::uint64_t fingerprint,
                           const std::string& what) noexcept = 0;
  virtual void peer_announces(comm::Rank peer, BlockKey key) noexcept = 0;
  /// Nothing: there was no memory for it.
  virtual void peer_sends_value(comm::Rank peer, BlockKey key,
                                std::optional<std::string> value) noexcept = 0;
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
  /// Nothing is under way there, and it waits for others; or it goes on, which it says before it
  /// does.
  virtual void peer_is_quiet(comm::Rank peer, bool is) noexcept = 0;
  /// `failure` says why it failed; null where all went well. `again`: because a rank is lost, and
  /// there will be another attempt unless this rank, too, has got through.
  virtual void peer_ends(comm::Rank peer, const std::string* failure, bool again) noexcept = 0;
  virtual void peer_lost(comm::Rank peer, const std::string& why) noexcept = 0;
};

/// One for each world of several ranks. Thread safe.
class Exchange final : public comm::Receiver {
  enum class How : std::uint32_t { kWell, kFailed, kAgain };  // an attempt has ended

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
    std::uint64_t number() const noexcept { return attempt_.step; }

    /// Begins an attempt, with the ranks that are left once these agree. \throws CommError where
    /// they are too few to go on, or have given this one up.
    void begin();
    /// Whether the step is done with, once the attempt has ended on all ranks. Where not, ranks are
    /// lost, some of the others have not got through, and all of them begin() again.
    bool over();
    /// Where it went well here: whether it did on all ranks, now that it is over. \throws CommError
    void check() const;
    /// Leaves the step with what it has come to, as all ranks do that have begun this attempt or
    /// would begin() another one.
    void abandon() noexcept { ended_ = true; }
    bool recovers() const noexcept { return exchange_.recovers_; }
    /// This rank's number among those of the attempt, and how many they are.
    comm::Rank self() const noexcept { return self_; }
    std::int32_t ranks() const noexcept { return static_cast<std::int32_t>(members_.size()); }
    /// From a rank's number in the attempt to that in the world and back; -1: it does not take
    /// part.
    comm::Rank in_world(comm::Rank rank) const noexcept {
      return {members_[static_cast<std::size_t>(rank.number)]};
    }
    comm::Rank here(comm::Rank of_world) const noexcept;

    /// Tells all what is computed here, and hears from now on what they tell: what has come already
    /// at once, on this thread. Until hush().
    void listen(ExchangeClient& client, std::uint64_t fingerprint, const std::string& what);
    void hush();
    void announce(comm::Rank to, BlockKey key);
    /// The same of a block that other ranks know by this value.
    void announce(comm::Rank to, BlockKey key, const std::shared_ptr<const std::string>& value,
                  comm::Messenger::Done done);
    void pull(comm::Rank to, BlockKey key, std::uint32_t request, std::int32_t device);
    void send_block(comm::Rank to, std::uint32_t request, const std::byte* data, std::size_t bytes,
                    comm::Messenger::Done done);
    /// From device to device, where there is a link; else false.
    bool send_direct(comm::Route route, std::uint32_t request, const std::byte* data,
                     std::size_t bytes, comm::Messenger::Done done);
    /// Tells all whether this rank waits for them with nothing under way.
    void quiet(bool is);
    /// Nothing more is sent, and all went well, or why it did not. Only the first end of an attempt
    /// counts.
    void end();
    void end(const std::string& failure);
    /// Whether the attempt ended well on this rank and on all others, as its client has heard.
    bool ended_well() const noexcept { return ended_well_; }
    void note_end_of_all(bool well) noexcept { ended_well_ = well; }

   private:
    void tell_end(How how, const std::string& text);
    bool settle();
    void post_all(std::uint32_t kind, std::uint32_t flags, comm::Attempt attempt, std::uint64_t a,
                  const std::string& text);
    Exchange& exchange_;
    const std::unique_lock<std::mutex> turn_;
    std::shared_ptr<comm::DeviceLinks> links_;  // null: there are none
    comm::Attempt attempt_;
    comm::Attempt before_;               // what this rank had ended before the step
    std::uint32_t told_ = 0;             // attempts whose end is told, by their losses
    std::vector<std::int32_t> members_;  // ranks of the world, in order
    comm::Rank self_;
    bool ended_ = false;
    bool ended_well_ = false;
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
  /// The ranks that were in the last step that is over.
  std::vector<std::int32_t> team();
  /// Whether this rank is one of those that go on.
  bool holds() const;

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
  void tell(Message& message, std::size_t bytes = 0) noexcept;
  void post(comm::Rank to, comm::Envelope envelope, const std::shared_ptr<const std::string>& text,
            comm::Messenger::Done done = {});
  void begin_direct(comm::Rank from, const comm::Envelope& envelope);
  ExchangeClient* client_of(comm::Rank from, const comm::Envelope& envelope) const noexcept;
  comm::Rank here(comm::Rank of_world) const noexcept;
  void learn_loss(comm::Rank rank, const std::string& why);
  void hear_loss(comm::Rank from, const comm::Envelope& envelope);
  bool note_end(comm::Rank from, const comm::Envelope& envelope);
  bool no_going_on() const noexcept;
  std::string why_too_few() const;

  comm::World& world_;
  comm::Messenger& messenger_;
  const bool recovers_;
  std::mutex turn_;  // held by the thread that has a step
  std::uint64_t steps_ = 0;  // guarded by turn_ and mutex_
  std::mutex mutex_;
  ExchangeClient* client_ = nullptr;
  std::uint64_t attempt_ = 0;          // as messages name it
  std::vector<std::int32_t> members_;  // of the attempt; empty: all
  std::vector<std::int32_t> team_;     // the members of the last step that is over
  bool heard_ = true;                  // somebody listened to this attempt
  std::vector<Message> early_;         // of attempts to come
  std::unordered_map<std::uint64_t, std::string>
      incoming_;  // texts that are arriving, by sender and number
  std::vector<std::pair<comm::Rank, std::string>> lost_;
  std::weak_ptr<comm::DeviceLinks> links_;
  std::atomic<std::uint64_t> texts_{0};  // sent

  // Who is there. This mutex is held for looking things up alone: whoever ends an attempt may hold
  // mutex_ or come from a messenger's call.
  struct Peer {
    comm::Attempt ended;     // the last one that it has told the end of
    comm::Attempt given_up;  // the last one that it wants to begin again
    bool has_left = false;
    std::string why_lost;
  };
  mutable std::mutex members_mutex_;
  std::condition_variable members_changed_;
  comm::Membership membership_;
  std::vector<Peer> peers_;  // by rank of the world
  std::string expelled_;     // not empty: the others go on without this rank, and who says so
};

}  // namespace tessera::scheduler
