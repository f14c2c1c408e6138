#pragma once

#include <cstdint>

namespace tessera {

/// Fewer of many like cases where ThreadSanitizer watches: code takes ten times as long then, and
/// what one thread does shows it nothing.
constexpr std::uint64_t fewer_under_tsan(std::uint64_t cases) {
#if defined(__SANITIZE_THREAD__)
  return cases / 10;
#else
  return cases;
#endif
}

}  // namespace tessera
