#pragma once

#include <string>
#include <vector>

namespace tessera {

/// `tessera run`: ranks on this machine.
struct RunRanksOptions {
  int ranks = 1;
  std::string devices;               ///< of each rank; empty: as the environment says
  std::vector<std::string> command;  ///< program and arguments
};

/// Starts the program once for each rank and waits for all. When one fails, the others have some
/// seconds to notice before they are ended. \returns the exit status of the first rank that failed,
/// or 128 and the signal that ended one; 0 when none failed. Where ranks go on without those that
/// are lost (TESSERA_ON_RANK_LOSS=recover), all that are left run to their end, and ranks that a
/// signal ended count only where no more than half of the ranks have ended well. \throws
/// InvalidArgument for options that cannot be meant; Error when a process cannot be started.
int run_ranks(const RunRanksOptions& options);

}  // namespace tessera
