// A tall matrix by singular values: centred, factored block by block, and reduced to two scores for
// each row; then the mean score of each group of rows.
#include <iostream>
#include <tessera/tessera.hpp>
#include <vector>

namespace ts = tessera;

int main() {
  constexpr std::int64_t rows = 20'000, columns = 40;
  // Three groups of rows that differ along one direction, and noise.
  std::vector<std::int64_t> labels(rows);
  for (std::int64_t i = 0; i < rows; ++i) labels[static_cast<std::size_t>(i)] = i % 3;
  const auto group = ts::astype(ts::asarray(labels, {.chunks = {2'500}}), ts::float64);
  const auto direction = ts::cos(ts::arange(columns, {.dtype = ts::float64}));
  const auto noise = ts::random::normal({rows, columns}, {.chunks = {2'500, -1}, .seed = 3});
  const auto x = ts::expand_dims(group, 1) * direction * 5.0 + noise;

  const auto centred = (x - ts::mean(x, {.axis = 0})).persist();
  const ts::SVD factors = ts::svd(centred);
  const auto first = ts::matmul(centred, factors.vt[{0}]);
  const auto means = ts::groupby_reduce(first, labels, "mean");

  const auto results = ts::compute({factors.s, means});
  const auto s = results[0].span<double>();
  const auto m = results[1].span<double>();
  std::cout << "largest singular values " << s[0] << ", " << s[1] << "\nmean score of the groups "
            << m[0] << ", " << m[1] << ", " << m[2] << '\n';
  // One direction stands out, and along it the groups lie in order, evenly apart.
  const bool apart = (m[0] < m[1]) == (m[1] < m[2]);
  return s[0] > 5.0 * s[1] && apart ? 0 : 1;
}
