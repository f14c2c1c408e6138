#include <array>
#include <utility>

#include "kernels/host/loops.hpp"
#include "kernels/host/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/loops_pairs.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {
namespace {

template <PairOp kOp, class T>
HWY_INLINE T apply(T a, T b) {
  if constexpr (kOp == PairOp::kAdd) return a + b;
  if constexpr (kOp == PairOp::kSubtract) return a - b;
  if constexpr (kOp == PairOp::kSubtractFrom) return b - a;
  return a * b;
}

// As in simd_loops.hpp: whole vectors, and the output may be an input of the same lane.
template <class T, PairOp kFirst, bool kYUniform, PairOp kSecond, bool kZUniform>
HWY_FLATTEN void pair_loop(const void* const* args, void* out, std::int64_t n) {
  constexpr auto kLanes = static_cast<std::int64_t>(kLanePadBytes / sizeof(T));
  const T* x = static_cast<const T*>(args[0]);
  const T* y = static_cast<const T*>(args[1]);
  const T* z = static_cast<const T*>(args[2]);
  T* result = static_cast<T*>(out);
  const T y_all = *y;
  const T z_all = *z;
  n = (n + kLanes - 1) & -kLanes;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) {
    const T first = apply<kFirst>(x[i], kYUniform ? y_all : y[i]);
    result[i] = apply<kSecond>(first, kZUniform ? z_all : z[i]);
  }
}

constexpr std::size_t kPairs = 64;  // 4 operations and 2 kinds of operand, twice

template <class T, std::size_t... kNumbers>
constexpr std::array<Loop, kPairs> all_pairs(std::index_sequence<kNumbers...>) {
  return {pair_loop<T, static_cast<PairOp>(kNumbers / 16), kNumbers / 8 % 2 == 1,
                    static_cast<PairOp>(kNumbers / 2 % 4), kNumbers % 2 == 1>...};
}

}  // namespace

Loop find_pair_here(const Pair& pair, bool is_double) {
  constexpr auto kNumbers = std::make_index_sequence<kPairs>();
  static constexpr std::array<Loop, kPairs> kFloats = all_pairs<float>(kNumbers);
  static constexpr std::array<Loop, kPairs> kDoubles = all_pairs<double>(kNumbers);
  const auto number = static_cast<std::size_t>(pair.first) * 16 + (pair.y_uniform ? 8u : 0u) +
                      static_cast<std::size_t>(pair.second) * 2 + (pair.z_uniform ? 1u : 0u);
  return (is_double ? kDoubles : kFloats)[number];
}

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
HWY_EXPORT(find_pair_here);

std::optional<PairOp> pair_op(core::ScalarOp op, DType compute) noexcept {
  if (compute != DType::kFloat32 && compute != DType::kFloat64) return std::nullopt;
  if (op == core::ScalarOp::kAdd) return PairOp::kAdd;
  if (op == core::ScalarOp::kSubtract) return PairOp::kSubtract;
  if (op == core::ScalarOp::kMultiply) return PairOp::kMultiply;
  return std::nullopt;
}

Loop find_pair(const Pair& pair, DType compute) {
  return HWY_DYNAMIC_DISPATCH(find_pair_here)(pair, compute == DType::kFloat64);
}

}  // namespace tessera::kernels::host
#endif
