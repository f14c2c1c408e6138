#include "device/host/spill_store.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/text.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

constexpr const char* kWhere = "spill";
// Of the limit: an empty file of more than that goes back to the disk instead of waiting for the
// session's end. A smaller one stays, since writing over it is twice as fast as taking new space
// (6.8 and 3.5 GB/s), and giving back 1.5 GiB takes 0.15 s or more in the middle of a run.
constexpr std::size_t kKeptShare = 8;

std::uint64_t mixed(std::uint64_t h, std::uint64_t value) noexcept {
  h = (h ^ value) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

class Checksum {
 public:
  Checksum(std::int64_t array, std::int64_t block, std::uint64_t generation, std::size_t size_bytes)
      : state_(XXH3_createState()) {
    if (state_ == nullptr) throw std::bad_alloc();
    std::uint64_t seed = mixed(0, static_cast<std::uint64_t>(array));
    seed = mixed(seed, static_cast<std::uint64_t>(block));
    seed = mixed(seed, generation);
    XXH3_64bits_reset_withSeed(state_.get(), mixed(seed, size_bytes));
  }
  void add(const std::byte* data, std::size_t size_bytes) {
    XXH3_64bits_update(state_.get(), data, size_bytes);
  }
  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

bool on_page(const void* data) noexcept {
  return reinterpret_cast<std::uintptr_t>(data) % Extents::kPageBytes == 0;
}

}  // namespace

// A piece's worth of page-aligned memory, for blocks and ends of blocks that do not lie on pages.
class SpillStore::Bounce {
 public:
  /// Borrows one from the store, or makes it, the first time it is needed.
  class Loan {
   public:
    explicit Loan(SpillStore& store) : store_(&store) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      if (!bounce_) return;
      const std::lock_guard lock(store_->mutex_);
      // More than the disk streams use need not be kept.
      if (store_->bounces_.size() < store_->bounces_.capacity())
        store_->bounces_.push_back(std::move(bounce_));
    }
    std::byte* data() {
      if (!bounce_) {
        const std::lock_guard lock(store_->mutex_);
        if (!store_->bounces_.empty()) {
          bounce_ = std::move(store_->bounces_.back());
          store_->bounces_.pop_back();
        }
      }
      if (!bounce_) bounce_ = std::make_unique<Bounce>();
      return bounce_->data_.get();
    }

   private:
    SpillStore* store_;
    std::unique_ptr<Bounce> bounce_;
  };

  Bounce() : data_(static_cast<std::byte*>(std::aligned_alloc(Extents::kPageBytes, kPieceBytes))) {
    if (!data_) throw std::bad_alloc();
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

SpillStore::SpillStore(const core::FileSystem& files, std::string folder, std::size_t limit_bytes)
    : DiskTier(limit_bytes), files_(&files), folder_(std::move(folder)) {
  bounces_.reserve(kStreams);
}

SpillStore::~SpillStore() = default;

std::size_t SpillStore::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

std::uint64_t SpillStore::file_bytes() const {
  const std::lock_guard lock(mutex_);
  return extents_.end();
}

void SpillStore::claim(Record& record) {
  const std::lock_guard lock(mutex_);
  const std::size_t free_bytes = limit_bytes() - std::min(limit_bytes(), in_use_);
  if (record.size_bytes > free_bytes) {
    throw OutOfMemory(core::text("[spill] blocks on disk must fit the budget; got ",
                                 format_bytes(record.size_bytes), " to write with ",
                                 format_bytes(in_use_), " in use of ", format_bytes(limit_bytes()),
                                 "; try a larger TESSERA_SPILL_LIMIT"),
                      record.size_bytes, free_bytes, limit_bytes());
  }
  if (!file_.is_open()) {
    files_->make_directories(folder_, kWhere);
    file_ = files_->create_unnamed(folder_, kWhere);
  }
  record.offset = extents_.take(record.size_bytes);
  file_end_ = std::max(file_end_, extents_.end());
  record.generation = ++generation_;
  in_use_ += record.size_bytes;
}

void SpillStore::release(const Record& record) noexcept {
  const std::lock_guard lock(mutex_);
  in_use_ -= record.size_bytes;
  try {
    extents_.give_back(record.offset, record.size_bytes);
    if (extents_.end() > 0 || file_end_ <= limit_bytes() / kKeptShare) return;
    file_.truncate(0);
    file_end_ = 0;
  } catch (const std::exception&) {
    // The range is lost until the session ends, which is all that can go wrong here.
  }
}

void SpillStore::store(Record& record, const std::byte* data) {
  claim(record);
  try {
    write_pieces(record, data);
  } catch (const IoError& e) {
    release(record);
    throw IoError(core::text(e.what(), "\n  spilling block ", record.block, " of array ",
                             record.array, ", ", format_bytes(record.size_bytes)));
  } catch (...) {
    release(record);
    throw;
  }
}

void SpillStore::write_pieces(Record& record, const std::byte* data) {
  Checksum checksum(record.array, record.block, record.generation, record.size_bytes);
  Bounce::Loan bounce(*this);
  for (std::size_t at = 0; at < record.size_bytes; at += kPieceBytes) {
    const std::size_t size = std::min(kPieceBytes, record.size_bytes - at);
    const std::size_t padded = Extents::rounded(size);
    checksum.add(data + at, size);
    const std::byte* from = data + at;
    if (!on_page(from) || size != padded) {
      std::memcpy(bounce.data(), from, size);
      std::memset(bounce.data() + size, 0, padded - size);
      from = bounce.data();
    }
    file_.pwrite_all(from, padded, record.offset + at);
  }
  record.checksum = checksum.value();
}

void SpillStore::load(const Record& record, std::byte* out) {
  Checksum checksum(record.array, record.block, record.generation, record.size_bytes);
  Bounce::Loan bounce(*this);
  try {
    for (std::size_t at = 0; at < record.size_bytes; at += kPieceBytes) {
      const std::size_t size = std::min(kPieceBytes, record.size_bytes - at);
      const std::size_t padded = Extents::rounded(size);
      const bool direct = on_page(out + at) && size == padded;
      file_.pread_all(direct ? out + at : bounce.data(), padded, record.offset + at);
      if (!direct) std::memcpy(out + at, bounce.data(), size);
      checksum.add(out + at, size);
    }
  } catch (const IoError& e) {
    throw IoError(core::text(e.what(), "\n  reading back block ", record.block, " of array ",
                             record.array, ", ", format_bytes(record.size_bytes)));
  }
  if (checksum.value() == record.checksum) return;
  throw IoError(
      core::text("[spill] a block must read back as it was written; got block ", record.block,
                 " of array ", record.array, ", ", format_bytes(record.size_bytes), " at byte ",
                 record.offset, " of the spill file in ", folder_,
                 ": its checksum differs; try checking that disk, or another TESSERA_SPILL_DIR"));
}

}  // namespace tessera::device
