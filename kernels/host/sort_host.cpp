#include "kernels/host/sort_host.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/host/sort_lanes.hpp"
#include "kernels/host/sort_order.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

template <typename Key, typename Position>
struct Keyed {
  Key key;
  Position position;
};

template <typename Key>
Key key_of(Key key) noexcept {
  return key;
}
template <typename Key, typename Position>
Key key_of(const Keyed<Key, Position>& item) noexcept {
  return item.key;
}

template <typename Key>
bool before(Key a, Key b) noexcept {
  return a < b;
}
template <typename Key, typename Position>
bool before(const Keyed<Key, Position>& a, const Keyed<Key, Position>& b) noexcept {
  return a.key < b.key || (a.key == b.key && a.position < b.position);
}

template <typename Item>
using KeyOfItem = decltype(key_of(std::declval<const Item&>()));

template <typename Item>
int digit_of(const Item& item, std::size_t digit) noexcept {
  return static_cast<int>((key_of(item) >> (8 * digit)) & 0xff);
}

/// Turns the sizes of buckets into their beginnings.
inline void accumulate_counts(std::int64_t (&count)[256]) noexcept {
  std::int64_t begin = 0;
  for (std::int64_t& entry : count) begin += std::exchange(entry, begin);
}

/// Sorts stably by the lowest kDigits bytes of the key, least significant first, between two
/// arrays; returns the one it ends in.
template <std::size_t kDigits, typename Item>
Item* sort_by_lowest_first(Item* from, Item* to, std::int64_t n) {
  std::int64_t counts[kDigits][256] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::size_t d = 0; d < kDigits; ++d) ++counts[d][digit_of(from[i], d)];
  }
  for (std::size_t d = 0; d < kDigits; ++d) {
    if (counts[d][digit_of(from[0], d)] == n) continue;
    accumulate_counts(counts[d]);
    for (std::int64_t i = 0; i < n; ++i) to[counts[d][digit_of(from[i], d)]++] = from[i];
    std::swap(from, to);
  }
  return from;
}

/// Stable radix sort by the lowest kDigits bytes; items that are equal in them are in order of
/// position or have none to tell them apart. Returns the array it ends in.
template <std::size_t kDigits, typename Item>
Item* sort_items(Item* from, Item* to, std::int64_t n) {
  // Above this, scattering to 256 places leaves L2: 43 ns an element of 8 bytes instead of 26.
  constexpr std::int64_t kCached = (std::int64_t{512} << 10) / sizeof(Item);
  // Passes cost something however few items there are; below this a comparison sort is faster.
  if (n < 32 + 24 * static_cast<std::int64_t>(kDigits)) {
    std::sort(from, from + n, [](const Item& a, const Item& b) { return before(a, b); });
    return from;
  }
  if constexpr (kDigits > 1) {
    if (n > kCached) {
      constexpr std::size_t kTop = kDigits - 1;
      std::int64_t end[256] = {};
      for (std::int64_t i = 0; i < n; ++i) ++end[digit_of(from[i], kTop)];
      if (end[digit_of(from[0], kTop)] == n) return sort_items<kTop>(from, to, n);
      accumulate_counts(end);
      for (std::int64_t i = 0; i < n; ++i) to[end[digit_of(from[i], kTop)]++] = from[i];
      for (std::int64_t bucket = 0, begin = 0; bucket < 256; begin = end[bucket++]) {
        const std::int64_t size = end[bucket] - begin;
        if (size < 2) continue;
        const Item* sorted = sort_items<kTop>(to + begin, from + begin, size);
        if (sorted != to + begin) std::copy_n(sorted, size, to + begin);
      }
      return to;
    }
  }
  return sort_by_lowest_first<kDigits>(from, to, n);
}

template <typename Item>
Item* sort_items(Item* items, Item* spare, std::int64_t n) {
  return sort_items<sizeof(KeyOfItem<Item>)>(items, spare, n);
}

/// Stable merge sort between two arrays; returns the one it ends in.
template <typename Item, typename Before>
Item* merge_sort(Item* items, Item* spare, std::int64_t n, Before&& is_before) {
  constexpr std::int64_t kRun = 16;
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    const std::int64_t end = std::min(begin + kRun, n);
    for (std::int64_t i = begin + 1; i < end; ++i) {
      const Item item = items[i];
      std::int64_t j = i;
      for (; j > begin && is_before(item, items[j - 1]); --j) items[j] = items[j - 1];
      items[j] = item;
    }
  }
  for (std::int64_t width = kRun; width < n; width *= 2) {
    for (std::int64_t begin = 0; begin < n; begin += 2 * width) {
      const std::int64_t middle = std::min(begin + width, n);
      const std::int64_t end = std::min(begin + 2 * width, n);
      std::merge(items + begin, items + middle, items + middle, items + end, spare + begin,
                 is_before);
    }
    std::swap(items, spare);
  }
  return items;
}

/// Puts back what keys do not tell: the signs of zeros, in their order in the lane.
template <typename T>
void restore_zeros(const T* lane, std::int64_t n, bool flip, const SortKey<T>* keys, T* out) {
  SortKey<T> zero_key;
  const T zero{0};
  make_keys(dtype_of<T>, &zero, 1, {.flip = flip}, &zero_key, 0);
  const auto [begin, end] = std::equal_range(keys, keys + n, zero_key);
  if (begin == end) return;
  T* to = out + (begin - keys);
  for (std::int64_t i = 0; i < n; ++i) {
    if (lane[i] == T{0}) *to++ = lane[i];
  }
}

template <typename T>
void sort_lane(const T* lane, std::int64_t n, bool descending, T* out, std::byte* work) {
  if (n == 0) return;
  if constexpr (kIsComplex<T>) {
    T* items = reinterpret_cast<T*>(work);
    std::copy_n(lane, n, items);
    const T* sorted = merge_sort(items, items + n, n, [descending](const T& a, const T& b) {
      return complex_before(a, b, descending);
    });
    std::copy_n(sorted, n, out);
  } else {
    using Key = SortKey<T>;
    Key* keys = reinterpret_cast<Key*>(work);
    make_keys(dtype_of<T>, lane, n, {.flip = descending}, keys, 0);
    const Key* sorted = sort_items(keys, keys + n, n);
    if constexpr (std::is_floating_point_v<T>) {
      // `out` may be the lane itself, so the elements without a key of their own are saved first.
      T* result = reinterpret_cast<T*>(work + 2 * static_cast<std::size_t>(n) * sizeof(Key));
      const std::int64_t nan_begin = std::lower_bound(sorted, sorted + n, kKeyMax<Key>) - sorted;
      for (std::int64_t i = 0; i < nan_begin; ++i) {
        result[i] = element_of_key<T>(sorted[i], descending);
      }
      restore_zeros(lane, n, descending, sorted, result);
      T* nan = result + nan_begin;
      for (std::int64_t i = 0; i < n && nan != result + n; ++i) {
        if (lane[i] != lane[i]) *nan++ = lane[i];
      }
      std::copy_n(result, n, out);
    } else {
      for (std::int64_t i = 0; i < n; ++i) out[i] = element_of_key<T>(sorted[i], descending);
    }
  }
}

template <typename T, typename Position>
void argsort_lane(const T* lane, std::int64_t n, bool descending, std::int64_t* out,
                  std::byte* work) {
  using Item = Keyed<SortKey<T>, Position>;
  constexpr std::int64_t kPiece = 512;
  Item* items = reinterpret_cast<Item*>(work);
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    SortKey<T> keys[kPiece];
    const std::int64_t count = std::min(kPiece, n - begin);
    make_keys(dtype_of<T>, lane + begin, count, {.flip = descending}, keys, 0);
    for (std::int64_t i = 0; i < count; ++i) {
      items[begin + i] = {keys[i], static_cast<Position>(begin + i)};
    }
  }
  const Item* sorted = sort_items(items, items + n, n);
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<std::int64_t>(sorted[i].position);
}

template <typename T>
void argsort_lane(const T* lane, std::int64_t n, bool descending, std::int64_t* out,
                  std::byte* work) {
  if (n == 0) return;
  if constexpr (kIsComplex<T>) {
    std::int64_t* items = reinterpret_cast<std::int64_t*>(work);
    for (std::int64_t i = 0; i < n; ++i) items[i] = i;
    const std::int64_t* sorted =
        merge_sort(items, items + n, n, [lane, descending](std::int64_t a, std::int64_t b) {
          return complex_before(lane[a], lane[b], descending);
        });
    std::copy_n(sorted, n, out);
  } else if (n <= std::int64_t{1} << 32) {
    argsort_lane<T, std::uint32_t>(lane, n, descending, out, work);
  } else {
    argsort_lane<T, std::uint64_t>(lane, n, descending, out, work);
  }
}

template <typename Key>
using Candidate = Keyed<Key, std::int64_t>;

/// Room for elements that may be among the best k; the more there is, the rarer is the pruning.
std::int64_t candidate_count(std::int64_t n, std::int64_t k) { return std::min(n, 2 * k + 128); }

/// The k smallest keys with their positions, in order, at the front of `items`.
template <typename T>
void select_smallest_keys(const T* lane, std::int64_t n, std::int64_t k, KeyOrder order,
                          Candidate<SortKey<T>>* items) {
  using Key = SortKey<T>;
  using Item = Candidate<Key>;
  const auto is_before = [](const Item& a, const Item& b) { return before(a, b); };
  const std::int64_t room = candidate_count(n, k);
  constexpr std::int64_t kPiece = 256;
  std::int64_t count = 0;
  Key threshold = kKeyMax<Key>;
  bool pruned = false;
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    Key keys[kPiece];
    const std::int64_t size = std::min(kPiece, n - begin);
    if (!make_keys(dtype_of<T>, lane + begin, size, order, keys, threshold) && pruned) continue;
    for (std::int64_t i = 0; i < size; ++i) {
      // A later element equal to the worst of k better or equal ones comes after it.
      if (pruned && keys[i] >= threshold) continue;
      items[count++] = {keys[i], begin + i};
      if (count == room && begin + i + 1 < n) {
        std::nth_element(items, items + k - 1, items + count, is_before);
        count = k;
        threshold = items[k - 1].key;
        pruned = true;
      }
    }
  }
  if (count > k) std::nth_element(items, items + k - 1, items + count, is_before);
  std::sort(items, items + k, is_before);
}

/// Positions of the best k elements, in order.
template <typename T>
void topk_lane(const T* lane, std::int64_t n, std::int64_t k, bool largest, std::int64_t* out,
               std::byte* work) {
  if (k == 0) return;
  if constexpr (kIsComplex<T>) {
    std::int64_t* items = reinterpret_cast<std::int64_t*>(work);
    for (std::int64_t i = 0; i < n; ++i) items[i] = i;
    // Read from the end, an ascending order has the numbers with NaN parts in front.
    const auto is_before = [lane, largest](std::int64_t a, std::int64_t b) {
      const bool first = largest ? complex_before(lane[b], lane[a], false)
                                 : complex_before(lane[a], lane[b], false);
      const bool second = largest ? complex_before(lane[a], lane[b], false)
                                  : complex_before(lane[b], lane[a], false);
      return first || (!second && a < b);
    };
    std::partial_sort(items, items + k, items + n, is_before);
    std::copy_n(items, k, out);
  } else {
    auto* items = reinterpret_cast<Candidate<SortKey<T>>*>(work);
    select_smallest_keys(lane, n, k, {.flip = largest, .nan_first = largest}, items);
    for (std::int64_t i = 0; i < k; ++i) out[i] = items[i].position;
  }
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return to_string(Shape(shape.begin(), shape.end()));
}

void check_axis(const char* where, const ConstBlockView& in, int axis) {
  if (axis >= 0 && axis < static_cast<int>(in.shape.size())) return;
  throw InvalidArgument(core::text("[", where, "] the axis must exist; got axis ", axis,
                                   " of shape ", shape_text(in.shape), "; try one in [0, rank)"));
}

void check_output(const char* where, const ConstBlockView& in, int axis, std::int64_t extent,
                  const BlockView& out, DType dtype) {
  Shape expected(in.shape.begin(), in.shape.end());
  expected[static_cast<std::size_t>(axis)] = extent;
  if (!std::ranges::equal(expected, out.shape) || out.dtype != dtype) {
    throw InvalidArgument(core::text(
        "[", where, "] the output must have shape ", to_string(expected), " and dtype ", dtype,
        "; got ", shape_text(out.shape), " and ", out.dtype, "; try allocating it so"));
  }
}

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

struct SortScratch {
  std::byte* in;
  std::byte* out;
  std::byte* work;
};

SortScratch lay_out_sort(ScratchLayout& layout, DType dtype, std::span<const std::int64_t> shape,
                         int axis) {
  const std::size_t length = as_size(shape[as_size(axis)]);
  const std::size_t packed = as_size(packed_lane_count(dtype, shape, axis)) * length;
  SortScratch scratch{};
  scratch.in = layout.take<std::byte>(packed * itemsize(dtype));
  scratch.out = layout.take<std::byte>(packed * std::max<std::size_t>(itemsize(dtype), 8));
  // Two arrays of the largest items that are sorted: keys with positions, complex numbers.
  scratch.work = layout.take<std::byte>(length * 32);
  return scratch;
}

void sort_any(const char* where, ConstBlockView in, int axis, BlockView out,
              std::span<std::byte> memory, auto&& sort_lane_of) {
  check_axis(where, in, axis);
  check_output(where, in, axis, in.shape[as_size(axis)], out,
               std::string_view(where) == "sort" ? in.dtype : DType::kInt64);
  ScratchLayout layout(memory);
  const SortScratch scratch = lay_out_sort(layout, in.dtype, in.shape, axis);
  layout.check("sort");
  const std::int64_t length = in.shape[as_size(axis)];
  visit_dtype(in.dtype, where, [&]<typename T>(std::type_identity<T>) {
    const LaneWalk<2> lanes({{{in, scratch.in, false}, {out, scratch.out, true}}}, axis);
    lanes.for_each([&](const std::array<std::byte*, 2>& lane) {
      sort_lane_of(reinterpret_cast<const T*>(lane[0]), length, lane[1], scratch.work);
    });
  });
}

struct TopkScratch {
  std::byte* in;
  std::byte* values;
  std::byte* positions;
  std::byte* names;
  std::int64_t* best;
  std::byte* work;
};

TopkScratch lay_out_topk(ScratchLayout& layout, DType dtype, std::span<const std::int64_t> shape,
                         int axis, std::int64_t k) {
  const std::int64_t length = shape[as_size(axis)];
  const std::size_t lanes = as_size(packed_lane_count(dtype, shape, axis));
  TopkScratch scratch{};
  scratch.in = layout.take<std::byte>(lanes * as_size(length) * itemsize(dtype));
  scratch.values = layout.take<std::byte>(lanes * as_size(k) * itemsize(dtype));
  scratch.positions = layout.take<std::byte>(lanes * as_size(k) * 8);
  scratch.names = layout.take<std::byte>(lanes * as_size(length) * 8);
  scratch.best = layout.take<std::int64_t>(as_size(k));
  scratch.work = layout.take<std::byte>(
      is_complex(dtype) ? 8 * as_size(length) : 16 * as_size(candidate_count(length, k)));
  return scratch;
}

std::int64_t topk_extent(std::span<const std::int64_t> shape, int axis, std::int64_t k) {
  return std::min(std::abs(k), shape[as_size(axis)]);
}

}  // namespace

std::size_t sort_scratch_bytes(DType dtype, std::span<const std::int64_t> shape, int axis) {
  ScratchLayout layout;
  lay_out_sort(layout, dtype, shape, axis);
  return layout.bytes();
}

void sort(ConstBlockView in, int axis, bool descending, BlockView out,
          std::span<std::byte> scratch) {
  sort_any(
      "sort", in, axis, out, scratch,
      [descending]<typename T>(const T* lane, std::int64_t n, std::byte* result, std::byte* work) {
        sort_lane(lane, n, descending, reinterpret_cast<T*>(result), work);
      });
}

void argsort(ConstBlockView in, int axis, bool descending, BlockView out,
             std::span<std::byte> scratch) {
  sort_any(
      "argsort", in, axis, out, scratch,
      [descending]<typename T>(const T* lane, std::int64_t n, std::byte* result, std::byte* work) {
        argsort_lane(lane, n, descending, reinterpret_cast<std::int64_t*>(result), work);
      });
}

std::size_t topk_scratch_bytes(DType dtype, std::span<const std::int64_t> shape, int axis,
                               std::int64_t k) {
  ScratchLayout layout;
  lay_out_topk(layout, dtype, shape, axis, topk_extent(shape, axis, k));
  return layout.bytes();
}

void topk(ConstBlockView in, int axis, std::int64_t k, const BlockView* values,
          const BlockView* positions, const TopkPositions& named, std::span<std::byte> memory) {
  check_axis("topk", in, axis);
  if (k == 0) {
    throw InvalidArgument(
        "[topk] k must not be 0; got 0; try k > 0 for the largest or k < 0 for the smallest");
  }
  const std::int64_t extent = topk_extent(in.shape, axis, k);
  if (values != nullptr) check_output("topk", in, axis, extent, *values, in.dtype);
  if (positions != nullptr) check_output("topk", in, axis, extent, *positions, DType::kInt64);
  ScratchLayout layout(memory);
  const TopkScratch scratch = lay_out_topk(layout, in.dtype, in.shape, axis, extent);
  layout.check("topk");
  const std::int64_t length = in.shape[as_size(axis)];
  const bool renamed = positions != nullptr && named.of != nullptr;
  using Walk = LaneWalk<4>;
  const Walk::Operand absent{in, nullptr, false};
  visit_dtype(in.dtype, "topk", [&]<typename T>(std::type_identity<T>) {
    const Walk lanes(
        {{{in, scratch.in, false},
          values == nullptr ? absent : Walk::Operand{*values, scratch.values, true},
          positions == nullptr ? absent : Walk::Operand{*positions, scratch.positions, true},
          renamed ? Walk::Operand{*named.of, scratch.names, false} : absent}},
        axis);
    lanes.for_each([&](const std::array<std::byte*, 4>& lane) {
      const T* elements = reinterpret_cast<const T*>(lane[0]);
      topk_lane(elements, length, extent, k > 0, scratch.best, scratch.work);
      for (std::int64_t i = 0; i < extent; ++i) {
        const std::int64_t at = scratch.best[i];
        if (values != nullptr) reinterpret_cast<T*>(lane[1])[i] = elements[at];
        if (positions == nullptr) continue;
        reinterpret_cast<std::int64_t*>(lane[2])[i] =
            renamed ? reinterpret_cast<const std::int64_t*>(lane[3])[at] : named.first + at;
      }
    });
  });
}

}  // namespace tessera::kernels::host
