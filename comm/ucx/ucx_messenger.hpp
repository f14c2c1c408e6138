#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/messenger.hpp"
#include "comm/sockets/socket_messenger.hpp"
#include "comm/ucx/ucx_module.h"

namespace tessera::comm {

/// Messages with long bodies go through UCX, all others, and the news of losses, over a messenger
/// of sockets. A thread drives UCX. A body is its sender's again when the receiver has said so over
/// the socket; a peer that UCX alone cannot reach any more is lost. One with which it never
/// connects gets all its messages by socket.
class UcxMessenger final : public Messenger, private Receiver {
 public:
  /// A worker that knows nobody yet and listens at a numeric host. `net_devices`: as
  /// UCX_NET_DEVICES, where that is not set; null: all. \throws CommError with UCX's reason.
  UcxMessenger(const TesseraUcxApi& api, const char* net_devices, const std::string& host);
  ~UcxMessenger() override;

  /// Where this rank's bodies come in, as hexadecimal digits, for connect() of others.
  std::string address() const;
  /// Before start(). By rank: addresses of peers; none where empty, whose bodies go by socket, as
  /// do those of peers whose memory can be read. `key`: the same on all ranks; messages with
  /// another one are dropped. \throws CommError naming the rank that UCX cannot reach.
  void connect(std::unique_ptr<SocketMessenger> control, const std::vector<std::string>& addresses,
               const std::vector<std::string>& hosts, std::uint64_t key);

  Rank rank() const noexcept override { return control_->rank(); }
  std::int32_t ranks() const noexcept override { return control_->ranks(); }
  void start(Receiver& receiver) override;
  void send(Rank to, const Envelope& envelope, const std::byte* body, std::size_t bytes,
            Done done) override;
  void cut(Rank rank, const std::string& why) override { control_->cut(rank, why); }

 private:
  using Clock = std::chrono::steady_clock;
  // What goes ahead of a body.
  struct Header {
    std::uint64_t key = 0;
    std::uint64_t id = 0;
    std::int32_t from = 0;
    std::uint32_t reserved = 0;
    Envelope envelope;
  };
  struct Peer {
    Rank rank;
    std::string host;
    bool near = false;
    bool came = false;              // both ends know each other; the thread's, as what follows is
    TesseraUcxPeer* ucx = nullptr;  // null: not connected
    std::vector<std::uint64_t> waiting;  // bodies, for it to come
    Clock::time_point waits_since;       // the first of them
    int coming = 0;
    int leaving = 0;
    bool closed = false;  // nothing that comes is told any more
    Clock::time_point gone;  // since when, where it is lost
    Clock::time_point failed = Clock::time_point::max();
    std::string why_failed, why_lost;
    bool lost = false;       // guarded by mutex_, as what follows is
    bool by_socket = false;  // UCX does not connect
  };
  // On its way: until UCX is done with the memory and the receiver has said that it has it.
  struct Body {
    Peer* to = nullptr;
    Header header;
    const std::byte* data = nullptr;
    std::size_t bytes = 0;
    Done done;
    bool sent = false, taken = false;
  };
  struct Coming {
    UcxMessenger* messenger;
    Peer* from;
    Envelope envelope;
    std::size_t bytes;
    std::uint64_t id;
  };

  // From the sockets.
  std::byte* target(Rank from, const Envelope& envelope, std::size_t bytes) noexcept override;
  void arrived(Rank from, const Envelope& envelope, std::size_t bytes) noexcept override;
  void lost(Rank rank, const std::string& why) noexcept override;

  // From UCX.
  static void* when_came(void* self, void* name, const void* hello, std::size_t hello_bytes,
                         TesseraUcxPeer* ucx);
  static void* when_target(void* self, const void* header, std::size_t header_bytes,
                           std::size_t bytes, void** token);
  static void when_received(void* self, void* token, int status);
  static void when_sent(void* self, void* token, int status);
  static void when_failed(void* self, void* peer, int status);

  void run();
  void send_queued();
  void close_lost();
  void give_up(Peer& peer);
  void stop_listening();
  Peer* find_peer(const Header& header);
  void note_failure(Peer& peer, int status);
  void finish(std::uint64_t id, bool sent);
  void fail_bodies(const Peer* to, const std::string& why);
  void wake();

  const TesseraUcxApi& api_;
  TesseraUcxWorker* worker_ = nullptr;
  std::uint64_t key_ = 0;
  std::vector<std::unique_ptr<Peer>> peers_;  // by rank; null: by socket
  bool listens_ = true;                       // the thread's
  Receiver* receiver_ = nullptr;
  std::mutex serial_;  // held while the receiver is told something
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::uint64_t> queue_;
  std::map<std::uint64_t, Body> bodies_;
  std::uint64_t next_id_ = 1;
  std::atomic<bool> over_{false};
  std::thread thread_;
  std::unique_ptr<SocketMessenger> control_;  // ends first
};

}  // namespace tessera::comm
