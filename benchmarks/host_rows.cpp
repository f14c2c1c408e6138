// Expressions on host devices beside hand-written loops for the same work (benchmarks/floors.hpp),
// measured in turns in one run. Inputs are resident before the clock starts; `cold` is the first
// run, whose results get fresh pages, `warm` the median of those after it, which reuse them.
//
// usage: bench_host_rows [--quick] [--only NAME] [--repeat N] [--list]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "benchmarks/floors.hpp"
#include "benchmarks/machine.hpp"
#include "tessera/tessera.hpp"

namespace ts = tessera;
namespace floors = tessera::benchmarks::floors;

namespace {

using floors::Buffer;
using floors::make_buffer;

struct Options {
  bool quick = false;
  bool list = false;
  std::string only;
  int repeat = 7;
  std::int64_t edge() const { return quick ? 4096 : 16384; }
  std::int64_t chunk() const { return quick ? 512 : 2048; }
  std::int64_t count() const { return quick ? 6'250'000 : 100'000'000; }
  std::int64_t run() const { return quick ? 1 << 18 : 1 << 22; }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string list_of(const std::vector<double>& values) {
  std::string out;
  char text[32];
  for (const double value : values) {
    std::snprintf(text, sizeof text, "%s%.5f", out.empty() ? "" : ", ", value);
    out += text;
  }
  return "[" + out + "]";
}

/// Median, smallest and largest of repetitions, and all of them in the order in which they ran.
std::string times_of(const std::string& name, const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  char text[160];
  std::snprintf(text, sizeof text, "\"%s_s\": %.5f, \"%s_min_s\": %.5f, \"%s_max_s\": %.5f",
                name.c_str(), median(values), name.c_str(), *least, name.c_str(), *most);
  return std::string(text) + ", \"" + name + "_all_s\": " + list_of(values);
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// What nobody can do without: bytes read and written, and operations on elements (a function such
/// as exp counts as one).
struct Work {
  std::int64_t bytes;
  std::int64_t operations;
};

/// One row: what is asked of the engine, the loop beside it, and how far apart their results are.
class Row {
 public:
  using Engine = std::function<std::vector<ts::Array>()>;

  Row(std::string name, const Options& options) : name_(std::move(name)), options_(options) {}

  const Options& options() const { return options_; }
  ts::Session& session() { return session_; }

  /// Existing memory as an array whose blocks are in the session.
  ts::Array resident(const Buffer& data, const ts::Shape& shape, const ts::Chunks& chunks) {
    return session_.persist({ts::from_memory(data.get(), shape, {.chunks = chunks})})[0];
  }

  void measure(const Work& work, const std::function<void()>& floor, const Engine& engine) {
    work_ = work;
    floor();
    cold_ = seconds_of([&] { result_ = session_.persist(engine()); });
    for (int i = 0; i < options_.repeat; ++i) {
      floor_.push_back(seconds_of(floor));
      result_.clear();
      warm_.push_back(seconds_of([&] { result_ = session_.persist(engine()); }));
    }
  }

  /// Whether result `k` is what the floor found.
  void check(const double* expected, std::size_t k = 0, double tolerance = 1e-11) {
    const ts::HostArray got = session_.compute({result_[k]})[0];
    const double far = floors::distance(got.span<double>().data(), expected, got.size());
    checked_ = checked_ && far <= tolerance;
    distance_ = std::max(distance_, far);
  }

  std::string to_json() const {
    char text[512];
    std::snprintf(text, sizeof text,
                  "\"bytes\": %lld, \"operations\": %lld, \"cold_s\": %.5f, \"ratio\": %.3f, "
                  "\"cold_ratio\": %.3f, \"distance\": %.2e, \"checked\": %s",
                  static_cast<long long>(work_.bytes), static_cast<long long>(work_.operations),
                  cold_, median(warm_) / median(floor_), cold_ / median(floor_), distance_,
                  checked_ ? "true" : "false");
    return "{\"name\": \"" + name_ + "\", " + times_of("floor", floor_) + ", " +
           times_of("warm", warm_) + ", " + text + "}";
  }
  bool checked() const { return checked_; }

 private:
  std::string name_;
  Options options_;
  ts::Session session_;
  std::vector<ts::Array> result_;
  Work work_{};
  std::vector<double> floor_, warm_;
  double cold_ = 0.0;
  double distance_ = 0.0;
  bool checked_ = true;
};

/// The square matrix that most rows read, twice: plain, and cut into square chunks in the session.
struct Matrix {
  explicit Matrix(Row& row) : Matrix(row, {row.options().chunk(), row.options().chunk()}) {}
  Matrix(Row& row, const ts::Chunks& chunks)
      : n(row.options().edge()), plain(make_buffer(n * n)), x(fill(row, chunks)) {}
  ts::Array fill(Row& row, const ts::Chunks& chunks) {
    floors::fill(plain.get(), n * n);
    return row.resident(plain, {n, n}, chunks);
  }
  std::int64_t n;
  Buffer plain;
  ts::Array x;
};

/// A long vector, twice.
struct Vector {
  explicit Vector(Row& row) : n(row.options().count()), plain(make_buffer(n)), x(fill(row)) {}
  ts::Array fill(Row& row) {
    floors::fill(plain.get(), n);
    return row.resident(plain, {n}, {row.options().run()});
  }
  std::int64_t n;
  Buffer plain;
  ts::Array x;
};

void sum(Row& row) {
  const Matrix m(row);
  double expected = 0.0;
  row.measure(
      {8 * m.n * m.n, m.n * m.n}, [&] { expected = floors::sum(m.plain.get(), m.n * m.n); },
      [&] { return std::vector{ts::sum(m.x)}; });
  row.check(&expected);
}

void sum_axis_0(Row& row) {
  const Matrix m(row);
  const Buffer expected = make_buffer(m.n);
  row.measure(
      {8 * m.n * m.n, m.n * m.n},
      [&] { floors::column_sums(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::sum(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void std_axis_0(Row& row) {
  const Matrix m(row);
  const Buffer expected = make_buffer(m.n);
  row.measure(
      {8 * m.n * m.n, 4 * m.n * m.n},
      [&] { floors::column_deviations(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::std(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void min_and_max(Row& row) {
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

void add_transpose(Row& row) {
  const Matrix m(row);
  const Buffer expected = make_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, m.n * m.n},
      [&] { floors::add_transpose(m.plain.get(), m.n, expected.get()); },
      [&] { return std::vector{m.x + m.x.T()}; });
  row.check(expected.get());
}

void sum_of_centred(Row& row) {
  const Matrix m(row);
  double expected = 0.0;
  row.measure(
      {16 * m.n * m.n, 4 * m.n * m.n},
      [&] { expected = floors::sum_of_centred(m.plain.get(), m.n); },
      [&] { return std::vector{ts::sum((m.x + m.x.T()) - ts::mean(m.x, {.axis = 0}))}; });
  row.check(&expected);
}

void transpose(Row& row) {
  const Matrix m(row);
  const Buffer expected = make_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, 0}, [&] { floors::transpose(m.plain.get(), m.n, expected.get()); },
      [&] { return std::vector{m.x.T()}; });
  row.check(expected.get());
}

void cumsum_axis_0(Row& row) {
  const Matrix m(row);
  const Buffer expected = make_buffer(m.n * m.n);
  row.measure(
      {16 * m.n * m.n, m.n * m.n},
      [&] { floors::column_running_sums(m.plain.get(), m.n, m.n, expected.get()); },
      [&] { return std::vector{ts::cumulative_sum(m.x, {.axis = 0})}; });
  row.check(expected.get());
}

void rechunk(Row& row) {
  const std::int64_t n = row.options().edge();
  const std::int64_t panel = row.options().chunk();
  const Matrix m(row, {panel, n});
  const Buffer panels = make_buffer(n * n);
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

void stencil(Row& row) {
  const std::int64_t n = row.options().edge() / 2;
  const std::int64_t chunk = row.options().chunk();
  const Buffer plain = make_buffer(n * n);
  const Buffer expected = make_buffer(n * n);
  floors::fill(plain.get(), n * n);
  const ts::Array x = row.resident(plain, {n, n}, {chunk, chunk});
  row.measure(
      {16 * n * n, 5 * n * n}, [&] { floors::stencil(plain.get(), n, expected.get()); },
      [&] { return std::vector{five_points(x)}; });
  row.check(expected.get());
}

void ten_operations(Row& row) {
  const Vector v(row);
  const ts::Array& x = v.x;
  const Buffer expected = make_buffer(v.n);
  row.measure(
      {16 * v.n, 10 * v.n}, [&] { floors::ten_operations(v.plain.get(), v.n, expected.get()); },
      [&] { return std::vector{((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x}; });
  row.check(expected.get());
}

void ten_functions(Row& row) {
  const Vector v(row);
  const ts::Array& x = v.x;
  const Buffer expected = make_buffer(v.n);
  row.measure(
      {16 * v.n, 10 * v.n}, [&] { floors::ten_functions(v.plain.get(), v.n, expected.get()); },
      [&] {
        const ts::Array inner = ts::log(ts::exp(x * 0.5) + 1.0) * x - 0.25;
        return std::vector{(ts::tanh(inner) + x) * 2.0 + 1.0};
      });
  row.check(expected.get());
}

void normal(Row& row) {
  const std::int64_t n = row.options().count();
  const Buffer expected = make_buffer(n);
  row.measure(
      {8 * n, 0}, [&] { floors::normal(1, n, expected.get()); },
      [&] {
        return std::vector{ts::random::normal({n}, {.chunks = {row.options().run()}, .seed = 1})};
      });
  row.check(expected.get(), 0, 0.0);
}

void uniform(Row& row) {
  const std::int64_t n = row.options().count();
  const Buffer expected = make_buffer(n);
  row.measure(
      {8 * n, 0}, [&] { floors::uniform(1, n, expected.get()); },
      [&] {
        return std::vector{ts::random::uniform({n}, {.chunks = {row.options().run()}, .seed = 1})};
      });
  row.check(expected.get(), 0, 0.0);
}

void matmul(Row& row) {
  const std::int64_t n = row.options().edge() / 2;
  const std::int64_t chunk = row.options().chunk();
  const Buffer a = make_buffer(n * n);
  const Buffer b = make_buffer(n * n);
  const Buffer expected = make_buffer(n * n);
  floors::fill(a.get(), n * n);
  // Of both signs, and another matrix than a.
  for (std::int64_t i = 0; i < n * n; ++i) b.get()[i] = a.get()[n * n - 1 - i] - 0.5;
  const ts::Array x = row.resident(a, {n, n}, {chunk, chunk});
  const ts::Array y = row.resident(b, {n, n}, {chunk, chunk});
  row.measure(
      {24 * n * n, 2 * n * n * n},
      [&] { floors::product(a.get(), b.get(), n, false, expected.get()); },
      [&] { return std::vector{ts::matmul(x, y)}; });
  row.check(expected.get());
}

void product_deviation(Row& row) {
  const std::int64_t n = row.options().edge() / 4;
  const std::int64_t chunk = row.options().chunk() / 2;
  const Buffer plain = make_buffer(n * n);
  const Buffer work = make_buffer(n * n);
  floors::fill(plain.get(), n * n);
  const ts::Array x = row.resident(plain, {n, n}, {chunk, chunk});
  double expected = 0.0;
  row.measure(
      {8 * n * n, 2 * n * n * n},
      [&] { expected = floors::product_deviation(plain.get(), n, work.get()); },
      [&] { return std::vector{ts::std(ts::dot(x, x.T() + 1.0) - ts::mean(x))}; });
  row.check(&expected, 0, 1e-9);
}

void svd(Row& row) {
  const std::int64_t rows = row.options().quick ? 100'000 : 1'000'000;
  const std::int64_t block = rows / 20;
  const std::int64_t n = 100;
  const Buffer plain = make_buffer(rows * n);
  const Buffer u = make_buffer(rows * n);
  const Buffer s = make_buffer(n);
  const Buffer vt = make_buffer(n * n);
  floors::fill(plain.get(), rows * n);
  const ts::Array x = row.resident(plain, {rows, n}, {block, n});
  row.measure(
      {16 * rows * n, 6 * rows * n * n},
      [&] { floors::tall_svd(plain.get(), rows, n, block, u.get(), s.get(), vt.get()); },
      [&] {
        const ts::SVD parts = ts::svd(x);
        return std::vector{parts.s, parts.u, parts.vt};
      });
  // Vectors may differ in sign; values may not.
  row.check(s.get());
}

struct Entry {
  const char* name;
  void (*run)(Row&);
};
constexpr Entry kRows[] = {
    {"sum", sum},
    {"sum_axis_0", sum_axis_0},
    {"std_axis_0", std_axis_0},
    {"min_and_max", min_and_max},
    {"add_transpose", add_transpose},
    {"sum_of_centred", sum_of_centred},
    {"transpose", transpose},
    {"cumsum_axis_0", cumsum_axis_0},
    {"rechunk", rechunk},
    {"stencil", stencil},
    {"ten_operations", ten_operations},
    {"ten_functions", ten_functions},
    {"normal", normal},
    {"uniform", uniform},
    {"matmul", matmul},
    {"product_deviation", product_deviation},
    {"svd", svd},
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      options.quick = true;
    } else if (flag == "--list") {
      options.list = true;
    } else if (flag == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (flag == "--repeat" && i + 1 < argc) {
      options.repeat = std::max(1, std::atoi(argv[++i]));
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: bench_host_rows [--quick] [--only NAME] [--repeat N] [--list]\n");
    return 2;
  }
  bool checked = true;
  std::string rows;
  // A virtual machine may have to get memory from its host first, which is not what `cold` is
  // about.
  if (!options.list) make_buffer(5 * options.edge() * options.edge());
  for (const Entry& entry : kRows) {
    if (options.list) std::printf("%s\n", entry.name);
    if (options.list || (!options.only.empty() && options.only != entry.name)) continue;
    Row row(entry.name, options);
    entry.run(row);
    checked = checked && row.checked();
    rows += (rows.empty() ? "\n  " : ",\n  ") + row.to_json();
  }
  if (options.list) return 0;
  std::printf(
      "{\"benchmark\": \"host_rows\", %s, \"warm_ups\": 1, \"repetitions\": %d, "
      "\"edge\": %lld, \"chunk\": %lld, \"checked\": %s, \"rows\": [%s]}\n",
      tessera::benchmarks::machine_facts().c_str(), options.repeat,
      static_cast<long long>(options.edge()), static_cast<long long>(options.chunk()),
      checked ? "true" : "false", rows.c_str());
  return checked ? 0 : 1;
}
