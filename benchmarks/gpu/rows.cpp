#include "benchmarks/gpu/rows.hpp"

#include <algorithm>
#include <utility>

namespace tessera::benchmarks::gpu {
namespace {

/// Extents of the arrays, and how they are cut. Chunks of `chunk` take 256 to 288 MiB, of
/// `small_chunk` a quarter of that.
struct Sizes {
  std::int64_t edge, chunk, small_chunk;
  std::int64_t panel;  // rows of a row panel, columns of a column panel
  std::int64_t product, product_chunk;
  std::int64_t deviation, deviation_chunk;
  std::int64_t overlap, overlap_chunk;
  std::int64_t spilled, spilled_chunk;
  std::size_t budget;  // of the device for spilled arrays, a quarter of one
};

Sizes sizes_of(DType dtype, bool quick) {
  const bool single = dtype == DType::kFloat32;
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  if (quick) {
    return {.edge = 960,
            .chunk = 320,
            .small_chunk = 192,
            .panel = 96,
            .product = 512,
            .product_chunk = 128,
            .deviation = 512,
            .deviation_chunk = 128,
            .overlap = 512,
            .overlap_chunk = 128,
            .spilled = single ? 1448 : 1024,
            .spilled_chunk = single ? 181 : 128,
            .budget = 2 * kMiB};
  }
  return {.edge = single ? 40960 : 30720,
          .chunk = single ? 8192 : 6144,
          .small_chunk = single ? 4096 : 3072,
          .panel = single ? 2048 : 1024,
          .product = 32768,
          .product_chunk = single ? 8192 : 4096,
          .deviation = 16384,
          .deviation_chunk = 4096,
          .overlap = 8192,
          .overlap_chunk = 2048,
          .spilled = single ? 46080 : 32768,
          .spilled_chunk = single ? 5760 : 4096,
          .budget = 2048 * kMiB};
}

/// Numbers that are the same wherever they are drawn.
Array draw(const Shape& shape, const Chunks& chunks, DType dtype, std::uint64_t seed) {
  return random::uniform(shape, {.chunks = chunks, .seed = seed, .dtype = dtype});
}

Array rows_of(const Array& x, std::int64_t begin, std::int64_t count) {
  return x[{Slice{begin, std::min(begin + count, x.shape()[0])}, ellipsis}];
}

Array columns_of(const Array& x, std::int64_t begin, std::int64_t count) {
  return x[{ellipsis, Slice{begin, std::min(begin + count, x.shape()[1])}}];
}

/// `count` rows of a result from `begin` on, over the array that the whole result is made of: what
/// a host computes of it.
using Part = std::function<Array(const Array& x, std::int64_t begin, std::int64_t count)>;

/// Rows on both sides of a border between chunks, and the last ones.
Arrays some_rows(std::int64_t extent, std::int64_t chunk, const Part& part, const Array& x) {
  return {part(x, std::min(chunk, extent) - 2, 4), part(x, extent - 2, 2)};
}

Array ten_operations(const Array& x) {
  return ((((x * 2.0 + 1.0) * x - 3.0) * 0.5 + x) * x - 0.25) * 1.5 + x;
}

Array ten_functions(const Array& x) {
  const Array inner = log(exp(x * 0.5) + 1.0) * x - 0.25;
  return (tanh(inner) + x) * 2.0 + 1.0;
}

/// The mean of a point and its four neighbours, of all points but those at the edges, by shifted
/// views.
Array five_points(const Array& x, const Chunks& chunks) {
  const std::int64_t rows = x.shape()[0] - 2;
  const std::int64_t columns = x.shape()[1] - 2;
  const auto shifted = [&](std::int64_t i, std::int64_t j) {
    return rechunk(x[{Slice{i, rows + i}, Slice{j, columns + j}}], chunks);
  };
  return (shifted(1, 1) + shifted(0, 1) + shifted(2, 1) + shifted(1, 0) + shifted(1, 2)) * 0.2;
}

Array rows_of_five_points(const Array& x, std::int64_t begin, std::int64_t count) {
  return five_points(rows_of(x, begin, count + 2), {-1, -1});
}

template <typename T>
void five_points_piece(const InputBlock& in, const OutputBlock& out) {
  const std::int64_t up = in.strides[0];
  const std::int64_t side = in.strides[1];
  const T* corner =
      in.as<T>() + (out.start[0] - in.start[0]) * up + (out.start[1] - in.start[1]) * side;
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    T* to = out.as<T>() + i * out.strides[0];
    for (std::int64_t j = 0; j < out.shape[1]; ++j) {
      const T* p = corner + i * up + j * side;
      to[j * out.strides[1]] = static_cast<T>(0.2) * (p[0] + p[-up] + p[up] + p[-side] + p[side]);
    }
  }
}

/// The same by a function of the caller, which runs on the host.
Array overlapped_points(const Array& x) {
  const MapOverlapOptions options{
      .depth = {1}, .boundary = {Boundary::kPeriodic}, .dtype = x.dtype(), .pure = true};
  return map_overlap(
      x, x.dtype() == DType::kFloat32 ? five_points_piece<float> : five_points_piece<double>,
      options);
}

Array product_deviation(const Array& x) { return std(dot(x, x.T() + 1.0) - mean(x)); }

class Groups {
 public:
  Groups(DType dtype, bool quick)
      : dtype_(dtype),
        sizes_(sizes_of(dtype, quick)),
        item_(static_cast<double>(itemsize(dtype))),
        near_(dtype == DType::kFloat32 ? 1e-5 : 1e-12) {}

  std::vector<Group> make() {
    return {square(), small_chunks(), panels(), product(), deviation(), overlap(), spilled()};
  }

 private:
  double bytes_of(std::int64_t n, double times) const {
    return times * item_ * static_cast<double>(n) * static_cast<double>(n);
  }

  Group group(const char* name, std::int64_t n, std::int64_t rows, std::int64_t columns,
              int count) const {
    Group out{.name = name, .dtype = dtype_, .shape = {n, n}};
    out.chunk_bytes = rows * columns * static_cast<std::int64_t>(itemsize(dtype_));
    for (int i = 0; i < count; ++i)
      out.source.push_back(
          draw(out.shape, {rows, columns}, dtype_, 11 + static_cast<std::uint64_t>(i)));
    return out;
  }

  Row reduction(const char* name, std::int64_t n, double passes,
                std::function<Arrays(const Arrays&)> build) const {
    return {
        .name = name, .bytes = bytes_of(n, passes), .tolerance = near_, .build = std::move(build)};
  }
  /// A row whose result is as large as its input, about, and stays.
  Row kept(const char* name, std::int64_t n, double passes,
           std::function<Array(const Array&)> build, const Part& part) const {
    Row row{.name = name, .bytes = bytes_of(n, passes), .keep = true, .tolerance = near_};
    row.build = [build = std::move(build)](const Arrays& in) { return Arrays{build(in[0])}; };
    row.sample = [](const Arrays& results) {
      const Array& y = results[0];
      return some_rows(y.shape()[0], y.chunks().axis(0).end(0), rows_of, y);
    };
    row.expected = [part, build = row.build](const Arrays& in) {
      const Array like = build(in)[0];
      return some_rows(like.shape()[0], like.chunks().axis(0).end(0), part, in[0]);
    };
    return row;
  }

  std::vector<Row> reductions(std::int64_t n) const {
    return {
        reduction("sum", n, 1, [](const Arrays& in) { return Arrays{sum(in[0])}; }),
        reduction("sum_axis_0", n, 1,
                  [](const Arrays& in) { return Arrays{sum(in[0], {.axis = 0})}; }),
        reduction("sum_axis_1", n, 1,
                  [](const Arrays& in) { return Arrays{sum(in[0], {.axis = 1})}; }),
        reduction("std_axis_0", n, 1,
                  [](const Arrays& in) { return Arrays{std(in[0], {.axis = 0})}; }),
        reduction("min_and_max", n, 1,
                  [](const Arrays& in) {
                    return Arrays{min(in[0]), max(in[0])};
                  }),
    };
  }

  Row add_transpose(std::int64_t n) const {
    return kept(
        "add_transpose", n, 2, [](const Array& x) { return x + x.T(); },
        [](const Array& x, std::int64_t begin, std::int64_t count) {
          return rows_of(x, begin, count) + columns_of(x, begin, count).T();
        });
  }

  Row sum_of_centred(std::int64_t n) const {
    Row row = reduction("sum_of_centred", n, 2, [](const Arrays& in) {
      return Arrays{sum((in[0] + in[0].T()) - mean(in[0], {.axis = 0}))};
    });
    // The means of the columns, n times each, are the sum.
    row.expected = [](const Arrays& in) { return Arrays{sum(in[0])}; };
    return row;
  }

  Row ten_operations_row(const char* name, std::int64_t n, double passes) const {
    return kept(name, n, passes, ten_operations,
                [](const Array& x, std::int64_t begin, std::int64_t count) {
                  return ten_operations(rows_of(x, begin, count));
                });
  }
  Row ten_functions_row(std::int64_t n) const {
    return kept("ten_functions", n, 2, ten_functions,
                [](const Array& x, std::int64_t begin, std::int64_t count) {
                  return ten_functions(rows_of(x, begin, count));
                });
  }

  Row transpose_row(std::int64_t n) const {
    return kept(
        "transpose", n, 2, [](const Array& x) { return x.T(); },
        [](const Array& x, std::int64_t begin, std::int64_t count) {
          return columns_of(x, begin, count).T();
        });
  }

  Row cumulative(std::int64_t n) const {
    Row row = kept(
        "cumsum_axis_0", n, 2, [](const Array& x) { return cumulative_sum(x, {.axis = 0}); },
        rows_of);
    row.sample = [](const Arrays& results) {
      return Arrays{rows_of(results[0], 40, 2), rows_of(results[0], results[0].shape()[0] - 1, 1)};
    };
    row.expected = [](const Arrays& in) {
      const Array last = expand_dims(sum(in[0], {.axis = 0}), 0);
      return Arrays{rows_of(cumulative_sum(rows_of(in[0], 0, 42), {.axis = 0}), 40, 2), last};
    };
    return row;
  }

  Row normal(std::int64_t n, std::int64_t chunk) const {
    const auto make = [n, chunk, dtype = dtype_](const Array&) {
      return random::normal({n, n}, {.chunks = {chunk, chunk}, .seed = 5, .dtype = dtype});
    };
    return kept("normal", n, 1, make,
                [make](const Array& x, std::int64_t begin, std::int64_t count) {
                  return rows_of(make(x), begin, count);
                });
  }

  Group square() const {
    const std::int64_t n = sizes_.edge;
    Group out = group("square", n, sizes_.chunk, sizes_.chunk, 1);
    out.rows = reductions(n);
    out.rows.push_back(add_transpose(n));
    out.rows.push_back(sum_of_centred(n));
    out.rows.push_back(ten_operations_row("ten_operations", n, 2));
    out.rows.push_back(ten_functions_row(n));
    out.rows.push_back(normal(n, sizes_.chunk));
    out.rows.push_back(cumulative(n));
    out.rows.push_back(transpose_row(n));
    const Chunks chunks{sizes_.chunk, sizes_.chunk};
    out.rows.push_back(kept(
        "stencil", n, 2, [chunks](const Array& x) { return five_points(x, chunks); },
        rows_of_five_points));
    return out;
  }

  Group small_chunks() const {
    const std::int64_t n = sizes_.edge;
    Group out = group("square, small chunks", n, sizes_.small_chunk, sizes_.small_chunk, 1);
    out.rows = reductions(n);
    out.rows.erase(out.rows.begin() + 4);
    out.rows.push_back(add_transpose(n));
    out.rows.push_back(sum_of_centred(n));
    out.rows.push_back(ten_operations_row("ten_operations", n, 2));
    return out;
  }

  Group panels() const {
    const std::int64_t n = sizes_.edge;
    const std::int64_t panel = sizes_.panel;
    Group out = group("row panels", n, panel, n, 1);
    out.rows.push_back(kept(
        "rechunk", n, 2,
        [n, panel](const Array& x) {
          return rechunk(x, {n, panel});
        },
        rows_of));
    return out;
  }

  Group product() const {
    const std::int64_t n = sizes_.product;
    Group out = group("product", n, sizes_.product_chunk, sizes_.product_chunk, 2);
    const double extent = static_cast<double>(n);
    Row row{.name = "matmul",
            .bound = Bound::kProduct,
            .operations = 2.0 * extent * extent * extent,
            .extent = n,
            .keep = true,
            .repeat = 3,
            .tolerance = dtype_ == DType::kFloat32 ? 1e-4 : 1e-11,
            .build = [](const Arrays& in) { return Arrays{matmul(in[0], in[1])}; }};
    // A corner of the block in the middle: a product of few rows and columns.
    const std::int64_t at = n / 2 - 2;
    const Slice few{at, at + 8};
    row.sample = [few](const Arrays& results) { return Arrays{results[0][{few, few}]}; };
    row.expected = [few](const Arrays& in) {
      return Arrays{matmul(in[0][{few, ellipsis}], in[1][{ellipsis, few}])};
    };
    out.rows.push_back(std::move(row));
    return out;
  }

  Group deviation() const {
    const std::int64_t n = sizes_.deviation;
    Group out = group("deviation", n, sizes_.deviation_chunk, sizes_.deviation_chunk, 1);
    const double extent = static_cast<double>(n);
    Row row{.name = "product_deviation",
            .bound = Bound::kProduct,
            .operations = 2.0 * extent * extent * extent,
            .extent = n,
            .repeat = 5,
            .tolerance = dtype_ == DType::kFloat32 ? 1e-4 : 1e-9,
            .build = [](const Arrays& in) { return Arrays{product_deviation(in[0])}; }};
    row.small = {draw({1536, 1536}, {512, 512}, dtype_, 11)};
    out.rows.push_back(std::move(row));
    return out;
  }

  Group overlap() const {
    const std::int64_t n = sizes_.overlap;
    Group out = group("overlap", n, sizes_.overlap_chunk, sizes_.overlap_chunk, 1);
    out.rows.push_back(kept("stencil_on_host", n, 1, overlapped_points, rows_of));
    // Rows and columns that the ends do not reach.
    out.rows.back().sample = [](const Arrays& results) {
      return Arrays{columns_of(rows_of(results[0], 1, 4), 1, results[0].shape()[1] - 2)};
    };
    out.rows.back().expected = [](const Arrays& in) {
      return Arrays{rows_of_five_points(in[0], 0, 4)};
    };
    out.rows.back().bound = Bound::kLink;
    out.rows.back().repeat = 5;
    return out;
  }

  Group spilled() const {
    const std::int64_t n = sizes_.spilled;
    Group out = group("spilled", n, sizes_.spilled_chunk, sizes_.spilled_chunk, 1);
    out.device_budget_bytes = sizes_.budget;
    out.host_budget_bytes = 10 * sizes_.budget;
    // A quarter of the array can be there before, and a quarter of the result stay.
    out.rows.push_back(
        reduction("spilled_sum", n, 0.75, [](const Arrays& in) { return Arrays{sum(in[0])}; }));
    out.rows.push_back(ten_operations_row("spilled_ten_operations", n, 0.75));
    for (Row& row : out.rows) {
      row.bound = Bound::kLink;
      row.repeat = 5;
    }
    return out;
  }

  DType dtype_;
  Sizes sizes_;
  double item_;
  double near_;
};

}  // namespace

std::vector<std::int64_t> product_extents(bool quick) {
  const Sizes sizes = sizes_of(DType::kFloat64, quick);
  if (sizes.product == sizes.deviation) return {sizes.product};
  return {sizes.deviation, sizes.product};
}

std::vector<Group> make_groups(DType dtype, bool quick) { return Groups(dtype, quick).make(); }

}  // namespace tessera::benchmarks::gpu
