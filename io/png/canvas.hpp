#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::io {

/// A colour, 8 bits each.
struct Rgb {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  bool operator==(const Rgb&) const = default;
};

/// Where a text's anchor point lies on it.
enum class Anchor : std::uint8_t { kLeft, kCentre, kRight };

/// A picture in memory, white at first. Coordinates are pixels from the top left; what leaves the
/// picture is clipped.
class Canvas {
 public:
  Canvas(std::int64_t width, std::int64_t height);

  std::int64_t width() const noexcept { return width_; }
  std::int64_t height() const noexcept { return height_; }
  Rgb pixel(std::int64_t x, std::int64_t y) const noexcept;
  void set(std::int64_t x, std::int64_t y, Rgb colour) noexcept;
  void fill(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height,
            Rgb colour) noexcept;
  /// A frame one pixel wide just outside the given rectangle.
  void frame(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height,
             Rgb colour) noexcept;
  /// Text whose capitals reach from `y` down 7 * `scale` pixels. UTF-8, of which ASCII and the
  /// degree sign have glyphs; others show as "?".
  void text(std::int64_t x, std::int64_t y, std::string_view text, int scale, Rgb colour,
            Anchor anchor = Anchor::kLeft);
  /// Text that runs upwards; `x` is the top of its capitals, `y` its anchor.
  void text_upwards(std::int64_t x, std::int64_t y, std::string_view text, int scale, Rgb colour,
                    Anchor anchor = Anchor::kCentre);

  /// The picture as the bytes of a PNG file. \throws LibraryError when libpng refuses.
  std::string png() const;

 private:
  void blend(std::int64_t x, std::int64_t y, Rgb colour, double alpha) noexcept;

  std::int64_t width_;
  std::int64_t height_;
  std::vector<std::uint8_t> bytes_;
};

/// Width in pixels of a text drawn at `scale`.
std::int64_t text_width(std::string_view text, int scale);
/// The text itself, or its beginning and "..." where it is wider than `width` pixels.
std::string shorten_text(std::string_view text, int scale, std::int64_t width);

}  // namespace tessera::io
