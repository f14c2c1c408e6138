#include <cmath>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

int main() {
  const auto x = ts::random::normal({300, 200}, {.chunks = {64, 50}, .seed = 1});
  const auto y = ts::matmul(x, x.T()) - ts::mean(x, {.axis = 1, .keepdims = true});
  const auto results = ts::compute({ts::sum(y), ts::sum(ts::square(ts::sum(x, {.axis = 0})))});
  const auto rows = ts::sum(ts::mean(x, {.axis = 1})).item<double>();
  const double expected = results[1].item<double>() - 300 * rows;
  if (!(std::abs(results[0].item<double>() - expected) < 1e-8 * std::abs(expected))) return 1;
  try {
    ts::matmul(x, x);
    return 1;
  } catch (const ts::InvalidArgument& error) {
    std::cerr << error.what() << '\n';  // thrown inside the library, caught by its type outside
  }
  std::cout << "tessera " TESSERA_VERSION_STRING " works\n";
}
