#pragma once

#include <cstddef>
#include <string>

#include "tessera/dtype.hpp"

// CUDA C++ of searches and selections. Each takes one `Params`, whose twin stands beside its
// launch; blocks have 256 threads.

namespace tessera::kernels::cuda {

/// search and find, for integers, bools and real floats: places of elements in a sorted table, and
/// whether they are in it.
std::string search_source(DType dtype);
/// gather_along, for units of 1, 2, 4, 8 or 16 bytes: elements at positions along an axis. Counts
/// the positions that are none.
std::string gather_along_source(std::size_t unit_bytes);
/// count_true_of_tiles, sum_tiles and list_true: how many elements of a mask are true, and where.
std::string mask_source();
/// Elements of a tile of mask_source().
inline constexpr int kMaskTile = 4096;

}  // namespace tessera::kernels::cuda
