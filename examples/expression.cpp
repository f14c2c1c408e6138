// Lazy expressions: nothing runs until a result is asked for.
#include <cmath>
#include <iostream>
#include <tessera/tessera.hpp>

namespace ts = tessera;

int main() {
  const auto x = ts::random::normal({2'000, 2'000}, {.chunks = {500, 500}, .seed = 1});
  const auto y = x + x.T() - ts::mean(x, {.axis = 0});
  std::cout << y << '\n';          // shape, dtype, chunks, bytes, tasks: nothing has run
  std::cout << y.explain();        // what would run
  const auto spread = ts::std(y);  // a 0-d array, still lazy

  // Computed together: what the two have in common is computed once.
  const auto results = ts::compute({spread, y[{0, ts::Slice{0, 5}}]});
  std::cout << "std " << results[0].item<double>() << ", first row begins";
  for (const double value : results[1].span<double>()) std::cout << ' ' << value;
  std::cout << '\n';
  // Off the diagonal y adds two independent normal numbers, so its spread is close to sqrt(2).
  return std::abs(results[0].item<double>() - std::sqrt(2.0)) < 0.01 ? 0 : 1;
}
