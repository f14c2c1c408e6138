#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>

namespace tessera::core {

/// The arguments streamed one after the other: how error texts are put together.
template <typename... Args>
std::string text(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

/// "file.cpp:12", as errors name a place in the user's source; empty for line 0.
inline std::string source_place(const char* file, std::uint32_t line) {
  if (line == 0) return {};
  const std::string_view path = file;
  const std::size_t slash = path.rfind('/');
  return text(slash == std::string_view::npos ? path : path.substr(slash + 1), ":", line);
}

}  // namespace tessera::core
