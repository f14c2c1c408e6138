#include "io/png/canvas.hpp"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "core/text.hpp"
#include "io/png/glyphs.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

/// Glyph indices of a UTF-8 text.
std::vector<int> glyph_indices(std::string_view text) {
  std::vector<int> indices;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 32 && c < 127) {
      indices.push_back(c - 32);
    } else if (c == 0xC2 && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) == 0xB0) {
      indices.push_back(kDegreeGlyph);
      ++i;
    } else if ((c & 0xC0) != 0x80) {
      indices.push_back('?' - 32);
    }
  }
  return indices;
}

std::int64_t width_of(const std::vector<int>& indices, int scale) {
  std::int64_t columns = 0;
  for (const int index : indices) columns += glyph_columns(index) + 1;
  return columns == 0 ? 0 : (columns - 1) * scale;
}

std::int64_t anchored(std::int64_t position, std::int64_t width, Anchor anchor) {
  if (anchor == Anchor::kLeft) return position;
  return anchor == Anchor::kRight ? position - width : position - width / 2;
}

/// Part of pixel (x, y) of a glyph at `scale` that its ink covers.
double coverage(const std::vector<std::uint8_t>& glyph, int x, int y, int scale) {
  const auto average = [scale](int position) {
    return std::pair{position * kSmoothFactor / scale,
                     ((position + 1) * kSmoothFactor + scale - 1) / scale};
  };
  const auto [left, right] = average(x);
  const auto [top, bottom] = average(y);
  int ink = 0;
  for (int row = top; row < bottom; ++row) {
    for (int column = left; column < right; ++column) {
      ink += glyph[static_cast<std::size_t>(row * kGlyphWidth * kSmoothFactor + column)];
    }
  }
  return static_cast<double>(ink) / ((right - left) * (bottom - top));
}

/// Calls draw(x, y, alpha) for each inked pixel of a line of text that begins at the origin.
template <typename Draw>
void rasterise(const std::vector<int>& indices, int scale, const Draw& draw) {
  std::int64_t origin = 0;
  for (const int index : indices) {
    const auto& glyph = smooth_glyph(index);
    for (int y = 0; y < kGlyphHeight * scale; ++y) {
      for (int x = 0; x < kGlyphWidth * scale; ++x) {
        const double alpha = coverage(glyph, x, y, scale);
        if (alpha > 0.0) draw(origin + x, std::int64_t{y}, alpha);
      }
    }
    origin += (glyph_columns(index) + 1) * scale;
  }
}

}  // namespace

Canvas::Canvas(std::int64_t width, std::int64_t height)
    : width_(width), height_(height), bytes_(static_cast<std::size_t>(width * height * 3), 255) {}

Rgb Canvas::pixel(std::int64_t x, std::int64_t y) const noexcept {
  const auto* p = bytes_.data() + (y * width_ + x) * 3;
  return {p[0], p[1], p[2]};
}

void Canvas::set(std::int64_t x, std::int64_t y, Rgb colour) noexcept {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  auto* p = bytes_.data() + (y * width_ + x) * 3;
  p[0] = colour.red;
  p[1] = colour.green;
  p[2] = colour.blue;
}

void Canvas::blend(std::int64_t x, std::int64_t y, Rgb colour, double alpha) noexcept {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  const Rgb below = pixel(x, y);
  const auto mix = [alpha](std::uint8_t from, std::uint8_t to) {
    return static_cast<std::uint8_t>(std::lround(from + (to - from) * alpha));
  };
  set(x, y,
      {mix(below.red, colour.red), mix(below.green, colour.green), mix(below.blue, colour.blue)});
}

void Canvas::fill(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height,
                  Rgb colour) noexcept {
  for (std::int64_t j = std::max<std::int64_t>(y, 0); j < std::min(y + height, height_); ++j) {
    for (std::int64_t i = std::max<std::int64_t>(x, 0); i < std::min(x + width, width_); ++i)
      set(i, j, colour);
  }
}

void Canvas::frame(std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height,
                   Rgb colour) noexcept {
  fill(x - 1, y - 1, width + 2, 1, colour);
  fill(x - 1, y + height, width + 2, 1, colour);
  fill(x - 1, y, 1, height, colour);
  fill(x + width, y, 1, height, colour);
}

void Canvas::text(std::int64_t x, std::int64_t y, std::string_view text, int scale, Rgb colour,
                  Anchor anchor) {
  const auto indices = glyph_indices(text);
  const std::int64_t left = anchored(x, width_of(indices, scale), anchor);
  rasterise(indices, scale, [&](std::int64_t i, std::int64_t j, double alpha) {
    blend(left + i, y + j, colour, alpha);
  });
}

void Canvas::text_upwards(std::int64_t x, std::int64_t y, std::string_view text, int scale,
                          Rgb colour, Anchor anchor) {
  const auto indices = glyph_indices(text);
  const std::int64_t bottom = y + (y - anchored(y, width_of(indices, scale), anchor));
  rasterise(indices, scale, [&](std::int64_t i, std::int64_t j, double alpha) {
    blend(x + j, bottom - i, colour, alpha);
  });
}

std::string Canvas::png() const {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width_);
  image.height = static_cast<png_uint_32>(height_);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size_bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string png(size_bytes, '\0');
  if (png_image_write_to_memory(&image, png.data(), &size_bytes, 0, bytes_.data(), 0, nullptr) ==
      0) {
    throw LibraryError(core::text("[png] a picture must be encodable; got ", width_, " x ", height_,
                                  " pixels: ", image.message, "; try a smaller picture"));
  }
  png.resize(size_bytes);
  return png;
}

std::int64_t text_width(std::string_view text, int scale) {
  return width_of(glyph_indices(text), scale);
}

std::string shorten_text(std::string_view text, int scale, std::int64_t width) {
  std::string shortened(text);
  while (!shortened.empty() && text_width(shortened, scale) > width) {
    text.remove_suffix(1);
    // Whole UTF-8 sequences go.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0xC0)
      text.remove_suffix(1);
    shortened = std::string(text) + "...";
    if (text.empty()) break;
  }
  return shortened;
}

}  // namespace tessera::io
