#include <cmath>

#include "engine_walk.hpp"

namespace tessera::testing {

namespace {

bool real(const Pair& x) { return !is_complex(x.array.dtype()); }
bool boolean(const Pair& x) { return x.array.dtype() == DType::kBool; }
Number truth(bool value) { return Number(value ? 1.0L : 0.0L); }

// Two operands that broadcast; often values of very different origin.
std::optional<std::pair<Pair, Pair>> operands(Walk& walk) {
  for (int attempt = 0; attempt < 6; ++attempt) {
    const Pair& a = walk.any();
    const Pair& b = walk.any();
    if (broadcast(a.reference.shape, b.reference.shape)) return std::pair{a, b};
  }
  return std::nullopt;
}

template <typename Function>
Reference combine(const Array& result, const Reference& a, const Reference& b, const Function& f) {
  return build(*broadcast(a.shape, b.shape), result.dtype(), {&a, &b}, [&](const Place& p) {
    return f(a.at(broadcast_place(p, a.shape)), b.at(broadcast_place(p, b.shape)));
  });
}

template <typename Function>
Reference apply(const Array& result, const Reference& x, const Function& f) {
  return build(x.shape, result.dtype(), {&x}, [&](const Place& p) { return f(x.at(p)); });
}

std::optional<Pair> add_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both || boolean(both->first) || boolean(both->second)) return std::nullopt;
  const auto& [a, b] = *both;
  const Array result = a.array + b.array;
  Reference r = combine(result, a.reference, b.reference, [](Number x, Number y) { return x + y; });
  r.scale = std::max(r.scale, a.reference.scale + b.reference.scale);
  return Pair{result, r};
}

std::optional<Pair> subtract_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both || boolean(both->first) || boolean(both->second)) return std::nullopt;
  const auto& [a, b] = *both;
  const Array result = a.array - b.array;
  return Pair{result,
              combine(result, a.reference, b.reference, [](Number x, Number y) { return x - y; })};
}

std::optional<Pair> multiply_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both) return std::nullopt;
  const auto& [a, b] = *both;
  const Array result = a.array * b.array;
  const bool parts = is_complex(result.dtype());
  Reference r = combine(result, a.reference, b.reference, [&](Number x, Number y) {
    return parts ? x * y : Number(x.real() * y.real());
  });
  r.scale = a.reference.scale * b.reference.scale;
  return Pair{result, r};
}

std::optional<Pair> divide_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both || !real(both->second) || boolean(both->first) || boolean(both->second))
    return std::nullopt;
  const auto& [a, b] = *both;
  const Array result = a.array / (square(astype(b.array, DType::kFloat64)) + 1.0);
  Reference r = combine(result, a.reference, b.reference,
                        [](Number x, Number y) { return x / (y.real() * y.real() + 1.0L); });
  r.scale *= b.reference.scale;
  r.exact = false;
  return Pair{result, r};
}

std::optional<Pair> scalar_step(Walk& walk) {
  const Pair x = walk.any();
  if (boolean(x)) return std::nullopt;
  const std::int64_t n = walk.pick(5);
  const Array result = walk.coin(2) ? x.array * n + 1 : 1 + n * x.array;
  Reference r = apply(result, x.reference, [&](Number v) {
    const auto factor = static_cast<long double>(n);
    return is_complex(x.array.dtype()) ? v * factor + 1.0L : Number(v.real() * factor + 1.0L);
  });
  r.scale = x.reference.scale * 5 + 1;
  return Pair{result, r};
}

std::optional<Pair> extremum_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both || !real(both->first) || !real(both->second)) return std::nullopt;
  const auto& [a, b] = *both;
  const bool larger = walk.coin(2);
  const Array result = larger ? maximum(a.array, b.array) : minimum(a.array, b.array);
  return Pair{result, combine(result, a.reference, b.reference, [&](Number x, Number y) {
                if (is_nan(x)) return x;
                if (is_nan(y)) return y;
                return (x.real() < y.real()) == larger ? y : x;
              })};
}

std::optional<Pair> compare_step(Walk& walk) {
  const auto both = operands(walk);
  if (!both || !real(both->first) || !real(both->second)) return std::nullopt;
  const auto& [a, b] = *both;
  if (!a.reference.exact || !b.reference.exact) return std::nullopt;
  switch (walk.pick(3)) {
    case 0: {
      const Array result = a.array < b.array;
      return Pair{result, combine(result, a.reference, b.reference,
                                  [](Number x, Number y) { return truth(x.real() < y.real()); })};
    }
    case 1: {
      const Array result = a.array >= b.array;
      return Pair{result, combine(result, a.reference, b.reference,
                                  [](Number x, Number y) { return truth(x.real() >= y.real()); })};
    }
    default: {
      const Array result = a.array == b.array;
      return Pair{result, combine(result, a.reference, b.reference,
                                  [](Number x, Number y) { return truth(x.real() == y.real()); })};
    }
  }
}

std::optional<Pair> where_step(Walk& walk) {
  const auto both = operands(walk);
  const Pair condition = walk.any();
  if (!both || !condition.reference.exact || !real(condition)) return std::nullopt;
  const auto& [a, b] = *both;
  const auto shape =
      broadcast(*broadcast(a.reference.shape, b.reference.shape), condition.reference.shape);
  if (!shape) return std::nullopt;
  const Array result = where(condition.array, a.array, b.array);
  return Pair{
      result, build(*shape, result.dtype(), {&a.reference, &b.reference}, [&](const Place& p) {
        const Reference& from =
            condition.reference.at(broadcast_place(p, condition.reference.shape)) != Number(0)
                ? a.reference
                : b.reference;
        return from.at(broadcast_place(p, from.shape));
      })};
}

std::optional<Pair> clip_step(Walk& walk) {
  const Pair x = walk.any();
  if (!real(x) || boolean(x)) return std::nullopt;
  const std::int64_t low = walk.pick(3);
  const std::int64_t high = low + walk.pick(20);
  const Array result = clip(x.array, low, high);
  return Pair{result, apply(result, x.reference, [&](Number v) {
                if (is_nan(v)) return v;
                return Number(std::min(std::max(v.real(), static_cast<long double>(low)),
                                       static_cast<long double>(high)));
              })};
}

std::optional<Pair> cast_step(Walk& walk) {
  const Pair x = walk.any();
  constexpr DType kTargets[] = {DType::kFloat64,   DType::kFloat32, DType::kInt64,
                                DType::kInt32,     DType::kBool,    DType::kComplex64,
                                DType::kComplex128};
  const DType to = kTargets[walk.pick(std::size(kTargets))];
  if (!can_cast(x.array.dtype(), to) && !real(x)) return std::nullopt;
  const bool discrete = is_integer(to) || to == DType::kBool;
  if (discrete && (!x.reference.exact || !real(x))) return std::nullopt;
  for (const Number& v : x.reference.values) {
    if (is_integer(to) && is_wild(v)) return std::nullopt;
  }
  const Array result = astype(x.array, to);
  return Pair{result, apply(result, x.reference, [&](Number v) {
                if (to == DType::kBool) return truth(v != Number(0));
                return is_integer(to) ? Number(std::trunc(v.real())) : v;
              })};
}

std::optional<Pair> function_step(Walk& walk) {
  const Pair x = walk.any();
  if (!real(x) || boolean(x)) return std::nullopt;
  Array result = x.array;
  std::function<long double(long double)> f;
  switch (walk.pick(5)) {
    case 0:
      result = sin(x.array);
      f = [](long double v) { return std::sin(v); };
      break;
    case 1:
      result = tanh(x.array);
      f = [](long double v) { return std::tanh(v); };
      break;
    case 2:
      result = sqrt(abs(x.array) + 1);
      f = [](long double v) { return std::sqrt(std::abs(v) + 1); };
      break;
    case 3:
      result = abs(x.array);
      f = [](long double v) { return std::abs(v); };
      break;
    default:
      result = exp(minimum(x.array, 1));
      f = [](long double v) { return std::isnan(v) ? v : std::exp(std::min(v, 1.0L)); };
  }
  // Small integers are computed in float64, and their own arithmetic wraps around.
  if (is_integer(x.array.dtype()) && x.reference.scale > 100) return std::nullopt;
  Reference r = apply(result, x.reference, [&](Number v) { return Number(f(v.real())); });
  return Pair{result, r};
}

std::optional<Pair> complex_step(Walk& walk) {
  const Pair x = walk.any();
  if (real(x)) return std::nullopt;
  switch (walk.pick(3)) {
    case 0: {
      const Array result = tessera::real(x.array);
      return Pair{result, apply(result, x.reference, [](Number v) { return Number(v.real()); })};
    }
    case 1: {
      const Array result = imag(x.array);
      return Pair{result, apply(result, x.reference, [](Number v) { return Number(v.imag()); })};
    }
    default: {
      const Array result = conj(x.array);
      return Pair{result, apply(result, x.reference, [](Number v) { return std::conj(v); })};
    }
  }
}

}  // namespace

const std::vector<NamedStep>& elementwise_steps() {
  static const std::vector<NamedStep> steps = {
      {"add", add_step},         {"subtract", subtract_step}, {"multiply", multiply_step},
      {"divide", divide_step},   {"scalar", scalar_step},     {"extremum", extremum_step},
      {"compare", compare_step}, {"where", where_step},       {"clip", clip_step},
      {"cast", cast_step},       {"function", function_step}, {"complex", complex_step},
  };
  return steps;
}

}  // namespace tessera::testing
