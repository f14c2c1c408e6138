// A pile of NetCDF files to another pile, of what differs from each month's mean:
//   example_netcdf_anomaly "ocean/*.nc" tos "anomaly_*.nc"
// Without arguments ten made-up years stand in for the files.
#include <cmath>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

// Ten files of twelve months each.
void write_made_up_pile(const std::string& path) {
  const auto month =
      ts::reshape(ts::arange(120, {.chunks = {12}, .dtype = ts::float64}), {120, 1, 1});
  const auto latitude = ts::expand_dims(ts::linspace(-88.0, 88.0, 45), 1);
  const ts::Array noise = ts::random::normal({120, 45, 90}, {.chunks = {12, -1, -1}, .seed = 1});
  ts::SaveNetcdfOptions options{
      .variable = "t", .dimensions = {"time", "lat", "lon"}, .units = "K"};
  options.coordinates.push_back({.name = "time",
                                 .dimension = "time",
                                 .units = "days since 2001-01-16",
                                 .calendar = "360_day"});
  for (int i = 0; i < 120; ++i) options.coordinates[0].values.push_back(30.0 * i);
  options.steps_per_file = 12;
  ts::save_netcdf(280.0 + latitude * 0.1 * ts::cos(month * 0.5236) + noise, path, options);
}

int main(int argc, char** argv) try {
  const std::string from = argc > 3 ? argv[1] : "made_up_*.nc";
  const std::string name = argc > 3 ? argv[2] : "t";
  const std::string to = argc > 3 ? argv[3] : "anomaly_*.nc";
  if (argc <= 3) write_made_up_pile(from);
  const ts::Array x = ts::open(from, name);
  const ts::VariableInfo info = ts::describe(from, name);
  std::vector<std::int64_t> months;
  for (const ts::Date& date : info.coordinates.at(0).dates) months.push_back(date.month - 1);
  const ts::Array climate = ts::groupby_reduce(x, months, "nanmean");
  const ts::Array anomaly = x - ts::take(climate, months);

  ts::SaveNetcdfOptions options = ts::save_as(info);  // names, units, coordinates
  options.steps_per_file = 12;
  options.deflate_level = 1;
  ts::save_netcdf(anomaly, to, options);

  const bool same = ts::allclose(ts::open(to, name), anomaly, 0.0, 0.0, true).item<bool>();
  std::cout << anomaly << "\nwrote " << to << '\n';
  return same ? 0 : 1;
} catch (const ts::Error& error) {
  if (dynamic_cast<const ts::LibraryError*>(&error) != nullptr && argc <= 3) {
    std::cerr << error.what() << '\n';
    return 77;  // built without NetCDF
  }
  std::cerr << error.what() << '\n';
  return 1;
}
