#pragma once

#include <optional>

#include "comm/sockets/socket.hpp"
#include "core/job.hpp"

namespace tessera::comm {

/// The job of a launcher that speaks PMIx (mpirun, srun --mpi=pmix), when it started this process
/// and says nothing else: rank 0 listens, and tells the others through the launcher where, with a
/// token made for the job. PMIx is not used after that.
struct PmixJob {
  core::Job job;
  Socket listener;  ///< of rank 0
};

/// Nothing where no such launcher started this process, or the module that speaks to it is missing.
/// \throws CommError naming what the launcher's server refuses.
std::optional<PmixJob> pmix_job();

}  // namespace tessera::comm
