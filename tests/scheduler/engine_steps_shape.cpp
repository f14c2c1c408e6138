#include <algorithm>
#include <numeric>

#include "engine_walk.hpp"

namespace tessera::testing {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
bool is_empty(const Reference& x) { return x.values.empty(); }

// An axis of an array that has one, not empty unless `empty_too`.
std::optional<std::size_t> some_axis(Walk& walk, const Reference& x, bool empty_too = false) {
  if (x.shape.empty()) return std::nullopt;
  const std::size_t axis = at(walk.pick(static_cast<std::int64_t>(x.shape.size())));
  if (x.shape[axis] == 0 && !empty_too) return std::nullopt;
  return axis;
}

Reference moved(const Reference& x, const Shape& shape,
                const std::function<Place(const Place&)>& source) {
  return build(shape, x.dtype, {&x}, [&](const Place& p) { return x.at(source(p)); });
}

std::optional<Pair> slice_step(Walk& walk) {
  const Pair x = walk.any();
  std::vector<Index> index;
  Shape shape;
  struct Axis {
    std::int64_t start = 0;
    std::int64_t step = 0;
    bool kept = true;
  };
  std::vector<Axis> axes;
  for (const std::int64_t extent : x.reference.shape) {
    if (walk.coin(6)) {
      index.push_back(newaxis);
      shape.push_back(1);
    }
    if (extent > 0 && walk.coin(5)) {
      const std::int64_t position = walk.pick(extent);
      index.push_back(walk.coin(2) ? position : position - extent);
      axes.push_back({position, 0, false});
      continue;
    }
    const std::int64_t step = (1 + walk.pick(3)) * (walk.coin(2) ? -1 : 1);
    std::int64_t start = walk.pick(extent + 1);
    std::int64_t stop = walk.pick(extent + 1);
    if ((start > stop) == (step > 0)) std::swap(start, stop);
    Slice slice{start, stop, step};
    if (step > 0 && walk.coin(3)) slice.stop = std::nullopt, stop = extent;
    if (step > 0 && walk.coin(4)) slice.start = std::nullopt, start = 0;
    if (step < 0 && walk.coin(2)) slice.stop = std::nullopt, stop = -1;
    if (step < 0 && start >= extent) start = extent - 1;
    const std::int64_t span = step > 0 ? stop - start : start - stop;
    const std::int64_t length =
        std::max<std::int64_t>(0, (span + std::abs(step) - 1) / std::abs(step));
    index.push_back(slice);
    axes.push_back({start, step, true});
    shape.push_back(length);
  }
  const Array result = x.array.at(index);
  // The places of new axes hold 0 and count for nothing.
  std::vector<std::size_t> from;
  std::size_t out = 0;
  for (const Index& i : index) {
    if (std::holds_alternative<Slice>(i.value())) from.push_back(out);
    if (!std::holds_alternative<std::int64_t>(i.value())) ++out;
  }
  return Pair{result, moved(x.reference, shape, [&](const Place& p) {
                Place source(axes.size());
                std::size_t next = 0;
                for (std::size_t d = 0; d < axes.size(); ++d) {
                  source[d] = axes[d].start + (axes[d].kept ? axes[d].step * p[from[next++]] : 0);
                }
                return source;
              })};
}

std::optional<Pair> transpose_step(Walk& walk) {
  const Pair x = walk.any();
  std::vector<int> axes(x.reference.shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  for (std::size_t d = axes.size(); d > 1; --d)
    std::swap(axes[d - 1], axes[at(walk.pick(static_cast<std::int64_t>(d)))]);
  Shape shape;
  for (const int axis : axes) shape.push_back(x.reference.shape[at(axis)]);
  return Pair{transpose(x.array, axes), moved(x.reference, shape, [&](const Place& p) {
                Place source(p.size());
                for (std::size_t d = 0; d < p.size(); ++d) source[at(axes[d])] = p[d];
                return source;
              })};
}

std::optional<Pair> reshape_step(Walk& walk) {
  const Pair x = walk.any();
  auto left = static_cast<std::int64_t>(x.reference.values.size());
  Shape shape;
  if (left == 0) return std::nullopt;
  while (left > 1 && shape.size() < 3) {
    std::vector<std::int64_t> divisors;
    for (std::int64_t n = 1; n <= left; ++n) {
      if (left % n == 0) divisors.push_back(n);
    }
    shape.push_back(divisors[at(walk.pick(static_cast<std::int64_t>(divisors.size())))]);
    left /= shape.back();
  }
  if (left > 1 || walk.coin(3)) shape.push_back(left);
  Reference r = x.reference;
  r.shape = shape;
  return Pair{reshape(x.array, shape), r};
}

std::optional<Pair> join_step(Walk& walk) {
  const Pair a = walk.any();
  const auto axis = some_axis(walk, a.reference, true);
  if (!axis) return std::nullopt;
  std::optional<Pair> b;
  for (const Pair& other : walk.pool()) {
    Shape fitted = other.reference.shape;
    if (fitted.size() != a.reference.shape.size()) continue;
    fitted[*axis] = a.reference.shape[*axis];
    if (fitted == a.reference.shape && (!b || walk.coin(2))) b = other;
  }
  const Reference& first = a.reference;
  const Reference& second = b->reference;
  Shape shape = first.shape;
  shape[*axis] += second.shape[*axis];
  const Array result = concat({a.array, b->array}, static_cast<int>(*axis));
  return Pair{result, build(shape, result.dtype(), {&first, &second}, [&](Place p) {
                if (p[*axis] < first.shape[*axis]) return first.at(p);
                p[*axis] -= first.shape[*axis];
                return second.at(p);
              })};
}

std::optional<Pair> stack_step(Walk& walk) {
  const Pair a = walk.any();
  const auto axis = at(walk.pick(static_cast<std::int64_t>(a.reference.shape.size()) + 1));
  Pair b = a;
  for (const Pair& other : walk.pool()) {
    if (other.reference.shape == a.reference.shape && walk.coin(2)) b = other;
  }
  Shape shape = a.reference.shape;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 2);
  const Array result = stack({a.array, b.array}, static_cast<int>(axis));
  return Pair{result, build(shape, result.dtype(), {&a.reference, &b.reference}, [&](Place p) {
                const bool first = p[axis] == 0;
                p.erase(p.begin() + static_cast<std::ptrdiff_t>(axis));
                return (first ? a : b).reference.at(p);
              })};
}

std::int64_t wrapped(std::int64_t i, std::int64_t n) { return ((i % n) + n) % n; }

std::optional<Pair> pad_step(Walk& walk) {
  const Pair x = walk.any();
  if (is_empty(x.reference)) return std::nullopt;
  const auto mode = static_cast<PadMode>(walk.pick(5));
  PadWidths widths;
  Shape shape;
  for (const std::int64_t extent : x.reference.shape) {
    const std::int64_t most = mode == PadMode::kConstant ? 4 : std::min<std::int64_t>(extent, 4);
    widths.emplace_back(walk.pick(most), walk.pick(most));
    shape.push_back(extent + widths.back().first + widths.back().second);
  }
  const Array result = pad(x.array, widths, {.mode = mode, .value = 1});
  return Pair{result, build(shape, result.dtype(), {&x.reference}, [&](Place p) {
                for (std::size_t d = 0; d < p.size(); ++d) {
                  const std::int64_t n = x.reference.shape[d];
                  std::int64_t i = p[d] - widths[d].first;
                  if (i < 0 || i >= n) {
                    if (mode == PadMode::kConstant) return Number(1);
                    if (mode == PadMode::kEdge) i = i < 0 ? 0 : n - 1;
                    if (mode == PadMode::kReflect) i = i < 0 ? -i : 2 * n - 2 - i;
                    if (mode == PadMode::kSymmetric) i = i < 0 ? -i - 1 : 2 * n - 1 - i;
                    if (mode == PadMode::kWrap) i = wrapped(i, n);
                  }
                  p[d] = i;
                }
                return x.reference.at(p);
              })};
}

std::optional<Pair> roll_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  if (!axis) return std::nullopt;
  const std::int64_t shift = walk.pick(21) - 10;
  const std::int64_t n = x.reference.shape[*axis];
  return Pair{roll(x.array, shift, static_cast<int>(*axis)),
              moved(x.reference, x.reference.shape, [&](Place p) {
                p[*axis] = wrapped(p[*axis] - shift, n);
                return p;
              })};
}

std::optional<Pair> flip_step(Walk& walk) {
  const Pair x = walk.any();
  const std::vector<bool> flags = walk.some_axes(x.reference.shape.size());
  std::vector<int> axes;
  for (std::size_t d = 0; d < flags.size(); ++d) {
    if (flags[d]) axes.push_back(static_cast<int>(d));
  }
  if (axes.empty()) return std::nullopt;
  return Pair{flip(x.array, axes), moved(x.reference, x.reference.shape, [&](Place p) {
                for (std::size_t d = 0; d < p.size(); ++d)
                  p[d] = flags[d] ? x.reference.shape[d] - 1 - p[d] : p[d];
                return p;
              })};
}

std::optional<Pair> repeat_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  if (!axis) return std::nullopt;
  std::vector<std::int64_t> source;
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < x.reference.shape[*axis]; ++i) {
    counts.push_back(walk.pick(4));
    source.insert(source.end(), at(counts.back()), i);
  }
  Shape shape = x.reference.shape;
  shape[*axis] = static_cast<std::int64_t>(source.size());
  return Pair{repeat(x.array, counts, static_cast<int>(*axis)),
              moved(x.reference, shape, [&](Place p) {
                p[*axis] = source[at(p[*axis])];
                return p;
              })};
}

std::optional<Pair> tile_step(Walk& walk) {
  const Pair x = walk.any();
  std::vector<std::int64_t> counts;
  Shape shape = x.reference.shape;
  for (std::int64_t& extent : shape) {
    counts.push_back(1 + walk.pick(2));
    extent *= counts.back();
  }
  if (counts.empty()) return std::nullopt;
  return Pair{tile(x.array, counts), moved(x.reference, shape, [&](Place p) {
                for (std::size_t d = 0; d < p.size(); ++d) p[d] %= x.reference.shape[d];
                return p;
              })};
}

std::optional<Pair> take_step(Walk& walk) {
  const Pair x = walk.any();
  const auto axis = some_axis(walk, x.reference);
  if (!axis) return std::nullopt;
  const std::int64_t n = x.reference.shape[*axis];
  std::vector<std::int64_t> indices;
  for (std::int64_t count = walk.pick(12); count > 0; --count)
    indices.push_back(walk.pick(2 * n) - n);
  Shape shape = x.reference.shape;
  shape[*axis] = static_cast<std::int64_t>(indices.size());
  return Pair{take(x.array, indices, static_cast<int>(*axis)),
              moved(x.reference, shape, [&](Place p) {
                p[*axis] = wrapped(indices[at(p[*axis])], n);
                return p;
              })};
}

std::optional<Pair> broadcast_step(Walk& walk) {
  const Pair x = walk.any();
  Shape shape = x.reference.shape;
  for (std::int64_t& extent : shape) extent = extent == 1 ? walk.pick(4) : extent;
  if (walk.coin(2)) shape.insert(shape.begin(), 1 + walk.pick(3));
  return Pair{broadcast_to(x.array, shape), moved(x.reference, shape, [&](const Place& p) {
                return broadcast_place(p, x.reference.shape);
              })};
}

std::optional<Pair> rechunk_step(Walk& walk) {
  const Pair x = walk.any();
  return Pair{rechunk(x.array, walk.chunks(x.reference.shape)), x.reference};
}

std::optional<Pair> persist_step(Walk& walk) {
  const Pair x = walk.any();
  walk.set_persisted();
  return Pair{x.array.persist(), x.reference};
}

std::optional<Pair> diagonal_step(Walk& walk) {
  const Pair x = walk.any();
  if (x.reference.shape.size() < 2) return std::nullopt;
  const std::int64_t offset = walk.pick(5) - 2;
  const Shape& from = x.reference.shape;
  const std::int64_t rows = offset < 0 ? from[0] + offset : from[0];
  const std::int64_t columns = offset > 0 ? from[1] - offset : from[1];
  Shape shape(from.begin() + 2, from.end());
  shape.push_back(std::max<std::int64_t>(0, std::min(rows, columns)));
  return Pair{diagonal(x.array, {.offset = offset}), moved(x.reference, shape, [&](const Place& p) {
                Place source{p.back() + std::max<std::int64_t>(0, -offset),
                             p.back() + std::max<std::int64_t>(0, offset)};
                source.insert(source.end(), p.begin(), p.end() - 1);
                return source;
              })};
}

std::optional<Pair> triangle_step(Walk& walk) {
  const Pair x = walk.any();
  const std::size_t rank = x.reference.shape.size();
  if (rank < 2) return std::nullopt;
  const std::int64_t k = walk.pick(5) - 2;
  const Array result = tril(x.array, k);
  return Pair{result, build(x.reference.shape, result.dtype(), {&x.reference}, [&](const Place& p) {
                return p[rank - 1] <= p[rank - 2] + k ? x.reference.at(p) : Number(0);
              })};
}

}  // namespace

const std::vector<NamedStep>& shape_steps() {
  static const std::vector<NamedStep> steps = {
      {"slice", slice_step},         {"slice", slice_step},
      {"transpose", transpose_step}, {"transpose", transpose_step},
      {"reshape", reshape_step},     {"concat", join_step},
      {"stack", stack_step},         {"pad", pad_step},
      {"roll", roll_step},           {"flip", flip_step},
      {"repeat", repeat_step},       {"tile", tile_step},
      {"take", take_step},           {"broadcast", broadcast_step},
      {"rechunk", rechunk_step},     {"persist", persist_step},
      {"diagonal", diagonal_step},   {"tril", triangle_step},
  };
  return steps;
}

}  // namespace tessera::testing
