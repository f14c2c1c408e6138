#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/sockets/socket.hpp"
#include "comm/sockets/socket_messenger.hpp"
#include "comm/world.hpp"
#include "core/job.hpp"

namespace tessera::comm {

/// What a rank knows when all have met.
struct Meeting {
  std::vector<std::string> hosts;     ///< by rank, as what follows
  std::vector<std::string> carriers;  ///< what each said of itself
  std::vector<std::string> devices;   ///< that each is to use
  std::vector<std::size_t> device_bytes;
  std::vector<Socket> sockets;        ///< connected; this rank's is empty
  SocketOptions options;
  std::uint64_t number = 0;  ///< the same on all ranks
};

/// Meets the other ranks of a job of at least two, and connects with each. Rank 0 listens at the
/// rendezvous, or through a socket that does so already, checks who comes and tells everyone where
/// the others are. Both ends of each connection prove by HMAC-SHA256 that they know the job's
/// token, which is never sent. `carrier` says
/// where other ways than sockets reach this rank, which listens at that address.
/// \throws CommError with the same words on all ranks that had come: a rank that did not come in
/// time or came twice, one of another build or number of ranks, a wrong token. InvalidArgument for
/// a job beyond one machine without a token.
Meeting meet(const core::Job& job, const RankCard& card, Socket listener,
             const std::function<std::string(const LocalAddress&)>& carrier);

/// 256 random bits as hexadecimal digits. \throws CommError when the system gives none.
std::string new_token();

}  // namespace tessera::comm
