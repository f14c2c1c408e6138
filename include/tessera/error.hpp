#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "tessera/export.hpp"

namespace tessera {

/// Base of every error this library throws. `what()` reads
/// `[where] rule that was broken; got <values>; try <hint>`, followed by one line for each level
/// that the error passed (operation, block, device, the user's source line).
class TESSERA_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A call that cannot mean anything: shapes, dtypes, axes, chunks, configuration values.
class TESSERA_EXPORT InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// A memory or disk budget that cannot hold what is asked for.
class TESSERA_EXPORT OutOfMemory : public Error {
 public:
  OutOfMemory(const std::string& text, std::size_t requested_bytes, std::size_t free_bytes,
              std::size_t budget_bytes)
      : Error(text),
        requested_bytes(requested_bytes),
        free_bytes(free_bytes),
        budget_bytes(budget_bytes) {}
  std::size_t requested_bytes;
  std::size_t free_bytes;
  std::size_t budget_bytes;
};

/// A device that stopped working; its session's blocks on host and disk stay readable.
class TESSERA_EXPORT DeviceError : public Error {
 public:
  using Error::Error;
};

/// A numerical or vendor library that reported a failure (LAPACK's info, a missing module).
class TESSERA_EXPORT LibraryError : public Error {
 public:
  using Error::Error;
};

/// A file that is missing, malformed, truncated or cannot be written; names the file.
class TESSERA_EXPORT IoError : public Error {
 public:
  using Error::Error;
};

/// A peer or a link that failed.
class TESSERA_EXPORT CommError : public Error {
 public:
  using Error::Error;
};

/// A computation that was cancelled through its stop token.
class TESSERA_EXPORT Cancelled : public Error {
 public:
  using Error::Error;
};

}  // namespace tessera
