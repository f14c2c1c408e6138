#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "core/file_system.hpp"
#include "core/text.hpp"
#include "io/netcdf/cf_time.hpp"
#include "io/netcdf/netcdf_writer.hpp"
#include "tools/demo/parts.hpp"

namespace tessera::demo {
namespace {

constexpr std::int64_t kRows = 180;
constexpr std::int64_t kColumns = 360;
constexpr std::int64_t kMonths = 12;
constexpr int kYears = 10;
constexpr std::int16_t kFill = -32768;
constexpr double kScale = 0.001;

struct Point {
  double longitude;
  double latitude;
};
using Outline = std::vector<Point>;

// Rough outlines, in degrees: enough to know the map by.
const std::vector<Outline>& continents() {
  static const std::vector<Outline> kOutlines = {
      // North and Central America
      {{-168, 66}, {-156, 71}, {-128, 70}, {-95, 72},  {-82, 70},  {-94, 60}, {-80, 52},
       {-78, 62},  {-65, 59},  {-56, 52},  {-66, 44},  {-75, 36},  {-81, 26}, {-84, 30},
       {-97, 26},  {-95, 17},  {-88, 21},  {-83, 10},  {-78, 8},   {-87, 12}, {-105, 20},
       {-114, 30}, {-124, 40}, {-126, 50}, {-140, 60}, {-152, 58}, {-162, 58}},
      // Greenland
      {{-72, 78}, {-32, 83}, {-18, 76}, {-42, 60}, {-52, 66}},
      // South America
      {{-78, 8},
       {-62, 10},
       {-50, 1},
       {-35, -6},
       {-39, -16},
       {-48, -26},
       {-58, -37},
       {-65, -45},
       {-68, -55},
       {-75, -50},
       {-71, -18},
       {-81, -5}},
      // Africa
      {{-17, 15},
       {-10, 31},
       {-5, 36},
       {10, 37},
       {20, 31},
       {32, 31},
       {43, 12},
       {51, 11},
       {40, -5},
       {40, -16},
       {32, -29},
       {19, -35},
       {12, -17},
       {9, 1},
       {5, 5},
       {-8, 4}},
      // Europe and Asia
      {{-9, 37},  {-9, 43},  {-1, 44},  {-4, 48},  {4, 52},   {8, 57},   {5, 60},   {14, 68},
       {26, 71},  {60, 69},  {75, 73},  {105, 77}, {140, 73}, {179, 69}, {170, 60}, {163, 57},
       {157, 51}, {160, 61}, {142, 59}, {140, 48}, {128, 39}, {121, 40}, {122, 30}, {110, 20},
       {105, 9},  {100, 13}, {104, 1},  {98, 9},   {92, 22},  {80, 15},  {77, 8},   {72, 20},
       {57, 26},  {60, 22},  {45, 13},  {35, 28},  {36, 37},  {27, 37},  {23, 38},  {13, 45},
       {17, 40},  {9, 44},   {-2, 37}},
      // Australia
      {{114, -22},
       {122, -17},
       {131, -12},
       {136, -15},
       {142, -11},
       {153, -26},
       {150, -38},
       {140, -38},
       {131, -31},
       {116, -35}},
      // New Guinea and Borneo, Madagascar, Japan, Britain, New Zealand
      {{131, -1}, {141, -3}, {150, -10}, {138, -8}},
      {{109, 1}, {117, 7}, {118, 1}, {114, -4}},
      {{44, -16}, {50, -15}, {47, -25}, {44, -24}},
      {{130, 32}, {141, 36}, {142, 43}, {138, 38}},
      {{-5, 50}, {1, 52}, {-3, 59}, {-6, 57}},
      {{167, -46}, {172, -41}, {174, -35}, {178, -38}, {171, -46}},
  };
  return kOutlines;
}

bool is_inside(const Outline& outline, double longitude, double latitude) {
  bool inside = false;
  for (std::size_t i = 0, j = outline.size() - 1; i < outline.size(); j = i++) {
    const Point& a = outline[i];
    const Point& b = outline[j];
    if ((a.latitude > latitude) == (b.latitude > latitude)) continue;
    const double crossing = a.longitude + (latitude - a.latitude) * (b.longitude - a.longitude) /
                                              (b.latitude - a.latitude);
    if (longitude < crossing) inside = !inside;
  }
  return inside;
}

bool is_land(double longitude, double latitude) {
  if (latitude < -70.0 - 4.0 * std::sin(longitude * std::numbers::pi / 90.0)) return true;
  for (const Outline& outline : continents()) {
    if (is_inside(outline, longitude, latitude)) return true;
  }
  return false;
}

// Degrees Celsius: warm tropics, seasons in opposite phase north and south, a warming trend, and
// waves that drift westward.
double temperature(double longitude, double latitude, int month) {
  const double turn = 2.0 * std::numbers::pi;
  const double radians = latitude * std::numbers::pi / 180.0;
  const double base = 29.0 * std::pow(std::cos(radians), 1.6) - 1.5 + std::cos(2 * radians);
  const double season =
      -6.0 * std::sin(radians) * std::cos(radians) * 2.0 * std::cos(turn * (month - 1) / 12.0);
  const double trend = 0.002 * month;
  const double wave = 1.2 * std::cos(radians) *
                      std::sin(turn * (longitude / 72.0 + month / 41.0) + 3.0 * radians) *
                      std::cos(turn * month / 29.0);
  return std::max(-1.8, base + season + trend + wave);
}

std::vector<std::int16_t> year_of_values(int year, const std::vector<bool>& land) {
  std::vector<std::int16_t> packed(static_cast<std::size_t>(kMonths * kRows * kColumns), kFill);
  std::size_t i = 0;
  for (std::int64_t month = 0; month < kMonths; ++month) {
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (std::int64_t column = 0; column < kColumns; ++column, ++i) {
        if (land[static_cast<std::size_t>(row * kColumns + column)]) continue;
        const double value =
            temperature(-179.5 + static_cast<double>(column), -89.5 + static_cast<double>(row),
                        year * 12 + static_cast<int>(month));
        packed[i] = static_cast<std::int16_t>(std::lround(value / kScale));
      }
    }
  }
  return packed;
}

void write_year(const std::string& path, int year, const std::vector<bool>& land) {
  using io::NetcdfAttribute;
  const std::string epoch = "days since 2001-01-01";
  io::NetcdfWriter writer = io::NetcdfWriter::create(core::posix_file_system(), path);
  writer.add_dimension("time", 0, true);
  writer.add_dimension("lat", kRows);
  writer.add_dimension("lon", kColumns);
  writer.add_variable({.name = "time",
                       .dimensions = {"time"},
                       .attributes = {NetcdfAttribute::text("units", epoch),
                                      NetcdfAttribute::text("calendar", "standard")}});
  writer.add_variable({.name = "lat",
                       .dimensions = {"lat"},
                       .attributes = {NetcdfAttribute::text("units", "degrees_north")}});
  writer.add_variable({.name = "lon",
                       .dimensions = {"lon"},
                       .attributes = {NetcdfAttribute::text("units", "degrees_east")}});
  writer.add_variable(
      {.name = "tos",
       .dtype = DType::kInt16,
       .dimensions = {"time", "lat", "lon"},
       .chunk_shape = {1, kRows, kColumns},
       .deflate_level = 1,
       .shuffle = true,
       .fill_value = Scalar(kFill),
       .attributes = {NetcdfAttribute::text("units", "degC"),
                      NetcdfAttribute::text("long_name", "synthetic sea surface temperature"),
                      NetcdfAttribute::number("scale_factor", DType::kFloat64, kScale)}});
  const io::CfTime calendar = io::CfTime::parse(epoch, "standard");
  std::vector<double> times, rows, columns;
  for (int month = 1; month <= kMonths; ++month) {
    io::CfDate date;
    date.year = 2001 + year;
    date.month = month;
    date.day = 16;
    times.push_back(calendar.encode(date));
  }
  for (std::int64_t i = 0; i < kRows; ++i) rows.push_back(-89.5 + static_cast<double>(i));
  for (std::int64_t i = 0; i < kColumns; ++i) columns.push_back(-179.5 + static_cast<double>(i));
  writer.write("time", {0}, {kMonths}, times.data());
  writer.write("lat", {0}, {kRows}, rows.data());
  writer.write("lon", {0}, {kColumns}, columns.data());
  writer.write("tos", {0, 0, 0}, {kMonths, kRows, kColumns}, year_of_values(year, land).data());
  writer.finish();
}

}  // namespace

void write_synthetic_ocean(const std::string& folder) {
  core::posix_file_system().make_directories(folder, "demo");
  std::vector<bool> land;
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t column = 0; column < kColumns; ++column) {
      land.push_back(
          is_land(-179.5 + static_cast<double>(column), -89.5 + static_cast<double>(row)));
    }
  }
  for (int year = 0; year < kYears; ++year) {
    write_year(core::text(folder, "/tos_", 2001 + year, ".nc"), year, land);
  }
}

}  // namespace tessera::demo
