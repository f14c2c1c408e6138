#pragma once

#include "core/file_system.hpp"
#include "io/npy/npy.hpp"

namespace tessera::io {

/// The header of an open .npy file of the given size. \throws IoError naming file and field.
NpyHeader read_npy_header(const core::File& file, const core::FileStatus& status);

}  // namespace tessera::io
