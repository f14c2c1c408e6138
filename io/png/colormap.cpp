#include "io/png/colormap.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

namespace tessera::io {
namespace {

/// A colour as lightness, chroma and hue in degrees (Ottosson, "A perceptual color space for image
/// processing", 2020), at a place 0 to 1 of a map.
struct ControlPoint {
  double place;
  double lightness;
  double chroma;
  double hue;
};

// Chroma stays inside sRGB: where it left it, clipping would show as an edge in smooth fields.
constexpr ControlPoint kSequentialPoints[] = {
    {0.00, 0.250, 0.115, 300.0}, {0.15, 0.354, 0.140, 283.0}, {0.30, 0.457, 0.120, 261.0},
    {0.40, 0.526, 0.098, 240.0}, {0.50, 0.595, 0.092, 214.0}, {0.60, 0.664, 0.104, 186.0},
    {0.70, 0.733, 0.126, 162.0}, {0.80, 0.802, 0.155, 143.0}, {0.90, 0.871, 0.175, 125.0},
    {1.00, 0.940, 0.160, 108.0},
};

constexpr ControlPoint kDivergingPoints[] = {
    {0.00, 0.33, 0.130, 262.0},  {0.25, 0.60, 0.130, 250.0}, {0.499, 0.965, 0.004, 240.0},
    {0.501, 0.965, 0.004, 40.0}, {0.75, 0.63, 0.160, 35.0},  {1.00, 0.34, 0.130, 22.0},
};

std::uint8_t to_srgb(double linear) {
  const double clamped = std::clamp(linear, 0.0, 1.0);
  const double encoded =
      clamped <= 0.0031308 ? 12.92 * clamped : 1.055 * std::pow(clamped, 1.0 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255.0 * encoded));
}

Rgb from_oklab(double lightness, double a, double b) {
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  return {to_srgb(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          to_srgb(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          to_srgb(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

std::array<Rgb, 256> make_table(std::span<const ControlPoint> points) {
  std::array<Rgb, 256> table;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double place = static_cast<double>(i) / 255.0;
    std::size_t k = 0;
    while (k + 2 < points.size() && place > points[k + 1].place) ++k;
    const ControlPoint& from = points[k];
    const ControlPoint& to = points[k + 1];
    const double t = (place - from.place) / (to.place - from.place);
    const double lightness = std::lerp(from.lightness, to.lightness, t);
    const double chroma = std::lerp(from.chroma, to.chroma, t);
    const double hue = std::lerp(from.hue, to.hue, t) * std::numbers::pi / 180.0;
    table[i] = from_oklab(lightness, chroma * std::cos(hue), chroma * std::sin(hue));
  }
  return table;
}

}  // namespace

const std::array<Rgb, 256>& colormap_table(Colormap map) {
  static const std::array<Rgb, 256> sequential = make_table(kSequentialPoints);
  static const std::array<Rgb, 256> diverging = make_table(kDivergingPoints);
  return map == Colormap::kDiverging ? diverging : sequential;
}

}  // namespace tessera::io
