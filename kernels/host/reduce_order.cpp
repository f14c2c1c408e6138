#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/reduce_order.cpp"
#include "hwy/foreach_target.h"
#include "kernels/host/reduce_fold-inl.hpp"
#include "kernels/host/simd_targets.hpp"

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {

using core::ReduceOp;
namespace HWY_NAMESPACE {
namespace {

/// What every element improves on or equals.
template <typename T, bool kMax>
constexpr T worst() {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::has_infinity) return kMax ? -Limits::infinity() : Limits::infinity();
  return kMax ? Limits::lowest() : Limits::max();
}

template <bool kMax, typename T>
bool improves(T x, T best) {
  return kMax ? x > best : x < best;
}

/// Smallest or largest elements. NaN is kept in a component of its own; where NaN is skipped, a
/// best of NaN means "nothing yet".
template <typename T, bool kMax, bool kSkipNan>
struct Extreme {
  static constexpr bool kFloat = std::is_floating_point_v<T>;
  static constexpr bool kKeepNan = kFloat && !kSkipNan;
  // With a NaN each, four vectors leave registers to compute in where there are 16.
  static constexpr std::int64_t kLanes =
      std::min<std::int64_t>(32, 4 * kVectorBytes / static_cast<std::int64_t>(sizeof(T)));
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr bool kBlocked = false;
  static constexpr auto kWorkBytes = [] {
    std::array<std::size_t, kKeepNan ? 2 : 1> bytes{sizeof(T)};
    if constexpr (kKeepNan) bytes[1] = sizeof(T);
    return bytes;
  }();
  static constexpr std::array<std::size_t, 2> kPlaneBytes{sizeof(T), 1};

  static T empty() {
    if constexpr (kFloat && kSkipNan) return std::numeric_limits<T>::quiet_NaN();
    return worst<T, kMax>();
  }

  static void init(const Work& work, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<T>(work[0])[c] = empty();
    if constexpr (kKeepNan) {
      for (std::int64_t c = 0; c < cols; ++c) at<T>(work[1])[c] = T{0};
    }
  }

  /// The better of each lane.
  template <typename V>
  static V improved(const V& v, const V& best) {
    auto take = kMax ? v > best : v < best;
    if constexpr (kFloat && kSkipNan) take |= best != best;
    return take ? v : best;
  }

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    constexpr std::int64_t kPer =
        std::min<std::int64_t>(kCols, kVectorBytes / static_cast<std::int64_t>(sizeof(T)));
    constexpr std::int64_t kVectors = kCols / kPer;
    using V = Vector<T, kPer>;
    const T* x = values<T>(a) + c;
    V best[kVectors];
    V nan[kVectors] = {};
    std::memcpy(best, at<T>(a.work[0]) + c, sizeof best);
    if constexpr (kKeepNan) std::memcpy(nan, at<T>(a.work[1]) + c, sizeof nan);
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const T* row = x + r * a.pitch;
      for (std::int64_t i = 0; i < kVectors; ++i) {
        V v;
        std::memcpy(&v, row + i * kPer, sizeof v);
        best[i] = improved(v, best[i]);
        if constexpr (kKeepNan) nan[i] = v != v ? v : nan[i];
      }
    }
    std::memcpy(at<T>(a.work[0]) + c, best, sizeof best);
    if constexpr (kKeepNan) std::memcpy(at<T>(a.work[1]) + c, nan, sizeof nan);
  }

  static void flush(const Work& work, std::int64_t rows, std::int64_t cols, const Planes& out) {
    for (std::int64_t c = 0; c < cols; ++c) put(out, c, result(work, c), rows > 0);
  }

  static void collapse(const Work& work, std::int64_t count, const Planes& out) {
    T best = result(work, 0);
    for (std::int64_t l = 1; l < kLanes; ++l) best = better(best, result(work, l));
    put(out, 0, best, count > 0);
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    T* a = at<T>(into[0]);
    const T* b = at<T>(from[0]);
    auto* has = at<std::uint8_t>(into[1]);
    const auto* more = at<std::uint8_t>(from[1]);
    for (std::int64_t c = 0; c < cols; ++c) {
      const T both = better(a[c], b[c]);
      a[c] = more[c] == 0 ? a[c] : has[c] == 0 ? b[c] : both;
      has[c] = static_cast<std::uint8_t>(has[c] | more[c]);
    }
  }

  static void identity(const Planes& out, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) put(out, c, empty(), false);
  }

 private:
  static T result(const Work& work, std::int64_t c) {
    const T best = at<T>(work[0])[c];
    if constexpr (kKeepNan) {
      const T nan = at<T>(work[1])[c];
      return is_nan(nan) ? nan : best;
    }
    return best;
  }

  static T better(T a, T b) {
    if constexpr (kFloat && kSkipNan) return is_nan(a) || improves<kMax>(b, a) ? b : a;
    if constexpr (kKeepNan) return is_nan(b) || improves<kMax>(b, a) ? b : a;
    return improves<kMax>(b, a) ? b : a;
  }

  static void put(const Planes& out, std::int64_t c, T value, bool any) {
    const bool has = any && !(kFloat && kSkipNan && is_nan(value));
    at<T>(out[0])[c] = value;
    at<std::uint8_t>(out[1])[c] = has ? 1 : 0;
  }
};

/// Smallest and largest elements at once: values come from memory, and are compared with NaN, once.
/// What becomes of each state is what Extreme makes of it.
template <typename T, bool kSkipNan>
struct Extremes {
  using Least = Extreme<T, false, kSkipNan>;
  using Most = Extreme<T, true, kSkipNan>;
  static constexpr std::int64_t kLanes = Least::kLanes;
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr auto kWorkBytes = Least::kWorkBytes;

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    constexpr std::int64_t kPer =
        std::min<std::int64_t>(kCols, kVectorBytes / static_cast<std::int64_t>(sizeof(T)));
    constexpr std::int64_t kVectors = kCols / kPer;
    using V = Vector<T, kPer>;
    const T* x = values<T>(a) + c;
    V least[kVectors];
    V most[kVectors];
    V nan[kVectors] = {};
    std::memcpy(least, at<T>(a.work[0]) + c, sizeof least);
    std::memcpy(most, at<T>(a.other[0]) + c, sizeof most);
    if constexpr (Least::kKeepNan) std::memcpy(nan, at<T>(a.work[1]) + c, sizeof nan);
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const T* row = x + r * a.pitch;
      for (std::int64_t i = 0; i < kVectors; ++i) {
        V v;
        std::memcpy(&v, row + i * kPer, sizeof v);
        least[i] = Least::improved(v, least[i]);
        most[i] = Most::improved(v, most[i]);
        if constexpr (Least::kKeepNan) nan[i] = v != v ? v : nan[i];
      }
    }
    std::memcpy(at<T>(a.work[0]) + c, least, sizeof least);
    std::memcpy(at<T>(a.other[0]) + c, most, sizeof most);
    if constexpr (Least::kKeepNan) {
      std::memcpy(at<T>(a.work[1]) + c, nan, sizeof nan);
      std::memcpy(at<T>(a.other[1]) + c, nan, sizeof nan);
    }
  }
};

/// Place of the smallest or largest element: the first NaN (unless skipped), else the best value,
/// among equals the smallest index.
template <typename T, bool kMax, bool kSkipNan>
struct Arg {
  static constexpr bool kFloat = std::is_floating_point_v<T>;
  static constexpr std::int64_t kLanes = 16;
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr bool kBlocked = false;
  static constexpr std::array<std::size_t, 2> kWorkBytes{sizeof(T), sizeof(std::int64_t)};
  static constexpr std::array<std::size_t, 2> kPlaneBytes{sizeof(T), sizeof(std::int64_t)};
  // Every index is smaller, so that the first element that counts is taken.
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

  static void init(const Work& work, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<T>(work[0])[c] = worst<T, kMax>();
    for (std::int64_t c = 0; c < cols; ++c) at<std::int64_t>(work[1])[c] = kNone;
  }

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    const T* x = values<T>(a) + c;
    const std::int64_t* index = a.index + c;
    T* best = at<T>(a.work[0]) + c;
    std::int64_t* place = at<std::int64_t>(a.work[1]) + c;
    T b[kCols];
    std::int64_t p[kCols];
    for (std::int64_t l = 0; l < kCols; ++l) b[l] = best[l];
    for (std::int64_t l = 0; l < kCols; ++l) p[l] = place[l];
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const T* row = x + r * a.pitch;
      const std::int64_t* at_row = index + r * a.index_pitch;
      for (std::int64_t l = 0; l < kCols; ++l) {
        const bool take = wins(row[l], at_row[l], b[l], p[l]);
        b[l] = take ? row[l] : b[l];
        p[l] = take ? at_row[l] : p[l];
      }
    }
    for (std::int64_t l = 0; l < kCols; ++l) best[l] = b[l];
    for (std::int64_t l = 0; l < kCols; ++l) place[l] = p[l];
  }

  static void flush(const Work& work, std::int64_t, std::int64_t cols, const Planes& out) {
    for (std::int64_t c = 0; c < cols; ++c) {
      put(out, c, at<T>(work[0])[c], at<std::int64_t>(work[1])[c]);
    }
  }

  static void collapse(const Work& work, std::int64_t, const Planes& out) {
    T best = at<T>(work[0])[0];
    std::int64_t place = at<std::int64_t>(work[1])[0];
    for (std::int64_t l = 1; l < kLanes; ++l) {
      const T x = at<T>(work[0])[l];
      const std::int64_t index = at<std::int64_t>(work[1])[l];
      if (!wins(x, index, best, place)) continue;
      best = x;
      place = index;
    }
    put(out, 0, best, place);
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    T* a = at<T>(into[0]);
    const T* b = at<T>(from[0]);
    std::int64_t* p = at<std::int64_t>(into[1]);
    const std::int64_t* q = at<std::int64_t>(from[1]);
    for (std::int64_t c = 0; c < cols; ++c) {
      const bool take = q[c] >= 0 && (p[c] < 0 || wins(b[c], q[c], a[c], p[c]));
      a[c] = take ? b[c] : a[c];
      p[c] = take ? q[c] : p[c];
    }
  }

  static void identity(const Planes& out, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) put(out, c, worst<T, kMax>(), kNone);
  }

 private:
  // Bitwise logic, which stays free of branches.
  static bool wins(T x, std::int64_t index, T best, std::int64_t place) {
    const bool nearer = index < place;
    const bool better = improves<kMax>(x, best) | ((x == best) & nearer);
    if constexpr (kFloat && !kSkipNan) {
      const bool number = best == best;
      return (number & (better | is_nan(x))) | (is_nan(best) & is_nan(x) & nearer);
    } else {
      return better;
    }
  }

  static void put(const Planes& out, std::int64_t c, T value, std::int64_t place) {
    at<T>(out[0])[c] = value;
    at<std::int64_t>(out[1])[c] = place == kNone ? -1 : place;
  }
};

template <typename T, bool kSkipNan>
ReduceKernels least_kernels(ReduceOp partner) {
  ReduceKernels k = make_kernels<Extreme<T, false, kSkipNan>>();
  k.fold_both = &fold_columns<Extremes<T, kSkipNan>>;
  k.partner = partner;
  return k;
}

template <typename T>
ReduceKernels order_kernels_of(ReduceOp op) {
  constexpr bool kNan = std::is_floating_point_v<T>;
  switch (op) {
    case ReduceOp::kMin:
      return least_kernels<T, false>(ReduceOp::kMax);
    case ReduceOp::kMax:
      return make_kernels<Extreme<T, true, false>>();
    case ReduceOp::kNanMin:
      return least_kernels<T, kNan>(ReduceOp::kNanMax);
    case ReduceOp::kNanMax:
      return make_kernels<Extreme<T, true, kNan>>();
    case ReduceOp::kArgMin:
      return make_kernels<Arg<T, false, false>>();
    case ReduceOp::kArgMax:
      return make_kernels<Arg<T, true, false>>();
    case ReduceOp::kNanArgMin:
      return make_kernels<Arg<T, false, kNan>>();
    default:
      return make_kernels<Arg<T, true, kNan>>();
  }
}

ReduceKernels order_kernels(ReduceOp op, DType dtype) {
  return visit_real_dtype(dtype, "reduce", [op]<typename T>(std::type_identity<T>) {
    return order_kernels_of<typename PartsOf<T>::Real>(op);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {
HWY_EXPORT(order_kernels);
}

ReduceKernels find_order_kernels(ReduceOp op, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(order_kernels)(op, dtype);
}

}  // namespace tessera::kernels::host
#endif
