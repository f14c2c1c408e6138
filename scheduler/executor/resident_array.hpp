#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/host_devices.hpp"
#include "scheduler/executor/dispatcher.hpp"

namespace tessera::scheduler {

/// What one block is stored in: memory, or a place on disk, or nothing.
struct StoredBlock {
  device::Buffer memory;
  device::DiskBlock disk;
};

/// The blocks of one stored array that outlive the run that made them, each in the tier where it
/// was left. A later run that reads the array borrows the blocks, may move them to other tiers, and
/// puts them back. Not to be read while a run has it.
class ResidentArray {
 public:
  /// No blocks yet. `devices` lives at least as long as the array; the node is the one that makes
  /// it.
  ResidentArray(std::shared_ptr<device::HostDevices> devices, kernels::BlockSize size,
                const PlanNode& node);

  /// Whose pools and disk tier hold the blocks.
  const device::HostDevices& devices() const noexcept { return *devices_; }
  const kernels::BlockSize& size() const noexcept { return size_; }
  /// For errors: the operations that made it, and the user's source line.
  const std::string& label() const noexcept { return label_; }
  const std::string& origin() const noexcept { return origin_; }
  std::int64_t block_count() const noexcept { return static_cast<std::int64_t>(blocks_.size()); }
  /// Where the block lies.
  Place place(std::int64_t block) const;
  /// The block's dense bytes in its device's memory, valid until the next run; null while they are
  /// on disk.
  const std::byte* data(std::int64_t block) const noexcept;
  /// Copies the block's bytes to `out`, from wherever they are.
  /// \throws IoError when they cannot be read back from disk as they were written.
  void copy_to(std::int64_t block, std::byte* out) const;
  /// Brings the block to device memory, where one has room, and says which; nothing where none has.
  /// \throws IoError as copy_to().
  std::optional<std::size_t> bring_to_device(std::int64_t block);
  /// With several ranks: whose each block is. Others' blocks are not here, and what asks for one is
  /// refused.
  void set_owners(BlockOwners owners, comm::Rank self) noexcept;
  /// Null with one rank.
  const BlockOwners& owners() const noexcept { return owners_; }
  /// Whether blocks are lost: others' whose rank does not answer any more, or all that were here,
  /// after forget().
  bool is_lost(const std::function<bool(comm::Rank)>& is_there) const;
  /// Lets go of all blocks: the array is lost until it adopts another one's.
  void forget() noexcept;
  bool is_forgotten() const noexcept { return forgotten_; }
  /// Takes over all blocks of an array of the same values.
  void adopt(ResidentArray& computed) noexcept;
  /// Bytes of all blocks that are here.
  std::size_t size_bytes() const noexcept;

  /// Takes a block out and puts one in; for runs.
  StoredBlock take(std::int64_t block) noexcept;
  void put(std::int64_t block, StoredBlock stored) noexcept;

 private:
  std::shared_ptr<device::HostDevices> devices_;  // first: blocks go back to its pools
  kernels::BlockSize size_;
  std::string label_;
  std::string origin_;
  std::vector<StoredBlock> blocks_;
  BlockOwners owners_;
  comm::Rank self_;
  bool forgotten_ = false;
};

}  // namespace tessera::scheduler
