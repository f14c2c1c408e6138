#include <algorithm>
#include <cmath>
#include <limits>

#include "engine_walk.hpp"

namespace tessera::testing {

namespace {

using Numbers = std::vector<Number>;

const Number kNan(std::numeric_limits<long double>::quiet_NaN());

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

Numbers without_nan(const Numbers& x) {
  Numbers out;
  std::copy_if(x.begin(), x.end(), std::back_inserter(out),
               [](const Number& v) { return !is_nan(v); });
  return out;
}
Number total(const Numbers& x) {
  Number out = 0;
  for (const Number& v : x) out += v;
  return out;
}
Number average(const Numbers& x) {
  return x.empty() ? kNan : total(x) / static_cast<long double>(x.size());
}
Number product(const Numbers& x) {
  long double out = 1;
  for (const Number& v : x) out *= v.real();
  return Number(out);
}
Number spread(const Numbers& x, double correction) {
  const long double divisor = static_cast<long double>(x.size()) - correction;
  const Number middle = average(x);
  long double sum = 0;
  for (const Number& v : x) sum += std::norm(v - middle);
  return x.empty() || is_wild(middle) ? kNan : Number(sum / divisor);
}
// The first extreme element; the first NaN if there is one.
std::size_t extreme_place(const Numbers& x, bool largest) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (is_nan(x[i])) return i;
    if (largest ? x[best].real() < x[i].real() : x[i].real() < x[best].real()) best = i;
  }
  return best;
}
Number extreme(const Numbers& x, bool largest) {
  return x.empty() ? kNan : x[extreme_place(x, largest)];
}

struct Choice {
  std::vector<bool> flags;
  Axes axes;
  bool keepdims = false;
  std::int64_t count = 1;  // elements of one result
};

Choice choose(Walk& walk, const Reference& x) {
  Choice out;
  out.flags = walk.some_axes(x.shape.size());
  if (walk.coin(3)) out.flags.assign(x.shape.size(), true);
  std::vector<int> axes;
  for (std::size_t d = 0; d < out.flags.size(); ++d) {
    if (!out.flags[d]) continue;
    axes.push_back(walk.coin(2) ? static_cast<int>(d)
                                : static_cast<int>(d) - static_cast<int>(out.flags.size()));
    out.count *= x.shape[d];
  }
  out.axes = axes.size() == out.flags.size() && walk.coin(2) ? Axes() : Axes(axes);
  out.keepdims = walk.coin(2);
  return out;
}

template <typename Reduce>
Pair finish(const Pair& x, const Choice& choice, const Array& result, const Reduce& reduce) {
  return {result, reduced(x.reference, choice.flags, choice.keepdims, result.dtype(), reduce)};
}

std::optional<Pair> sum_step(Walk& walk) {
  const Pair x = walk.any();
  const Choice c = choose(walk, x.reference);
  const bool nan = walk.coin(3) && is_floating(x.array.dtype());
  const SumOptions options{.axis = c.axes, .keepdims = c.keepdims};
  Pair out = finish(x, c, nan ? nansum(x.array, options) : sum(x.array, options),
                    [&](const Numbers& v) { return total(nan ? without_nan(v) : v); });
  out.reference.scale =
      std::max(out.reference.scale,
               x.reference.scale * static_cast<long double>(std::max<std::int64_t>(1, c.count)));
  return out;
}

std::optional<Pair> prod_step(Walk& walk) {
  const Pair x = walk.any();
  const Choice c = choose(walk, x.reference);
  if (c.count > 5 || is_complex(x.array.dtype())) return std::nullopt;
  const bool nan = walk.coin(3) && is_floating(x.array.dtype());
  const SumOptions options{.axis = c.axes, .keepdims = c.keepdims};
  Pair out = finish(x, c, nan ? nanprod(x.array, options) : prod(x.array, options),
                    [&](const Numbers& v) { return product(nan ? without_nan(v) : v); });
  out.reference.scale =
      std::pow(x.reference.scale, static_cast<long double>(std::max<std::int64_t>(1, c.count)));
  return out;
}

std::optional<Pair> mean_step(Walk& walk) {
  const Pair x = walk.any();
  const Choice c = choose(walk, x.reference);
  const bool nan = walk.coin(3) && is_floating(x.array.dtype());
  const ReduceOptions options{.axis = c.axes, .keepdims = c.keepdims};
  if (x.array.dtype() == DType::kBool) return std::nullopt;
  Pair out = finish(x, c, nan ? nanmean(x.array, options) : mean(x.array, options),
                    [&](const Numbers& v) { return average(nan ? without_nan(v) : v); });
  out.reference.exact = false;
  return out;
}

std::optional<Pair> var_step(Walk& walk) {
  const Pair x = walk.any();
  const Choice c = choose(walk, x.reference);
  if (x.array.dtype() == DType::kBool) return std::nullopt;
  const bool nan = walk.coin(3) && is_floating(x.array.dtype());
  const double correction = walk.coin(3) && c.count > 1 && !nan ? 1.0 : 0.0;
  const VarianceOptions options{.axis = c.axes, .keepdims = c.keepdims, .correction = correction};
  Pair out = finish(x, c, nan ? nanvar(x.array, options) : var(x.array, options),
                    [&](const Numbers& v) { return spread(nan ? without_nan(v) : v, correction); });
  out.reference.exact = false;
  out.reference.scale = std::max(out.reference.scale, x.reference.scale * x.reference.scale);
  return out;
}

std::optional<Pair> extremum_step(Walk& walk) {
  const Pair x = walk.any();
  const Choice c = choose(walk, x.reference);
  if (c.count == 0 || is_complex(x.array.dtype())) return std::nullopt;
  const bool nan = walk.coin(3) && is_floating(x.array.dtype());
  const bool largest = walk.coin(2);
  const ReduceOptions options{.axis = c.axes, .keepdims = c.keepdims};
  const Array result = nan ? (largest ? nanmax(x.array, options) : nanmin(x.array, options))
                           : (largest ? max(x.array, options) : min(x.array, options));
  return finish(x, c, result,
                [&](const Numbers& v) { return extreme(nan ? without_nan(v) : v, largest); });
}

std::optional<Pair> arg_step(Walk& walk) {
  const Pair x = walk.any();
  if (is_complex(x.array.dtype()) || !x.reference.exact) return std::nullopt;
  Choice c = choose(walk, x.reference);
  ArgOptions options{.keepdims = c.keepdims};
  c.flags.assign(c.flags.size(), true);
  if (!c.flags.empty() && walk.coin(2)) {
    const std::int64_t axis = walk.pick(static_cast<std::int64_t>(c.flags.size()));
    c.flags.assign(c.flags.size(), false);
    c.flags[at(axis)] = true;
    options.axis = static_cast<int>(axis);
  }
  for (std::size_t d = 0; d < c.flags.size(); ++d) {
    if (c.flags[d] && x.reference.shape[d] == 0) return std::nullopt;
  }
  const bool largest = walk.coin(2);
  return finish(x, c, largest ? argmax(x.array, options) : argmin(x.array, options),
                [&](const Numbers& v) {
                  return Number(static_cast<long double>(extreme_place(v, largest)));
                });
}

std::optional<Pair> truth_step(Walk& walk) {
  const Pair x = walk.any();
  if (!x.reference.exact) return std::nullopt;
  const Choice c = choose(walk, x.reference);
  const ReduceOptions options{.axis = c.axes, .keepdims = c.keepdims};
  const auto counted = [](const Numbers& v) {
    return std::count_if(v.begin(), v.end(), [](const Number& n) { return n != Number(0); });
  };
  const std::int64_t which = walk.pick(3);
  const Array result = which == 0   ? any(x.array, options)
                       : which == 1 ? all(x.array, options)
                                    : count_nonzero(x.array, options);
  return finish(x, c, result, [&](const Numbers& v) {
    const auto n = static_cast<std::size_t>(counted(v));
    const std::size_t value = which == 0 ? n > 0 : which == 1 ? n == v.size() : n;
    return Number(static_cast<long double>(value));
  });
}

std::optional<Pair> scan_step(Walk& walk) {
  const Pair x = walk.any();
  if (x.reference.shape.empty()) return std::nullopt;
  const auto axis = at(walk.pick(static_cast<std::int64_t>(x.reference.shape.size())));
  const std::int64_t n = x.reference.shape[axis];
  const bool products = n <= 5 && walk.coin(2) && !is_complex(x.array.dtype());
  const CumulativeOptions options{.axis = static_cast<int>(axis)};
  const Array result =
      products ? cumulative_prod(x.array, options) : cumulative_sum(x.array, options);
  Reference r = build(x.reference.shape, result.dtype(), {&x.reference}, [&](const Place& p) {
    Number sum = products ? 1 : 0;
    Place source = p;
    for (std::int64_t i = 0; i <= p[axis]; ++i) {
      source[axis] = i;
      sum = products ? Number(sum.real() * x.reference.at(source).real())
                     : sum + x.reference.at(source);
    }
    return sum;
  });
  const auto length = static_cast<long double>(std::max<std::int64_t>(1, n));
  r.scale = std::max(r.scale,
                     products ? std::pow(x.reference.scale, length) : x.reference.scale * length);
  return Pair{result, r};
}

}  // namespace

const std::vector<NamedStep>& reduction_steps() {
  static const std::vector<NamedStep> steps = {
      {"sum", sum_step},           {"prod", prod_step}, {"mean", mean_step},   {"var", var_step},
      {"extremum", extremum_step}, {"arg", arg_step},   {"truth", truth_step}, {"scan", scan_step},
  };
  return steps;
}

}  // namespace tessera::testing
