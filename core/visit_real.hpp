#pragma once

#include <cstdint>
#include <stdexcept>

#include "tessera/dtype.hpp"

namespace tessera::core {

/// Calls visit(T{}) with the C++ type of an integer dtype, float32 or float64.
template <typename Visit>
void visit_real(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::kInt8:
      return visit(std::int8_t{});
    case DType::kInt16:
      return visit(std::int16_t{});
    case DType::kInt32:
      return visit(std::int32_t{});
    case DType::kInt64:
      return visit(std::int64_t{});
    case DType::kUInt8:
      return visit(std::uint8_t{});
    case DType::kUInt16:
      return visit(std::uint16_t{});
    case DType::kUInt32:
      return visit(std::uint32_t{});
    case DType::kUInt64:
      return visit(std::uint64_t{});
    case DType::kFloat32:
      return visit(float{});
    case DType::kFloat64:
      return visit(double{});
    default:
      throw std::logic_error("[dtype] only integers, float32 and float64 are visited here");
  }
}

}  // namespace tessera::core
