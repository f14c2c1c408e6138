#include "io/png/axis_ticks.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>

namespace tessera::io {
namespace {

constexpr const char* kDegree = "\xC2\xB0";

double round_step(double raw, bool degrees) {
  static constexpr double kDegreeSteps[] = {5, 10, 15, 30, 45, 60, 90};
  if (degrees && raw > 2.5) {
    for (const double step : kDegreeSteps) {
      if (step >= raw * 0.999) return step;
    }
  }
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw * 0.999) return factor * power;
  }
  return 10.0 * power;
}

std::string format(double value, int decimals, bool scientific) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, scientific ? "%.*e" : "%.*f", decimals, value);
  std::string text = buffer;
  // "1.5e+06" reads better as "1.5e6".
  const std::size_t e = text.find('e');
  if (e != std::string::npos)
    text = text.substr(0, e + 1) + std::to_string(std::atoi(text.c_str() + e + 1));
  return text;
}

bool one_of(const std::string& text, std::span<const char* const> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return text == name; });
}

}  // namespace

std::vector<Tick> round_ticks(double low, double high, int wanted, bool degrees) {
  std::vector<Tick> ticks;
  if (!(high > low) || !std::isfinite(high - low) || wanted < 1) return ticks;
  double step = round_step((high - low) / wanted, degrees);
  const auto count = [&] { return std::floor(high / step) - std::ceil(low / step) + 1.0; };
  for (int finer = wanted + 1; count() < 3.0 && finer <= 3 * wanted + 3; ++finer) {
    step = round_step((high - low) / finer, degrees);
  }
  const double largest = std::max(std::fabs(low), std::fabs(high));
  // A range too narrow for its offset has no distinct round values.
  if (!(step > 0.0) || step < largest * 1e-12) return ticks;
  const int step_power = static_cast<int>(std::floor(std::log10(step) + 1e-9));
  const bool scientific = largest >= 1e6 || largest < 1e-3;
  const int top_power = static_cast<int>(std::floor(std::log10(largest) + 1e-9));
  const int decimals = std::max(0, scientific ? top_power - step_power : -step_power);
  const double slack = step * 1e-9;
  const auto first = std::ceil((low - slack) / step);
  const auto last = std::floor((high + slack) / step);
  for (double k = first; k <= last; k += 1.0) {
    const double value = k == 0.0 ? 0.0 : k * step;  // no "-0"
    ticks.push_back({value, value == 0.0 ? "0" : format(value, decimals, scientific)});
    if (value == 0.0 && !scientific && decimals > 0)
      ticks.back().label = format(0.0, decimals, false);
  }
  return ticks;
}

std::vector<Tick> decade_ticks(double low, double high) {
  std::vector<Tick> ticks;
  if (!(low > 0.0) || !std::isfinite(high)) return ticks;
  for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10.0) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * power;
      if (value < low || value > high) continue;
      char buffer[64];
      std::snprintf(buffer, sizeof buffer, "%.6g", value);
      ticks.push_back({value, buffer});
    }
  }
  return ticks;
}

std::string pretty_units(const std::string& units) {
  static constexpr const char* kCelsius[] = {"degree_C", "degrees_C",      "degC",
                                             "deg_C",    "degreeC",        "celsius",
                                             "Celsius",  "degree_Celsius", "degrees_Celsius"};
  if (one_of(units, kCelsius)) return std::string(kDegree) + "C";
  if (units == "1" || units == "-") return "";
  if (units == "degrees" || units == "degree") return kDegree;
  return units;
}

bool is_latitude(const std::string& units) {
  static constexpr const char* kNames[] = {"degrees_north", "degree_north", "degree_N",
                                           "degrees_N",     "degreeN",      "degreesN"};
  return one_of(units, kNames);
}

bool is_longitude(const std::string& units) {
  static constexpr const char* kNames[] = {"degrees_east", "degree_east", "degree_E",
                                           "degrees_E",    "degreeE",     "degreesE"};
  return one_of(units, kNames);
}

std::string degree_label(const Tick& tick, bool latitude) {
  double value = tick.value;
  if (!latitude) value -= 360.0 * std::floor((value + 180.0) / 360.0);
  if (value == 0.0) return std::string("0") + kDegree;
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.10g", std::fabs(value));
  if (!latitude && value == -180.0) return std::string(buffer) + kDegree;
  const char* side = latitude ? (value < 0 ? "S" : "N") : (value < 0 ? "W" : "E");
  return std::string(buffer) + kDegree + side;
}

}  // namespace tessera::io
