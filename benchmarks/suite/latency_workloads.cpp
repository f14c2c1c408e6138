// What passes before a result comes: little data, or a small part of what an expression describes.

#include <algorithm>

#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

void first_result(Measure& row) {
  row.say("n", 1000);
  const Input in(row, {1000}, {1000});
  row.measure({8000, 2000, Bound::kLatency}, {}, [&] { return std::vector{ts::sum(in.x + 1.0)}; });
  row.agree(0, {});
}

/// Every element of the piece as it is.
void copy_piece(const ts::InputBlock& in, const ts::OutputBlock& out) {
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    const double* from = in.as<double>() + (out.start[0] - in.start[0] + i) * in.strides[0] +
                         (out.start[1] - in.start[1]) * in.strides[1];
    double* to = out.as<double>() + i * out.strides[0];
    for (std::int64_t j = 0; j < out.shape[1]; ++j)
      to[j * out.strides[1]] = from[j * in.strides[1]];
  }
}

void overlap_window(Measure& row) {
  const std::int64_t chunk = 50;
  const std::int64_t n = row.sizes().quick ? 2'000 : 10'000;
  row.say("n", n);
  row.say("chunk", chunk);
  row.measure({8 * 100, 0, Bound::kLatency}, {}, [&] {
    const ts::Array i = ts::arange(n, {.chunks = {chunk}, .dtype = ts::float64});
    const ts::Array x = ts::expand_dims(i, 1) * static_cast<double>(n) + i;
    const ts::Array y = ts::map_overlap(x, copy_piece, {.depth = {1}, .pure = true});
    return std::vector{y[{ts::Slice{n / 2, n / 2 + 10}, ts::Slice{n / 2, n / 2 + 10}}]};
  });
  row.agree(0, {.relative = 0.0});
}

constexpr Workload kWorkloads[] = {
    {"first_result", "(x + 1).sum() of 1,000 numbers", first_result},
    {"overlap_window", "map_overlap over 40,000 chunks, of which 10 x 10 elements are asked for",
     overlap_window},
};

}  // namespace

std::span<const Workload> latency_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
