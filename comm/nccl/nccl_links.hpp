#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/device_links.hpp"
#include "comm/nccl/nccl_module.h"
#include "device/cuda/cuda_module.h"

namespace tessera::comm {

/// Each link is a communicator of two devices with a stream of its own at either end, and carries
/// messages one way: the sender announces each and queues it, the receiver queues it when it hears
/// of it, so that both have the same order and no message waits for one of another link. One thread
/// does all of it and asks NCCL and CUDA how far they are, so that a link that hangs holds up no
/// other. Where NCCL says that something is wrong, a connection or a message takes too long, or the
/// peer is lost, the link is aborted and never made again: blocks take the way through the hosts.
class NcclLinks final : public DeviceLinks {
 public:
  NcclLinks(const TesseraCudaApi& cuda, const TesseraNcclApi& nccl, std::string machine, Tell tell);
  ~NcclLinks() override;

  bool send(const Route& route, const std::byte* data, std::size_t bytes, const Announce& announce,
            Messenger::Done done) override;
  void receive(Rank from, std::uint64_t link, std::byte* data, std::size_t bytes,
               Messenger::Done done) override;
  void refuse(Rank from, std::uint64_t link) override;
  void hear(Rank from, const std::string& text) noexcept override;
  void lost(Rank rank) noexcept override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Message {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    Messenger::Done done;
    void* event = nullptr;  // fires when it is through; null until NCCL has queued it
    Clock::time_point since = {};  // queued
  };
  enum class State : std::uint8_t { kConnecting, kReady, kBroken };
  struct Link {
    bool outgoing = false;
    Route route;
    std::uint64_t number = 0;  // the sender's
    char id[TESSERA_NCCL_ID_BYTES] = {};
    // Guarded by the mutex.
    State state = State::kConnecting;
    std::string why;     // it is broken
    bool heard = false;  // the peer knows that it is
    bool answered = false;  // the peer has said so, too, or is lost
    std::deque<Message> waiting;
    // The thread's.
    void* comm = nullptr;
    void* stream = nullptr;
    std::deque<Message> flying;  // queued on the stream, or being queued: the last one
    void* quiet = nullptr;       // fires when the stream of a broken link has ended
    Clock::time_point since = Clock::now();  // there, or cleared away
  };
  /// What links tell each other.
  struct Word {
    enum Kind : std::uint32_t { kConnect, kBroken } kind;
    std::int32_t sender;  // CUDA's numbers of the devices
    std::int32_t receiver;
    std::uint32_t outgoing;  // of kBroken: the link is one of who says so
    std::uint64_t number;
    char address[128];  // of the sender's device
    char id[TESSERA_NCCL_ID_BYTES];
  };

  Link* find(Rank peer, std::uint64_t number, bool outgoing);
  void request(const Route& route);
  void accept(Rank from, const Word& word);
  void tell_broken(Rank peer, bool outgoing, std::uint64_t number) const;
  void mark_broken(Link& link, std::string why, bool heard);
  void run();
  bool progress(Link& link);
  bool connect(Link& link);
  bool move(Link& link);
  bool queue_next(Link& link);
  bool finish_first(Link& link);
  bool clear_away(Link& link);
  bool waits_for_answer(Link& link);
  void fail(Link& link, const char* library, const char* text, const char* call);
  bool good(Link& link, int status, const char* call);
  bool cuda_good(Link& link, int status, const char* call);
  std::string address_of(int device) const;

  const TesseraCudaApi& cuda_;
  const TesseraNcclApi& nccl_;
  const std::string machine_;
  const Tell tell_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Link>> links_;  // grows only
  bool news_ = false;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace tessera::comm
