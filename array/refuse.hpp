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

/// What `call` returns. What it refuses is said in the name of the function that the user called,
/// not of the one that it is made of.
template <typename Call>
auto in_name_of(std::string_view where, const Call& call) {
  try {
    return call();
  } catch (const InvalidArgument& error) {
    const std::string text = error.what();
    const std::size_t end = text.find(']');
    if (text.empty() || text.front() != '[' || end == std::string::npos) throw;
    throw InvalidArgument(core::text("[", where, text.substr(end)));
  }
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
