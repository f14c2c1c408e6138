#pragma once

#include <memory>
#include <string>

#include "comm/sockets/socket.hpp"
#include "comm/world.hpp"
#include "core/job.hpp"

namespace tessera::comm {

/// Meets the other ranks of a job of at least two, and connects with each. Rank 0 listens at the
/// rendezvous, or through a socket that does so already, checks who comes and tells everyone where
/// the others are. Both ends of each connection prove by HMAC-SHA256 that they know the job's
/// token, which is never sent. `build` names what must be the same on all ranks.
/// \throws CommError with the same words on all ranks: a rank that did not come in time or came
/// twice, one of another build or number of ranks, a wrong token. InvalidArgument for a job beyond
/// one machine without a token.
std::unique_ptr<World> join(const core::Job& job, const std::string& build, Socket listener = {});

/// 256 random bits as hexadecimal digits. \throws CommError when the system gives none.
std::string new_token();

}  // namespace tessera::comm
