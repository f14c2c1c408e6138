#include "io/region.hpp"

#include <cstring>
#include <vector>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// One read of the page cache costs about as much as copying 16 KiB: nearer runs are read together.
constexpr std::uint64_t kJoinGapBytes = 16 * 1024;
constexpr std::uint64_t kJoinSpanBytes = 1024 * 1024;

struct Run {
  std::uint64_t offset;
  std::uint64_t size_bytes;
  std::byte* out;
};

void read_runs(const core::File& file, const std::vector<Run>& runs,
               std::vector<std::byte>& scratch) {
  if (runs.empty()) return;
  const std::uint64_t begin = runs.front().offset;
  const std::uint64_t span = runs.back().offset + runs.back().size_bytes - begin;
  if (runs.size() == 1) {
    file.pread_all(runs[0].out, span, begin);
    return;
  }
  if (scratch.size() < span) scratch.resize(span);
  file.pread_all(scratch.data(), span, begin);
  for (const Run& run : runs)
    std::memcpy(run.out, scratch.data() + (run.offset - begin), run.size_bytes);
}

template <typename Word, typename Swap>
void swap_words(void* data, std::size_t elements, Swap swap) noexcept {
  auto* bytes = static_cast<std::byte*>(data);
  for (std::size_t i = 0; i < elements; ++i) {
    Word word;
    std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
    word = swap(word);
    std::memcpy(bytes + i * sizeof(Word), &word, sizeof(Word));
  }
}

}  // namespace

void check_region(std::string_view where, std::string_view path, const Shape& shape,
                  const Shape& start, const Shape& count) {
  bool inside = start.size() == shape.size() && count.size() == shape.size();
  for (std::size_t axis = 0; inside && axis < shape.size(); ++axis) {
    inside = start[axis] >= 0 && count[axis] >= 0 && start[axis] <= shape[axis] &&
             count[axis] <= shape[axis] - start[axis];
  }
  if (inside) return;
  throw InvalidArgument(core::text("[", where, "] a region must lie inside the array; got start ",
                                   to_string(start), " and count ", to_string(count), " for shape ",
                                   to_string(shape), " of ", path, "; try start + count <= shape"));
}

std::int64_t region_elements(const Shape& count) noexcept {
  std::int64_t elements = 1;
  for (const std::int64_t extent : count) elements *= extent;
  return elements;
}

void copy_region(const void* from, const Shape& from_shape, const Shape& from_start, void* to,
                 const Shape& to_shape, const Shape& to_start, const Shape& count,
                 std::size_t itemsize) {
  const std::size_t rank = count.size();
  std::array<std::int64_t, kMaxRank> from_strides{};
  std::array<std::int64_t, kMaxRank> to_strides{};
  auto from_stride = static_cast<std::int64_t>(itemsize);
  std::int64_t to_stride = from_stride;
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  for (std::size_t axis = rank; axis-- > 0;) {
    if (count[axis] == 0) return;
    from_strides[axis] = from_stride;
    to_strides[axis] = to_stride;
    source += from_start[axis] * from_stride;
    target += to_start[axis] * to_stride;
    from_stride *= from_shape[axis];
    to_stride *= to_shape[axis];
  }
  std::size_t inner = rank;
  std::size_t run_bytes = itemsize;
  while (inner > 0) {
    --inner;
    run_bytes *= static_cast<std::size_t>(count[inner]);
    if (count[inner] != from_shape[inner] || count[inner] != to_shape[inner]) break;
  }
  std::array<std::int64_t, kMaxRank> index{};
  while (true) {
    std::memcpy(target, source, run_bytes);
    std::size_t axis = inner;
    bool more = false;
    while (axis > 0 && !more) {
      --axis;
      source += from_strides[axis];
      target += to_strides[axis];
      more = ++index[axis] < count[axis];
      if (more) break;
      source -= from_strides[axis] * count[axis];
      target -= to_strides[axis] * count[axis];
      index[axis] = 0;
    }
    if (!more) return;
  }
}

void read_dense(const core::File& file, std::uint64_t data_offset, const Shape& shape,
                const Shape& start, const Shape& count, std::size_t itemsize, void* out) {
  auto* dense = static_cast<std::byte*>(out);
  std::vector<Run> runs;
  std::vector<std::byte> scratch;
  for_each_run(shape, start, count,
               [&](std::int64_t offset, std::int64_t dense_offset, std::int64_t length) {
                 const Run run{data_offset + static_cast<std::uint64_t>(offset) * itemsize,
                               static_cast<std::uint64_t>(length) * itemsize,
                               dense + static_cast<std::size_t>(dense_offset) * itemsize};
                 if (!runs.empty()) {
                   const std::uint64_t gap =
                       run.offset - (runs.back().offset + runs.back().size_bytes);
                   const std::uint64_t span = run.offset + run.size_bytes - runs.front().offset;
                   if (gap > kJoinGapBytes || span > kJoinSpanBytes) {
                     read_runs(file, runs, scratch);
                     runs.clear();
                   }
                 }
                 runs.push_back(run);
               });
  read_runs(file, runs, scratch);
}

void swap_bytes(void* data, std::size_t elements, std::size_t width) noexcept {
  switch (width) {
    case 2:
      return swap_words<std::uint16_t>(data, elements,
                                       [](std::uint16_t v) { return __builtin_bswap16(v); });
    case 4:
      return swap_words<std::uint32_t>(data, elements,
                                       [](std::uint32_t v) { return __builtin_bswap32(v); });
    case 8:
      return swap_words<std::uint64_t>(data, elements,
                                       [](std::uint64_t v) { return __builtin_bswap64(v); });
    default:
      return;
  }
}

std::size_t component_width(DType dtype) noexcept {
  return is_complex(dtype) ? itemsize(dtype) / 2 : itemsize(dtype);
}

}  // namespace tessera::io
