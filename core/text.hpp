#pragma once

#include <sstream>
#include <string>

namespace tessera::core {

/// The arguments streamed one after the other: how error texts are put together.
template <typename... Args>
std::string text(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

}  // namespace tessera::core
