#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera::kernels::cuda {

/// A folder of compiled kernels that processes share. A file is named by a hash of its key, holds
/// the key, and is checked when it is read; every problem with the folder counts as a kernel that
/// is not there. Thread safe.
class CubinFolder {
 public:
  /// An empty path: no folder.
  explicit CubinFolder(std::string path) : path_(std::move(path)) {}
  /// TESSERA_CACHE_DIR, else $XDG_CACHE_HOME/tessera, else ~/.cache/tessera, else empty.
  static std::string default_path();

  std::optional<std::string> find(std::string_view key) const noexcept;
  void keep(std::string_view key, std::string_view cubin) const noexcept;
  /// Where the kernel of a key lies, if it does.
  std::string file_of(std::string_view key) const;

 private:
  std::string path_;
};

}  // namespace tessera::kernels::cuda
