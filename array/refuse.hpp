#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::array {

/// Throws InvalidArgument with "[where] " and the arguments streamed one after the other.
template <typename... Args>
[[noreturn]] void refuse(std::string_view where, const Args&... args) {
  throw InvalidArgument(core::text("[", where, "] ", args...));
}

/// "(0, -1)": a list of numbers for error texts.
template <typename T>
std::string list_text(const std::vector<T>& values) {
  std::string out = "(";
  for (std::size_t i = 0; i < values.size(); ++i) {
    out += (i != 0 ? ", " : "") + std::to_string(values[i]);
  }
  return out + ")";
}

}  // namespace tessera::array
