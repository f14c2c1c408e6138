#include <cmath>
#include <limits>

#include "io/png/axis_ticks.hpp"
#include "io/png/colormap.hpp"
#include "io/png/colour_range.hpp"
#include "io/png/plot_axis.hpp"
#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

std::string labels(const std::vector<Tick>& ticks) {
  std::string text;
  for (const Tick& tick : ticks) text += (text.empty() ? "" : " ") + tick.label;
  return text;
}

TEST(AxisTicks, AreRoundWithEqualDecimals) {
  EXPECT_EQ(labels(round_ticks(0, 10, 5)), "0 2 4 6 8 10");
  EXPECT_EQ(labels(round_ticks(-1.9, 31, 7)), "0 5 10 15 20 25 30");
  EXPECT_EQ(labels(round_ticks(-0.12, 0.31, 4)), "-0.1 0.0 0.1 0.2 0.3");
  EXPECT_EQ(labels(round_ticks(0, 1e-5, 2)), "0 5.0e-6 1.0e-5");
  EXPECT_EQ(labels(round_ticks(0, 3e9, 3)), "0 1e9 2e9 3e9");
  EXPECT_EQ(labels(round_ticks(-90, 90, 6, true)), "-90 -60 -30 0 30 60 90");
  EXPECT_EQ(labels(round_ticks(1013.249, 1013.2511, 3)), "1013.249 1013.250 1013.251");
  EXPECT_TRUE(round_ticks(1, 1, 5).empty());
  EXPECT_TRUE(round_ticks(2, 1, 5).empty());
  EXPECT_TRUE(round_ticks(0, std::numeric_limits<double>::infinity(), 5).empty());
  EXPECT_TRUE(round_ticks(std::nan(""), 1, 5).empty());
  EXPECT_TRUE(round_ticks(1e20, 1e20 + 32768, 5).empty());
  EXPECT_EQ(labels(decade_ticks(4, 300)), "5 10 20 50 100 200");
}

TEST(AxisTicks, AtLeastThreeAndNotTooManyOnRandomRanges) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    const double low =
        std::ldexp(static_cast<double>(random() % 1000), static_cast<int>(random() % 40) - 20) -
        7.0;
    const double high = low + std::ldexp(1.0 + static_cast<double>(random() % 100),
                                         static_cast<int>(random() % 30) - 15);
    if (high - low < 1e-9 * std::fabs(low)) continue;
    const int wanted = 3 + static_cast<int>(random() % 8);
    const auto ticks = round_ticks(low, high, wanted, random() % 2 == 0);
    EXPECT_GE(ticks.size(), 3u) << low << " " << high;
    EXPECT_LE(ticks.size(), 2 * static_cast<std::size_t>(wanted) + 3);
    for (const Tick& tick : ticks)
      EXPECT_TRUE(tick.value >= low - 1e-6 * (high - low) &&
                  tick.value <= high + 1e-6 * (high - low));
  }
}

TEST(AxisTicks, DegreesAndUnits) {
  const auto label = [](double value, bool latitude) {
    return degree_label({value, ""}, latitude);
  };
  EXPECT_EQ(label(30, true), "30\xC2\xB0N");
  EXPECT_EQ(label(-30, true), "30\xC2\xB0S");
  EXPECT_EQ(label(0, true), "0\xC2\xB0");
  EXPECT_EQ(label(-120, false), "120\xC2\xB0W");
  EXPECT_EQ(label(240, false), "120\xC2\xB0W");
  EXPECT_EQ(label(180, false), "180\xC2\xB0");
  EXPECT_EQ(label(360, false), "0\xC2\xB0");
  EXPECT_EQ(pretty_units("degree_C"),
            "\xC2\xB0"
            "C");
  EXPECT_EQ(pretty_units("1"), "");
  EXPECT_EQ(pretty_units("K"), "K");
  EXPECT_TRUE(is_latitude("degrees_north"));
  EXPECT_TRUE(is_longitude("degree_east"));
  EXPECT_FALSE(is_longitude("degrees_north"));
}

TEST(PlotAxis, PlacesCoordinatesAndNamesIndices) {
  const PlotAxis rising({.name = "lat", .units = "degrees_north", .values = {-45, 0, 45}}, 3, 300,
                        80);
  EXPECT_EQ(rising.name(), "lat");
  EXPECT_TRUE(rising.rises());
  EXPECT_DOUBLE_EQ(rising.position(-45), 50);
  EXPECT_DOUBLE_EQ(rising.position(45), 250);
  EXPECT_DOUBLE_EQ(rising.position(67.5), 300);
  const PlotAxis falling({.name = "z", .units = "m", .values = {300, 100, 0}}, 3, 300, 80);
  EXPECT_EQ(falling.name(), "z [m]");
  EXPECT_FALSE(falling.rises());
  EXPECT_DOUBLE_EQ(falling.position(200), 100);
  const PlotAxis index({.name = "x", .values = {1, 5, 2}}, 3, 300, 80);
  EXPECT_EQ(index.name(), "x index");
  EXPECT_EQ(labels(index.ticks()), "0 1 2");
  EXPECT_EQ(PlotAxis({}, 3, 300, 80).name(), "index");
  EXPECT_EQ(labels(PlotAxis({.values = {7.5}}, 1, 300, 80).ticks()), "7.5");
  std::vector<double> depth;
  for (int i = 0; i < 40; ++i) depth.push_back(5 * std::pow(1.18, i));
  EXPECT_EQ(labels(PlotAxis({.values = depth}, 40, 800, 80).ticks()),
            "5 10 20 50 100 200 500 1000 2000");
}

TEST(ColourRange, PercentilesLimitsAndDegenerateFields) {
  std::vector<double> values;
  for (int i = 0; i <= 100; ++i) values.push_back(i);
  ColourRange range = find_colour_range(values, {}, {}, 0.02, false);
  EXPECT_EQ(range.low, 2.0);
  EXPECT_EQ(range.high, 98.0);
  EXPECT_TRUE(range.below && range.above && range.any && !range.missing);
  range = find_colour_range(values, {}, {}, 0.0, false);
  EXPECT_EQ(range.low, 0.0);
  EXPECT_EQ(range.high, 100.0);
  EXPECT_FALSE(range.below || range.above);
  range = find_colour_range(values, -5.0, 50.0, 0.02, true);
  EXPECT_EQ(range.low, -5.0);
  EXPECT_EQ(range.high, 50.0);
  const std::vector<double> signs{-3, 1, std::nan("")};
  range = find_colour_range(signs, {}, {}, 0.0, true);
  EXPECT_EQ(range.low, -3.0);
  EXPECT_EQ(range.high, 3.0);
  EXPECT_TRUE(range.missing);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& odd :
       {std::vector<double>{5, 5}, {0, 0}, {std::nan("")}, {infinity, -infinity}, {}}) {
    range = find_colour_range(odd, {}, {}, 0.02, false);
    EXPECT_LT(range.low, range.high);
  }
  EXPECT_TRUE(find_colour_range(std::vector<double>{infinity, 1, 2}, {}, {}, 0.0, false).above);
  EXPECT_EQ(error_text<InvalidArgument>([&] { find_colour_range(values, 2.0, 2.0, 0, false); }),
            "[png] a colour range must not be empty; got 2 to 2; try low < high");
}

// Lightness must rise along the sequential map and peak in the middle of the diverging one.
TEST(Colormap, LightnessIsMonotonic) {
  const auto luma = [](Rgb c) {
    return 0.2126 * std::pow(c.red / 255.0, 2.2) + 0.7152 * std::pow(c.green / 255.0, 2.2) +
           0.0722 * std::pow(c.blue / 255.0, 2.2);
  };
  const auto& sequential = colormap_table(Colormap::kSequential);
  for (std::size_t i = 4; i < 256; i += 4)
    EXPECT_GT(luma(sequential[i]), luma(sequential[i - 4])) << i;
  const auto& diverging = colormap_table(Colormap::kDiverging);
  for (std::size_t i = 4; i < 124; i += 4) {
    EXPECT_GT(luma(diverging[i]), luma(diverging[i - 4]));
    EXPECT_GT(luma(diverging[255 - i]), luma(diverging[259 - i]));
  }
  EXPECT_GT(diverging[0].blue, diverging[0].red);
  EXPECT_GT(diverging[255].red, diverging[255].blue);
}

}  // namespace
}  // namespace tessera::io
