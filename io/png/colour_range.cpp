#include "io/png/colour_range.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// More values than this say nothing more about a percentile on a colour bar.
constexpr std::size_t kMaxSample = 2'000'000;

void find_percentiles(std::span<const double> values, double tail, double& low, double& high) {
  const std::size_t step = values.size() / kMaxSample + 1;
  std::vector<double> sample;
  for (std::size_t i = 0; i < values.size(); i += step) {
    if (std::isfinite(values[i])) sample.push_back(values[i]);
  }
  if (sample.empty()) return;
  const auto at = [&](double part) {
    const auto rank =
        static_cast<std::size_t>(std::lround(part * static_cast<double>(sample.size() - 1)));
    std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(rank),
                     sample.end());
    return sample[rank];
  };
  low = at(tail);
  high = at(1.0 - tail);
}

}  // namespace

ColourRange find_colour_range(std::span<const double> values, std::optional<double> low,
                              std::optional<double> high, double tail, bool centred) {
  if (low && high && !(*low < *high)) {
    throw InvalidArgument(core::text("[png] a colour range must not be empty; got ", *low, " to ",
                                     *high, "; try low < high"));
  }
  ColourRange range;
  double least = std::numeric_limits<double>::infinity();
  double most = -least;
  double found_low = least;
  double found_high = most;
  for (const double value : values) {
    if (std::isnan(value)) {
      range.missing = true;
      continue;
    }
    range.any = true;
    least = std::min(least, value);
    most = std::max(most, value);
    if (!std::isfinite(value)) continue;
    found_low = std::min(found_low, value);
    found_high = std::max(found_high, value);
  }
  if (!(found_low <= found_high)) {
    found_low = 0.0;
    found_high = 1.0;
  } else if (tail > 0.0) {
    find_percentiles(values, tail, found_low, found_high);
  }
  if (!low && !high && centred && found_low < 0.0 && found_high > 0.0) {
    found_high = std::max(-found_low, found_high);
    found_low = -found_high;
  }
  range.low = low.value_or(found_low);
  range.high = high.value_or(found_high);
  if (!(range.low < range.high)) {
    // One value, or a limit beyond all values: some range around it.
    const double centre = high ? range.high : range.low;
    const double margin = centre == 0.0 ? 1.0 : std::fabs(centre) * 0.01;
    range.low = low ? centre : centre - margin;
    range.high = high ? centre : centre + margin;
  }
  range.below = range.any && least < range.low;
  range.above = range.any && most > range.high;
  return range;
}

}  // namespace tessera::io
