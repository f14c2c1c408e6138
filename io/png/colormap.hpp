#pragma once

#include <array>

#include "io/png/canvas.hpp"

namespace tessera::io {

/// kSequential grows in lightness from dark violet over green to yellow; kDiverging runs from blue
/// over near-white to red, for values around a centre. Both are even steps in the OKLab colour
/// space.
enum class Colormap : std::uint8_t { kSequential, kDiverging };

/// The 256 colours of a map, lowest value first.
const std::array<Rgb, 256>& colormap_table(Colormap map);

}  // namespace tessera::io
