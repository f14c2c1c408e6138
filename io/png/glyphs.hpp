#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tessera::io {

inline constexpr int kGlyphWidth = 5;
inline constexpr int kGlyphHeight = 9;
inline constexpr int kGlyphCapital = 7;
/// Index of the degree sign, after the printable ASCII characters.
inline constexpr int kDegreeGlyph = 95;

/// The bits of glyph `index` (character - 32), row by row from the top left, highest of 45 bits
/// first.
std::uint64_t glyph_bits(int index) noexcept;
/// Columns that a glyph covers; digits share one width so that numbers line up.
int glyph_columns(int index) noexcept;

/// A glyph enlarged eight times with rounded diagonals, kGlyphWidth * 8 values 0 or 1 in each row.
const std::vector<std::uint8_t>& smooth_glyph(int index);
inline constexpr int kSmoothFactor = 8;

}  // namespace tessera::io
