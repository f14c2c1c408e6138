#pragma once

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

}  // namespace tessera::io
