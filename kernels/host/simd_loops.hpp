// Loops over contiguous lanes made from the bodies, for one SIMD target: find_loop_of<T>(op) is the
// loop of `op` computed in T. Include after hwy/foreach_target.h and hwy/highway.h.

#if defined(TESSERA_SIMD_LOOPS) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_LOOPS
#undef TESSERA_SIMD_LOOPS
#else
#define TESSERA_SIMD_LOOPS
#endif

#include <cstdint>
#include <cstring>

#include "core/scalar_op.hpp"
#include "kernels/host/loops.hpp"
#include "kernels/host/simd_bodies.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {

using core::DTypeRule;
using core::ScalarOp;

// The body of an operation as a type.
template <ScalarOp kOp>
struct BodyOf;
#define TESSERA_SCALAR_OP(Enum, name, arity, rule, ulp)          \
  template <>                                                    \
  struct BodyOf<ScalarOp::Enum> {                                \
    static constexpr int kArity = arity;                         \
    static constexpr DTypeRule kRule = DTypeRule::rule;          \
    template <class... T>                                        \
    requires requires(T... x) { body::name(x...); }              \
    static inline auto call(T... x) { return body::name(x...); } \
  };
#include "core/scalar_ops.def"
#undef TESSERA_SCALAR_OP

template <class T>
inline constexpr bool kIsComplex = false;
template <class T>
inline constexpr bool kIsComplex<Complex<T>> = true;

// Whether operations of the rule are computed in T (core::infer_dtypes, seen from the lane type).
template <class T>
constexpr bool computes_in(DTypeRule rule) {
  constexpr bool kBool = std::is_same_v<T, Bool>;
  constexpr bool kInteger = std::is_integral_v<T>;
  constexpr bool kReal = std::is_floating_point_v<T>;
  constexpr bool kComplex = kIsComplex<T>;
  switch (rule) {
    case DTypeRule::kNumeric:
    case DTypeRule::kPredicate:
      return !kBool;
    case DTypeRule::kReal:
      return kInteger || kReal;
    case DTypeRule::kRealOrBool:
    case DTypeRule::kCompareReal:
      return !kComplex;
    case DTypeRule::kFloating:
    case DTypeRule::kAngle:
      return kReal || kComplex;
    case DTypeRule::kRealFloating:
    case DTypeRule::kPredicateReal:
      return kReal;
    case DTypeRule::kBitwise:
      return kBool || kInteger;
    case DTypeRule::kShift:
      return kInteger;
    case DTypeRule::kNumericOrBool:
    case DTypeRule::kRealOf:
    case DTypeRule::kCompareAny:
    case DTypeRule::kLogical:
    case DTypeRule::kSelect:
      return true;
  }
  return false;
}

// Buffers are padded, so that a loop may run over whole vectors and needs no remainder loop.
template <class... T>
inline std::int64_t padded(std::int64_t n) {
  std::size_t widest = 1;
  ((widest = sizeof(T) > widest ? sizeof(T) : widest), ...);
  const auto lanes = static_cast<std::int64_t>(kLanePadBytes / widest);
  return (n + lanes - 1) & -lanes;
}

// ivdep: the output may be an input, but then of the same lane.
template <ScalarOp kOp, class T>
HWY_FLATTEN void scalar_loop(const void* const* args, void* out, std::int64_t n) {
  using Body = BodyOf<kOp>;
  const T* a = static_cast<const T*>(args[0]);
  if constexpr (Body::kArity == 1) {
    using Result = decltype(Body::call(*a));
    Result* result = static_cast<Result*>(out);
    n = padded<T, Result>(n);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < n; ++i) result[i] = Body::call(a[i]);
  } else if constexpr (Body::kArity == 2) {
    using Result = decltype(Body::call(*a, *a));
    const T* b = static_cast<const T*>(args[1]);
    Result* result = static_cast<Result*>(out);
    n = padded<T, Result>(n);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < n; ++i) result[i] = Body::call(a[i], b[i]);
  } else {
    const Bool* condition = static_cast<const Bool*>(args[0]);
    const T* first = static_cast<const T*>(args[1]);
    const T* second = static_cast<const T*>(args[2]);
    T* result = static_cast<T*>(out);
    n = padded<T>(n);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < n; ++i) {
      result[i] = Body::call(condition[i], first[i], second[i]);
    }
  }
}

// For bodies that take a whole vector V of T.
template <ScalarOp kOp, class T, class V>
HWY_FLATTEN void vector_loop(const void* const* args, void* out, std::int64_t n) {
  using Body = BodyOf<kOp>;
  constexpr auto kLanes = static_cast<std::int64_t>(sizeof(V) / sizeof(T));
  const T* a = static_cast<const T*>(args[0]);
  T* result = static_cast<T*>(out);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    V x;
    std::memcpy(&x, a + i, sizeof(V));
    if constexpr (Body::kArity == 1) {
      x = Body::call(x);
    } else {
      V y;
      std::memcpy(&y, static_cast<const T*>(args[1]) + i, sizeof(V));
      x = Body::call(x, y);
    }
    std::memcpy(result + i, &x, sizeof(V));
  }
}

// The remainder of floats: a vector pass, then fmod for the few lanes that need it.
template <class T>
HWY_FLATTEN void remainder_loop(const void* const* args, void* out, std::int64_t n) {
  constexpr std::int64_t kBlock = static_cast<std::int64_t>(kLanePadBytes / sizeof(T));
  const T* a = static_cast<const T*>(args[0]);
  const T* b = static_cast<const T*>(args[1]);
  T* result = static_cast<T*>(out);
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    T values[kBlock];
    T exact[kBlock];
    T all_exact = 1;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const body::DivMod<T> both = body::divmod(a[begin + i], b[begin + i]);
      values[i] = both.remainder;
      exact[i] = both.exact ? T(1) : T(0);
    }
    for (std::int64_t i = 0; i < kBlock; ++i) all_exact *= exact[i];
    if (all_exact == 0) {
      for (std::int64_t i = 0; i < kBlock; ++i) {
        if (exact[i] == 0) values[i] = body::remainder(a[begin + i], b[begin + i]);
      }
    }
    std::memcpy(result + begin, values, sizeof(values));
  }
}

template <ScalarOp kOp, class T>
Loop make_loop() {
  using Body = BodyOf<kOp>;
  // Without an fma instruction fmod is the faster way.
  constexpr bool kHasFma = HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3;
  if constexpr (!computes_in<T>(Body::kRule)) {
    return nullptr;
  } else if constexpr (kOp == ScalarOp::kRemainder && std::is_floating_point_v<T> && kHasFma) {
    return remainder_loop<T>;
  } else if constexpr (Body::kArity == 1) {
    if constexpr (requires(T x) { Body::call(x); }) {
      return scalar_loop<kOp, T>;
    } else {
      using V = std::conditional_t<sizeof(T) == 8, prim::Doubles, prim::Floats>;
      return vector_loop<kOp, T, V>;
    }
  } else if constexpr (Body::kArity == 2) {
    if constexpr (requires(T x) { Body::call(x, x); }) {
      return scalar_loop<kOp, T>;
    } else {
      using V = std::conditional_t<sizeof(T) == 8, prim::Doubles, prim::Floats>;
      return vector_loop<kOp, T, V>;
    }
  } else {
    return scalar_loop<kOp, T>;
  }
}

template <class T>
Loop find_loop_of(ScalarOp op) {
  switch (op) {
#define TESSERA_SCALAR_OP(Enum, name, arity, rule, ulp) \
  case ScalarOp::Enum:                                  \
    return make_loop<ScalarOp::Enum, T>();
#include "core/scalar_ops.def"
#undef TESSERA_SCALAR_OP
    case ScalarOp::kCast:
      break;
  }
  return nullptr;
}

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
