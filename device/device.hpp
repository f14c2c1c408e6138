#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

// What the rest of the library knows of a device: a name, a pool of memory under a budget, streams
// that carry out work, and a disk tier below. One module for each kind implements it; device/host
// is the one that is always there, a CUDA module adds one more. Owned here: the life of bytes
// (Buffer, DiskBlock) and the contract of completion (Event). Not owned: which block lies where and
// what leaves when memory runs out (scheduler/executor), what a kernel does (kernels/).
//
// Life cycle: a session makes its devices, runs borrow their pools and streams, buffers go back to
// the pool that gave them. A pool outlives its buffers; a stream outlives the work given to it.

namespace tessera::device {

enum class DeviceKind : std::uint8_t { kHost, kCuda, kNull };

/// One device of this process.
struct DeviceId {
  DeviceKind kind = DeviceKind::kHost;
  int number = 0;
  bool operator==(const DeviceId&) const = default;
};

/// "host:1".
std::string to_string(DeviceId id);

class MemoryPool;

/// Bytes of one tier, given back to their pool when destroyed.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer();

  std::byte* data() const noexcept { return data_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  /// The pool it came from, null for an empty buffer.
  const MemoryPool* pool() const noexcept { return pool_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  friend class MemoryPool;
  void swap(Buffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(capacity_, other.capacity_);
  }
  MemoryPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  std::size_t capacity_ = 0;
};

/// Memory of one tier under a limit. Thread safe. On a device with streams, memory that is freed
/// may be handed out at once: what used it and what uses it next are ordered by the device's
/// stream.
class MemoryPool {
 public:
  virtual ~MemoryPool() = default;
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Uninitialised bytes, 256-byte aligned; up to the next multiple of 64 bytes they may be read
  /// and written. Zero bytes have an address of their own. \throws OutOfMemory over the limit, or
  /// when the machine has no memory left.
  Buffer allocate(std::size_t size_bytes);
  /// Bytes asked for and not yet given back: 0 at rest, or something leaks.
  virtual std::size_t bytes_in_use() const = 0;
  /// Bytes taken from the machine: those in use, rounding, and freed ones kept for reuse.
  virtual std::size_t bytes_held() const = 0;
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }
  /// Returns freed memory to the machine until at most `keep_bytes` of it are kept.
  virtual void trim(std::size_t keep_bytes) = 0;

 protected:
  struct Allocation {
    std::byte* data;
    std::size_t capacity;
  };
  explicit MemoryPool(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  virtual Allocation take(std::size_t size_bytes) = 0;
  virtual void give_back(Allocation allocation, std::size_t size_bytes) noexcept = 0;

 private:
  friend class Buffer;
  std::size_t limit_bytes_;
};

class DiskTier;

/// A block on disk, given back when destroyed. Carries what its bytes are checked against.
class DiskBlock {
 public:
  DiskBlock() = default;
  DiskBlock(DiskBlock&& other) noexcept { swap(other); }
  DiskBlock& operator=(DiskBlock&& other) noexcept {
    DiskBlock(std::move(other)).swap(*this);
    return *this;
  }
  ~DiskBlock();

  std::size_t size_bytes() const noexcept { return size_bytes_; }
  explicit operator bool() const noexcept { return tier_ != nullptr; }
  /// Reads the block into `out`. \throws IoError naming block and file when a read fails or the
  /// bytes are not those that were written.
  void read(std::byte* out) const;

 private:
  friend class DiskTier;
  void swap(DiskBlock& other) noexcept {
    std::swap(tier_, other.tier_);
    std::swap(array_, other.array_);
    std::swap(block_, other.block_);
    std::swap(offset_, other.offset_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(generation_, other.generation_);
    std::swap(checksum_, other.checksum_);
  }
  DiskTier* tier_ = nullptr;
  std::int64_t array_ = 0;
  std::int64_t block_ = 0;
  std::uint64_t offset_ = 0;
  std::size_t size_bytes_ = 0;
  std::uint64_t generation_ = 0;  ///< how many blocks had been written when this one was
  std::uint64_t checksum_ = 0;
};

/// Where blocks go when memory runs out. Thread safe.
class DiskTier {
 public:
  virtual ~DiskTier() = default;
  DiskTier(const DiskTier&) = delete;
  DiskTier& operator=(const DiskTier&) = delete;

  /// Writes a block; `array` and `block` name it in errors and are part of its checksum.
  /// \throws IoError naming the path, the bytes needed and those free; OutOfMemory over the limit.
  DiskBlock write(std::int64_t array, std::int64_t block, const std::byte* data,
                  std::size_t size_bytes);
  virtual std::size_t bytes_in_use() const = 0;
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }

 protected:
  struct Record {
    std::int64_t array = 0;
    std::int64_t block = 0;
    std::uint64_t offset = 0;
    std::size_t size_bytes = 0;
    std::uint64_t generation = 0;
    std::uint64_t checksum = 0;
  };
  explicit DiskTier(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  /// Fills in offset, generation and checksum.
  virtual void store(Record& record, const std::byte* data) = 0;
  virtual void load(const Record& record, std::byte* out) = 0;
  virtual void release(const Record& record) noexcept = 0;

 private:
  friend class DiskBlock;
  std::size_t limit_bytes_;
};

/// How a piece of work ended. Done means that its event has fired; an event carries the failure of
/// the work that signals it.
class Event {
 public:
  Event() = default;
  explicit Event(std::exception_ptr failure) noexcept : failure_(std::move(failure)) {}
  const std::exception_ptr& failure() const noexcept { return failure_; }

 private:
  std::exception_ptr failure_;
};

/// Where work of a device that computes by itself (a GPU) is put, to be done in order. Belongs to one
/// thread at a time.
class Queue {
 public:
  virtual ~Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  /// Copies bytes within the memory of the queue's device, the host's, or between the two, behind
  /// what was queued before. \throws DeviceError.
  virtual void copy(std::byte* to, const std::byte* from, std::size_t size_bytes) = 0;
  /// The same to the memory of the queue's device from that of another one of its session.
  virtual void copy_from(std::size_t device, std::byte* to, const std::byte* from,
                         std::size_t size_bytes) = 0;
  /// Returns when everything that was queued is done. \throws DeviceError when some of it failed.
  virtual void wait() = 0;
  /// Keeps a buffer until everything queued so far is done.
  virtual void keep(Buffer buffer) = 0;
  /// Memory of the queue's device, and host memory that copies go to and from at full speed.
  virtual MemoryPool& memory() noexcept = 0;
  virtual MemoryPool& staging() noexcept = 0;

 protected:
  Queue() = default;
};

/// A piece of work for a stream. Whoever submits it keeps it alive until done() is called.
class Work {
 public:
  /// Does the work, or puts it on the queue of the stream's device; null where the device has none,
  /// and what run() does is done when it returns. What it throws is the event's failure.
  virtual void run(Queue* queue) = 0;
  /// The work's event has fired. Nothing of the work is touched afterwards.
  virtual void done(const Event& event) noexcept = 0;

 protected:
  ~Work() = default;
};

/// An ordered queue of work of one device. Thread safe.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Queues the work behind everything submitted before. \throws Error when it cannot be queued;
  /// done() is not called then.
  virtual void submit(Work& work) = 0;
};

/// One device as a run sees it. A device without streams has its work done by the session's workers.
struct Device {
  DeviceId id;
  MemoryPool* pool = nullptr;  ///< its limit is the device's budget
  Stream* compute = nullptr;
  Stream* copy_in = nullptr;   ///< of blocks to this device
  Stream* copy_out = nullptr;  ///< of blocks from this device to the tiers below
};

}  // namespace tessera::device
