// What chunked arrays are compared on where memory runs short. Every size follows from the memory
// that the run is scaled to, and the session's budgets do, too.

#include <algorithm>
#include <cmath>

#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

/// The edge of a square array of about `bytes`, a multiple of `step`.
std::int64_t edge_of(std::int64_t bytes, std::int64_t step) {
  const auto edge = static_cast<std::int64_t>(std::sqrt(static_cast<double>(bytes) / 8.0));
  return std::max(step, edge / step * step);
}

std::int64_t memory(const Measure& row) { return row.sizes().memory_bytes; }
std::int64_t tile(const Measure& row) { return row.sizes().quick ? 256 : 2048; }

void sum_of_random(Measure& row, bool thin) {
  row.open_scaled_session();
  const std::int64_t n = edge_of(5 * memory(row), tile(row));
  const std::int64_t wide = std::max<std::int64_t>(1, tile(row) * tile(row) / n);
  const std::int64_t rows = thin ? n : tile(row);
  const std::int64_t cols = thin ? wide : tile(row);
  row.say("n", n);
  row.say("chunk_rows", rows);
  row.say("chunk_cols", cols);
  row.measure({0, n * n, Bound::kCompute}, {}, [&] {
    return std::vector{ts::mean(ts::random::uniform({n, n}, {.chunks = {rows, cols}, .seed = 1}))};
  });
  row.agree(0, {.relative = 0.0, .absolute = 1e-3, .moments = true});
}
void sum_thin(Measure& row) { sum_of_random(row, true); }
void sum_square(Measure& row) { sum_of_random(row, false); }

/// One element more at the end of axis 0, from the other end, in one chunk with the rest.
ts::Array padded(const ts::Array& x) {
  return ts::rechunk_axes(ts::pad(x, {{0, 1}, {0, 0}, {0, 0}}, {.mode = ts::PadMode::kWrap}),
                          {{0, -1}});
}

void vorticity(Measure& row) {
  row.open_scaled_session();
  const std::int64_t n = tile(row);
  const std::int64_t depth = std::max<std::int64_t>(2, memory(row) / 200 * 85 / (8 * n * n));
  row.say("n", n);
  row.say("depth", depth);
  row.measure({0, 3 * n * n * depth, Bound::kCompute}, {}, [&] {
    const ts::Array u = ts::random::uniform({n, n, depth}, {.chunks = {n, n, 1}, .seed = 1});
    const ts::Array v = ts::random::uniform({n, n, depth}, {.chunks = {n, n, 1}, .seed = 2});
    const ts::Array dx = ts::random::uniform({n + 1, n}, {.chunks = {n + 1, n}, .seed = 3});
    const ts::Array dy = ts::random::uniform({n + 1, n}, {.chunks = {n + 1, n}, .seed = 4});
    return std::vector{
        ts::mean(ts::expand_dims(dx, 2) * padded(u) - ts::expand_dims(dy, 2) * padded(v))};
  });
  row.agree(0, {.relative = 0.0, .absolute = 1e-2, .moments = true});
}

void double_difference(Measure& row) {
  row.open_scaled_session();
  const std::int64_t n = edge_of(memory(row) / 8, 256);
  row.say("n", n);
  row.say("chunk", n / 8);
  const Input x(row, {n, n}, {n / 8, n / 8});
  const Input y(row, {n, n}, {n / 8, n / 8}, 1);
  row.measure({24 * n * n, n * n}, {}, [&] {
    return std::vector{x.x[{ts::Slice{1}, ts::Slice{1}}] -
                       y.x[{ts::Slice{0, -1}, ts::Slice{0, -1}}]};
  });
  row.agree(0, {});
}

void sum_of_product(Measure& row, bool spills) {
  const std::int64_t n = edge_of(memory(row) / 32, 256);
  row.say("n", n);
  row.say("chunk", n / 8);
  if (spills) {
    ts::SessionOptions options;
    options.device_memory_bytes = static_cast<std::size_t>(8 * n * n / 2);
    options.host_memory_bytes = 0;
    row.open_session(options);
  } else {
    row.open_scaled_session();
  }
  const Input a(row, {n, n}, {n / 8, n / 8});
  row.measure({8 * n * n, 2 * n * n * n, Bound::kProducts}, {},
              [&] { return std::vector{ts::sum(ts::matmul(a.x, a.x.T()))}; });
  row.agree(0, {.relative = 1e-9});
}
void product_sum(Measure& row) { sum_of_product(row, false); }
void product_sum_spilled(Measure& row) { sum_of_product(row, true); }

void tiles_to_rows(Measure& row) {
  row.open_scaled_session();
  const std::int64_t n = edge_of(memory(row) / 8, 256);
  row.say("n", n);
  row.say("chunk", n / 8);
  row.say("rows", n / 64);
  const Input x(row, {n, n}, {n / 8, n / 8});
  row.measure({16 * n * n, 0}, {}, [&] { return std::vector{ts::rechunk(x.x, {n / 64, n})}; });
  row.agree(0, {.relative = 0.0});
}

/// Panels of whole columns whose elements the engine may ask for once only: cos(i) cos(j).
ts::Array measured_columns(std::int64_t n, std::int64_t chunk) {
  ts::MapBlocksOptions options;
  options.dtype = ts::float64;
  options.shape = ts::Shape{n, n};
  options.chunks = ts::Chunks{n, chunk};
  options.name = "measured";
  return ts::map_blocks(
      [](std::span<const ts::InputBlock>, const ts::OutputBlock& out) {
        std::vector<double> across(static_cast<std::size_t>(out.shape[1]));
        for (std::size_t j = 0; j < across.size(); ++j)
          across[j] = std::cos(static_cast<double>(out.start[1]) + static_cast<double>(j));
        double* to = out.as<double>();
        for (std::int64_t i = 0; i < out.shape[0]; ++i) {
          const double down = std::cos(static_cast<double>(out.start[0] + i));
          for (const double value : across) *to++ = down * value;
        }
      },
      {}, options);
}

/// The sum of squares of every row, by a function that wants whole rows.
ts::Array squares_of_rows(const ts::Array& x, std::int64_t chunk) {
  ts::MapBlocksOptions options;
  options.shape = ts::Shape{x.shape()[0], 1};
  options.chunks = ts::Chunks{chunk, 1};
  options.pure = true;
  options.name = "squares_of_rows";
  return ts::map_blocks(
      [](std::span<const ts::InputBlock> in, const ts::OutputBlock& out) {
        const double* from = in[0].as<double>();
        double* to = out.as<double>();
        for (std::int64_t i = 0; i < in[0].shape[0]; ++i) {
          double lanes[8] = {};
          const double* x = from + i * in[0].shape[1];
          for (std::int64_t j = 0; j + 8 <= in[0].shape[1]; j += 8) {
            for (std::int64_t k = 0; k < 8; ++k) lanes[k] += x[j + k] * x[j + k];
          }
          to[i] = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                  ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
        }
      },
      {x}, options);
}

/// Tiles of x as blocks of their own. Two rechunks alone are one to the engine.
ts::Array tiles_of(const ts::Array& x, std::int64_t chunk) {
  ts::MapBlocksOptions options;
  options.pure = true;
  options.name = "tiles";
  return ts::map_blocks(
      [](std::span<const ts::InputBlock> in, const ts::OutputBlock& out) {
        const auto from = in[0].span<double>();
        std::copy(from.begin(), from.end(), out.as<double>());
      },
      {ts::rechunk(x, {chunk, chunk})}, options);
}

/// Through square tiles, or at once.
void swap_axes(Measure& row, std::int64_t bytes, bool tiles, Bound bound) {
  row.open_scaled_session();
  const std::int64_t n = edge_of(bytes, 512);
  const std::int64_t chunk = n / 16;
  row.say("n", n);
  row.say("chunk", chunk);
  row.measure({32 * n * n, 0, bound}, {}, [&] {
    ts::Array x = measured_columns(n, chunk);
    if (tiles) x = tiles_of(x, chunk);
    return std::vector{squares_of_rows(ts::rechunk(x, {chunk, n}), chunk)};
  });
  row.agree(0, {.relative = 1e-9});
}
void swap_axes_in_memory(Measure& row) { swap_axes(row, memory(row) / 2, false, Bound::kMemory); }
void swap_axes_spilled(Measure& row) { swap_axes(row, memory(row) / 2 * 3, false, Bound::kDisk); }
void swap_axes_by_tiles(Measure& row) { swap_axes(row, memory(row) / 2 * 3, true, Bound::kDisk); }

constexpr Workload kWorkloads[] = {
    {"sum_thin", "mean of random numbers, 5 times memory, thin chunks", sum_thin},
    {"sum_square", "mean of random numbers, 5 times memory, square chunks", sum_square},
    {"vorticity", "dx * pad(u) - dy * pad(v) on padded, rechunked grids, 85% of memory", vorticity},
    {"double_difference", "x[1:, 1:] - y[:-1, :-1]", double_difference},
    {"product_sum", "(a @ a.T).sum()", product_sum},
    {"product_sum_spilled", "(a @ a.T).sum(), budget half of a", product_sum_spilled},
    {"tiles_to_rows", "square tiles rechunked to rows", tiles_to_rows},
    {"swap_axes_in_memory", "columns rechunked to rows, half of memory", swap_axes_in_memory},
    {"swap_axes_spilled", "columns rechunked to rows, 1.5 times memory", swap_axes_spilled},
    {"swap_axes_by_tiles", "columns rechunked to tiles, then to rows, 1.5 times memory",
     swap_axes_by_tiles},
};

}  // namespace

std::span<const Workload> memory_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
