#include "io/png/glyphs.hpp"

#include <algorithm>
#include <mutex>

namespace tessera::io {
namespace {

// 5 columns by 9 rows, the last two below the baseline; from the space to the tilde, then the
// degree sign.
// clang-format off
constexpr std::array<std::uint64_t, 96> kGlyphs = {
    0x000000000000, 0x042108401000, 0x0a5280000000, 0x0a57d5f52800, 0x047d1c5f1000, 0x18c888898c00,
    0x0c9511593400, 0x042100000000, 0x022210820800, 0x082084222000, 0x00255d520000, 0x00213e420000,
    0x000000031844, 0x00003e000000, 0x000000031800, 0x010888884000, 0x0e8c6318b800, 0x046108423800,
    0x0e8844447c00, 0x0e884c18b800, 0x0232a5f10800, 0x1f878218b800, 0x06443d18b800, 0x1f0888442000,
    0x0e8c5d18b800, 0x0e8c5e113000, 0x003180031800, 0x003180031844, 0x011110410400, 0x0007c1f00000,
    0x104104444000, 0x0e8844401000, 0x0e8deb783c00, 0x0e8c7f18c400, 0x1e8c7d18f800, 0x0e8c2108b800,
    0x1e8c6318f800, 0x1f843d087c00, 0x1f843d084000, 0x0e8c2f18bc00, 0x118c7f18c400, 0x0e2108423800,
    0x071084293000, 0x119531494400, 0x108421087c00, 0x11dd6b18c400, 0x11cd6718c400, 0x0e8c6318b800,
    0x1e8c7d084000, 0x0e8c63593400, 0x1e8c7d494400, 0x0f841c10f800, 0x1f2108421000, 0x118c6318b800,
    0x118c63151000, 0x118c6b5dc400, 0x118a88a8c400, 0x118a88421000, 0x1f0888887c00, 0x0e4210843800,
    0x108208208400, 0x0e1084213800, 0x045440000000, 0x0000000003e0, 0x082000000000, 0x000382f8bc00,
    0x1087a318f800, 0x0003e1083c00, 0x010be318bc00, 0x0003a3f83800, 0x064790842000, 0x0003e318bc2e,
    0x1087a318c400, 0x040308423800, 0x02018421085c, 0x1084a98a4800, 0x0c2108423800, 0x0006ab5ad400,
    0x0007a318c400, 0x0003a318b800, 0x0007a318fa10, 0x0003e318bc21, 0x0005b1084000, 0x0003e0e0f800,
    0x084790841800, 0x00046318bc00, 0x000463151000, 0x00046b5aa800, 0x000454454400, 0x00046318bc2e,
    0x0007c4447c00, 0x022110420800, 0x042108421000, 0x082104422000, 0x00022a200000, 0x0c9498000000,
};
// clang-format on

struct Bitmap {
  int width;
  int height;
  std::vector<std::uint8_t> bits;
  std::uint8_t at(int x, int y) const {
    if (x < 0 || y < 0 || x >= width || y >= height) return 0;
    return bits[static_cast<std::size_t>(y * width + x)];
  }
};

/// Doubles a bitmap and cuts the corners of its stairs (the Scale2x rule).
Bitmap scale2x(const Bitmap& in) {
  Bitmap out{in.width * 2, in.height * 2, {}};
  out.bits.resize(static_cast<std::size_t>(out.width * out.height));
  for (int y = 0; y < in.height; ++y) {
    for (int x = 0; x < in.width; ++x) {
      const std::uint8_t up = in.at(x, y - 1);
      const std::uint8_t down = in.at(x, y + 1);
      const std::uint8_t left = in.at(x - 1, y);
      const std::uint8_t right = in.at(x + 1, y);
      const std::uint8_t own = in.at(x, y);
      const bool edge = up != down && left != right;
      auto* row = out.bits.data() + static_cast<std::size_t>(2 * y * out.width + 2 * x);
      row[0] = edge && left == up ? left : own;
      row[1] = edge && up == right ? right : own;
      row[out.width] = edge && left == down ? left : own;
      row[out.width + 1] = edge && down == right ? right : own;
    }
  }
  return out;
}

}  // namespace

std::uint64_t glyph_bits(int index) noexcept { return kGlyphs[static_cast<std::size_t>(index)]; }

int glyph_columns(int index) noexcept {
  if (index == 0) return 3;
  if (index >= '0' - 32 && index <= '9' - 32) return kGlyphWidth;
  int columns = 0;
  for (int i = 0; i < kGlyphWidth * kGlyphHeight; ++i) {
    if ((glyph_bits(index) >> (kGlyphWidth * kGlyphHeight - 1 - i) & 1) == 0) continue;
    columns = std::max(columns, i % kGlyphWidth + 1);
  }
  return columns;
}

const std::vector<std::uint8_t>& smooth_glyph(int index) {
  static std::mutex mutex;
  static std::array<std::vector<std::uint8_t>, 96> cache;
  const std::lock_guard lock(mutex);
  auto& entry = cache[static_cast<std::size_t>(index)];
  if (entry.empty()) {
    Bitmap bitmap{kGlyphWidth, kGlyphHeight, {}};
    for (int i = 0; i < kGlyphWidth * kGlyphHeight; ++i) {
      bitmap.bits.push_back(glyph_bits(index) >> (kGlyphWidth * kGlyphHeight - 1 - i) & 1);
    }
    entry = scale2x(scale2x(scale2x(bitmap))).bits;
  }
  return entry;
}

}  // namespace tessera::io
