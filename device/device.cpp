#include "device/device.hpp"

#include "core/text.hpp"

namespace tessera::device {

std::string to_string(DeviceId id) {
  const char* kind = id.kind == DeviceKind::kHost   ? "host:"
                     : id.kind == DeviceKind::kCuda ? "cuda:"
                                                    : "null:";
  return core::text(kind, id.number);
}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->give_back({data_, capacity_}, size_bytes_);
}

Buffer MemoryPool::allocate(std::size_t size_bytes) {
  const Allocation allocation = take(size_bytes);
  Buffer buffer;
  buffer.pool_ = this;
  buffer.data_ = allocation.data;
  buffer.capacity_ = allocation.capacity;
  buffer.size_bytes_ = size_bytes;
  return buffer;
}

DiskBlock::~DiskBlock() {
  if (tier_ != nullptr)
    tier_->release({array_, block_, offset_, size_bytes_, generation_, checksum_});
}

void DiskBlock::read(std::byte* out) const {
  tier_->load({array_, block_, offset_, size_bytes_, generation_, checksum_}, out);
}

DiskBlock DiskTier::write(std::int64_t array, std::int64_t block, const std::byte* data,
                          std::size_t size_bytes) {
  Record record{array, block, 0, size_bytes, 0, 0};
  store(record, data);
  DiskBlock out;
  out.tier_ = this;
  out.array_ = array;
  out.block_ = block;
  out.offset_ = record.offset;
  out.size_bytes_ = size_bytes;
  out.generation_ = record.generation;
  out.checksum_ = record.checksum;
  return out;
}

}  // namespace tessera::device
