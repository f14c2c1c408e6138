#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_int64.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_int64(ScalarOp op) { return find_loop_of<std::int64_t>(op); }
Loop find_uint64(ScalarOp op) { return find_loop_of<std::uint64_t>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_int64);
Loop int64_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_int64)(op); }
HWY_EXPORT(find_uint64);
Loop uint64_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_uint64)(op); }
}  // namespace tessera::kernels::host
#endif
