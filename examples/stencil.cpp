// Heat conduction by map_overlap: every step averages the four neighbours; the caller's function
// sees one piece at a time with one element more on every side.
#include <cmath>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

void average_neighbours(const ts::InputBlock& in, const ts::OutputBlock& out) {
  const double* from = in.as<double>();
  double* to = out.as<double>();
  const std::int64_t up = in.strides[0], side = in.strides[1];
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    for (std::int64_t j = 0; j < out.shape[1]; ++j) {
      const double* p =
          from + (out.start[0] + i - in.start[0]) * up + (out.start[1] + j - in.start[1]) * side;
      to[i * out.strides[0] + j * out.strides[1]] = 0.25 * (p[-up] + p[up] + p[-side] + p[side]);
    }
  }
}

int main() {
  constexpr std::int64_t n = 512;
  // A warm square in the middle; what leaves at one edge comes back at the other.
  const auto i = ts::arange(n, {.chunks = {128}});
  const auto middle = (i >= 192) & (i < 320);
  ts::Array heat = ts::astype(ts::expand_dims(middle, 1) & middle, ts::float64);
  const double before = ts::sum(heat).item<double>();
  for (int step = 0; step < 10; ++step) {
    heat = ts::map_overlap(heat, average_neighbours,
                           {.depth = {1}, .boundary = {ts::Boundary::kPeriodic}, .pure = true});
  }
  const auto results = ts::compute({ts::sum(heat), heat[{256, 256}], heat[{192, 192}]});
  std::cout << "heat before " << before << ", after " << results[0].item<double>() << "; middle "
            << results[1].item<double>() << ", corner " << results[2].item<double>() << '\n';
  const bool conserved = std::abs(results[0].item<double>() - before) < 1e-9 * before;
  return conserved && results[1].item<double>() == 1.0 ? 0 : 1;
}
