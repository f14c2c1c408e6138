#pragma once

#include <string>
#include <vector>

namespace tessera::io {

/// A round value and its text.
struct Tick {
  double value = 0.0;
  std::string label;
};

/// Round values within [low, high], about `wanted` of them and 3 where that can be, with equal
/// decimals. `degrees` prefers steps that divide a circle. Empty when the range is empty or not
/// finite.
std::vector<Tick> round_ticks(double low, double high, int wanted, bool degrees = false);

/// 1, 2 and 5 times powers of ten within [low, high], 0 < low: for axes whose cells grow like that.
std::vector<Tick> decade_ticks(double low, double high);

/// Units as a reader expects them: "degree_C" and "celsius" are "°C", "1" is nothing.
std::string pretty_units(const std::string& units);
/// Whether units are degrees north or east, whose ticks read "30°N", "60°W".
bool is_latitude(const std::string& units);
bool is_longitude(const std::string& units);
/// "30°N", "0°", "120°W": longitudes beyond 180 count back from 360.
std::string degree_label(const Tick& tick, bool latitude);

}  // namespace tessera::io
