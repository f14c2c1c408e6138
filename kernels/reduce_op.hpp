#pragma once

#include "core/reduce_op.hpp"

namespace tessera::kernels {

using core::accumulator_bytes;
using core::accumulator_dtypes;
using core::accumulator_offset;
using core::has_identity;
using core::reduced_dtype;
using core::ReduceOp;

}  // namespace tessera::kernels
