#pragma once

#include <memory>
#include <string>

#include "comm/sockets/socket.hpp"
#include "comm/world.hpp"
#include "core/job.hpp"

namespace tessera::comm {

/// Meets the other ranks of a job (comm/sockets/bootstrap.hpp), and chooses what carries bodies to
/// each: on one machine reading each other's memory, beyond it UCX where both ends have it and an
/// RDMA network, or the job asks for it, and sockets otherwise. \throws what meet() throws;
/// CommError where UCX is asked for and cannot be had.
std::unique_ptr<World> join(const core::Job& job, const RankCard& card, Socket listener = {});

}  // namespace tessera::comm
