#pragma once

#include <cstddef>
#include <span>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {

/// Hands out parts of a caller's scratch memory, each on a 64-byte boundary. Without memory it only
/// adds up: a kernel lays its scratch out in one function, run once to declare the bytes and once to
/// use them.
class ScratchLayout {
 public:
  ScratchLayout() = default;
  explicit ScratchLayout(std::span<std::byte> memory) noexcept : memory_(memory) {}

  /// Room for `count` elements, or null where there is no memory for it.
  template <typename T>
  T* take(std::size_t count) noexcept {
    const std::size_t begin = bytes_;
    bytes_ += (count * sizeof(T) + 63) / 64 * 64;
    return bytes_ <= memory_.size() ? reinterpret_cast<T*>(memory_.data() + begin) : nullptr;
  }

  std::size_t bytes() const noexcept { return bytes_; }

  /// \throws InvalidArgument naming `where` when the memory was too small for what was taken.
  void check(const char* where) const {
    if (bytes_ <= memory_.size()) return;
    throw InvalidArgument(core::text("[", where, "] the scratch memory must hold ", bytes_,
                                     " bytes; got ", memory_.size(), "; try ", where,
                                     "_scratch_bytes()"));
  }

 private:
  std::span<std::byte> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace tessera::kernels::host
