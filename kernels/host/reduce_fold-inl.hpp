// Included once per SIMD target by the reduce_*.cpp files: what their folding loops share.

#if defined(TESSERA_REDUCE_FOLD_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_REDUCE_FOLD_INL_
#undef TESSERA_REDUCE_FOLD_INL_
#else
#define TESSERA_REDUCE_FOLD_INL_
#endif

#include <complex>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/host/reduce_kernels.hpp"
#include "kernels/host/visit_dtype.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
struct PartsOf {
  using Real = T;
  static constexpr int kParts = 1;
};
template <>
struct PartsOf<bool> {
  using Real = std::uint8_t;
  static constexpr int kParts = 1;
};
template <typename T>
struct PartsOf<std::complex<T>> {
  using Real = T;
  static constexpr int kParts = 2;
};

template <typename T>
T* at(std::byte* data) {
  return reinterpret_cast<T*>(data);
}

template <typename T>
const T* values(const FoldArgs& a) {
  return reinterpret_cast<const T*>(a.values);
}

template <typename T>
bool is_nan(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return x != x;
  } else {
    return false;
  }
}

// GCC splits vectors wider than the target's registers into scalar moves.
#if HWY_CAP_GE512
constexpr std::int64_t kVectorBytes = 64;
#elif HWY_CAP_GE256
constexpr std::int64_t kVectorBytes = 32;
#else
constexpr std::int64_t kVectorBytes = 16;
#endif

template <typename T, std::int64_t kCount>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kCount * sizeof(T))));
};
template <typename T>
struct VectorOf<T, 1> {
  using Type = T;
};
template <typename T, std::int64_t kCount>
using Vector = typename VectorOf<T, kCount>::Type;

/// kWidth doubles in the widest vectors. The compiler does vectorise loops over arrays of lanes,
/// but not reliably where lanes are selected or several arrays carry the state.
template <std::int64_t kWidth>
struct Doubles {
  static constexpr std::int64_t kLanes = kWidth < kVectorBytes / 8 ? kWidth : kVectorBytes / 8;
  static constexpr std::int64_t kVectors = kWidth / kLanes;
  using V = Vector<double, kLanes>;

  static V load(const double* from) {
    V v;
    std::memcpy(&v, from, sizeof(V));
    return v;
  }
  template <typename T>
  static V convert(const T* from) {
    if constexpr (kLanes == 1) {
      return static_cast<double>(*from);
    } else if constexpr (HWY_TARGET != HWY_SCALAR && sizeof(T) < 8 &&
                         !std::is_same_v<T, std::uint32_t>) {
      return promote(from);
    } else {
      Vector<T, kLanes> v;
      std::memcpy(&v, from, sizeof(v));
      return __builtin_convertvector(v, V);
    }
  }
  static void store(double* to, const V& v) { std::memcpy(to, &v, sizeof(V)); }

  /// Where v is a number; with two parts, where both parts are.
  template <int kParts>
  static auto numbers(const V& v) {
    const auto own = v == v;
    if constexpr (kParts == 2) {
      return own & swap_parts(own, std::make_integer_sequence<int, static_cast<int>(kLanes)>{});
    } else {
      return own;
    }
  }

 private:
#if HWY_TARGET != HWY_SCALAR
  /// The compiler would convert narrow lanes one by one.
  template <typename T>
  static V promote(const T* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::CappedTag<double, static_cast<std::size_t>(kLanes)> doubles;
    const hn::Rebind<T, decltype(doubles)> narrow;
    const auto v = hn::LoadU(narrow, from);
    if constexpr (sizeof(T) < 4) {
      const hn::Rebind<std::int32_t, decltype(doubles)> ints;
      return V(hn::PromoteTo(doubles, hn::PromoteTo(ints, v)).raw);
    } else {
      return V(hn::PromoteTo(doubles, v).raw);
    }
  }
#else
  template <typename T>
  static V promote(const T* from);
#endif

  template <typename M, int... kLane>
  static M swap_parts(const M& mask, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(mask, mask, (kLane ^ 1)...);
  }
};

template <typename F>
constexpr std::array<std::size_t, kMaxWork> work_bytes_of() {
  std::array<std::size_t, kMaxWork> bytes{};
  for (std::size_t i = 0; i < F::kWorkBytes.size(); ++i) bytes[i] = F::kWorkBytes[i];
  return bytes;
}
template <typename F>
constexpr std::array<std::size_t, kMaxPlanes> plane_bytes_of() {
  std::array<std::size_t, kMaxPlanes> bytes{};
  for (std::size_t i = 0; i < F::kPlaneBytes.size(); ++i) bytes[i] = F::kPlaneBytes[i];
  return bytes;
}

/// Cuts the columns into groups whose state stays in registers while the rows go by.
template <typename F>
void fold_columns(const FoldArgs& args) {
  constexpr std::int64_t kLanes = F::kLanes;
  constexpr std::int64_t kFew = 8;
  FoldArgs a = args;
  for (std::int64_t q = 0; q < args.sequences; ++q) {
    std::int64_t c = 0;
    for (; c + kLanes <= a.cols; c += kLanes) F::template columns<kLanes>(a, c);
    for (; c + kFew <= a.cols; c += kFew) F::template columns<kFew>(a, c);
    for (; c < a.cols; ++c) F::template columns<1>(a, c);
    a.work = advance(a.work, work_bytes_of<F>(), kLanes);
    a.other = advance(a.other, work_bytes_of<F>(), kLanes);
    a.values += a.sequence_pitch * static_cast<std::int64_t>(F::kItemBytes);
    if (a.index != nullptr) a.index += a.index_sequence_pitch;
  }
}

template <typename F>
void collapse_sequences(const Work& work, std::int64_t count, std::int64_t sequences,
                        const Planes& out) {
  for (std::int64_t q = 0; q < sequences; ++q) {
    F::collapse(advance(work, work_bytes_of<F>(), q * F::kLanes), count,
                advance(out, plane_bytes_of<F>(), q));
  }
}

template <typename F>
ReduceKernels make_kernels() {
  ReduceKernels k;
  k.lanes = F::kLanes;
  k.blocked = F::kBlocked;
  k.work_count = F::kWorkBytes.size();
  k.work_bytes = work_bytes_of<F>();
  k.plane_count = F::kPlaneBytes.size();
  k.plane_bytes = plane_bytes_of<F>();
  k.init = &F::init;
  k.fold = &fold_columns<F>;
  k.flush = &F::flush;
  k.collapse = &collapse_sequences<F>;
  k.merge = &F::merge;
  k.identity = &F::identity;
  return k;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#endif
