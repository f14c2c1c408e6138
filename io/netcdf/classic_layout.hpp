#pragma once

#include <optional>
#include <string>

#include "core/file_system.hpp"
#include "io/netcdf/variable_layout.hpp"

namespace tessera::io {

/// Where a variable of a classic file (CDF-1, -2 or -5) lies, from the file's header. The library
/// reads such files too, but gives zeros for what was cut off. Nothing when the file is not
/// classic, the variable is not in it or holds text. \throws IoError when the header is cut off or
/// malformed. Source: NetCDF Classic Format Specification (Unidata).
std::optional<VariableLayout> classic_layout(const core::File& file, const std::string& variable);

}  // namespace tessera::io
