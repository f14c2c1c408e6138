// The host table: what is asked of one machine's cores most often, each with a hand-written loop.

#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

/// The square matrix that most rows read.
struct Matrix : Input {
  explicit Matrix(Measure& row) : Matrix(row, {row.sizes().chunk(), row.sizes().chunk()}) {}
  Matrix(Measure& row, const ts::Chunks& chunks)
      : Input(row, {row.sizes().edge, row.sizes().edge}, chunks), n(row.sizes().edge) {
    row.say("n", n);
    row.say("chunk", row.sizes().chunk());
  }
  std::int64_t n;
};

/// A long vector.
struct Vector : Input {
  explicit Vector(Measure& row)
      : Input(row, {row.sizes().count()}, {row.sizes().run()}), n(row.sizes().count()) {
    row.say("n", n);
    row.say("chunk", row.sizes().run());
  }
  std::int64_t n;
};

void sum(Measure& row) {
  const Matrix m(row);
  double expected = 0.0;
  row.measure(
      {8 * m.n * m.n, m.n * m.n}, [&] { expected = floors::sum(m.plain.get(), m.n * m.n); },
      [&] { return std::vector{ts::sum(m.x)}; });
  row.check(&expected);
}

void sum_axis_0(Measure& row) {
  const Matrix m(row);
  const floors::Buffer expected = row.floor_buffer(m.n);
  row.measure(
      {8 * m.n * m.n, m.n * m.n},
      [&] { floors::column_sums(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::sum(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void std_axis_0(Measure& row) {
  const Matrix m(row);
  const floors::Buffer expected = row.floor_buffer(m.n);
  row.measure(
      {8 * m.n * m.n, 4 * m.n * m.n},
      [&] { floors::column_deviations(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::std(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void min_and_max(Measure& row) {
  const Matrix m(row);
  double expected[2];
  row.measure(
      {8 * m.n * m.n, 2 * m.n * m.n},
      [&] { floors::smallest_and_largest(m.plain.get(), m.n * m.n, expected); },
      [&] {
        return std::vector{ts::min(m.x), ts::max(m.x)};
      });
  row.check(expected, 0);
  row.check(expected + 1, 1);
}

void add_transpose(Measure& row) {
  const Matrix m(row);
  const floors::Buffer expected = row.floor_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, m.n * m.n},
      [&] { floors::add_transpose(m.plain.get(), m.n, expected.get()); },
      [&] { return std::vector{m.x + m.x.T()}; });
  row.check(expected.get());
}

void sum_of_centred(Measure& row) {
  const Matrix m(row);
  double expected = 0.0;
  row.measure(
      {16 * m.n * m.n, 4 * m.n * m.n},
      [&] { expected = floors::sum_of_centred(m.plain.get(), m.n); },
      [&] { return std::vector{ts::sum((m.x + m.x.T()) - ts::mean(m.x, {.axis = 0}))}; });
  row.check(&expected);
}

void transpose(Measure& row) {
  const Matrix m(row);
  const floors::Buffer expected = row.floor_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, 0}, [&] { floors::transpose(m.plain.get(), m.n, expected.get()); },
      [&] { return std::vector{m.x.T()}; });
  row.check(expected.get());
}

void cumsum_axis_0(Measure& row) {
  const Matrix m(row);
  const floors::Buffer expected = row.floor_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, m.n * m.n},
      [&] { floors::column_running_sums(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::cumulative_sum(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void rechunk(Measure& row) {
  const std::int64_t n = row.sizes().edge;
  const std::int64_t panel = row.sizes().chunk();
  const Matrix m(row, {panel, n});
  const floors::Buffer panels = row.floor_buffer(n * n);
  row.measure(
      {16 * m.n * m.n, 0}, [&] { floors::column_panels(m.plain.get(), n, panel, panels.get()); },
      [&] {
        return std::vector{ts::rechunk(m.x, {n, panel})};
      });
  row.check(m.plain.get());
}

ts::Array five_points(const ts::Array& x) {
  ts::MapOverlapOptions options;
  options.depth = {1};
  options.pure = true;
  const ts::Shape shape = x.shape();
  return ts::map_overlap(
      x,
      [shape](const ts::InputBlock& in, const ts::OutputBlock& out) {
        const std::int64_t r = out.start[0] - in.start[0];
        const std::int64_t c = out.start[1] - in.start[1];
        floors::stencil_piece({in.as<double>() + r * in.strides[0] + c, in.strides[0],
                               out.as<double>(), out.strides[0], out.shape[0], out.shape[1],
                               out.start[0] > 0,
                               out.start[0] + out.shape[0]<shape[0], out.start[1]> 0,
                               out.start[1] + out.shape[1] < shape[1]});
      },
      options);
}

void stencil(Measure& row) {
  const std::int64_t n = row.sizes().edge / 2;
  const std::int64_t chunk = row.sizes().chunk();
  row.say("n", n);
  row.say("chunk", chunk);
  const Input in(row, {n, n}, {chunk, chunk});
  const floors::Buffer expected = row.floor_buffer(n * n);
  row.measure(
      {16 * n * n, 5 * n * n}, [&] { floors::stencil(in.plain.get(), n, expected.get()); },
      [&] { return std::vector{five_points(in.x)}; });
  row.check(expected.get());
}

void ten_operations(Measure& row) {
  const Vector v(row);
  const ts::Array& x = v.x;
  const floors::Buffer expected = row.floor_buffer(v.n);
  row.measure(
      {16 * v.n, 10 * v.n}, [&] { floors::ten_operations(v.plain.get(), v.n, expected.get()); },
      [&] { return std::vector{((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x}; });
  row.check(expected.get());
}

void ten_functions(Measure& row) {
  const Vector v(row);
  const ts::Array& x = v.x;
  const floors::Buffer expected = row.floor_buffer(v.n);
  row.measure(
      {16 * v.n, 10 * v.n}, [&] { floors::ten_functions(v.plain.get(), v.n, expected.get()); },
      [&] {
        const ts::Array inner = ts::log(ts::exp(x * 0.5) + 1.0) * x - 0.25;
        return std::vector{(ts::tanh(inner) + x) * 2.0 + 1.0};
      });
  row.check(expected.get());
}

void normal(Measure& row) {
  const std::int64_t n = row.sizes().count();
  row.say("n", n);
  row.say("chunk", row.sizes().run());
  const floors::Buffer expected = row.floor_buffer(n);
  row.measure(
      {8 * n, 0, Bound::kCompute}, [&] { floors::normal(1, n, expected.get()); },
      [&] {
        return std::vector{ts::random::normal({n}, {.chunks = {row.sizes().run()}, .seed = 1})};
      });
  row.check(expected.get(), 0, {.relative = 0.0, .absolute = 0.01, .moments = true});
}

void uniform(Measure& row) {
  const std::int64_t n = row.sizes().count();
  row.say("n", n);
  row.say("chunk", row.sizes().run());
  const floors::Buffer expected = row.floor_buffer(n);
  row.measure(
      {8 * n, 0}, [&] { floors::uniform(1, n, expected.get()); },
      [&] {
        return std::vector{ts::random::uniform({n}, {.chunks = {row.sizes().run()}, .seed = 1})};
      });
  row.check(expected.get(), 0, {.relative = 0.0, .absolute = 0.01, .moments = true});
}

void matmul(Measure& row) {
  const std::int64_t n = row.sizes().edge / 2;
  const std::int64_t chunk = row.sizes().chunk();
  row.say("n", n);
  row.say("chunk", chunk);
  const Input a(row, {n, n}, {chunk, chunk});
  const Input b(row, {n, n}, {chunk, chunk}, 1);
  const floors::Buffer expected = row.floor_buffer(n * n);
  row.measure(
      {24 * n * n, 2 * n * n * n, Bound::kProducts},
      [&] { floors::product(a.plain.get(), b.plain.get(), n, false, expected.get()); },
      [&] { return std::vector{ts::matmul(a.x, b.x)}; });
  row.check(expected.get());
}

void product_deviation(Measure& row) {
  const std::int64_t n = row.sizes().edge / 4;
  const std::int64_t chunk = row.sizes().chunk() / 2;
  row.say("n", n);
  row.say("chunk", chunk);
  const Input a(row, {n, n}, {chunk, chunk});
  const floors::Buffer work = row.floor_buffer(n * n);
  double expected = 0.0;
  row.measure(
      {8 * n * n, 2 * n * n * n, Bound::kProducts},
      [&] { expected = floors::product_deviation(a.plain.get(), n, work.get()); },
      [&] { return std::vector{ts::std(ts::dot(a.x, a.x.T() + 1.0) - ts::mean(a.x))}; });
  row.check(&expected, 0, {.relative = 1e-9});
}

void svd(Measure& row) {
  const std::int64_t rows = row.sizes().quick ? 20'000 : 1'000'000 / (16384 / row.sizes().edge);
  const std::int64_t block = rows / 20;
  const std::int64_t n = 100;
  row.say("rows", rows);
  row.say("n", n);
  row.say("chunk", block);
  const Input in(row, {rows, n}, {block, n});
  const floors::Buffer u = row.floor_buffer(rows * n);
  const floors::Buffer s = row.floor_buffer(n);
  const floors::Buffer vt = row.floor_buffer(n * n);
  row.measure(
      {16 * rows * n, 6 * rows * n * n, Bound::kCompute},
      [&] { floors::tall_svd(in.plain.get(), rows, n, block, u.get(), s.get(), vt.get()); },
      [&] {
        const ts::SVD parts = ts::svd(in.x);
        return std::vector{parts.s, parts.u, parts.vt};
      });
  // Vectors may differ in sign; values may not.
  row.check(s.get());
}

constexpr Workload kWorkloads[] = {
    {"sum", "x.sum()", sum},
    {"sum_axis_0", "x.sum(axis=0)", sum_axis_0},
    {"std_axis_0", "x.std(axis=0)", std_axis_0},
    {"min_and_max", "x.min(), x.max()", min_and_max},
    {"add_transpose", "x + x.T", add_transpose},
    {"sum_of_centred", "((x + x.T) - x.mean(axis=0)).sum()", sum_of_centred},
    {"transpose", "x.T", transpose},
    {"cumsum_axis_0", "x.cumsum(axis=0)", cumsum_axis_0},
    {"rechunk", "row panels rechunked to column panels", rechunk},
    {"stencil", "five-point stencil by map_overlap", stencil},
    {"ten_operations", "ten cheap elementwise operations", ten_operations},
    {"ten_functions", "ten operations with exp, log and tanh", ten_functions},
    {"normal", "random.normal", normal},
    {"uniform", "random.uniform", uniform},
    {"matmul", "x @ y", matmul},
    {"product_deviation", "(x.dot(x.T + 1) - x.mean()).std()", product_deviation},
    {"svd", "svd of a tall, narrow matrix", svd},
};

}  // namespace

std::span<const Workload> host_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
