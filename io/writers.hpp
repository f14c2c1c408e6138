#pragma once

#include <cstdint>

namespace tessera::io {

/// The processes that write one set of files: one alone, or one of several, of which one leads.
enum class Writers : std::uint8_t { kOne, kLeader, kOther };

}  // namespace tessera::io
