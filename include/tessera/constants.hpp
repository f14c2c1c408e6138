#pragma once

#include <limits>
#include <numbers>

// The constants of the Array API standard.

namespace tessera {

/// Euler's number.
inline constexpr double e = std::numbers::e;
/// The ratio of a circle's circumference to its diameter.
inline constexpr double pi = std::numbers::pi;
/// Positive infinity.
inline constexpr double inf = std::numeric_limits<double>::infinity();
/// Not a number.
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace tessera
