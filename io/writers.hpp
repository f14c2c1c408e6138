#pragma once

#include <cstdint>
#include <string>

namespace tessera::io {

/// The processes that write one set of files: one alone, or one of several, of which one leads.
/// kNextLeader begins again what another one had begun, and may find what that has left.
enum class Writers : std::uint8_t { kOne, kLeader, kNextLeader, kOther };

/// The same for a folder that several processes write, and go on with when some of them are lost.
struct WritersOfFolder {
  Writers who = Writers::kOne;
  /// Names that no other call has, and no other beginning of this call: the same on all of them.
  std::string call = {};
  std::string beginning = {};
  /// What is written is to outlive the machine that wrote it.
  bool durable = false;
};

}  // namespace tessera::io
