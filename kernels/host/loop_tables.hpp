#pragma once

#include "core/scalar_op.hpp"
#include "kernels/host/loops.hpp"

// The loops of each compute dtype for the SIMD target in use, nullptr where the dtype rule excludes
// it. One source file per width (loops_<dtype>.cpp) keeps compile times down.

namespace tessera::kernels::host {

Loop bool_loop(core::ScalarOp op);
Loop int8_loop(core::ScalarOp op);
Loop uint8_loop(core::ScalarOp op);
Loop int16_loop(core::ScalarOp op);
Loop uint16_loop(core::ScalarOp op);
Loop int32_loop(core::ScalarOp op);
Loop uint32_loop(core::ScalarOp op);
Loop int64_loop(core::ScalarOp op);
Loop uint64_loop(core::ScalarOp op);
Loop float32_loop(core::ScalarOp op);
Loop float64_loop(core::ScalarOp op);
Loop complex64_loop(core::ScalarOp op);
Loop complex128_loop(core::ScalarOp op);

}  // namespace tessera::kernels::host
