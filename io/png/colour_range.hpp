#pragma once

#include <optional>
#include <span>

namespace tessera::io {

/// What the colours of a picture span, and which values it meets.
struct ColourRange {
  double low = 0.0;
  double high = 1.0;
  /// Whether values lie below `low`, above `high`.
  bool below = false;
  bool above = false;
  /// Whether a value that is not NaN exists; whether a NaN exists.
  bool any = false;
  bool missing = false;
};

/// The given limits; where one is missing, the percentile `tail` or 1 - `tail` of the finite values
/// (0: the extremes). Without any limit a `centred` range that holds 0 is made symmetric. Never
/// empty. \throws InvalidArgument when both limits are given and low < high does not hold.
ColourRange find_colour_range(std::span<const double> values, std::optional<double> low,
                              std::optional<double> high, double tail, bool centred);

}  // namespace tessera::io
