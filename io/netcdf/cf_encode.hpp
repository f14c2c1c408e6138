#pragma once

#include <cstddef>

#include "tessera/dtype.hpp"
#include "tessera/io.hpp"

// Values as the CF conventions store them: the inverse of cf_decode for packed floats.

namespace tessera::io {

/// The number that stands for NaN among packed values of a dtype.
Scalar packed_fill(DType dtype);

/// Packs `elements` values of `dtype` (float32 or float64) into `out`. \throws InvalidArgument for
/// a value that is too large, naming it.
void cf_encode(const NetcdfPacking& packing, DType dtype, const std::byte* in, std::byte* out,
               std::size_t elements);

}  // namespace tessera::io
