// NetCDF files to a picture and a .npy file:
//   example_netcdf_to_png "ocean/*.nc" tos
// Without arguments a made-up field stands in for the files.
#include <cmath>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

ts::Array made_up_field() {
  const auto latitude = ts::expand_dims(ts::linspace(-89.5, 89.5, 180), ts::Axes{0, 2});
  const auto longitude = ts::linspace(0.5, 359.5, 360);
  const auto month = ts::reshape(ts::arange(24, {.chunks = {6}, .dtype = ts::float64}), {24, 1, 1});
  return 28.0 * ts::cos(latitude * 0.0174533) + ts::sin(longitude * 0.0523599 + month * 0.5236);
}

int main(int argc, char** argv) try {
  ts::PngOptions picture{.title = "made-up field: time mean"};
  int axis = 0;
  ts::Array x = made_up_field();
  if (argc == 3) {
    x = ts::open(argv[1], argv[2]);  // missing values are NaN, packed ones are scaled
    const ts::VariableInfo info = ts::describe(argv[1], argv[2]);
    axis = info.time_axis < 0 ? 0 : info.time_axis;
    picture.title = info.long_name + ": time mean";
    picture.units = info.units;
  }
  std::cout << x << '\n';
  ts::Array mean = ts::nanmean(x, {.axis = axis}).persist();
  ts::save_npy(mean, "time_mean.npy");
  const ts::Array again = ts::load_npy("time_mean.npy");
  const bool same = ts::allclose(again, mean, 0.0, 0.0, true).item<bool>();
  while (mean.ndim() > 2) mean = mean[{0, ts::ellipsis}];
  ts::save_png(mean, "time_mean.png", picture);

  std::cout << "wrote time_mean.npy and time_mean.png\n";
  return same ? 0 : 1;
} catch (const ts::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
