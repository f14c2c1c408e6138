#include "io/png/heatmap.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/text.hpp"
#include "io/png/axis_ticks.hpp"
#include "io/png/colour_range.hpp"
#include "io/png/plot_axis.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr int kTextScale = 2;
constexpr int kTitleScale = 3;
constexpr std::int64_t kTextHeight = 7 * kTextScale;
constexpr Rgb kInk{34, 34, 34};
constexpr Rgb kFaint{110, 110, 110};
constexpr Rgb kMissing{222, 222, 222};
constexpr Rgb kHatch{188, 188, 188};
constexpr Rgb kWhite{255, 255, 255};

/// Pixels for each axis: whole multiples of the cells, or fewer than the cells.
std::pair<std::int64_t, std::int64_t> plot_size(std::int64_t rows, std::int64_t columns) {
  const auto real_rows = static_cast<double>(rows);
  const auto real_columns = static_cast<double>(columns);
  const double grow = std::min(1080.0 / real_columns, 900.0 / real_rows);
  if (grow >= 1.0) {
    const auto factor = static_cast<std::int64_t>(grow);
    std::int64_t width = columns * factor;
    std::int64_t height = rows * factor;
    // A thin strip shows nothing: then the axes scale apart.
    if (height < 260) height = rows * std::max<std::int64_t>(factor, (260 + rows - 1) / rows);
    if (width < 420)
      width = columns * std::max<std::int64_t>(factor, (420 + columns - 1) / columns);
    return {height, width};
  }
  const double shrink = std::min(1000.0 / real_columns, 800.0 / real_rows);
  const auto fit = [&](std::int64_t cells, std::int64_t least, std::int64_t most) {
    const auto pixels = std::lround(static_cast<double>(cells) * std::min(1.0, shrink));
    if (pixels >= least) return std::int64_t{pixels};
    return cells >= least ? std::min(cells, least)
                          : cells * std::min((least + cells - 1) / cells, most);
  };
  return {fit(rows, 260, 260), fit(columns, 420, 420)};
}

/// Mean without NaN of the cells under each pixel, `height` by `width`, NaN where there is no
/// value.
std::vector<double> resample(std::span<const double> values, std::int64_t rows,
                             std::int64_t columns, std::int64_t height, std::int64_t width) {
  const auto cells = [](std::int64_t pixel, std::int64_t pixels, std::int64_t count) {
    const std::int64_t begin = pixel * count / pixels;
    return std::pair{begin, std::max(begin + 1, (pixel + 1) * count / pixels)};
  };
  std::vector<double> result(static_cast<std::size_t>(height * width));
  for (std::int64_t y = 0; y < height; ++y) {
    const auto [top, bottom] = cells(y, height, rows);
    for (std::int64_t x = 0; x < width; ++x) {
      const auto [left, right] = cells(x, width, columns);
      double sum = 0.0;
      std::int64_t count = 0;
      for (std::int64_t i = top; i < bottom; ++i) {
        for (std::int64_t j = left; j < right; ++j) {
          const double value = values[static_cast<std::size_t>(i * columns + j)];
          if (std::isnan(value)) continue;
          sum += value;
          ++count;
        }
      }
      result[static_cast<std::size_t>(y * width + x)] =
          count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
    }
  }
  return result;
}

Rgb colour_of(double value, const ColourRange& range, const std::array<Rgb, 256>& table) {
  const double part = (value - range.low) / (range.high - range.low);
  return table[static_cast<std::size_t>(std::clamp(part * 256.0, 0.0, 255.0))];
}

Rgb missing_colour(std::int64_t x, std::int64_t y) { return (x + y) % 8 == 0 ? kHatch : kMissing; }

/// Everything of one picture and where it lies.
class Heatmap {
 public:
  Heatmap(std::span<const double> values, std::int64_t rows, std::int64_t columns,
          const HeatmapOptions& options)
      : options_(options),
        range_(find_colour_range(values, options.low, options.high, options.tail,
                                 options.colormap == Colormap::kDiverging)),
        size_(plot_size(rows, columns)),
        y_axis_(options.y, rows, size_.first, 80),
        x_axis_(options.x, columns, size_.second, 130),
        bar_ticks_(round_ticks(range_.low, range_.high,
                               std::clamp<int>(static_cast<int>(size_.first / 70), 3, 8))) {
    lay_out();
    Canvas canvas(total_width_, total_height_);
    draw_field(canvas, resample(values, rows, columns, size_.first, size_.second));
    draw_axes(canvas);
    draw_bar(canvas);
    const int scale =
        text_width(options_.title, kTitleScale) <= total_width_ - 40 ? kTitleScale : kTextScale;
    const std::string title = shorten_text(options_.title, scale, total_width_ - 40);
    const std::int64_t half = text_width(title, scale) / 2 + 16;
    canvas.text(std::clamp(left_ + size_.second / 2, half, std::max(half, total_width_ - half)), 18,
                title, scale, kInk, Anchor::kCentre);
    canvas_.emplace(std::move(canvas));
  }

  Canvas take() { return std::move(*canvas_); }

 private:
  void lay_out() {
    std::int64_t widest = 0;
    for (const Tick& tick : y_axis_.ticks())
      widest = std::max(widest, text_width(tick.label, kTextScale));
    const std::int64_t name_height = y_axis_.name().empty() ? 0 : kTextHeight + 14;
    left_ = 16 + name_height + widest + 12;
    top_ = options_.title.empty() ? 24 : 18 + 9 * kTitleScale + 10;
    bar_left_ = left_ + size_.second + 28;
    widest = 0;
    for (const Tick& tick : bar_ticks_)
      widest = std::max(widest, text_width(tick.label, kTextScale));
    bar_text_ = bar_left_ + kBarWidth + 12;
    bar_name_ = bar_text_ + widest + 14;
    const bool named = !pretty_units(options_.units).empty();
    total_width_ = bar_name_ + (named ? 9 * kTextScale : 0) + 18;
    if (range_.missing)
      total_width_ = std::max(total_width_,
                              bar_left_ + kBarWidth + 12 + text_width("no data", kTextScale) + 16);
    total_height_ = top_ + size_.first + 12 + kTextHeight +
                    (x_axis_.name().empty() ? 0 : 12 + kTextHeight) + 20;
  }

  void draw_field(Canvas& canvas, const std::vector<double>& field) {
    const auto [height, width] = size_;
    const auto& table = colormap_table(options_.colormap);
    const bool flip = y_axis_.rises() != options_.y.downward;
    for (std::int64_t y = 0; y < height; ++y) {
      const std::int64_t row = flip ? height - 1 - y : y;
      for (std::int64_t x = 0; x < width; ++x) {
        const double value = field[static_cast<std::size_t>(row * width + x)];
        canvas.set(left_ + x, top_ + y,
                   std::isnan(value) ? missing_colour(x, y) : colour_of(value, range_, table));
      }
    }
    canvas.frame(left_, top_, width, height, kInk);
    if (!range_.any) {
      canvas.fill(left_ + width / 2 - 90, top_ + height / 2 - 20, 180, 40, kWhite);
      canvas.frame(left_ + width / 2 - 90, top_ + height / 2 - 20, 180, 40, kHatch);
      canvas.text(left_ + width / 2, top_ + height / 2 - kTextHeight / 2, "no valid data",
                  kTextScale, kInk, Anchor::kCentre);
    }
  }

  void draw_axes(Canvas& canvas) {
    const auto [height, width] = size_;
    std::int64_t free_from = 0;
    for (const Tick& tick : x_axis_.ticks()) {
      const auto x = left_ + std::lround(x_axis_.position(tick.value) - 0.5);
      if (x < left_ || x >= left_ + width) continue;
      canvas.fill(x, top_ + height + 1, 1, 6, kInk);
      const std::int64_t half = text_width(tick.label, kTextScale) / 2;
      if (free_from != 0 && x - half < free_from) continue;
      canvas.text(x, top_ + height + 12, tick.label, kTextScale, kInk, Anchor::kCentre);
      free_from = x + half + 10;
    }
    canvas.text(left_ + width / 2, top_ + height + 12 + kTextHeight + 12,
                shorten_text(x_axis_.name(), kTextScale, total_width_ - left_), kTextScale, kInk,
                Anchor::kCentre);
    const bool flip = y_axis_.rises() != options_.y.downward;
    std::int64_t last_drawn = -1000;
    for (const Tick& tick : y_axis_.ticks()) {
      const auto offset = std::lround(y_axis_.position(tick.value) - 0.5);
      if (offset < 0 || offset >= height) continue;
      const std::int64_t y = top_ + (flip ? height - 1 - offset : offset);
      canvas.fill(left_ - 7, y, 6, 1, kInk);
      if (std::abs(y - last_drawn) < kTextHeight + 6) continue;
      canvas.text(left_ - 12, y - kTextHeight / 2, tick.label, kTextScale, kInk, Anchor::kRight);
      last_drawn = y;
    }
    canvas.text_upwards(14, top_ + height / 2,
                        shorten_text(y_axis_.name(), kTextScale, total_height_ - 20), kTextScale,
                        kInk);
  }

  /// The colour bar; a pointed end says that values lie beyond it.
  void draw_bar(Canvas& canvas) {
    const auto& table = colormap_table(options_.colormap);
    // Below it, a sample of the missing colour has its place.
    const std::int64_t sample = range_.missing ? 44 : 0;
    const std::int64_t point = kBarWidth / 2 + 2;
    const std::int64_t bar_top = top_ + (range_.above ? point : 0);
    const std::int64_t bar_bottom = top_ + size_.first - sample - (range_.below ? point : 0);
    const std::int64_t bar_height = bar_bottom - bar_top;
    if (range_.above) draw_point(canvas, bar_top - 1, -1, point, table.back());
    if (range_.below) draw_point(canvas, bar_bottom, 1, point, table.front());
    for (std::int64_t y = 0; y < bar_height; ++y) {
      const double part = 1.0 - (static_cast<double>(y) + 0.5) / static_cast<double>(bar_height);
      canvas.fill(bar_left_, bar_top + y, kBarWidth, 1,
                  table[static_cast<std::size_t>(std::clamp(part * 256.0, 0.0, 255.0))]);
    }
    canvas.fill(bar_left_ - 1, bar_top, 1, bar_height, kInk);
    canvas.fill(bar_left_ + kBarWidth, bar_top, 1, bar_height, kInk);
    if (!range_.above) canvas.fill(bar_left_ - 1, bar_top - 1, kBarWidth + 2, 1, kInk);
    if (!range_.below) canvas.fill(bar_left_ - 1, bar_bottom, kBarWidth + 2, 1, kInk);
    for (const Tick& tick : bar_ticks_) {
      const double part = (tick.value - range_.low) / (range_.high - range_.low);
      const std::int64_t y =
          bar_bottom - 1 - std::lround(part * static_cast<double>(bar_height - 1));
      canvas.fill(bar_left_ + kBarWidth + 1, y, 5, 1, kInk);
      canvas.text(bar_text_, y - kTextHeight / 2, tick.label, kTextScale, kInk);
    }
    const std::string units =
        shorten_text(pretty_units(options_.units), kTextScale, total_height_ - 20);
    canvas.text_upwards(bar_name_, bar_top + bar_height / 2, units, kTextScale, kInk);
    if (!range_.missing) return;
    const std::int64_t box = top_ + size_.first - kSampleHeight;
    for (std::int64_t y = 0; y < kSampleHeight; ++y) {
      for (std::int64_t x = 0; x < kBarWidth; ++x)
        canvas.set(bar_left_ + x, box + y, missing_colour(x, y));
    }
    canvas.frame(bar_left_, box, kBarWidth, kSampleHeight, kInk);
    canvas.text(bar_text_, box + kSampleHeight / 2 - kTextHeight / 2, "no data", kTextScale,
                kFaint);
  }

  /// A triangle from row `y` in steps of `direction`, outlined.
  void draw_point(Canvas& canvas, std::int64_t y, int direction, std::int64_t point, Rgb colour) {
    for (std::int64_t i = 0; i < point; ++i) {
      const std::int64_t inset = i * kBarWidth / (2 * point);
      const std::int64_t row = y + direction * i;
      canvas.fill(bar_left_ + inset, row, kBarWidth - 2 * inset, 1, colour);
      canvas.fill(bar_left_ + inset - 1, row, 2, 1, kInk);
      canvas.fill(bar_left_ + kBarWidth - inset - 1, row, 2, 1, kInk);
    }
  }

  static constexpr std::int64_t kBarWidth = 26;
  static constexpr std::int64_t kSampleHeight = 22;

  const HeatmapOptions& options_;
  ColourRange range_;
  std::pair<std::int64_t, std::int64_t> size_;  // height and width of the field in pixels
  PlotAxis y_axis_;
  PlotAxis x_axis_;
  std::vector<Tick> bar_ticks_;
  std::int64_t left_ = 0;
  std::int64_t top_ = 0;
  std::int64_t bar_left_ = 0;
  std::int64_t bar_text_ = 0;
  std::int64_t bar_name_ = 0;
  std::int64_t total_width_ = 0;
  std::int64_t total_height_ = 0;
  std::optional<Canvas> canvas_;
};

void check_axis(const HeatmapAxis& axis, std::int64_t cells, const char* which) {
  if (axis.values.empty() || static_cast<std::int64_t>(axis.values.size()) == cells) return;
  throw InvalidArgument(core::text("[png] an axis must have one coordinate for each cell; got ",
                                   axis.values.size(), " for ", cells, " ", which,
                                   "; try passing the coordinate of that dimension"));
}

}  // namespace

Canvas draw_heatmap(std::span<const double> values, std::int64_t rows, std::int64_t columns,
                    const HeatmapOptions& options) {
  std::int64_t cells = 0;
  if (rows < 1 || columns < 1 || __builtin_mul_overflow(rows, columns, &cells) ||
      static_cast<std::int64_t>(values.size()) != cells) {
    throw InvalidArgument(core::text("[png] a heat map needs rows * columns values; got ",
                                     values.size(), " values for (", rows, ", ", columns,
                                     "); try a field that is not empty"));
  }
  check_axis(options.y, rows, "rows");
  check_axis(options.x, columns, "columns");
  return Heatmap(values, rows, columns, options).take();
}

void write_heatmap(const core::FileSystem& file_system, const std::string& path,
                   std::span<const double> values, std::int64_t rows, std::int64_t columns,
                   const HeatmapOptions& options) {
  const std::string bytes = draw_heatmap(values, rows, columns, options).png();
  core::AtomicFile file(file_system, path, "png");
  file.file().pwrite_all(bytes.data(), bytes.size(), 0);
  file.commit();
}

}  // namespace tessera::io
