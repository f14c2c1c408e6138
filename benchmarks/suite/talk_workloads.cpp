// Expressions that talks on chunked arrays show.

#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

void centred_kept(Measure& row) {
  const std::int64_t n = row.sizes().edge;
  const std::int64_t chunk = row.sizes().chunk();
  row.say("n", n);
  row.say("chunk", chunk);
  const Input in(row, {n, n}, {chunk, chunk});
  const floors::Buffer expected = row.floor_buffer(n * n);
  row.measure(
      {16 * n * n, 3 * n * n}, [&] { floors::centred(in.plain.get(), n, expected.get()); },
      [&] { return std::vector{in.x + in.x.T() - ts::mean(in.x, {.axis = 0})}; });
  row.check(expected.get());
}

void gram_singular_values(Measure& row) {
  const std::int64_t n = row.sizes().edge / 8;
  row.say("n", n);
  row.say("chunk", n / 4);
  const Input in(row, {n, n}, {n / 4, n / 4});
  row.measure({8 * n * n, 2 * n * n * n, Bound::kCompute}, {},
              [&] { return std::vector{ts::svdvals(ts::dot(in.x, in.x.T()))}; });
  // The smallest lie below what the squares of float64 tell apart.
  row.agree(0, {.relative = 1e-9});
}

void sums_of_axes(Measure& row) {
  const std::int64_t n = row.sizes().quick ? 96 : row.sizes().edge / 32 * 3 / 2;
  const std::int64_t chunk = n / 4;
  row.say("n", n);
  row.say("chunk", chunk);
  const Input in(row, {n, n, n}, {chunk, chunk, chunk});
  row.measure({8 * n * n * n, 3 * n * n * n}, {}, [&] {
    return std::vector{ts::sum(in.x, {.axis = 0}), ts::sum(in.x, {.axis = 1}),
                       ts::sum(in.x, {.axis = 2})};
  });
  for (std::size_t k = 0; k < 3; ++k) row.agree(k, {});
}

constexpr Workload kWorkloads[] = {
    {"centred_kept", "x + x.T - x.mean(axis=0)", centred_kept},
    {"gram_singular_values", "svd(x.dot(x.T)), singular values", gram_singular_values},
    {"sums_of_axes", "x.sum(axis=0), x.sum(axis=1), x.sum(axis=2)", sums_of_axes},
};

}  // namespace

std::span<const Workload> talk_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
