#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tessera::kernels::cuda {

/// Elements in host memory at any strides, which are copied to dense memory in C order, a stretch
/// at a time.
class HostRegion {
 public:
  /// `data` is the first element; strides in elements.
  HostRegion(const std::byte* data, std::size_t item_bytes, std::span<const std::int64_t> shape,
             std::span<const std::int64_t> strides);

  std::int64_t elements() const noexcept { return elements_; }
  /// Copies elements [begin, begin + count).
  void copy(std::int64_t begin, std::int64_t count, std::byte* out) const noexcept;

 private:
  void copy_run(const std::byte* from, std::int64_t count, std::byte* out) const noexcept;

  const std::byte* data_;
  std::size_t item_bytes_;
  std::int64_t elements_ = 1;
  std::vector<std::int64_t> extents_;  ///< merged axes, outermost first; at least one
  std::vector<std::int64_t> strides_;  ///< in bytes
};

}  // namespace tessera::kernels::cuda
