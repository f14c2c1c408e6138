#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera {

std::size_t parse_bytes(std::string_view text, std::string_view where) {
  auto fail = [&]() -> InvalidArgument {
    return InvalidArgument(core::text("[", where, "] a size is a number and a unit; got \"", text,
                                      "\"; try \"128 MiB\", \"2GB\" or a number of bytes"));
  };
  std::string_view rest = text;
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front())))
    rest.remove_prefix(1);
  double value = 0.0;
  auto [end, status] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (status != std::errc() || !(value >= 0.0)) throw fail();
  std::string unit;
  for (const char* p = end; p != rest.data() + rest.size(); ++p) {
    if (!std::isspace(static_cast<unsigned char>(*p))) {
      unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*p)));
    }
  }
  static constexpr std::string_view kPrefixes = "kmgtpe";
  double scale = 1.0;
  if (!unit.empty() && unit != "b") {
    const auto power = kPrefixes.find(unit[0]);
    const std::string tail = unit.substr(1);
    if (power == std::string_view::npos || (tail != "" && tail != "b" && tail != "ib"))
      throw fail();
    scale = std::pow(tail == "ib" ? 1024.0 : 1000.0, static_cast<double>(power + 1));
  }
  const double bytes = value * scale;
  if (!(bytes < 9.2e18)) throw fail();
  return static_cast<std::size_t>(bytes);
}

std::string format_bytes(std::size_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024.0 && unit < 6) {
    value /= 1024.0;
    ++unit;
  }
  char buffer[32];
  const int digits = unit == 0 || value >= 100.0 ? 0 : (value >= 10.0 ? 1 : 2);
  std::snprintf(buffer, sizeof buffer, "%.*f %s", digits, value, kUnits[unit]);
  return buffer;
}

}  // namespace tessera
