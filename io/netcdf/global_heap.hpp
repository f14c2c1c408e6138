#pragma once

#include "core/file_system.hpp"

namespace tessera::io {

/// Checks what HDF5 believes without looking, and crashes or hangs over: the sizes in the global
/// heaps, where netCDF-4 files keep references to dimensions and lists of strings. Looks for heaps
/// in the first and last 256 KiB of a file, where writers put them. Does nothing for other files.
/// \throws IoError naming the file when a heap is damaged. Source: HDF5 File Format Specification,
/// III.E.
void check_global_heaps(const core::File& file);

}  // namespace tessera::io
