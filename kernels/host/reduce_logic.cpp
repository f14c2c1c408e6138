#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/reduce_logic.cpp"
#include "hwy/foreach_target.h"
#include "kernels/host/reduce_fold-inl.hpp"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {

using core::ReduceOp;
namespace HWY_NAMESPACE {
namespace {

enum class Logic { kAny, kAll, kCount };

/// An unsigned integer as wide as T, so that comparisons and the state have equally many lanes.
template <std::size_t kBytes>
struct Flag {
  using Type = std::uint64_t;
};
template <>
struct Flag<1> {
  using Type = std::uint8_t;
};
template <>
struct Flag<2> {
  using Type = std::uint16_t;
};
template <>
struct Flag<4> {
  using Type = std::uint32_t;
};

/// any, all and count_nonzero; NaN is not zero.
template <typename T, Logic kLogic>
struct Truth {
  using Real = typename PartsOf<T>::Real;
  static constexpr std::int64_t kParts = PartsOf<T>::kParts;
  using Narrow = typename Flag<sizeof(Real)>::Type;
  using State = std::conditional_t<kLogic == Logic::kCount, std::int64_t, std::uint8_t>;
  // What a narrow counter can count.
  static constexpr std::int64_t kNarrowRows = sizeof(Real) == 1 ? 255 : 65535;
  using Plane = std::conditional_t<kLogic == Logic::kCount, std::int64_t, std::uint8_t>;
  static constexpr std::int64_t kLanes = 32;
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr bool kBlocked = false;
  static constexpr std::array<std::size_t, 1> kWorkBytes{sizeof(State)};
  static constexpr std::array<std::size_t, 1> kPlaneBytes{sizeof(Plane)};
  static constexpr std::uint8_t kEmpty = kLogic == Logic::kAll ? 1 : 0;

  static void init(const Work& work, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<State>(work[0])[c] = kEmpty;
  }

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    const Real* x = values<Real>(a) + c * kParts;
    State* state = at<State>(a.work[0]) + c;
    for (std::int64_t begin = 0; begin < a.rows;) {
      const std::int64_t end = a.rows - begin > kNarrowRows ? begin + kNarrowRows : a.rows;
      Narrow s[kCols];
      for (std::int64_t l = 0; l < kCols; ++l) s[l] = kEmpty;
      for (std::int64_t r = begin; r < end; ++r) {
        const Real* row = x + r * a.pitch * kParts;
        for (std::int64_t l = 0; l < kCols; ++l) {
          bool truth = row[l * kParts] != Real{0};
          if constexpr (kParts == 2) truth |= row[l * kParts + 1] != Real{0};
          s[l] = joined(s[l], truth ? Narrow{1} : Narrow{0});
        }
      }
      for (std::int64_t l = 0; l < kCols; ++l) {
        state[l] = joined(state[l], static_cast<State>(s[l]));
      }
      begin = end;
    }
  }

  static void flush(const Work& work, std::int64_t, std::int64_t cols, const Planes& out) {
    for (std::int64_t c = 0; c < cols; ++c) {
      at<Plane>(out[0])[c] = static_cast<Plane>(at<State>(work[0])[c]);
    }
  }

  static void collapse(const Work& work, std::int64_t, const Planes& out) {
    State s = kEmpty;
    for (std::int64_t l = 0; l < kLanes; ++l) s = joined(s, at<State>(work[0])[l]);
    at<Plane>(out[0])[0] = static_cast<Plane>(s);
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    Plane* a = at<Plane>(into[0]);
    const Plane* b = at<Plane>(from[0]);
    for (std::int64_t c = 0; c < cols; ++c) a[c] = joined(a[c], b[c]);
  }

  static void identity(const Planes& out, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<Plane>(out[0])[c] = static_cast<Plane>(kEmpty);
  }

 private:
  template <typename S>
  static S joined(S a, S b) {
    if constexpr (kLogic == Logic::kCount) return static_cast<S>(a + b);
    if constexpr (kLogic == Logic::kAny) return static_cast<S>(a | b);
    return static_cast<S>(a & b);
  }
};

ReduceKernels logic_kernels(ReduceOp op, DType dtype) {
  return visit_dtype(dtype, "reduce", [op]<typename T>(std::type_identity<T>) {
    if (op == ReduceOp::kAny) return make_kernels<Truth<T, Logic::kAny>>();
    if (op == ReduceOp::kAll) return make_kernels<Truth<T, Logic::kAll>>();
    return make_kernels<Truth<T, Logic::kCount>>();
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {
HWY_EXPORT(logic_kernels);
}

ReduceKernels find_logic_kernels(ReduceOp op, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(logic_kernels)(op, dtype);
}

}  // namespace tessera::kernels::host
#endif
