#include "kernels/host/selection_host.hpp"

#include <cstring>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::int64_t checked_position(std::int64_t position, std::int64_t length, int axis) {
  const std::int64_t i = position < 0 ? position + length : position;
  if (i < 0 || i >= length) {
    throw InvalidArgument(core::text("[take_along_axis] a position must lie on its axis; got ",
                                     position, " for axis ", axis, " of extent ", length));
  }
  return i;
}

template <std::size_t kBytes>
void gather(const ConstBlockView& in, const std::int64_t* positions, int axis,
            const BlockView& out) {
  const AroundAxis from(in.shape, axis);
  const AroundAxis to(out.shape, axis);
  std::byte* next = out.data;
  for (std::int64_t o = 0; o < to.outer; ++o) {
    const std::byte* row = in.data + as_size(o * from.along * from.inner) * kBytes;
    for (std::int64_t j = 0; j < to.along; ++j) {
      for (std::int64_t k = 0; k < to.inner; ++k) {
        const std::int64_t i = checked_position(*positions++, from.along, axis);
        std::memcpy(next, row + as_size(i * from.inner + k) * kBytes, kBytes);
        next += kBytes;
      }
    }
  }
}

// Single elements, without a branch that a random mask would mislead.
template <std::size_t kBytes>
void compress_items(const std::byte* in, const bool* mask, std::byte* out, const std::byte* end) {
  while (out != end) {
    std::memcpy(out, in, kBytes);
    out += *mask++ ? kBytes : 0;
    in += kBytes;
  }
}

// Runs of neighbours that the mask keeps, each `run` bytes long.
void compress_runs(const std::byte* in, const bool* mask, std::int64_t length, std::size_t run,
                   std::byte* out) {
  for (std::int64_t i = 0; i < length;) {
    std::int64_t end = i;
    while (end < length && mask[end]) ++end;
    const std::size_t bytes = as_size(end - i) * run;
    if (bytes > 0) std::memcpy(out, in + as_size(i) * run, bytes);
    out += bytes;
    i = end + 1;
  }
}

void compress_row(const std::byte* in, const bool* mask, std::int64_t length, std::size_t run,
                  std::byte* out, const std::byte* end) {
  switch (run) {
    case 1:
      return compress_items<1>(in, mask, out, end);
    case 2:
      return compress_items<2>(in, mask, out, end);
    case 4:
      return compress_items<4>(in, mask, out, end);
    case 8:
      return compress_items<8>(in, mask, out, end);
    case 16:
      return compress_items<16>(in, mask, out, end);
    default:
      return compress_runs(in, mask, length, run, out);
  }
}

}  // namespace

void take_along_axis(ConstBlockView in, ConstBlockView positions, int axis, BlockView out) {
  const auto* at = reinterpret_cast<const std::int64_t*>(positions.data);
  switch (itemsize(in.dtype)) {
    case 1:
      return gather<1>(in, at, axis, out);
    case 2:
      return gather<2>(in, at, axis, out);
    case 4:
      return gather<4>(in, at, axis, out);
    case 8:
      return gather<8>(in, at, axis, out);
    default:
      return gather<16>(in, at, axis, out);
  }
}

std::int64_t count_true(const bool* mask, std::int64_t count) noexcept {
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found += mask[i] ? 1 : 0;
  return found;
}

void compress(ConstBlockView in, const bool* mask, int axis, BlockView out) {
  const AroundAxis from(in.shape, axis);
  const std::int64_t kept = count_true(mask, from.along);
  if (kept != out.shape[as_size(axis)]) {
    throw InvalidArgument(core::text("[compress] the mask must be the one that was counted; got ",
                                     kept, " true elements for ", out.shape[as_size(axis)],
                                     " places; try persist() of what it is made from"));
  }
  const std::size_t run = as_size(from.inner) * itemsize(in.dtype);
  const std::size_t kept_bytes = as_size(kept) * run;
  for (std::int64_t o = 0; o < from.outer; ++o) {
    std::byte* to = out.data + as_size(o) * kept_bytes;
    compress_row(in.data + as_size(o * from.along) * run, mask, from.along, run, to,
                 to + kept_bytes);
  }
}

}  // namespace tessera::kernels::host
