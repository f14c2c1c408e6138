#include "scheduler/executor/resident_array.hpp"

#include <algorithm>
#include <optional>

namespace tessera::scheduler {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

ResidentArray::ResidentArray(std::shared_ptr<device::HostDevices> devices, kernels::BlockSize size,
                             const PlanNode& node)
    : devices_(std::move(devices)),
      size_(std::move(size)),
      label_(node.label),
      origin_(node.origin),
      blocks_(at(size_.grid().block_count())) {}

Place ResidentArray::place(std::int64_t block) const {
  const StoredBlock& stored = blocks_[at(block)];
  if (stored.disk) return {Tier::kDisk, 0};
  if (const std::optional<std::size_t> device = devices_->device_of(stored.memory))
    return {Tier::kDevice, static_cast<DeviceIndex>(*device)};
  return {Tier::kHost, 0};
}

const std::byte* ResidentArray::data(std::int64_t block) const noexcept {
  return blocks_[at(block)].memory.data();
}

void ResidentArray::copy_to(std::int64_t block, std::byte* out) const {
  const StoredBlock& stored = blocks_[at(block)];
  if (stored.disk) {
    stored.disk.read(out);
  } else {
    devices_->copy_to_host(stored.memory, out);
  }
}

std::size_t ResidentArray::size_bytes() const noexcept {
  std::size_t total = 0;
  if (forgotten_) return 0;
  for (std::int64_t b = 0; b < block_count(); ++b) {
    if (owners_ == nullptr || (*owners_)[at(b)] == self_.number) total += size_.bytes(b);
  }
  return total;
}

void ResidentArray::set_owners(BlockOwners owners, comm::Rank self) noexcept {
  owners_ = std::move(owners);
  self_ = self;
}

bool ResidentArray::is_lost(const std::function<bool(comm::Rank)>& is_there) const {
  return forgotten_ || (owners_ != nullptr &&
                        !std::all_of(owners_->begin(), owners_->end(), [&](std::int32_t rank) {
                          return is_there(comm::Rank{rank});
                        }));
}

std::optional<std::size_t> ResidentArray::bring_to_device(std::int64_t block) {
  const Place from = place(block);
  if (from.tier == Tier::kDevice) return from.device;
  StoredBlock& stored = blocks_[at(block)];
  const std::size_t bytes = size_.bytes(block);
  for (std::size_t d = 0; d < devices_->devices().size(); ++d) {
    device::MemoryPool& pool = devices_->pool(d);
    if (bytes > pool.limit_bytes() - std::min(pool.bytes_in_use(), pool.limit_bytes())) continue;
    device::Buffer memory = pool.allocate(bytes);
    devices_->with_queue(d, [&](device::Queue* queue) {
      if (queue == nullptr) return copy_to(block, memory.data());
      std::unique_ptr<std::byte[]> read;
      if (from.tier == Tier::kDisk) {
        read = std::make_unique_for_overwrite<std::byte[]>(bytes);
        copy_to(block, read.get());
      }
      queue->copy(memory.data(), read != nullptr ? read.get() : stored.memory.data(), bytes);
      queue->wait();
    });
    stored = StoredBlock{std::move(memory), {}};
    return d;
  }
  return std::nullopt;
}

void ResidentArray::forget() noexcept {
  for (StoredBlock& block : blocks_) block = {};
  forgotten_ = true;
}

void ResidentArray::adopt(ResidentArray& computed) noexcept {
  blocks_.swap(computed.blocks_);
  owners_ = computed.owners_;
  forgotten_ = false;
}

StoredBlock ResidentArray::take(std::int64_t block) noexcept {
  return std::move(blocks_[at(block)]);
}

void ResidentArray::put(std::int64_t block, StoredBlock stored) noexcept {
  blocks_[at(block)] = std::move(stored);
}

}  // namespace tessera::scheduler
