#include "io/netcdf/global_heap.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kWindowBytes = 256 * 1024;
constexpr std::string_view kHdf5Signature = "\x89HDF\r\n\x1a\n"sv;
// With the version and the bytes reserved behind it.
constexpr std::string_view kHeapSignature = "GCOL\x01\0\0\0"sv;
// Of the heap and of each object: what precedes a size, and the size.
constexpr std::uint64_t kHeaderBytes = 16;
constexpr std::size_t kSizePlace = 8;

using Header = std::array<unsigned char, kHeaderBytes>;

std::uint64_t little_endian(const Header& header, std::size_t place, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = value << 8 | header[place + i];
  return value;
}

/// Whether sizes take 8 bytes, as in every file that netCDF writes.
bool has_wide_sizes(std::string_view superblock) {
  if (superblock.size() < kHeaderBytes || !superblock.starts_with(kHdf5Signature)) return false;
  const unsigned version = static_cast<unsigned char>(superblock[kHdf5Signature.size()]);
  return superblock[version < 2 ? 14 : 10] == 8;
}

class HeapCheck {
 public:
  explicit HeapCheck(const core::File& file) : file_(file), size_(file.size()) {}

  void run() {
    load(0);
    if (!has_wide_sizes(window_)) return;
    check_window();
    if (size_ <= kWindowBytes) return;
    load(std::max(kWindowBytes, size_ - std::min(size_, kWindowBytes)) - kHeapSignature.size());
    check_window();
  }

 private:
  void load(std::uint64_t begin) {
    begin_ = begin;
    window_.resize(static_cast<std::size_t>(std::min(size_ - begin, kWindowBytes)));
    window_.resize(file_.pread_up_to(window_.data(), window_.size(), begin));
  }

  void check_window() {
    for (std::size_t at = window_.find(kHeapSignature); at != std::string::npos;
         at = window_.find(kHeapSignature, at + 1)) {
      check_heap(begin_ + at);
    }
  }

  Header header_at(std::uint64_t place) const {
    Header header;
    if (place >= begin_ && place - begin_ + kHeaderBytes <= window_.size()) {
      std::memcpy(header.data(), window_.data() + (place - begin_), kHeaderBytes);
    } else {
      file_.pread_all(header.data(), kHeaderBytes, place);
    }
    return header;
  }

  void check_heap(std::uint64_t heap) const {
    if (size_ - heap < kHeaderBytes) fail(heap, heap, size_ - heap);
    const std::uint64_t heap_bytes = little_endian(header_at(heap), kSizePlace, 8);
    if (heap_bytes < kHeaderBytes || heap_bytes > size_ - heap) fail(heap, heap, heap_bytes);
    const std::uint64_t end = heap + heap_bytes;
    for (std::uint64_t place = heap + kHeaderBytes; end - place >= kHeaderBytes;) {
      const Header header = header_at(place);
      const std::uint64_t declared = little_endian(header, kSizePlace, 8);
      // Object 0 is what is free, and counts its header; data of the others are padded.
      const bool free = little_endian(header, 0, 2) == 0;
      const std::uint64_t room = end - place;
      if (declared > room || (free && declared < kHeaderBytes)) fail(heap, place, declared);
      const std::uint64_t needed = free ? declared : kHeaderBytes + (declared + 7) / 8 * 8;
      if (needed > room) fail(heap, place, declared);
      place += needed;
    }
  }

  [[noreturn]] void fail(std::uint64_t heap, std::uint64_t place, std::uint64_t declared) const {
    throw IoError(core::text("[netcdf] the heaps of a file must be intact; got ", file_.path(),
                             ": in the heap at byte ", heap, " of ", size_, ", byte ", place,
                             " begins something of ", declared,
                             " bytes; try copying the file again"));
  }

  const core::File& file_;
  std::uint64_t size_;
  std::uint64_t begin_ = 0;
  std::string window_;
};

}  // namespace

void check_global_heaps(const core::File& file) { HeapCheck(file).run(); }

}  // namespace tessera::io
