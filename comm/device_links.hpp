#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/messenger.hpp"

struct TesseraCudaApi;
struct TesseraNcclApi;

// Ways between devices of different ranks that do not lead through the hosts' memory. Owned: links,
// which come to be when they are first needed, and what is under way on them. Not owned: the words
// by which ranks agree on them, which go with the messages of whoever uses the links, and the
// memory at both ends.

namespace tessera::comm {

/// A device of this rank and one of another, by CUDA's numbers there.
struct Route {
  Rank peer;
  int here = 0;
  int there = 0;
};

/// Thread safe. Its calls wait for no other rank.
class DeviceLinks {
 public:
  /// Brings a text to the hear() of another rank's links; those to a rank arrive in order.
  using Tell = std::function<void(Rank to, const std::string& text)>;
  /// Says to a receiver that the next message of this link is for it: to be told in the order of
  /// the calls.
  using Announce = std::function<void(std::uint64_t link)>;

  virtual ~DeviceLinks() = default;
  /// False where the route has no link, or has none yet: it will be asked for. Otherwise announces
  /// and sends; `done` is called once, on a thread of the links.
  virtual bool send(const Route& route, const std::byte* data, std::size_t bytes,
                    const Announce& announce, Messenger::Done done) = 0;
  /// The message that was announced on this link goes to `data`, on a device of this rank. `done`
  /// is called once, on a thread of the links; it gets a CommError when the link is no more.
  virtual void receive(Rank from, std::uint64_t link, std::byte* data, std::size_t bytes,
                       Messenger::Done done) = 0;
  /// Nobody wants the message that was announced: the link ends, and so does all that is on it.
  virtual void refuse(Rank from, std::uint64_t link) = 0;
  virtual void hear(Rank from, const std::string& text) noexcept = 0;
  /// Nothing more comes from that rank or reaches it.
  virtual void lost(Rank rank) noexcept = 0;
};

/// Links by NCCL of the rank on `machine`.
std::shared_ptr<DeviceLinks> open_nccl_links(const TesseraCudaApi& cuda, const TesseraNcclApi& nccl,
                                             const std::string& machine, DeviceLinks::Tell tell);
/// NCCL's functions where its module and its library are there; else null and why.
const TesseraNcclApi* find_nccl(std::string& problem);
/// "NCCL 2.28.9", or why it is not available.
std::string nccl_support();

}  // namespace tessera::comm
