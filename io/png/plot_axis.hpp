#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/png/axis_ticks.hpp"
#include "io/png/heatmap.hpp"

namespace tessera::io {

/// One axis of a picture: name, ticks, and where a coordinate lies.
class PlotAxis {
 public:
  /// An axis of `cells` cells over `pixels` pixels with a tick about every `tick_pixels`.
  PlotAxis(const HeatmapAxis& axis, std::int64_t cells, std::int64_t pixels,
           std::int64_t tick_pixels);

  /// Name and units, ready to print.
  const std::string& name() const noexcept { return name_; }
  /// Whether coordinates increase with the index.
  bool rises() const noexcept { return rises_; }
  const std::vector<Tick>& ticks() const noexcept { return ticks_; }
  /// Pixels from the outer edge of the first cell to a coordinate.
  double position(double value) const;

 private:
  void find_ticks(int wanted);
  bool is_stretched(double low, double high) const;

  std::int64_t cells_;
  std::int64_t pixels_;
  std::vector<double> centres_;
  std::vector<Tick> ticks_;
  std::string name_;
  bool coordinates_ = false;
  bool rises_ = true;
  bool latitude_ = false;
  bool longitude_ = false;
};

}  // namespace tessera::io
