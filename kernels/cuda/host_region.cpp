#include "kernels/cuda/host_region.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace tessera::kernels::cuda {

namespace {

template <std::size_t kBytes>
void copy_items(const std::byte* from, std::int64_t stride, std::int64_t count,
                std::byte* out) noexcept {
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(out + i * static_cast<std::int64_t>(kBytes), from + i * stride, kBytes);
}

}  // namespace

HostRegion::HostRegion(const std::byte* data, std::size_t item_bytes,
                       std::span<const std::int64_t> shape, std::span<const std::int64_t> strides)
    : data_(data), item_bytes_(item_bytes) {
  const auto bytes = static_cast<std::int64_t>(item_bytes);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    elements_ *= shape[d];
    if (shape[d] == 1) continue;
    const std::int64_t stride = strides[d] * bytes;
    if (!extents_.empty() && strides_.back() == stride * shape[d]) {
      extents_.back() *= shape[d];
      strides_.back() = stride;
    } else {
      extents_.push_back(shape[d]);
      strides_.push_back(stride);
    }
  }
  if (extents_.empty()) {
    extents_.push_back(1);
    strides_.push_back(bytes);
  }
}

void HostRegion::copy(std::int64_t begin, std::int64_t count, std::byte* out) const noexcept {
  const std::int64_t run = extents_.back();
  std::int64_t row = begin / run;
  std::int64_t skip = begin % run;
  while (count > 0) {
    std::int64_t offset = skip * strides_.back();
    std::int64_t rest = row++;
    for (std::size_t d = extents_.size() - 1; d-- > 0;) {
      offset += rest % extents_[d] * strides_[d];
      rest /= extents_[d];
    }
    const std::int64_t taken = std::min(run - skip, count);
    copy_run(data_ + offset, taken, out);
    out += taken * static_cast<std::int64_t>(item_bytes_);
    count -= taken;
    skip = 0;
  }
}

void HostRegion::copy_run(const std::byte* from, std::int64_t count,
                          std::byte* out) const noexcept {
  const std::int64_t stride = strides_.back();
  if (stride == static_cast<std::int64_t>(item_bytes_)) {
    std::memcpy(out, from, static_cast<std::size_t>(count) * item_bytes_);
    return;
  }
  switch (item_bytes_) {
    case 1:
      return copy_items<1>(from, stride, count, out);
    case 2:
      return copy_items<2>(from, stride, count, out);
    case 4:
      return copy_items<4>(from, stride, count, out);
    case 8:
      return copy_items<8>(from, stride, count, out);
    default:
      return copy_items<16>(from, stride, count, out);
  }
}

}  // namespace tessera::kernels::cuda
