#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine_walk.hpp"

namespace tessera::testing {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::optional<std::size_t> some_axis(Walk& walk, const Reference& x) {
  if (x.shape.empty()) return std::nullopt;
  return at(walk.pick(static_cast<std::int64_t>(x.shape.size())));
}

bool wild(const Reference& x) { return std::any_of(x.values.begin(), x.values.end(), is_wild); }

std::optional<Pair> matmul_step(Walk& walk) {
  const Pair a = walk.any();
  const std::size_t rank = a.reference.shape.size();
  if (rank < 2 || a.array.dtype() == DType::kBool) return std::nullopt;
  Pair b = a;
  for (const Pair& other : walk.pool()) {
    if (other.reference.shape == a.reference.shape && other.array.dtype() != DType::kBool &&
        walk.coin(2))
      b = other;
  }
  const std::int64_t inner = a.reference.shape[rank - 1];
  Shape shape = a.reference.shape;
  shape[rank - 1] = a.reference.shape[rank - 2];
  const Array result = matmul(a.array, matrix_transpose(b.array));
  Reference r = build(shape, result.dtype(), {&a.reference, &b.reference}, [&](const Place& p) {
    Number sum = 0;
    Place left = p;
    Place right = p;
    right[rank - 2] = p[rank - 1];
    for (std::int64_t k = 0; k < inner; ++k) {
      left[rank - 1] = right[rank - 1] = k;
      sum += a.reference.at(left) * b.reference.at(right);
    }
    return sum;
  });
  if (wild(a.reference) || wild(b.reference)) return std::nullopt;
  r.scale = a.reference.scale * b.reference.scale * static_cast<long double>(inner + 1);
  return Pair{result, r};
}

std::optional<Pair> tensordot_step(Walk& walk) {
  const Pair a = walk.any();
  const Pair b = walk.any();
  const auto i = some_axis(walk, a.reference);
  const auto j = some_axis(walk, b.reference);
  if (!i || !j || a.reference.shape[*i] != b.reference.shape[*j]) return std::nullopt;
  if (a.array.dtype() == DType::kBool || b.array.dtype() == DType::kBool) return std::nullopt;
  if (wild(a.reference) || wild(b.reference)) return std::nullopt;
  const std::int64_t inner = a.reference.shape[*i];
  Shape shape;
  for (std::size_t d = 0; d < a.reference.shape.size(); ++d) {
    if (d != *i) shape.push_back(a.reference.shape[d]);
  }
  const auto split = static_cast<std::ptrdiff_t>(shape.size());
  for (std::size_t d = 0; d < b.reference.shape.size(); ++d) {
    if (d != *j) shape.push_back(b.reference.shape[d]);
  }
  if (element_count(shape) > 3000) return std::nullopt;
  const Array result = tensordot(a.array, b.array, std::vector<int>{static_cast<int>(*i)},
                                 std::vector<int>{static_cast<int>(*j)});
  Reference r = build(shape, result.dtype(), {&a.reference, &b.reference}, [&](const Place& p) {
    Place left(p.begin(), p.begin() + split);
    Place right(p.begin() + split, p.end());
    left.insert(left.begin() + static_cast<std::ptrdiff_t>(*i), 0);
    right.insert(right.begin() + static_cast<std::ptrdiff_t>(*j), 0);
    Number sum = 0;
    for (std::int64_t k = 0; k < inner; ++k) {
      left[*i] = right[*j] = k;
      sum += a.reference.at(left) * b.reference.at(right);
    }
    return sum;
  });
  r.scale = a.reference.scale * b.reference.scale * static_cast<long double>(inner + 1);
  return Pair{result, r};
}

// For each place, the order that sorts the axis at it. NaN is largest, or always last.
std::vector<std::int64_t> order_along(const Reference& x, std::size_t axis, const Place& p,
                                      bool descending, bool nan_last) {
  std::vector<bool> flags(x.shape.size(), false);
  flags[axis] = true;
  const std::vector<Number> values = fibre(x, flags, p);
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
    if (nan_last && is_nan(values[at(i)]) != is_nan(values[at(j)])) return is_nan(values[at(j)]);
    return descending ? before(values[at(j)], values[at(i)]) : before(values[at(i)], values[at(j)]);
  });
  return order;
}

Reference ordered(const Reference& x, std::size_t axis, bool descending, bool places, DType dtype,
                  std::int64_t length, bool nan_last) {
  Shape shape = x.shape;
  shape[axis] = length;
  return build(shape, dtype, {&x}, [&](Place p) {
    const std::int64_t i = order_along(x, axis, p, descending, nan_last)[at(p[axis])];
    p[axis] = i;
    return places ? Number(static_cast<long double>(i)) : x.at(p);
  });
}

std::optional<Pair> sort_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  const bool places = walk.coin(2);
  if (!axis || (places && !x.reference.exact)) return std::nullopt;
  if (is_complex(x.array.dtype()) && !x.reference.exact) return std::nullopt;
  const bool descending = walk.coin(2);
  const Array whole = rechunk_axes(x.array, {{static_cast<int>(*axis), -1}});
  const SortOptions options{.axis = static_cast<int>(*axis), .descending = descending};
  const Array result = places ? argsort(whole, options) : sort(whole, options);
  return Pair{result, ordered(x.reference, *axis, descending, places, result.dtype(),
                              x.reference.shape[*axis], true)};
}

std::optional<Pair> topk_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  const bool places = walk.coin(2);
  if (!axis || !x.reference.exact) return std::nullopt;
  const std::int64_t k = 1 + walk.pick(4);
  const bool largest = walk.coin(2);
  const TopK top = topk(x.array, largest ? k : -k, static_cast<int>(*axis));
  const Array result = places ? top.indices : top.values;
  return Pair{result, ordered(x.reference, *axis, largest, places, result.dtype(),
                              std::min(k, x.reference.shape[*axis]), false)};
}

std::optional<Pair> histogram_step(Walk& walk) {
  const Pair x = walk.any();
  if (!x.reference.exact || is_complex(x.array.dtype())) return std::nullopt;
  const std::int64_t bins = 1 + walk.pick(8);
  const Array result =
      histogram(x.array, {.bins = bins, .range = std::pair{-4.0, static_cast<double>(bins) - 4.0}})
          .counts;
  return Pair{result, build({bins}, result.dtype(), {&x.reference}, [&](const Place& p) {
                const long double low = static_cast<long double>(p[0]) - 4;
                const auto n = std::count_if(
                    x.reference.values.begin(), x.reference.values.end(), [&](const Number& v) {
                      return v.real() >= low &&
                             (v.real() < low + 1 || (p[0] == bins - 1 && v.real() == low + 1));
                    });
                return Number(static_cast<long double>(n));
              })};
}

std::optional<Pair> groupby_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  if (!axis || x.reference.shape[*axis] == 0 || !is_floating(x.array.dtype())) return std::nullopt;
  constexpr const char* kFunctions[] = {"sum",   "mean", "min",    "max",
                                        "count", "var",  "nansum", "nanmean"};
  const std::string function = kFunctions[walk.pick(std::size(kFunctions))];
  const std::int64_t groups = 1 + walk.pick(5);
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < x.reference.shape[*axis]; ++i)
    labels.push_back(walk.pick(groups + 1) - 1);
  const Array result = groupby_reduce(x.array, labels, function,
                                      {.axis = static_cast<int>(*axis), .group_count = groups});
  Shape shape = x.reference.shape;
  shape[*axis] = groups;
  std::vector<bool> flags(shape.size(), false);
  flags[*axis] = true;
  const Number nan(std::numeric_limits<long double>::quiet_NaN());
  Reference r = build(shape, result.dtype(), {&x.reference}, [&](const Place& p) -> Number {
    const std::vector<Number> all = fibre(x.reference, flags, p);
    std::vector<long double> v;
    bool any_nan = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (labels[i] != p[*axis]) continue;
      if (is_nan(all[i])) {
        any_nan = true;
      } else {
        v.push_back(all[i].real());
      }
    }
    const auto count = static_cast<long double>(v.size());
    if (function == "count") return Number(count);
    if (any_nan && function.substr(0, 3) != "nan") return nan;
    const long double sum = std::accumulate(v.begin(), v.end(), 0.0L);
    if (function == "sum" || function == "nansum") return Number(sum);
    if (v.empty()) return nan;
    if (function == "min") return Number(*std::min_element(v.begin(), v.end()));
    if (function == "max") return Number(*std::max_element(v.begin(), v.end()));
    if (function != "var") return Number(sum / count);
    long double squares = 0;
    for (const long double n : v) squares += (n - sum / count) * (n - sum / count);
    return Number(squares / count);
  });
  r.exact = r.exact && (function == "min" || function == "max" || function == "count");
  const auto n = static_cast<long double>(x.reference.shape[*axis]);
  r.scale = std::max({r.scale, x.reference.scale * n,
                      function == "var" ? x.reference.scale * x.reference.scale : 1.0L});
  return Pair{result, r};
}

void visit_block(std::span<const std::int64_t> shape,
                 const std::function<void(const Place&)>& visit) {
  for_each_place(Shape(shape.begin(), shape.end()), visit);
}
template <typename Block>
std::int64_t offset(const Block& block, const Place& p) {
  return std::inner_product(p.begin(), p.end(), block.strides.begin(), std::int64_t{0});
}

std::optional<Pair> map_blocks_step(Walk& walk) {
  const Pair x = walk.any();
  if (x.array.dtype() != DType::kFloat64) return std::nullopt;
  const Array result = map_blocks(
      [](std::span<const InputBlock> in, const OutputBlock& out) {
        visit_block(out.shape, [&](const Place& p) {
          double where = 0;
          for (std::size_t d = 0; d < p.size(); ++d)
            where +=
                static_cast<double>((out.start[d] + p[d]) * (static_cast<std::int64_t>(d) + 1));
          out.as<double>()[offset(out, p)] = in[0].as<double>()[offset(in[0], p)] * 2 + where;
        });
      },
      {x.array});
  Reference r = build(x.reference.shape, result.dtype(), {&x.reference}, [&](const Place& p) {
    long double where = 0;
    for (std::size_t d = 0; d < p.size(); ++d)
      where += static_cast<long double>(p[d] * (static_cast<std::int64_t>(d) + 1));
    return x.reference.at(p) * 2.0L + where;
  });
  r.scale = std::max(r.scale, 2 * x.reference.scale);
  return Pair{result, r};
}

// Weights that tell directions apart.
double weight(const Place& step) {
  double out = 1;
  for (std::size_t d = 0; d < step.size(); ++d)
    out += 0.25 * static_cast<double>(step[d] * (static_cast<std::int64_t>(d) + 1));
  return out;
}

std::optional<Pair> map_overlap_step(Walk& walk) {
  const Pair x = walk.any();
  const Shape& shape = x.reference.shape;
  if (x.array.dtype() != DType::kFloat64 || shape.empty() || shape.size() > 3 ||
      x.reference.values.empty())
    return std::nullopt;
  MapOverlapOptions options;
  options.boundary.clear();
  options.value = 3.0;
  Shape window;
  for (const std::int64_t extent : shape) {
    options.depth.push_back(std::min(extent, walk.pick(3)));
    options.boundary.push_back(static_cast<Boundary>(walk.pick(5)));
    window.push_back(2 * options.depth.back() + 1);
  }
  const std::vector<std::int64_t> depth = options.depth;
  const Array result = map_overlap(
      x.array,
      [depth, window](const InputBlock& in, const OutputBlock& out) {
        visit_block(out.shape, [&](const Place& p) {
          double sum = 0;
          for_each_place(window, [&](const Place& w) {
            Place step = w;
            Place source = p;
            for (std::size_t d = 0; d < p.size(); ++d) {
              step[d] -= depth[d];
              source[d] += out.start[d] - in.start[d] + step[d];
              if (source[d] < 0 || source[d] >= in.shape[d]) return;
            }
            sum += in.as<double>()[offset(in, source)] * weight(step);
          });
          out.as<double>()[offset(out, p)] = sum;
        });
      },
      options);
  Reference r = build(shape, result.dtype(), {&x.reference}, [&](const Place& p) {
    Number sum = 0;
    for_each_place(window, [&](const Place& w) {
      Place step = w;
      Place source = p;
      bool constant = false;
      for (std::size_t d = 0; d < p.size(); ++d) {
        step[d] -= depth[d];
        std::int64_t i = p[d] + step[d];
        const std::int64_t n = shape[d];
        if (i < 0 || i >= n) {
          switch (options.boundary[d]) {
            case Boundary::kNone:
              return;
            case Boundary::kReflect:
              i = i < 0 ? -i - 1 : 2 * n - 1 - i;
              break;
            case Boundary::kPeriodic:
              i = (i + n) % n;
              break;
            case Boundary::kNearest:
              i = i < 0 ? 0 : n - 1;
              break;
            case Boundary::kConstant:
              constant = true;
          }
        }
        source[d] = i;
      }
      sum +=
          (constant ? Number(3) : x.reference.at(source)) * static_cast<long double>(weight(step));
    });
    return sum;
  });
  r.scale = std::max(r.scale,
                     (x.reference.scale + 3) * static_cast<long double>(element_count(window)) * 4);
  return Pair{result, r};
}

}  // namespace

const std::vector<NamedStep>& block_steps() {
  static const std::vector<NamedStep> steps = {
      {"matmul", matmul_step},
      {"tensordot", tensordot_step},
      {"tensordot", tensordot_step},
      {"sort", sort_step},
      {"topk", topk_step},
      {"histogram", histogram_step},
      {"groupby", groupby_step},
      {"map_blocks", map_blocks_step},
      {"map_overlap", map_overlap_step},
  };
  return steps;
}

}  // namespace tessera::testing
