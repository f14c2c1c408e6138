#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_int32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_int32(ScalarOp op) { return find_loop_of<std::int32_t>(op); }
Loop find_uint32(ScalarOp op) { return find_loop_of<std::uint32_t>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_int32);
Loop int32_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_int32)(op); }
HWY_EXPORT(find_uint32);
Loop uint32_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_uint32)(op); }
}  // namespace tessera::kernels::host
#endif
