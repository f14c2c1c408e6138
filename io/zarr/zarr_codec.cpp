#include "io/zarr/zarr_codec.hpp"

#include <libdeflate.h>
#include <zstd.h>

#include <cstring>
#include <memory>
#include <new>

#include "core/text.hpp"
#include "tessera/error.hpp"

#ifdef TESSERA_HAVE_BLOSC
#include <blosc.h>
#endif

namespace tessera::io {
namespace {

struct DeleteDecompressor {
  void operator()(libdeflate_decompressor* d) const noexcept { libdeflate_free_decompressor(d); }
};
struct DeleteCompressor {
  void operator()(libdeflate_compressor* c) const noexcept { libdeflate_free_compressor(c); }
};

[[noreturn]] void damaged(const std::string& path, std::string_view what) {
  throw IoError(core::text("[zarr] a chunk must hold all its values; got ", path, ": ", what,
                           "; try writing the store again"));
}

// The bytes that were decoded, -1 for damaged ones.
std::int64_t inflate(bool gzip, std::string_view in, std::span<std::byte> out) {
  thread_local const std::unique_ptr<libdeflate_decompressor, DeleteDecompressor> decompressor(
      libdeflate_alloc_decompressor());
  if (decompressor == nullptr) throw std::bad_alloc();
  const auto decompress = gzip ? libdeflate_gzip_decompress : libdeflate_zlib_decompress;
  std::size_t size = 0;
  const auto result =
      decompress(decompressor.get(), in.data(), in.size(), out.data(), out.size(), &size);
  return result == LIBDEFLATE_SUCCESS ? static_cast<std::int64_t>(size) : -1;
}

std::int64_t decode(ZarrCodec codec, std::string_view in, std::span<std::byte> out) {
  switch (codec) {
    case ZarrCodec::kZlib:
    case ZarrCodec::kGzip:
      return inflate(codec == ZarrCodec::kGzip, in, out);
    case ZarrCodec::kZstd: {
      const std::size_t size = ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
      return ZSTD_isError(size) != 0 ? -1 : static_cast<std::int64_t>(size);
    }
#ifdef TESSERA_HAVE_BLOSC
    case ZarrCodec::kBlosc: {
      std::size_t size = 0;
      if (blosc_cbuffer_validate(in.data(), in.size(), &size) != 0 || size != out.size()) return -1;
      return blosc_decompress_ctx(in.data(), out.data(), out.size(), 1);
    }
#endif
    default:
      break;
  }
  if (in.size() == out.size()) std::memcpy(out.data(), in.data(), in.size());
  return static_cast<std::int64_t>(in.size());
}

}  // namespace

ZarrCodec zarr_codec(std::string_view name, const std::string& path) {
  if (name == "zlib") return ZarrCodec::kZlib;
  if (name == "gzip") return ZarrCodec::kGzip;
  if (name == "zstd") return ZarrCodec::kZstd;
#ifdef TESSERA_HAVE_BLOSC
  if (name == "blosc") return ZarrCodec::kBlosc;
#endif
  throw IoError(
      core::text("[zarr] chunks are read that zlib, gzip, zstd or, where it was there when "
                 "this was built, blosc compressed; got \"",
                 name, "\" in ", path, "; try another compressor"));
}

void zarr_decode(ZarrCodec codec, std::string_view in, std::span<std::byte> out,
                 const std::string& path) {
  const std::int64_t size = decode(codec, in, out);
  if (size < 0) damaged(path, "damaged bytes");
  if (size != static_cast<std::int64_t>(out.size()))
    damaged(path, core::text(size, " bytes of values instead of ", out.size()));
}

std::vector<std::byte> zarr_encode(ZarrCodec codec, int level, std::span<const std::byte> in) {
  std::vector<std::byte> out;
  if (codec == ZarrCodec::kZstd) {
    out.resize(ZSTD_compressBound(in.size()));
    const std::size_t size = ZSTD_compress(out.data(), out.size(), in.data(), in.size(), level);
    if (ZSTD_isError(size) != 0) throw std::bad_alloc();  // the only way left to fail
    out.resize(size);
  } else if (codec == ZarrCodec::kZlib) {
    const std::unique_ptr<libdeflate_compressor, DeleteCompressor> compressor(
        libdeflate_alloc_compressor(level));
    if (compressor == nullptr) throw std::bad_alloc();
    out.resize(libdeflate_zlib_compress_bound(compressor.get(), in.size()));
    out.resize(
        libdeflate_zlib_compress(compressor.get(), in.data(), in.size(), out.data(), out.size()));
  } else {
    out.assign(in.begin(), in.end());
  }
  return out;
}

}  // namespace tessera::io
