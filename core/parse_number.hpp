#pragma once

#include <charconv>
#include <string_view>
#include <type_traits>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::core {

/// The number that a variable's text is, as a whole. \throws InvalidArgument naming the variable
/// for another text, and for a number out of range.
template <typename T>
T parse_number(const char* name, std::string_view text, T low, T high) {
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status == std::errc() && end == text.data() + text.size() && value >= low && value <= high)
    return value;
  throw InvalidArgument(core::text("[", name, "] the value is a ",
                                   std::is_integral_v<T> ? "whole number" : "number", " from ", low,
                                   " to ", high, "; got \"", text, "\""));
}

}  // namespace tessera::core
