#pragma once

#include <string>
#include <vector>

// The vendor's shared libraries, which are found and loaded when they are first needed: a program
// that multiplies no matrices starts without cuBLAS. A library that is loaded stays until the
// process ends.

namespace tessera::device::cuda::vendor {

/// Statuses of this module beside those of the libraries, which are 0 and above.
inline constexpr int kMissingLibrary = -1;
inline constexpr int kTooLarge = -2;  ///< extents beyond what a library's 32-bit interface takes

/// One library, under any of several file names, the best first. Looks for it on the library path
/// (where an already loaded one is found, too), beside libraries that were found before, in
/// $CUDA_HOME, $CUDA_PATH and /usr/local/cuda, and in the folders of PyPI's nvidia packages.
class SharedLibrary {
 public:
  /// `needs`: file names of the libraries that this one links to, which PyPI may keep in other
  /// folders.
  explicit SharedLibrary(std::vector<std::string> names,
                         const std::vector<std::string>& needs = {});

  bool loaded() const noexcept { return handle_ != nullptr && complete_; }
  /// The file that was loaded; empty when there is none.
  const std::string& path() const noexcept { return path_; }
  std::string folder() const;
  /// Which files were looked for, where, and what was wrong with those that were there; empty when
  /// loaded.
  const std::string& problem() const noexcept { return problem_; }

  /// Sets `function` to the symbol; a library without it counts as missing.
  template <typename Function>
  void bind(Function& function, const char* symbol) {
    function = reinterpret_cast<Function>(find(symbol));
  }

 private:
  void* find(const char* symbol);
  bool open(const std::string& file, const std::vector<std::string>& needs);
  void* handle_ = nullptr;
  bool complete_ = true;  // no symbol was missing
  std::string path_;
  std::string problem_;
};

/// The name of a vendor's function in its library: header macros stand for versions of it.
#define TESSERA_VENDOR_SYMBOL(function) TESSERA_VENDOR_STRING(function)
#define TESSERA_VENDOR_STRING(function) #function

}  // namespace tessera::device::cuda::vendor
