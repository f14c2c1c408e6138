#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_float32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_float32(ScalarOp op) { return find_loop_of<float>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_float32);
Loop float32_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_float32)(op); }
}  // namespace tessera::kernels::host
#endif
