#include "kernels/host/loops.hpp"

#include "kernels/host/loop_tables.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {

const char* name_of_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(name_of_target);
std::string_view simd_target() { return HWY_DYNAMIC_DISPATCH(name_of_target)(); }

Loop find_loop(core::ScalarOp op, DType compute) {
  switch (compute) {
    case DType::kBool:
      return bool_loop(op);
    case DType::kInt8:
      return int8_loop(op);
    case DType::kInt16:
      return int16_loop(op);
    case DType::kInt32:
      return int32_loop(op);
    case DType::kInt64:
      return int64_loop(op);
    case DType::kUInt8:
      return uint8_loop(op);
    case DType::kUInt16:
      return uint16_loop(op);
    case DType::kUInt32:
      return uint32_loop(op);
    case DType::kUInt64:
      return uint64_loop(op);
    case DType::kFloat16:
    case DType::kBFloat16:
      return op == core::ScalarOp::kWhere ? uint16_loop(op) : nullptr;
    case DType::kFloat32:
      return float32_loop(op);
    case DType::kFloat64:
      return float64_loop(op);
    case DType::kComplex64:
      return complex64_loop(op);
    case DType::kComplex128:
      return complex128_loop(op);
  }
  return nullptr;
}

}  // namespace tessera::kernels::host
#endif
