#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "io/png/heatmap.hpp"
#include "tests/core/faulty_file_system.hpp"
#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

struct Picture {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::string bytes;
  Rgb at(std::int64_t x, std::int64_t y) const {
    const auto* p = reinterpret_cast<const std::uint8_t*>(bytes.data()) + (y * width + x) * 3;
    return {p[0], p[1], p[2]};
  }
  std::int64_t count(Rgb colour) const {
    std::int64_t pixels = 0;
    for (std::int64_t i = 0; i < width * height; ++i) pixels += at(i % width, i / width) == colour;
    return pixels;
  }
};

class PngTest : public IoFixture {
 protected:
  /// Reads a PNG file with libpng, the independent reader.
  Picture read_png(const std::string& file) const {
    const std::string bytes = fs_.read_file(file);
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0)
        << image.message;
    image.format = PNG_FORMAT_RGB;
    Picture picture{image.width, image.height, std::string(PNG_IMAGE_SIZE(image), '\0')};
    EXPECT_NE(png_image_finish_read(&image, nullptr, picture.bytes.data(), 0, nullptr), 0)
        << image.message;
    return picture;
  }
  Picture draw(const std::vector<double>& values, std::int64_t rows, std::int64_t columns,
               const HeatmapOptions& options = {}) const {
    write_heatmap(fs_, path("a.png"), values, rows, columns, options);
    return read_png(path("a.png"));
  }
};

const Rgb kLow = colormap_table(Colormap::kSequential)[0];
const Rgb kHigh = colormap_table(Colormap::kSequential)[255];

/// Topmost and bottommost row with a colour; -1 without any.
std::pair<std::int64_t, std::int64_t> rows_of(const Picture& picture, Rgb colour,
                                              std::int64_t max_x) {
  std::int64_t first = -1;
  std::int64_t last = -1;
  for (std::int64_t y = 0; y < picture.height; ++y) {
    for (std::int64_t x = 0; x < max_x; ++x) {
      if (picture.at(x, y) == colour) {
        if (first < 0) first = y;
        last = y;
      }
    }
  }
  return {first, last};
}

TEST_F(PngTest, LargerCoordinatesLieHigher) {
  // Row 0 is low, row 1 is high.
  const std::vector<double> values{0, 0, 1, 1};
  HeatmapOptions options;
  options.tail = 0.0;
  const auto low_below_high = [&](const std::vector<double>& y, bool downward) {
    options.y.values = y;
    options.y.downward = downward;
    const Picture picture = draw(values, 2, 2, options);
    // The field lies left of the colour bar.
    return rows_of(picture, kLow, picture.width / 2).first >
           rows_of(picture, kHigh, picture.width / 2).second;
  };
  EXPECT_TRUE(low_below_high({-30, 30}, false));
  EXPECT_FALSE(low_below_high({30, -30}, false));
  EXPECT_FALSE(low_below_high({10, 20}, true));
  EXPECT_TRUE(low_below_high({}, false));
}

TEST_F(PngTest, EnlargesByWholeCellsAndShrinksByBoxMeans) {
  const std::vector<double> values{0, 1, 0, 1, 0, 1};
  HeatmapOptions options;
  options.tail = 0.0;
  const Picture enlarged = draw(values, 2, 3, options);
  EXPECT_GE(enlarged.width, 900);
  EXPECT_LE(enlarged.width, 1400);
  // Three low cells of 360 x 360 pixels, and at most the low end of the colour bar.
  EXPECT_GE(enlarged.count(kLow), 3 * 360 * 360);
  EXPECT_LE(enlarged.count(kLow), 3 * 360 * 360 + 26 * 8);
  // Means of a checkerboard: every pixel in between the extremes.
  std::vector<double> board(2000 * 4000);
  for (std::size_t i = 0; i < board.size(); ++i)
    board[i] = static_cast<double>((i / 4000 + i % 4000) % 2);
  const Picture shrunk = draw(board, 2000, 4000, options);
  EXPECT_GE(shrunk.width, 900);
  EXPECT_LE(shrunk.width, 1400);
  const Rgb middle = colormap_table(Colormap::kSequential)[128];
  EXPECT_GT(shrunk.count(middle), 400'000);
}

TEST_F(PngTest, MissingValuesAreGreyAndIgnoredByMeans) {
  std::vector<double> values(1500 * 3000, std::nan(""));
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = static_cast<double>(i / 3000);
  const Rgb missing{222, 222, 222};
  const Picture half = draw(values, 1500, 3000);
  // Every pixel covers some value: the grey is only in the sample beside the colour bar.
  EXPECT_LT(half.count(missing), 26 * 22);
  EXPECT_GT(half.count(missing), 0);
  const Picture none = draw(std::vector<double>(100, std::nan("")), 10, 10);
  EXPECT_GT(none.count(missing), 500'000);
  const Picture all = draw(std::vector<double>(100, 3.0), 10, 10);
  EXPECT_EQ(all.count(missing), 0);
}

TEST_F(PngTest, ExtremeShapesAndValuesDraw) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const auto& [rows, columns] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 1}, {1, 5000}, {5000, 1}, {3, 700}, {700, 3}, {1100, 1100}, {1, 2}}) {
    std::vector<double> values(static_cast<std::size_t>(rows * columns));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(static_cast<double>(i) * 0.01);
    values[0] = infinity;
    values.back() = -infinity;
    const Picture picture =
        draw(values, rows, columns, {.title = "A \xE2\x82\xAC title \xC2\xB0", .units = "W m-2"});
    EXPECT_GT(picture.width, 500);
    EXPECT_LE(picture.width, 1500);
    EXPECT_GT(picture.height, 300);
    EXPECT_LE(picture.height, 1200);
  }
}

TEST_F(PngTest, TheSameFieldGivesTheSameBytes) {
  std::vector<double> values(50 * 60);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::cos(static_cast<double>(i));
  HeatmapOptions options{.title = "Field", .units = "K"};
  write_heatmap(fs_, path("a.png"), values, 50, 60, options);
  write_heatmap(fs_, path("b.png"), values, 50, 60, options);
  EXPECT_EQ(fs_.read_file(path("a.png")), fs_.read_file(path("b.png")));
}

TEST_F(PngTest, RejectsSizesThatDoNotFit) {
  EXPECT_EQ(error_text<InvalidArgument>([&] {
              draw({1, 2, 3}, 2, 2);
            }),
            "[png] a heat map needs rows * columns values; got 3 values for (2, 2); try a field "
            "that is not empty");
  EXPECT_NE(error_text<InvalidArgument>([&] { draw({}, 0, 2); }), "no error");
  HeatmapOptions options;
  options.x.values = {1, 2, 3};
  EXPECT_EQ(error_text<InvalidArgument>([&] {
              draw({1, 2, 3, 4}, 2, 2, options);
            }),
            "[png] an axis must have one coordinate for each cell; got 3 for 2 columns; try "
            "passing the coordinate of that "
            "dimension");
}

TEST_F(PngTest, EveryFailingCallIsReportedAndLeavesNoPart) {
  const std::vector<double> values(4, 1.0);
  for (std::uint64_t nth = 1;; ++nth) {
    ASSERT_LT(nth, 50u);
    core::FaultyFileSystem faulty({nth, ENOSPC, false});
    bool done = false;
    const std::string text = error_text<IoError>([&] {
      write_heatmap(faulty, path("a.png"), values, 2, 2, {});
      done = true;
    });
    if (!done) {
      EXPECT_NE(text.find(folder_), std::string::npos) << text;
    }
    if (fs_.find(path("a.png"))) {
      EXPECT_GT(read_png(path("a.png")).width, 0);
      std::filesystem::remove(path("a.png"));
    }
    EXPECT_EQ(file_count(), 0u);
    if (!faulty.fired()) break;
  }
}

TEST(Text, WidthsAndShortening) {
  EXPECT_EQ(text_width("", 2), 0);
  EXPECT_EQ(text_width("0", 2), 10);
  EXPECT_EQ(text_width("1234567890", 1), 59);
  EXPECT_LT(text_width("il", 2), text_width("mw", 2));
  EXPECT_EQ(shorten_text("short", 2, 1000), "short");
  const std::string cut = shorten_text("a long title with \xC2\xB0 in it", 2, 150);
  EXPECT_TRUE(cut.ends_with("..."));
  EXPECT_LE(text_width(cut, 2), 150);
}

TEST(Canvas, ClipsWhatLeavesThePicture) {
  Canvas canvas(20, 10);
  canvas.fill(-5, -5, 100, 7, {1, 2, 3});
  canvas.text(15, 5, "clipped text", 3, {0, 0, 0});
  canvas.text_upwards(-3, -3, "clipped", 3, {0, 0, 0});
  EXPECT_EQ(canvas.pixel(0, 1), (Rgb{1, 2, 3}));
  EXPECT_EQ(canvas.pixel(0, 2), (Rgb{255, 255, 255}));
}

}  // namespace
}  // namespace tessera::io
