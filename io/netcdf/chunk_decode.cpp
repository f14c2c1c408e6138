#include "io/netcdf/chunk_decode.hpp"

#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace tessera::io {
namespace {

struct DecompressorDeleter {
  void operator()(libdeflate_decompressor* decompressor) const {
    libdeflate_free_decompressor(decompressor);
  }
};

libdeflate_decompressor* thread_decompressor() {
  static thread_local const std::unique_ptr<libdeflate_decompressor, DecompressorDeleter>
      decompressor(libdeflate_alloc_decompressor());
  if (decompressor == nullptr) throw std::bad_alloc();
  return decompressor.get();
}

/// Byte plane p of the input holds byte p of every element; bytes beyond the last element follow as
/// they are.
template <std::size_t Width>
void unshuffle_width(const std::byte* __restrict in, std::byte* __restrict out,
                     std::size_t elements) {
  for (std::size_t i = 0; i < elements; ++i) {
    for (std::size_t p = 0; p < Width; ++p) out[i * Width + p] = in[p * elements + i];
  }
}

void unshuffle(std::span<const std::byte> in, std::size_t width, std::byte* out) {
  const std::size_t elements = in.size() / width;
  if (in.empty()) return;  // its pointers may be null
  switch (width) {
    case 1:
      std::memcpy(out, in.data(), elements);
      break;
    case 2:
      unshuffle_width<2>(in.data(), out, elements);
      break;
    case 4:
      unshuffle_width<4>(in.data(), out, elements);
      break;
    default:
      unshuffle_width<8>(in.data(), out, elements);
      break;
  }
  const std::size_t done = elements * width;
  std::memcpy(out + done, in.data() + done, in.size() - done);
}

const char* check_fletcher32(std::span<const std::byte>& data) {
  if (data.size() < 4) return "it is too short for its checksum";
  const auto body = data.first(data.size() - 4);
  const auto* tail = reinterpret_cast<const unsigned char*>(data.data() + body.size());
  const auto word = [tail](int a, int b, int c, int d) {
    return static_cast<std::uint32_t>(tail[a]) | static_cast<std::uint32_t>(tail[b]) << 8 |
           static_cast<std::uint32_t>(tail[c]) << 16 | static_cast<std::uint32_t>(tail[d]) << 24;
  };
  const std::uint32_t sum = fletcher32(body);
  // Old HDF5 releases stored the halves with swapped bytes on little-endian machines.
  if (sum != word(0, 1, 2, 3) && sum != word(1, 0, 3, 2)) return "its fletcher32 checksum is wrong";
  data = body;
  return nullptr;
}

}  // namespace

bool can_decode(std::span<const std::uint32_t> filter_ids) {
  int deflates = 0;
  for (const std::uint32_t id : filter_ids) {
    if (id < 1 || id > 3) return false;
    deflates += id == static_cast<std::uint32_t>(ChunkFilter::kDeflate) ? 1 : 0;
  }
  // With two of them the size between is not known in advance.
  return deflates <= 1;
}

std::uint32_t fletcher32(std::span<const std::byte> data) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  std::size_t words = data.size() / 2;
  while (words > 0) {
    // 360 words are the most that cannot overflow the sums.
    std::size_t batch = std::min<std::size_t>(words, 360);
    words -= batch;
    for (; batch > 0; --batch, bytes += 2) {
      low += static_cast<std::uint32_t>(bytes[0]) << 8 | bytes[1];
      high += low;
    }
    low = (low & 0xffff) + (low >> 16);
    high = (high & 0xffff) + (high >> 16);
  }
  if (data.size() % 2 != 0) {
    low += static_cast<std::uint32_t>(*bytes) << 8;
    high += low;
    low = (low & 0xffff) + (low >> 16);
    high = (high & 0xffff) + (high >> 16);
  }
  low = (low & 0xffff) + (low >> 16);
  high = (high & 0xffff) + (high >> 16);
  return high << 16 | low;
}

const char* decode_chunk(std::span<const std::byte> raw, std::span<const std::uint32_t> filter_ids,
                         std::uint32_t filter_mask, std::size_t itemsize, std::span<std::byte> out,
                         ChunkScratch& scratch) {
  const auto applied = [&](std::size_t i) { return (filter_mask >> i & 1) == 0; };
  std::span<const std::byte> data = raw;
  for (std::size_t i = filter_ids.size(); i-- > 0;) {
    if (!applied(i)) continue;
    const auto filter = static_cast<ChunkFilter>(filter_ids[i]);
    if (filter == ChunkFilter::kFletcher32) {
      if (const char* problem = check_fletcher32(data)) return problem;
      continue;
    }
    std::size_t wanted = data.size();
    bool last = true;
    if (filter == ChunkFilter::kDeflate) wanted = out.size();
    for (std::size_t j = 0; j < i; ++j) {
      if (!applied(j)) continue;
      const bool checksum = filter_ids[j] == static_cast<std::uint32_t>(ChunkFilter::kFletcher32);
      if (checksum && filter == ChunkFilter::kDeflate) wanted += 4;
      last = false;
    }
    std::byte* target = out.data();
    if (!last || wanted != out.size()) {
      std::vector<std::byte>& buffer =
          data.data() == scratch.first.data() ? scratch.second : scratch.first;
      if (buffer.size() < wanted) buffer.resize(wanted);
      target = buffer.data();
    }
    if (filter == ChunkFilter::kShuffle) {
      unshuffle(data, itemsize, target);
    } else {
      std::size_t inflated = 0;
      const libdeflate_result result = libdeflate_zlib_decompress(
          thread_decompressor(), data.data(), data.size(), target, wanted, &inflated);
      if (result != LIBDEFLATE_SUCCESS || inflated != wanted)
        return "its compressed bytes are damaged";
    }
    data = {target, wanted};
  }
  if (data.size() != out.size()) return "it has another size than its shape says";
  if (data.data() != out.data() && !out.empty()) std::memcpy(out.data(), data.data(), out.size());
  return nullptr;
}

}  // namespace tessera::io
