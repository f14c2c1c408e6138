#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_int8.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
Loop find_bool(ScalarOp op) { return find_loop_of<Bool>(op); }
Loop find_int8(ScalarOp op) { return find_loop_of<std::int8_t>(op); }
Loop find_uint8(ScalarOp op) { return find_loop_of<std::uint8_t>(op); }
}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_bool);
Loop bool_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_bool)(op); }
HWY_EXPORT(find_int8);
Loop int8_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_int8)(op); }
HWY_EXPORT(find_uint8);
Loop uint8_loop(core::ScalarOp op) { return HWY_DYNAMIC_DISPATCH(find_uint8)(op); }
}  // namespace tessera::kernels::host
#endif
