#include "kernels/cuda/cubin_folder.hpp"

#include <xxhash.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "core/environment.hpp"
#include "core/file_system.hpp"

namespace tessera::kernels::cuda {

namespace {

/// Key and cubin follow it.
struct FileHead {
  std::array<char, 16> magic;
  std::uint64_t key_bytes;
  std::uint64_t cubin_bytes;
  std::uint64_t checksum;  ///< of what follows
};
constexpr std::array<char, 16> kMagic = {'t', 'e', 's', 's', 'e', 'r', 'a', ' ',
                                         'c', 'u', 'b', 'i', 'n', ' ', '1', '\n'};

const char* absolute_path(const char* variable) {
  const char* path = std::getenv(variable);
  return path != nullptr && path[0] == '/' ? path : nullptr;
}

}  // namespace

std::string CubinFolder::default_path() {
  if (!core::environment().cache_dir.empty()) return core::environment().cache_dir;
  if (const char* cache = absolute_path("XDG_CACHE_HOME")) return std::string(cache) + "/tessera";
  if (const char* home = absolute_path("HOME")) return std::string(home) + "/.cache/tessera";
  return {};
}

std::string CubinFolder::file_of(std::string_view key) const {
  XXH128_canonical_t hash;
  XXH128_canonicalFromHash(&hash, XXH3_128bits(key.data(), key.size()));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (const unsigned char byte : hash.digest) name += {kDigits[byte / 16], kDigits[byte % 16]};
  return path_ + "/" + name + ".cubin";
}

std::optional<std::string> CubinFolder::find(std::string_view key) const noexcept {
  try {
    if (path_.empty()) return std::nullopt;
    const std::string path = file_of(key);
    const core::FileSystem& files = core::posix_file_system();
    if (!files.find(path)) return std::nullopt;
    const std::string bytes = files.read_file(path);
    FileHead head;
    if (bytes.size() < sizeof(head)) return std::nullopt;
    std::memcpy(&head, bytes.data(), sizeof(head));
    const std::string_view rest = std::string_view(bytes).substr(sizeof(head));
    if (head.magic != kMagic || head.key_bytes > rest.size() ||
        head.cubin_bytes != rest.size() - head.key_bytes ||
        head.checksum != XXH3_64bits(rest.data(), rest.size()) ||
        rest.substr(0, head.key_bytes) != key) {
      return std::nullopt;
    }
    return std::string(rest.substr(head.key_bytes));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

void CubinFolder::keep(std::string_view key, std::string_view cubin) const noexcept {
  try {
    if (path_.empty()) return;
    const core::FileSystem& files = core::posix_file_system();
    files.make_directories(path_, "cache");
    const std::string rest = std::string(key).append(cubin);
    const FileHead head{kMagic, key.size(), cubin.size(), XXH3_64bits(rest.data(), rest.size())};
    core::AtomicFile out(files, file_of(key), "cache");
    out.file().pwrite_all(&head, sizeof(head), 0);
    out.file().pwrite_all(rest.data(), rest.size(), sizeof(head));
    out.commit();
  } catch (const std::exception& problem) {
    core::log(core::LogLevel::kDebug,
              std::string("a compiled kernel is not kept: ") + problem.what());
  }
}

}  // namespace tessera::kernels::cuda
