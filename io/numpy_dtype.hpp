#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tessera/dtype.hpp"

// How NumPy, and formats after it, spell dtypes: byte order, kind and size, "<f8".

namespace tessera::io {

struct NumpyDtype {
  DType dtype = DType::kFloat64;
  bool swapped = false;  ///< the other byte order than this machine's
};

/// Nothing for what is no dtype of numbers.
std::optional<NumpyDtype> parse_numpy_dtype(std::string_view text) noexcept;
/// In this machine's byte order; empty for dtypes that NumPy lacks (bfloat16).
std::string numpy_dtype(DType dtype);

}  // namespace tessera::io
