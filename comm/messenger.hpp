#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "comm/address.hpp"

// Messages between the ranks of a world. Owned: delivery, and the news that a rank is lost. Not
// owned: what messages mean (scheduler/executor), and the memory that their bodies come from and go
// to.

namespace tessera::comm {

/// What goes ahead of a message's body. Its meaning is the receiver's matter.
struct Envelope {
  std::uint32_t kind = 0;  ///< below kFirstOwnKind
  std::uint32_t flags = 0;
  std::uint64_t step = 0;
  std::uint64_t a = 0;
  std::uint64_t b = 0;
};

/// Kinds from here on are words between messengers; receivers are not told.
constexpr std::uint32_t kFirstOwnKind = 0x80000000;

/// Why a rank is lost that has ended by itself, as Receiver::lost() tells it.
inline constexpr std::string_view kHasLeft = "it has left";

/// What a messenger tells; on its own threads, one call at a time. Calls may send, and must not
/// block.
class Receiver {
 public:
  virtual ~Receiver() = default;
  /// Where a body that is about to arrive goes; `bytes` is not 0. Null: it is read and dropped.
  virtual std::byte* target(Rank from, const Envelope& envelope, std::size_t bytes) noexcept = 0;
  /// A message has arrived as a whole.
  virtual void arrived(Rank from, const Envelope& envelope, std::size_t bytes) noexcept = 0;
  /// Nothing more comes from that rank or reaches it. Told once. `why` is a sentence without its
  /// end.
  virtual void lost(Rank rank, const std::string& why) noexcept = 0;
};

/// Thread safe. Messages without a body arrive in the order in which they were sent to a rank; one
/// with a body may be overtaken.
class Messenger {
 public:
  /// How sending a body ended: null when the memory is the sender's again and the bytes are on
  /// their way.
  using Done = std::function<void(std::exception_ptr failure)>;

  virtual ~Messenger() = default;
  virtual Rank rank() const noexcept = 0;
  virtual std::int32_t ranks() const noexcept = 0;
  /// Before the first message; what arrived earlier is told then. The receiver outlives the
  /// messenger.
  virtual void start(Receiver& receiver) = 0;
  /// Queues a message and returns at once; callable from a Receiver's calls. The body stays until
  /// `done` is called, on a thread of the messenger or within this call. To a lost rank, `done`
  /// gets a CommError. To itself a rank sends nothing: \throws InvalidArgument for that, and for a
  /// rank that the world has not.
  virtual void send(Rank to, const Envelope& envelope, const std::byte* body, std::size_t bytes,
                    Done done) = 0;
  /// Makes another rank lost, on both ends, and returns at once: `why` is what receivers here are
  /// told. After start().
  virtual void cut(Rank rank, const std::string& why) = 0;
};

}  // namespace tessera::comm
