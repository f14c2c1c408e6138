#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "io/png/canvas.hpp"
#include "io/png/colormap.hpp"

// A picture of a 2-d field: colours, axes with round ticks, colour bar, title. Owned: layout,
// resampling to the screen, ticks, the PNG file. Not owned: map projections, contours, several
// panels; values come as doubles with NaN for missing.

namespace tessera::io {

/// One axis of a heat map.
struct HeatmapAxis {
  std::string name = {};
  /// "degrees_north" and "degrees_east" give ticks such as 30°N.
  std::string units = {};
  /// Centres of the cells, increasing or decreasing; empty (or not monotonic): the axis counts
  /// cells and reads "<name> index".
  std::vector<double> values = {};
  /// Whether larger values lie lower (depth, pressure). Rows only.
  bool downward = false;
};

struct HeatmapOptions {
  std::string title = {};
  std::string units = {};
  /// What the colours span. Where unset: the percentiles, or minimum and maximum.
  std::optional<double> low = {};
  std::optional<double> high = {};
  /// The part of the values left out at each end when a limit is unset; 0 spans them all.
  double tail = 0.02;
  Colormap colormap = Colormap::kSequential;
  /// Rows; drawn so that larger values lie higher.
  HeatmapAxis y = {};
  /// Columns.
  HeatmapAxis x = {};
};

/// The picture of `values` (rows * columns, C order). Larger fields are reduced by the mean of each
/// box without NaN, smaller ones enlarged by whole numbers; the result is about 900 to 1300 pixels
/// wide. \throws InvalidArgument when the sizes do not fit or a given range is empty.
Canvas draw_heatmap(std::span<const double> values, std::int64_t rows, std::int64_t columns,
                    const HeatmapOptions& options);

/// Writes the picture as a PNG file, complete or not at all. \throws IoError as FileSystem does.
void write_heatmap(const core::FileSystem& file_system, const std::string& path,
                   std::span<const double> values, std::int64_t rows, std::int64_t columns,
                   const HeatmapOptions& options);

}  // namespace tessera::io
