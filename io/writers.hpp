#pragma once

#include <cstdint>

namespace tessera::io {

/// The processes that write one set of files: one alone, or one of several, of which one leads.
/// kNextLeader begins again what another one had begun, and may find what that has left.
enum class Writers : std::uint8_t { kOne, kLeader, kNextLeader, kOther };

}  // namespace tessera::io
