#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tessera/dtype.hpp"

// CUDA C++ of the kernels that work on whole blocks: copies, gathers, products of integers, and
// what stands around cuSOLVER's factorisations. They include nothing; each takes one `Params`,
// whose twin stands beside its launch.

namespace tessera::kernels::cuda {

/// Defines Unit, which has 1, 2, 4, 8 or 16 bytes.
std::string unit_type(std::size_t bytes);
/// The type of an integer, bool (unsigned char) or real float.
std::string element_type(DType dtype);

/// copy_rows, copy_tiles and fill_rows, for units of 1, 2, 4, 8 or 16 bytes. Rows are walked by
/// blocks of 256 threads in any rectangle, squares of copy_tiles by 32 x 8.
std::string copy_source(std::size_t unit_bytes);
/// take, for such units: one piece's part of a gather along an axis.
std::string take_source(std::size_t unit_bytes);
/// mirror_lower, for items of 4 or 8 bytes: copies what lies below a square matrix's diagonal to
/// above it. 32 x 8 threads for each square of 32 x 32.
std::string mirror_source(std::size_t item_bytes);
/// multiply, for an integer dtype (signed and unsigned ones share it) or bool. 16 x 16 threads for
/// each square of 64 x 64 elements of the product.
std::string integer_gemm_source(DType dtype);
/// make_keys, make_lanes and write_sorted, for integers, bools and real floats: what stands before
/// and behind CUB's sort of a block's lanes. Blocks of 256 threads.
std::string sort_source(DType dtype);
/// count_bins, for integers, bools and real floats: adds how many elements fall into each bin.
/// Blocks of 256 threads.
std::string histogram_source(DType dtype);
/// clear_lower, and find_unbounded, which sets a flag where an element is not finite.
std::string factor_source(DType dtype);

/// One of the sources above, for tests that compile all there are.
struct BlockSource {
  std::string name;
  std::string text;
  std::vector<std::string> kernels;
};
std::vector<BlockSource> block_sources();

}  // namespace tessera::kernels::cuda
