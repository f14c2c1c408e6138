#include "kernels/host/loops.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_cast.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_loops.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {

template <class From, class To>
HWY_FLATTEN void cast_loop(const void* const* args, void* out, std::int64_t n) {
  const From* from = static_cast<const From*>(args[0]);
  To* to = static_cast<To*>(out);
  n = padded<From, To>(n);
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) to[i] = body::Cast<To>::from(from[i]);
}

template <class From, class To>
Loop make_cast() {
  if constexpr (requires(From x) { body::Cast<To>::from(x); }) {
    return cast_loop<From, To>;
  } else {
    return nullptr;
  }
}

template <class From>
Loop find_cast_from(DType to) {
  switch (to) {
    case DType::kBool:
      return make_cast<From, Bool>();
    case DType::kInt8:
      return make_cast<From, std::int8_t>();
    case DType::kInt16:
      return make_cast<From, std::int16_t>();
    case DType::kInt32:
      return make_cast<From, std::int32_t>();
    case DType::kInt64:
      return make_cast<From, std::int64_t>();
    case DType::kUInt8:
      return make_cast<From, std::uint8_t>();
    case DType::kUInt16:
      return make_cast<From, std::uint16_t>();
    case DType::kUInt32:
      return make_cast<From, std::uint32_t>();
    case DType::kUInt64:
      return make_cast<From, std::uint64_t>();
    case DType::kFloat16:
      return make_cast<From, Half>();
    case DType::kBFloat16:
      return make_cast<From, BFloat16>();
    case DType::kFloat32:
      return make_cast<From, float>();
    case DType::kFloat64:
      return make_cast<From, double>();
    case DType::kComplex64:
      return make_cast<From, Complex<float>>();
    case DType::kComplex128:
      return make_cast<From, Complex<double>>();
  }
  return nullptr;
}

Loop find_any_cast(DType from, DType to) {
  switch (from) {
    case DType::kBool:
      return find_cast_from<Bool>(to);
    case DType::kInt8:
      return find_cast_from<std::int8_t>(to);
    case DType::kInt16:
      return find_cast_from<std::int16_t>(to);
    case DType::kInt32:
      return find_cast_from<std::int32_t>(to);
    case DType::kInt64:
      return find_cast_from<std::int64_t>(to);
    case DType::kUInt8:
      return find_cast_from<std::uint8_t>(to);
    case DType::kUInt16:
      return find_cast_from<std::uint16_t>(to);
    case DType::kUInt32:
      return find_cast_from<std::uint32_t>(to);
    case DType::kUInt64:
      return find_cast_from<std::uint64_t>(to);
    case DType::kFloat16:
      return find_cast_from<Half>(to);
    case DType::kBFloat16:
      return find_cast_from<BFloat16>(to);
    case DType::kFloat32:
      return find_cast_from<float>(to);
    case DType::kFloat64:
      return find_cast_from<double>(to);
    case DType::kComplex64:
      return find_cast_from<Complex<float>>(to);
    case DType::kComplex128:
      return find_cast_from<Complex<double>>(to);
  }
  return nullptr;
}

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(find_any_cast);
Loop find_cast(DType from, DType to) { return HWY_DYNAMIC_DISPATCH(find_any_cast)(from, to); }

}  // namespace tessera::kernels::host
#endif
