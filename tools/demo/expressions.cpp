#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "tessera/tessera.hpp"
#include "tools/demo/parts.hpp"

namespace tessera::demo {
namespace {

constexpr double kSeconds = 8.0;
constexpr double kQuickSeconds = 0.7;
// Blocks along each axis: of the matrix that must fit in little memory, and of products.
constexpr std::int64_t kGrid = 16;
constexpr std::int64_t kProductGrid = 8;
constexpr std::int64_t kNarrow = 256;  // columns of the tall matrix
constexpr std::uint64_t kSeed = 20'240'601;
constexpr int kSamples = 32;
constexpr double kTolerance = 1e-11;
// Work of the decompositions, in multiples of the exponent-3 term, and the part of the product's
// rate that LAPACK reaches there: they choose sizes and nothing else.
constexpr double kSvdWork = 22.0 / 0.25;
constexpr double kTallWork = 6.0 / 0.25;
// Drawing normal numbers, from which the size of the first expression follows.
constexpr double kDrawnPerSecond = 5e7;

using Values = std::span<const double>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::int64_t rounded(double n) {
  return std::max<std::int64_t>(kGrid * 16,
                                static_cast<std::int64_t>(n) / (kGrid * 16) * (kGrid * 16));
}

// Sizes: what the aimed time allows, within what memory allows.
struct Sizes {
  std::int64_t map = 0;      // x + x.T - mean
  std::int64_t product = 0;  // x.dot(x.T + 1)
  std::int64_t square = 0;   // svd(x.dot(x.T))
  std::int64_t tall = 0;     // rows of the tall matrix
};

Sizes choose_sizes(const Ceilings& ceilings, bool quick) {
  const double seconds = quick ? kQuickSeconds : kSeconds;
  const double free = static_cast<double>(core::available_memory_bytes());
  const double most = std::sqrt(free / 8.0 / 8.0);  // a matrix of an eighth of the free memory
  const double work = seconds * ceilings.flops_per_s;
  Sizes out;
  const double drawn = seconds * kDrawnPerSecond * core::available_cores();
  out.map = rounded(std::min(most, std::sqrt(drawn)));
  out.product = rounded(std::min(most, std::cbrt(work / 2.0)));
  out.square = rounded(std::min(most, std::cbrt(work / kSvdWork)));
  out.tall = rounded(std::min(most * most / kNarrow, work / kTallWork / (kNarrow * kNarrow)));
  return out;
}

Array matrix(std::int64_t n, std::int64_t blocks, std::uint64_t seed) {
  return random::normal({n, n}, {.chunks = {n / blocks, n / blocks}, .seed = seed});
}

Array expression(const Array& x) { return x + x.T() - mean(x, {.axis = 0}); }

std::vector<double> random_vector(std::int64_t n, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  std::vector<double> out(at(n));
  for (double& value : out) value = uniform(engine);
  return out;
}

// Plain loops over a (rows, columns).
std::vector<double> times(Values a, std::int64_t rows, std::int64_t columns,
                          const std::vector<double>& v) {
  std::vector<double> out(at(rows), 0.0);
  for (std::int64_t i = 0; i < rows; ++i) {
    double sum = 0.0;
    for (std::int64_t j = 0; j < columns; ++j) sum += a[at(i * columns + j)] * v[at(j)];
    out[at(i)] = sum;
  }
  return out;
}

std::vector<double> transposed_times(Values a, std::int64_t rows, std::int64_t columns,
                                     const std::vector<double>& v) {
  std::vector<double> out(at(columns), 0.0);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) out[at(j)] += a[at(i * columns + j)] * v[at(i)];
  }
  return out;
}

double length(const std::vector<double>& v) {
  double sum = 0.0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> off(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) off[i] = a[i] - b[i];
  return length(off) / std::max(length(b), 1e-300);
}

std::uint64_t hash(const HostArray& array) { return XXH3_64bits(array.data(), array.nbytes()); }

// Sampled rows and columns of x + x.T - mean(x, axis 0), by the definition.
double compare_expression(Values x, Values y, std::int64_t n) {
  std::vector<double> means = transposed_times(x, n, n, std::vector<double>(at(n), 1.0));
  for (double& m : means) m /= static_cast<double>(n);
  std::mt19937_64 engine(kSeed);
  double worst = 0.0;
  const auto visit = [&](std::int64_t i, std::int64_t j) {
    const double expected = x[at(i * n + j)] + x[at(j * n + i)] - means[at(j)];
    const double off = std::abs(expected - y[at(i * n + j)]);
    worst = std::isnan(off) ? 1e300 : std::max(worst, off);
  };
  for (int sample = 0; sample < kSamples; ++sample) {
    const auto line = static_cast<std::int64_t>(engine() % static_cast<std::uint64_t>(n));
    for (std::int64_t k = 0; k < n; ++k) {
      visit(line, k);
      visit(k, line);
    }
  }
  return worst;
}

void run_expression(const Sizes& sizes, Report& report) {
  const std::int64_t n = sizes.map;
  const double bytes = 8.0 * static_cast<double>(n) * static_cast<double>(n);
  const std::string size = core::text(" (", n, "^2)");
  std::uint64_t expected = 0;
  {
    Array x = matrix(n, kGrid, kSeed);
    const double drawing = timed([&] { x = persist({x}, with_progress("drawing x"))[0]; });
    const HostArray drawn = x.compute();
    const Values values = drawn.span<double>();
    // Mean and variance of n^2 normal numbers: six standard errors.
    double sum = 0.0, squares = 0.0;
    for (const double value : values) {
      sum += value;
      squares += value * value;
    }
    const double count = static_cast<double>(n) * static_cast<double>(n);
    const double off =
        std::max(std::abs(sum), std::abs(squares - count) / std::sqrt(2.0)) / std::sqrt(count);
    report.add({"x = random.normal" + size, drawing, bytes, 0.0, 0.0, "",
                core::text("mean and variance off by ", short_number(off), " standard errors"),
                off < 6.0});

    // Twice: the first run maps fresh memory, which the second finds ready.
    std::vector<Array> y = persist({expression(x)}, with_progress("x + x.T - x.mean(axis=0)"));
    y.clear();
    const double seconds =
        timed([&] { y = persist({expression(x)}, with_progress("x + x.T - x.mean(axis=0)")); });
    const HostArray result = y[0].compute();
    expected = hash(result);
    const double worst = compare_expression(values, result.span<double>(), n);
    report.add(
        {"x + x.T - x.mean(axis=0)" + size, seconds, 3.0 * bytes, 0.0,
         report.ceilings().copy_bytes_per_s, "copy",
         core::text("loops over ", 2 * kSamples, " rows and columns, off by ", short_number(worst)),
         worst <= kTolerance});
  }
  // Bits are those of one device kind: GPUs run it again within less memory, the host on virtual devices, too.
  const bool gpu = Session::current().describe().starts_with("cuda");
  SessionOptions little;
  little.devices = gpu ? "cuda:0" : "host:4";
  little.device_memory_bytes = static_cast<std::size_t>(bytes) / (gpu ? 4 : 16);
  Session session(little);
  std::vector<HostArray> again;
  const double seconds = timed([&] {
    again = session.compute({expression(matrix(n, kGrid, kSeed))},
                            with_progress("the same in a quarter of the memory"));
  });
  const RunReport run = session.last_run();
  const bool same = hash(again[0]) == expected;
  report.add({gpu ? "the same, 1/4 of the memory" : "the same, 4 devices, 1/4 of the memory", seconds, 3.0 * bytes, 0.0,
              report.ceilings().copy_bytes_per_s, "copy",
              core::text(same ? "same bits" : "OTHER BITS", "; ",
                         format_bytes(run.to_host_bytes + run.to_disk_bytes), " spilled, ",
                         format_bytes(run.dropped_bytes), " dropped and drawn again, ",
                         format_bytes(run.device_to_device_bytes), " between devices"),
              same});
}

void run_product(const Sizes& sizes, Report& report) {
  const std::int64_t n = sizes.product;
  const Array x = persist({matrix(n, kProductGrid, kSeed + 1)})[0];
  const Array product = dot(x, x.T() + 1.0);
  std::vector<HostArray> results;
  const double seconds = timed([&] {
    results = compute({std(product - mean(x)), product},
                      with_progress("(x.dot(x.T + 1) - x.mean()).std()"));
  });
  const HostArray host = x.compute();
  const Values values = host.span<double>();
  const Values c = results[1].span<double>();
  // Freivalds' check of the product: c v against x (x^T v + sum(v)); then the spread of c by its
  // definition.
  const std::vector<double> v = random_vector(n, kSeed);
  std::vector<double> inner = transposed_times(values, n, n, v);
  double total = 0.0;
  for (const double value : v) total += value;
  for (double& value : inner) value += total;
  const double product_off = distance(times(c, n, n, v), times(values, n, n, inner));
  long double sum = 0, squares = 0;
  for (const double value : c) sum += value;
  const long double middle = sum / static_cast<long double>(c.size());
  for (const double value : c) squares += (value - middle) * (value - middle);
  const double spread =
      static_cast<double>(std::sqrt(squares / static_cast<long double>(c.size())));
  const double spread_off = std::abs(results[0].item<double>() - spread) / spread;
  Row row;
  row.what = core::text("(x.dot(x.T + 1) - x.mean()).std() (", n, "^2)");
  row.seconds = seconds;
  row.flops = 2.0 * std::pow(static_cast<double>(n), 3);
  row.ceiling = report.ceilings().flops_per_s;
  row.ceiling_name = "dgemm";
  row.checked = core::text("product times a random vector, off by ", short_number(product_off),
                           "; loops, ", short_number(spread_off));
  row.right = product_off <= kTolerance && spread_off <= kTolerance;
  report.add(std::move(row));
}

// How far u diag(s) vt is from a matrix of (rows, columns) that `apply` multiplies with, and the
// columns of u from being orthonormal: along random vectors, and by the sum of squares.
struct Residual {
  double product = 0.0;
  double orthonormal = 0.0;
  double energy = 0.0;
  bool right() const {
    return product <= kTolerance && orthonormal <= kTolerance && energy <= kTolerance;
  }
  std::string text() const {
    return core::text("|u s vt - a| along vectors ", short_number(product), ", |u^T u - 1| ",
                      short_number(orthonormal), ", sum of s^2 ", short_number(energy));
  }
};

Residual check_svd(Values u, Values s, Values vt, Values a, std::int64_t rows,
                   std::int64_t columns) {
  Residual worst;
  for (std::uint64_t trial = 1; trial <= 3; ++trial) {
    const std::vector<double> v = random_vector(columns, trial);
    std::vector<double> inner = times(vt, columns, columns, v);
    worst.orthonormal =
        std::max(worst.orthonormal, distance(transposed_times(vt, columns, columns, inner), v));
    worst.orthonormal =
        std::max(worst.orthonormal,
                 distance(transposed_times(u, rows, columns, times(u, rows, columns, v)), v));
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] *= s[i];
    worst.product = std::max(worst.product,
                             distance(times(u, rows, columns, inner), times(a, rows, columns, v)));
  }
  long double expected = 0, got = 0;
  for (const double value : a) expected += static_cast<long double>(value) * value;
  for (const double value : s) got += static_cast<long double>(value) * value;
  worst.energy = std::abs(static_cast<double>(got / expected) - 1.0);
  return worst;
}

void run_svd(const std::string& what, const Array& a, double flops, Report& report) {
  const SVD factors = svd(a);
  std::vector<Array> kept;
  const double seconds = timed([&] {
    kept = persist({factors.u, factors.s, factors.vt}, with_progress(what));
  });
  const std::vector<HostArray> host = compute({kept[0], kept[1], kept[2], a});
  const Residual off =
      check_svd(host[0].span<double>(), host[1].span<double>(), host[2].span<double>(),
                host[3].span<double>(), a.shape()[0], a.shape()[1]);
  Row row;
  row.what = what;
  row.seconds = seconds;
  row.flops = flops;
  row.ceiling = report.ceilings().flops_per_s;
  row.ceiling_name = "dgemm";
  row.checked = off.text();
  row.right = off.right();
  report.add(std::move(row));
}

}  // namespace

void run_expressions(const Options& options, Report& report) {
  const Sizes sizes = choose_sizes(report.ceilings(), options.quick);
  run_expression(sizes, report);
  run_product(sizes, report);
  {
    const std::int64_t n = sizes.square;
    const Array x = persist({matrix(n, kProductGrid, kSeed + 2)})[0];
    // The product, the reduction to bidiagonal form and the vectors: 2 n^3 + 22 n^3.
    run_svd(core::text("svd(x.dot(x.T)) (", n, "^2)"), dot(x, x.T()),
            24.0 * std::pow(static_cast<double>(n), 3), report);
  }
  const std::int64_t rows = sizes.tall;
  const Array x = persist(
      {random::normal({rows, kNarrow}, {.chunks = {rows / kGrid, -1}, .seed = kSeed + 3})})[0];
  // Two passes of Householder QR with its Q: 6 m n^2.
  run_svd(core::text("svd(x) (", rows, " x ", kNarrow, ")"), x,
          6.0 * static_cast<double>(rows) * kNarrow * kNarrow, report);
}

}  // namespace tessera::demo
