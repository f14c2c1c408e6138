#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

// Memory of other processes of this machine, read with one copy and without their help.

namespace tessera::comm {

/// What another process needs to find out whether it may read this one's memory.
struct MemoryPass {
  std::string machine;  ///< one boot of one system, and who sees the same process numbers on it
  std::int64_t process = 0;
  std::uint64_t probe_address = 0;
  std::uint64_t probe = 0;  ///< what is found there
};

/// Of this process. Where the system lets only a parent read its children (Yama), others of the
/// same user are allowed to from now on.
MemoryPass memory_pass();
/// Whether memory of that process can be read. It was tried: the probe was found.
bool can_read(const MemoryPass& pass);
/// Copies from another process. False where the system lets nobody read that memory but who has
/// mapped it, as a driver's. \throws CommError with the system's reason for all else.
bool read_memory(pid_t process, std::uint64_t from, std::byte* to, std::size_t bytes);

}  // namespace tessera::comm
