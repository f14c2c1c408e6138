#include "io/png/plot_axis.hpp"

#include <algorithm>
#include <cmath>

#include "core/text.hpp"

namespace tessera::io {
namespace {

bool is_monotonic(const std::vector<double>& values) {
  if (values.empty()) return false;
  for (const double value : values) {
    if (!std::isfinite(value)) return false;
  }
  for (std::size_t i = 1; i < values.size(); ++i) {
    const bool rises = values[i] > values[i - 1];
    if (values[i] == values[i - 1] || rises != (values[1] > values[0])) return false;
  }
  return true;
}

}  // namespace

PlotAxis::PlotAxis(const HeatmapAxis& axis, std::int64_t cells, std::int64_t pixels,
                   std::int64_t tick_pixels)
    : cells_(cells), pixels_(pixels) {
  coordinates_ = is_monotonic(axis.values);
  if (coordinates_) {
    centres_ = axis.values;
  } else {
    for (std::int64_t i = 0; i < cells; ++i) centres_.push_back(static_cast<double>(i));
  }
  rises_ = centres_.size() < 2 || centres_[1] > centres_[0];
  latitude_ = coordinates_ && is_latitude(axis.units);
  longitude_ = coordinates_ && is_longitude(axis.units);
  name_ = axis.name;
  if (!coordinates_) name_ += name_.empty() ? "index" : " index";
  const std::string units = pretty_units(axis.units);
  if (coordinates_ && !latitude_ && !longitude_ && !units.empty()) {
    name_ += (name_.empty() ? "[" : " [") + units + "]";
  }
  find_ticks(std::max<int>(2, static_cast<int>(pixels / tick_pixels)));
}

double PlotAxis::position(double value) const {
  const double cell_pixels = static_cast<double>(pixels_) / static_cast<double>(cells_);
  if (cells_ < 2) return cell_pixels * 0.5;
  const auto before = [this](double a, double b) { return rises_ ? a < b : a > b; };
  auto place = std::upper_bound(centres_.begin(), centres_.end(), value, before);
  place = std::clamp(place, centres_.begin() + 1, centres_.end() - 1);
  const auto i = static_cast<double>(place - centres_.begin() - 1);
  const double part = (value - *(place - 1)) / (*place - *(place - 1));
  return (i + part + 0.5) * cell_pixels;
}

/// Whether cells grow so much along the axis that even steps would crowd at one end.
bool PlotAxis::is_stretched(double low, double high) const {
  const double least = std::min(centres_.front(), centres_.back());
  const double middle = centres_[centres_.size() / 2];
  return coordinates_ && least > 0.0 && high / least > 20.0 && (middle - low) / (high - low) < 0.2;
}

void PlotAxis::find_ticks(int wanted) {
  if (cells_ < 2) {
    ticks_ = {{centres_[0], core::text(centres_[0])}};
  } else {
    // Ticks may lie in the outer halves of the first and last cell.
    const double first = centres_.front() - (centres_[1] - centres_[0]) / 2;
    const double last = centres_.back() + (centres_.back() - centres_[centres_.size() - 2]) / 2;
    const double low = coordinates_ ? std::min(first, last) : 0.0;
    const double high = coordinates_ ? std::max(first, last) : centres_.back();
    if (is_stretched(low, high)) {
      ticks_ = decade_ticks(std::max(low, std::min(centres_.front(), centres_.back()) * 0.5), high);
    } else {
      ticks_ = round_ticks(low, high, wanted, latitude_ || longitude_);
    }
    if (!coordinates_) {
      std::erase_if(ticks_, [](const Tick& tick) { return tick.value != std::floor(tick.value); });
      for (Tick& tick : ticks_) tick.label = core::text(static_cast<std::int64_t>(tick.value));
    }
  }
  if (latitude_ || longitude_) {
    for (Tick& tick : ticks_) tick.label = degree_label(tick, latitude_);
  }
}

}  // namespace tessera::io
