#include "engine_workloads.hpp"

namespace tessera::testing {
namespace {

constexpr std::size_t kKiB = 1024;

Array base() { return random::normal({150, 150}, {.chunks = {40, 64}, .seed = 7}); }
Array narrow() {
  return random::normal({150, 90}, {.chunks = {40, 32}, .seed = 8, .dtype = DType::kFloat32});
}

std::vector<std::int64_t> labels(std::int64_t count) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back((i * 7 + i / 5) % 9 - 1);
  return out;
}

void blur(const InputBlock& in, const OutputBlock& out) {
  const auto* from = in.as<double>();
  auto* to = out.as<double>();
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    for (std::int64_t j = 0; j < out.shape[1]; ++j) {
      double sum = 0;
      for (std::int64_t di = -2; di <= 2; ++di) {
        for (std::int64_t dj = -1; dj <= 1; ++dj) {
          const std::int64_t r = out.start[0] - in.start[0] + i + di;
          const std::int64_t c = out.start[1] - in.start[1] + j + dj;
          sum += from[r * in.strides[0] + c * in.strides[1]] *
                 (1.0 + 0.1 * static_cast<double>(di + 3 * dj));
        }
      }
      to[i * out.strides[0] + j * out.strides[1]] = sum;
    }
  }
}

}  // namespace

const std::vector<Workload>& workloads() {
  static const std::vector<Workload> all = {
      {"x + x.T - mean(x, 0)",
       [] {
         const Array x = base();
         return std::vector<Array>{x + transpose(x) - mean(x, {.axis = 0})};
       }},
      {"std(matmul(x, x.T + 1) - mean(x))",
       [] {
         const Array x = base();
         return std::vector<Array>{std(matmul(x, transpose(x) + 1.0) - mean(x))};
       }},
      {"matmul(x, x.T)",
       [] {
         const Array x = narrow();
         return std::vector<Array>{matmul(x, transpose(x)), matmul(transpose(x), x)};
       },
       128 * kKiB},
      {"products of many blocks",
       [] {
         // 256 blocks and more: each accumulates all of k in one chain.
         const Array x = random::normal({68, 24}, {.chunks = {4, 8}, .seed = 11});
         const Array y = random::normal({24, 68}, {.chunks = {8, 4}, .seed = 12});
         const Array wide = random::normal({92, 24}, {.chunks = {4, 8}, .seed = 13});
         return std::vector<Array>{matmul(x, y),
                                   matmul(x, y) + 1.0,
                                   matmul(wide, transpose(wide)),
                                   rechunk(matmul(x, y), {10, 68}),
                                   cumulative_sum(matmul(x, y), {.axis = 0}),
                                   sort(rechunk_axes(matmul(x, y), {{1, -1}}))};
       },
       192 * kKiB},
      {"cumulative sums",
       [] {
         const Array x = base();
         return std::vector<Array>{cumulative_sum(x, {.axis = 0}),
                                   cumulative_sum(exp(x), {.axis = 1}), cumulative_sum(ravel(x)),
                                   cumulative_prod(narrow() * 0.01f + 1.0f, {.axis = 0})};
       }},
      {"rechunk and reshape",
       [] {
         const Array x = base();
         return std::vector<Array>{rechunk(sin(x), {17, 150}),
                                   reshape(rechunk(x, {150, 11}) + 1.0, {50, 450}),
                                   sum(rechunk(exp(x), {13, 70}), {.axis = 0})};
       }},
      {"rechunk through pieces",
       [] {
         // Pieces of 32 KiB, which several devices or ranks take rather than whole blocks.
         const Array x = exp(random::normal({512, 450}, {.chunks = {-1, 64}, .seed = 21}));
         const Array rows = rechunk(x, {64, -1});
         return std::vector<Array>{rows, sum(rows, {.axis = 1}), rechunk(rows * 2.0, {-1, 90}),
                                   rechunk(transpose(x), {-1, 70})};
       },
       4096 * kKiB},
      {"programs that read arrays cut otherwise, and compute values twice",
       [] {
         const Array x = base();
         const Array y = rechunk(x + 1.0, {43, 50});
         const Array centred = y - mean(y, {.axis = 0, .keepdims = true});
         const Array twice = centred * 0.5 + y;
         std::vector<Array> out{twice + transpose(twice),
                                rechunk(twice + transpose(twice), {30, 61}),
                                rechunk(transpose(x), {30, 61}) * 2.0,
                                rechunk(flip(x) + x, {70, 29}) - y,
                                rechunk(diagonal(x + y), {19}) + 1.0,
                                rechunk(diagonal(x * y), {19}),
                                broadcast_to(rechunk(sum(y, {.axis = 0}), {40}), {150, 150}) + y};
         for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
           out.push_back(sum(rechunk(twice + transpose(twice), {30, 61}), {.axis = axis}));
           out.push_back(var(rechunk(flip(x), {70, 29}) - y, {.axis = axis}));
         }
         return out;
       }},
      {"groupby",
       [] {
         const Array x = base();
         return std::vector<Array>{groupby_reduce(exp(x), labels(150), "mean", {.axis = 0}),
                                   groupby_reduce(x, labels(150), "var", {.axis = 1}),
                                   groupby_reduce(narrow(), labels(150), "sum", {.axis = 0})};
       },
       160 * kKiB},
      {"var, argmax and others",
       [] {
         const Array x = exp(narrow()) * 3.0f;
         return std::vector<Array>{var(x),
                                   var(x, {.axis = 0}),
                                   var(x, {.axis = 1}),
                                   argmax(x),
                                   argmin(x, {.axis = 0}),
                                   prod(x * 0.5f, {.axis = 1}),
                                   norm(x),
                                   sum(x),
                                   mean(x, {.axis = 1})};
       },
       1024 * kKiB},
      {"reductions of transposed and broadcast operands",
       [] {
         const Array x = base();
         const Array row = random::normal({150}, {.chunks = {64}, .seed = 9});
         const Array column = expand_dims(random::normal({150}, {.chunks = {33}, .seed = 10}), 1);
         std::vector<Array> out;
         for (const Array& v : {x + transpose(x), x * row, x - column, transpose(x) * row + column,
                                flip(x) - transpose(x), broadcast_to(exp(row), {150, 150}) * 1.0}) {
           for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
             out.push_back(sum(v, {.axis = axis}));
             out.push_back(var(v, {.axis = axis}));
           }
           out.push_back(argmax(v));
           out.push_back(argmax(v, {.axis = 0}));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of views alone",
       [] {
         const Array x = base();
         std::vector<Array> out;
         for (const Array& v : {transpose(x), flip(x, 0), x[{Slice{3, 140, 3}, Slice{149, 2, -2}}],
                                transpose(x[{Slice{}, 5}] + 0.5)}) {
           out.push_back(sum(v));
           out.push_back(sum(v, {.axis = 0}));
           out.push_back(var(v));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of three axes",
       [] {
         const Array x = random::normal(
             {30, 20, 25}, {.chunks = {8, 20, 9}, .seed = 3, .dtype = DType::kFloat32});
         const Array v =
             x * transpose(random::normal({25, 20, 30}, {.chunks = {10, 7, 8}, .seed = 4}));
         std::vector<Array> out;
         for (const Axes& axis :
              {Axes(), Axes(0), Axes(1), Axes(2), Axes({0, 1}), Axes({0, 2}), Axes({1, 2})}) {
           out.push_back(sum(v, {.axis = axis}));
           out.push_back(var(v, {.axis = axis}));
           out.push_back(mean(x, {.axis = axis}));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of blocks of several tiles",
       [] {
         const Array x = random::normal({300, 700}, {.chunks = {130, 700}, .seed = 5});
         const Array y = random::normal(
             {700, 300}, {.chunks = {700, 170}, .seed = 6, .dtype = DType::kFloat32});
         const Array z = random::normal({6, 50, 10, 70}, {.chunks = {6, 50, 10, 33}, .seed = 7});
         std::vector<Array> out;
         for (const Array& v : {x + transpose(y), flip(transpose(y), 1) * x,
                                y - expand_dims(mean(x, {.axis = 0}), 1)}) {
           for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
             out.push_back(sum(v, {.axis = axis}));
             out.push_back(std(v, {.axis = axis}));
             out.push_back(norm(v, {.axis = axis}));
             out.push_back(sum(astype(v, DType::kComplex64), {.axis = axis}));
           }
         }
         const Array w = transpose(z, std::vector<int>{2, 3, 0, 1}) *
                         transpose(z, std::vector<int>{2, 3, 0, 1});
         for (const Axes& axis : {Axes(), Axes({0, 2}), Axes({1, 3}), Axes(2), Axes({0, 1, 2})}) {
           out.push_back(sum(w, {.axis = axis}));
           out.push_back(var(w, {.axis = axis}));
         }
         return out;
       },
       8192 * kKiB},
      {"map_overlap",
       [] {
         const Array x = cumulative_sum(base(), {.axis = 0});
         const Array y = map_overlap(x, blur,
                                     {.depth = {2, 1},
                                      .boundary = {Boundary::kPeriodic, Boundary::kReflect},
                                      .pure = true});
         return std::vector<Array>{y, y + transpose(x)};
       },
       256 * kKiB},
      {"random and elementwise chain",
       [] {
         const Array x = base();
         const Array u = random::uniform({150, 150}, {.chunks = {40, 64}, .seed = 5});
         return std::vector<Array>{
             sqrt(abs(sin(x * 2.0) / (u + 1.0))) + log1p(u) * where(x > 0, x, u),
             random::integers(0, 1000, {150, 70}, {.chunks = {31, 70}, .seed = 6})};
       }},
      {"tensordot",
       [] {
         const Array a = random::normal({30, 20, 25}, {.chunks = {8, 6, 9}, .seed = 3});
         const Array b = random::normal({20, 25, 14}, {.chunks = {6, 9, 5}, .seed = 4});
         return std::vector<Array>{tensordot(a, b), einsum("ijk,jkl->il", {a, b})};
       },
       160 * kKiB},
      {"sort and topk",
       [] {
         const Array x = rechunk_axes(base(), {{1, -1}});
         const TopK top = topk(base(), 7, 0);
         return std::vector<Array>{
             sort(x), argsort(x, {.descending = true}), top.values, top.indices,
             histogram(x, {.bins = 13, .range = std::pair{-2.0, 2.0}}).counts};
       }},
  };
  return all;
}

}  // namespace tessera::testing
