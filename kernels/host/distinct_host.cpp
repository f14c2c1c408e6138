#include "kernels/host/distinct_host.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/host/scratch_layout.hpp"
#include "kernels/host/sort_host.hpp"
#include "kernels/host/sort_order.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

template <typename T>
bool is_nan(const T& x) {
  if constexpr (std::is_integral_v<T>) {
    return false;
  } else {
    return !(x == x);
  }
}

// Set signs of an element: tells zeros apart.
template <typename T>
int signs(const T& x) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::signbit(x) ? 1 : 0;
  } else if constexpr (kIsComplex<T>) {
    return (std::signbit(x.real()) ? 2 : 0) + (std::signbit(x.imag()) ? 1 : 0);
  } else {
    return 0;
  }
}

struct Layout {
  std::byte* sorted;
  std::span<std::byte> sort;
};

Layout lay_out(ScratchLayout& layout, DType dtype, std::int64_t size, bool with_positions) {
  const std::int64_t shape[] = {size};
  const std::size_t item = with_positions ? sizeof(std::int64_t) : itemsize(dtype);
  Layout out{};
  out.sorted = layout.take<std::byte>(static_cast<std::size_t>(size) * item);
  const std::size_t bytes = sort_scratch_bytes(dtype, shape, 0);
  std::byte* memory = layout.take<std::byte>(bytes);
  out.sort = {memory, memory == nullptr ? 0 : bytes};
  return out;
}

// Calls element(i) and position(i) in ascending order of the elements.
template <typename T, typename Element, typename Position>
std::int64_t fold_runs(const DistinctArgs& args, const Element& element, const Position& position) {
  T* values = reinterpret_cast<T*>(args.values);
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < args.size;) {
    T value = element(i);
    if (is_nan(value)) break;
    std::int64_t count = 0;
    std::int64_t first = 0;
    const std::int64_t begin = i;
    for (; i < args.size && element(i) == value; ++i) {
      if (signs(element(i)) < signs(value)) value = element(i);
      const std::int64_t at = position(i);
      if (args.counts != nullptr) count += args.in_counts == nullptr ? 1 : args.in_counts[at];
      if (args.first == nullptr) continue;
      first = i == begin ? args.in_first[at] : std::min(first, args.in_first[at]);
    }
    if (found < args.room) {
      values[found] = value;
      if (args.counts != nullptr) args.counts[found] = count;
      if (args.first != nullptr) args.first[found] = first;
    }
    ++found;
  }
  const std::int64_t written = std::min(found, args.room);
  std::fill(values + written, values + args.room, T{});
  if (args.counts != nullptr) std::fill(args.counts + written, args.counts + args.room, 0);
  if (args.first != nullptr) std::fill(args.first + written, args.first + args.room, 0);
  return found;
}

}  // namespace

void search_sorted(DType dtype, const std::byte* table, std::int64_t table_size,
                   const std::byte* in, std::int64_t count, bool right, std::int64_t* out) {
  visit_dtype(dtype, "searchsorted", [&]<typename T>(std::type_identity<T>) {
    const T* begin = reinterpret_cast<const T*>(table);
    const T* end = begin + table_size;
    const T* x = reinterpret_cast<const T*>(in);
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = (right ? std::upper_bound(begin, end, x[i], ascending_before<T>)
                      : std::lower_bound(begin, end, x[i], ascending_before<T>)) -
               begin;
    }
  });
}

void find_members(DType dtype, const std::byte* table, std::int64_t table_size, const std::byte* in,
                  std::int64_t count, bool* out) {
  visit_dtype(dtype, "isin", [&]<typename T>(std::type_identity<T>) {
    const T* begin = reinterpret_cast<const T*>(table);
    const T* end = begin + table_size;
    const T* x = reinterpret_cast<const T*>(in);
    for (std::int64_t i = 0; i < count; ++i) {
      const T* it = std::lower_bound(begin, end, x[i], ascending_before<T>);
      out[i] = it != end && *it == x[i];
    }
  });
}

std::size_t distinct_scratch_bytes(DType dtype, std::int64_t size, bool with_positions) {
  ScratchLayout layout;
  lay_out(layout, dtype, size, with_positions);
  return layout.bytes();
}

std::int64_t distinct(const DistinctArgs& args, std::span<std::byte> scratch) {
  const bool with_positions = args.counts != nullptr || args.first != nullptr;
  ScratchLayout layout(scratch);
  const Layout memory = lay_out(layout, args.dtype, args.size, with_positions);
  layout.check("distinct");
  const std::int64_t shape[] = {args.size};
  const std::int64_t strides[] = {1};
  const ConstBlockView in{args.in, args.dtype, shape, strides};
  return visit_dtype(args.dtype, "unique", [&]<typename T>(std::type_identity<T>) {
    if (args.size > 0 && with_positions) {
      argsort(in, 0, false, {memory.sorted, DType::kInt64, shape, strides}, memory.sort);
    } else if (args.size > 0) {
      sort(in, 0, false, {memory.sorted, args.dtype, shape, strides}, memory.sort);
    }
    const T* x = reinterpret_cast<const T*>(args.in);
    const T* sorted = reinterpret_cast<const T*>(memory.sorted);
    const auto* order = reinterpret_cast<const std::int64_t*>(memory.sorted);
    if (with_positions) {
      return fold_runs<T>(
          args, [&](std::int64_t i) { return x[order[i]]; },
          [&](std::int64_t i) { return order[i]; });
    }
    return fold_runs<T>(
        args, [&](std::int64_t i) { return sorted[i]; }, [](std::int64_t i) { return i; });
  });
}

}  // namespace tessera::kernels::host
