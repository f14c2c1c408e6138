#include "kernels/task_spec.hpp"

#include <limits>

#include "core/text.hpp"
#include "kernels/specs.hpp"
#include "tessera/delayed.hpp"

namespace tessera::kernels {

std::size_t BlockSize::bytes_of(std::int64_t elements) const noexcept {
  // Planes of accumulators may take more bytes than can be counted; then no budget has room.
  constexpr std::int64_t kCounted = std::numeric_limits<std::int64_t>::max() / 64;
  if (accumulator_ && elements > kCounted) return std::numeric_limits<std::size_t>::max();
  return accumulator_ ? accumulator_bytes(op_, dtype_, elements)
                      : static_cast<std::size_t>(elements) * itemsize(dtype_);
}

void BlockSize::classify() {
  uniform_ = true;
  for (const AxisChunks& axis : grid_.axes()) {
    uniform_ = uniform_ && axis.is_regular() && axis.size(axis.count() - 1) == axis.size(0);
  }
  max_bytes_ = bytes_of(grid_.max_block_elements());
}

namespace {
std::string place_of(const detail::Call& call) {
  return core::source_place(call.file(), call.line());
}
}  // namespace

std::string CallsSpec::origin(std::int64_t block) const {
  return place_of(*calls[static_cast<std::size_t>(block)]);
}

std::string CallValuesSpec::origin(std::int64_t block) const {
  return place_of(*calls[static_cast<std::size_t>(block)]);
}

}  // namespace tessera::kernels
