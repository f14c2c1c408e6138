#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_complex.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_complex64(ScalarOp op) { return find_loop_of<Complex<float>>(op); }
Loop find_complex128(ScalarOp op) { return find_loop_of<Complex<double>>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_complex64);
Loop complex64_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_complex64)(op); }
HWY_EXPORT(find_complex128);
Loop complex128_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_complex128)(op); }
}  // namespace tessera::kernels::host
#endif
