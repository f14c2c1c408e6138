#include "device/host/extents.hpp"

#include <iterator>

namespace tessera::device {

void Extents::forget(std::map<std::uint64_t, BySize::iterator>::iterator range) {
  by_size_.erase(range->second);
  by_offset_.erase(range);
}

void Extents::remember(std::uint64_t offset, std::uint64_t size) {
  by_offset_.emplace(offset, by_size_.emplace(size, offset));
}

std::uint64_t Extents::take(std::uint64_t size_bytes) {
  const std::uint64_t size = rounded(size_bytes);
  const auto fit = by_size_.lower_bound(size);
  if (fit == by_size_.end()) {
    const std::uint64_t offset = end_;
    end_ += size;
    return offset;
  }
  const std::uint64_t offset = fit->second;
  const std::uint64_t rest = fit->first - size;
  forget(by_offset_.find(offset));
  if (rest > 0) remember(offset + size, rest);
  return offset;
}

void Extents::give_back(std::uint64_t offset, std::uint64_t size_bytes) {
  std::uint64_t size = rounded(size_bytes);
  const auto after = by_offset_.lower_bound(offset);
  if (after != by_offset_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second->first == offset) {
      offset = before->first;
      size += before->second->first;
      forget(before);
    }
  }
  if (after != by_offset_.end() && after->first == offset + size) {
    size += after->second->first;
    forget(after);
  }
  if (offset + size == end_) {
    end_ = offset;
  } else {
    remember(offset, size);
  }
}

}  // namespace tessera::device
