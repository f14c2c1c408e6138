#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/messenger.hpp"
#include "comm/sockets/socket.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {

struct SocketOptions {
  std::chrono::milliseconds heartbeat{1000};  ///< a peer hears something this often
  std::chrono::milliseconds silence{10'000};  ///< after which a peer is lost
  /// By rank: a process whose memory this one can read; 0 for others. None where empty.
  std::vector<pid_t> readable = {};
};

/// Messages over one stream socket for each peer. A thread reads all of them, and writes what a
/// socket did not take at once. A closed connection is noticed at once, a silent one after
/// `silence`. Long bodies to a peer that has said that it can read this process's memory are only
/// offered: the peer copies them from where they lie, or says that it cannot (memory that a GPU's
/// driver has mapped may be like that), and they are sent.
class SocketMessenger final : public Messenger {
 public:
  /// A connected socket and a name of its machine for each rank; this rank's socket is empty.
  SocketMessenger(Rank self, std::vector<Socket> sockets, std::vector<std::string> hosts,
                  SocketOptions options);
  ~SocketMessenger() override { close(); }
  /// Says goodbye to all peers once what was sent is written. All are lost then, without being
  /// told.
  void close();

  Rank rank() const noexcept override { return self_; }
  std::int32_t ranks() const noexcept override { return static_cast<std::int32_t>(peers_.size()); }
  void start(Receiver& receiver) override;
  void send(Rank to, const Envelope& envelope, const std::byte* body, std::size_t bytes,
            Done done) override;
  void cut(Rank rank, const std::string& why) override;
  const SocketOptions& options() const noexcept { return options_; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Frame : std::uint32_t {
    kMessage = 0x74737231,
    kHeartbeat,
    kGoodbye,
    kReadsYou,  // the sender can read the receiver's memory
    kOffer,     // a message whose body lies at `address`, until it is taken
    kTaken,     // the first offer that was not taken before
    kRefused    // that one, whose memory cannot be read
  };
  struct Header {
    Frame frame = Frame::kMessage;
    std::uint32_t reserved = 0;
    Envelope envelope;
    std::uint64_t bytes = 0;    // of the body
    std::uint64_t address = 0;  // of an offer's
    bool has_body() const noexcept { return frame == Frame::kMessage || frame == Frame::kOffer; }
    std::size_t body_behind() const noexcept { return frame == Frame::kMessage ? bytes : 0; }
  };
  static_assert(sizeof(Header) == 56);
  struct Outgoing {
    Header header;
    const std::byte* body = nullptr;
    std::size_t written = 0;  // of header and body together
    Done done;
  };
  struct Peer {
    Rank rank;
    std::string host;
    Socket socket;
    // Guarded by mutex.
    std::mutex mutex;
    std::deque<Outgoing> queue;
    std::deque<Outgoing> offered;  // bodies that the peer has not taken yet
    bool reads_us = false;
    std::string why_cut;
    bool lost = false;
    bool asked = false;  // the thread knows that there is something to write
    Clock::time_point last_written;
    // The thread's.
    pid_t readable = 0;
    Header header;
    std::size_t header_bytes = 0;
    std::byte* target = nullptr;
    std::size_t body_bytes = 0;
    bool gone = false;
    Clock::time_point last_heard;
    // A header has come whose body has not as a whole.
    bool in_body() const noexcept { return header_bytes == sizeof(Header); }
    bool copies() const noexcept { return in_body() && header.frame == Frame::kOffer; }
  };

  void run();
  void read(Peer& peer);
  void end_offer(Peer& peer, bool taken);
  // How many bytes came, of a header or a body; -1 with the system's error, 0 at the end.
  ssize_t read_some(Peer& peer);
  bool copy_some(Peer& peer);
  bool take_header(Peer& peer);
  void finish_message(Peer& peer);
  // Writes what the socket takes; messages that are out are moved to `sent`. False when the socket
  // is broken.
  static bool write(Peer& peer, std::vector<Done>& sent);
  void write_queued(Peer& peer);
  void post(Peer& peer, Outgoing message);
  void post(Peer& peer, Frame frame);
  void beat();
  void give_up(Peer& peer, const std::string& why);
  void lose(Peer& peer, const std::string& why);
  void watch(Peer& peer, bool writable);
  bool all_written();
  CommError lost_error(const Peer& peer, const std::string& why) const;

  const Rank self_;
  const SocketOptions options_;
  std::vector<std::unique_ptr<Peer>> peers_;  // by rank; null for this one
  Receiver* receiver_ = nullptr;
  Socket epoll_;
  Socket wake_;
  std::vector<std::byte> scratch_;
  std::atomic<bool> closing_{false};  // goodbyes are being said
  std::atomic<bool> over_{false};     // and are all queued
  std::thread thread_;
};

}  // namespace tessera::comm
