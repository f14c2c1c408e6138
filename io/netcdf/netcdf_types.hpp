#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tessera/dtype.hpp"

namespace tessera::io {

/// The dtype of a NetCDF type code; nothing for text and user-defined types.
std::optional<DType> dtype_of_netcdf(int type);
/// The NetCDF type code of a dtype. \throws InvalidArgument for dtypes that NetCDF lacks.
int netcdf_of_dtype(DType dtype);
/// "float32", "char", "string", "user-defined".
std::string name_of_netcdf_type(int type);

/// Calls visit(T{}) with the C++ type of a dtype that NetCDF has.
template <typename Visit>
void visit_netcdf_dtype(DType dtype, Visit&& visit) {
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
    default:
      return visit(double{});
  }
}

}  // namespace tessera::io
