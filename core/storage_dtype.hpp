#pragma once

#include "tessera/dtype.hpp"

namespace tessera::core {

/// False for float16 and bfloat16, which are stored, copied and converted only.
inline bool has_arithmetic(DType dtype) noexcept {
  return dtype != DType::kFloat16 && dtype != DType::kBFloat16;
}

}  // namespace tessera::core
