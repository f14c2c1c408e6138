#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_int16.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_int16(ScalarOp op) { return find_loop_of<std::int16_t>(op); }
Loop find_uint16(ScalarOp op) { return find_loop_of<std::uint16_t>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_int16);
Loop int16_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_int16)(op); }
HWY_EXPORT(find_uint16);
Loop uint16_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_uint16)(op); }
}  // namespace tessera::kernels::host
#endif
