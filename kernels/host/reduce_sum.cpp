#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/reduce_sum.cpp"
#include "hwy/foreach_target.h"
#include "kernels/host/reduce_fold-inl.hpp"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {

using core::ReduceOp;
namespace HWY_NAMESPACE {
namespace {

/// The type that elements are added up in; integers wrap.
template <typename Real>
using SumType = std::conditional_t<std::is_floating_point_v<Real>, double, std::uint64_t>;

template <typename To, typename From>
To widen(From x) {
  if constexpr (std::is_signed_v<From> && std::is_unsigned_v<To>) {
    return static_cast<To>(static_cast<std::int64_t>(x));
  } else {
    return static_cast<To>(x);
  }
}

enum class Map { kValue, kSquare };

/// Sums of elements or of their squares, added up in A and handed on in P. Complex elements are
/// columns of two parts each.
template <typename T, typename A, typename P, Map kMap, bool kSkipNan, bool kCounted>
struct Sum {
  using Real = typename PartsOf<T>::Real;
  static constexpr int kParts = PartsOf<T>::kParts;
  static constexpr bool kPerColumnCount = kSkipNan && kCounted;
  static constexpr bool kMergeParts = kParts == 2 && kMap == Map::kSquare;
  static constexpr std::int64_t kLanes = kParts == 2 ? 16 : 32;
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr bool kBlocked = std::is_floating_point_v<A>;
  static constexpr std::size_t kPlaneSize = sizeof(P) * (kMergeParts ? 1 : kParts);
  static constexpr auto kWorkBytes = [] {
    std::array<std::size_t, kPerColumnCount ? 2 : 1> bytes;
    bytes.fill(sizeof(A) * kParts);  // counts are kept for every part
    return bytes;
  }();
  static constexpr auto kPlaneBytes = [] {
    if constexpr (kCounted) {
      return std::array<std::size_t, 2>{sizeof(std::int64_t), kPlaneSize};
    } else {
      return std::array<std::size_t, 1>{kPlaneSize};
    }
  }();
  static constexpr std::size_t kSumPlane = kCounted ? 1 : 0;

  static void init(const Work& work, std::int64_t cols) {
    if constexpr (!kBlocked) {  // else a block's first row does it
      for (std::int64_t c = 0; c < cols; ++c) at<A>(work[0])[c] = A{0};
    }
  }

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    if constexpr (std::is_same_v<A, double>) {
      float_columns<kCols>(a, c);
    } else {
      integer_columns<kCols>(a, c);
    }
  }

  static void flush(const Work& work, std::int64_t rows, std::int64_t cols, const Planes& out) {
    const A* sum = at<A>(work[0]);
    P* to = at<P>(out[kSumPlane]);
    if constexpr (kMergeParts) {
      for (std::int64_t c = 0; c < cols; ++c) to[c] = handed_on(sum[2 * c] + sum[2 * c + 1]);
    } else {
      for (std::int64_t c = 0; c < cols * kParts; ++c) to[c] = handed_on(sum[c]);
    }
    if constexpr (kCounted) {
      std::int64_t* count = at<std::int64_t>(out[0]);
      for (std::int64_t c = 0; c < cols; ++c) {
        if constexpr (kPerColumnCount) {
          count[c] = static_cast<std::int64_t>(at<double>(work[1])[c * kParts]);
        } else {
          count[c] = rows;
        }
      }
    }
    static_cast<void>(rows);
  }

  static void collapse(const Work& work, std::int64_t count, const Planes& out) {
    constexpr std::int64_t kWidth = kLanes * kParts;
    const std::int64_t used = count < kLanes ? count : kLanes;
    A* lanes = at<A>(work[0]);
    for (std::int64_t l = used * kParts; l < kWidth; ++l) lanes[l] = A{0};
    A s[kWidth];
    add_halves<kWidth>(s, lanes);
    for (std::int64_t half = kLanes / 4; half > 0; half /= 2) {
      for (std::int64_t l = 0; l < half * kParts; ++l) s[l] += s[l + half * kParts];
    }
    if constexpr (kMergeParts) {
      at<P>(out[kSumPlane])[0] = handed_on(s[0] + s[1]);
    } else {
      for (std::int64_t p = 0; p < kParts; ++p) at<P>(out[kSumPlane])[p] = handed_on(s[p]);
    }
    if constexpr (kPerColumnCount) {
      double n = 0.0;
      for (std::int64_t l = 0; l < used; ++l) n += at<double>(work[1])[l * kParts];
      count = static_cast<std::int64_t>(n);
    }
    if constexpr (kCounted) at<std::int64_t>(out[0])[0] = count;
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    constexpr std::int64_t kWidth = kMergeParts ? 1 : kParts;
    P* a = at<P>(into[kSumPlane]);
    const P* b = at<P>(from[kSumPlane]);
    for (std::int64_t c = 0; c < cols * kWidth; ++c) a[c] += b[c];
    if constexpr (kCounted) {
      std::int64_t* n = at<std::int64_t>(into[0]);
      const std::int64_t* m = at<std::int64_t>(from[0]);
      for (std::int64_t c = 0; c < cols; ++c) n[c] += m[c];
    }
  }

  static void identity(const Planes& out, std::int64_t cols) {
    constexpr std::int64_t kWidth = kMergeParts ? 1 : kParts;
    for (std::int64_t c = 0; c < cols * kWidth; ++c) at<P>(out[kSumPlane])[c] = P{0};
    if constexpr (kCounted) {
      for (std::int64_t c = 0; c < cols; ++c) at<std::int64_t>(out[0])[c] = 0;
    }
  }

 private:
  /// to[l] = from[l] + from[l + kWidth / 2], without a detour through narrower loads.
  template <std::int64_t kWidth>
  static void add_halves(A* to, const A* from) {
    if constexpr (std::is_same_v<A, double>) {
      using D = Doubles<kWidth / 2>;
      for (int k = 0; k < D::kVectors; ++k) {
        const double* low = from + k * D::kLanes;
        D::store(to + k * D::kLanes, D::load(low) + D::load(low + kWidth / 2));
      }
    } else {
      for (std::int64_t l = 0; l < kWidth / 2; ++l) to[l] = from[l] + from[l + kWidth / 2];
    }
  }

  static P handed_on(A sum) {
    if constexpr (std::is_signed_v<Real> && std::is_integral_v<A> && !std::is_integral_v<P>) {
      return static_cast<P>(static_cast<std::int64_t>(sum));
    } else {
      return static_cast<P>(sum);
    }
  }

  template <std::int64_t kCols>
  static void float_columns(const FoldArgs& a, std::int64_t c) {
    using D = Doubles<kCols * kParts>;
    using V = typename D::V;
    const Real* x = values<Real>(a) + c * kParts;
    double* sum = at<double>(a.work[0]) + c * kParts;
    V s[D::kVectors];
    V n[D::kVectors];
    for (int k = 0; k < D::kVectors; ++k) s[k] = a.first ? V{} : D::load(sum + k * D::kLanes);
    for (int k = 0; k < D::kVectors; ++k) n[k] = V{};
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const Real* row = x + r * a.pitch * kParts;
      for (int k = 0; k < D::kVectors; ++k) {
        V v = D::convert(row + k * D::kLanes);
        if constexpr (kSkipNan) {
          const auto number = D::template numbers<kParts>(v);
          v = number ? v : V{};
          if constexpr (kCounted) n[k] += number ? V{} + 1.0 : V{};
        }
        s[k] += kMap == Map::kSquare ? v * v : v;
      }
    }
    for (int k = 0; k < D::kVectors; ++k) D::store(sum + k * D::kLanes, s[k]);
    if constexpr (kPerColumnCount) {
      double* count = at<double>(a.work[1]) + c * kParts;
      for (int k = 0; k < D::kVectors; ++k) {
        const V before = a.first ? V{} : D::load(count + k * D::kLanes);
        D::store(count + k * D::kLanes, before + n[k]);
      }
    }
  }

  template <std::int64_t kCols>
  static void integer_columns(const FoldArgs& a, std::int64_t c) {
    const Real* x = values<Real>(a) + c;
    A* sum = at<A>(a.work[0]) + c;
    A s[kCols];
    for (std::int64_t l = 0; l < kCols; ++l) s[l] = sum[l];
    // Narrow elements are first added up as wide as a few hundred rows need.
    using Partial = std::conditional_t<sizeof(Real) == 1, std::int32_t, A>;
    constexpr std::int64_t kRows = sizeof(Real) == 1 ? 4096 : std::int64_t{1} << 62;
    for (std::int64_t begin = 0; begin < a.rows;) {
      const std::int64_t end = a.rows - begin > kRows ? begin + kRows : a.rows;
      Partial partial[kCols] = {};
      for (std::int64_t r = begin; r < end; ++r) {
        const Real* row = x + r * a.pitch;
        for (std::int64_t l = 0; l < kCols; ++l) partial[l] += widen<Partial>(row[l]);
      }
      for (std::int64_t l = 0; l < kCols; ++l) s[l] += widen<A>(partial[l]);
      begin = end;
    }
    for (std::int64_t l = 0; l < kCols; ++l) sum[l] = s[l];
  }
};

/// Products; the error of a product does not depend on how it is grouped, so there are no blocks.
template <typename T, bool kSkipNan>
struct Product {
  using Real = typename PartsOf<T>::Real;
  static constexpr bool kComplex = PartsOf<T>::kParts == 2;
  using X = std::conditional_t<kComplex, T, Real>;
  using A = std::conditional_t<kComplex, std::complex<double>, SumType<Real>>;
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr std::int64_t kLanes = kComplex ? 8 : 32;
  static constexpr bool kBlocked = false;
  static constexpr std::array<std::size_t, 1> kWorkBytes{sizeof(A)};
  static constexpr std::array<std::size_t, 1> kPlaneBytes{sizeof(A)};

  // The plain formula: std::complex rescues infinities, which costs a branch per element.
  static A multiply(A a, A b) {
    if constexpr (kComplex) {
      return A(a.real() * b.real() - a.imag() * b.imag(),
               a.real() * b.imag() + a.imag() * b.real());
    } else {
      return a * b;
    }
  }

  static A factor(X x) {
    if constexpr (kComplex) {
      const bool skip = kSkipNan && (is_nan(x.real()) || is_nan(x.imag()));
      return skip ? A(1.0) : A(x.real(), x.imag());
    } else {
      return kSkipNan && is_nan(x) ? A{1} : widen<A>(x);
    }
  }

  static void init(const Work& work, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<A>(work[0])[c] = A(1);
  }

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    const X* x = values<X>(a) + c;
    A* product = at<A>(a.work[0]) + c;
    A p[kCols];
    for (std::int64_t l = 0; l < kCols; ++l) p[l] = product[l];
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const X* row = x + r * a.pitch;
      for (std::int64_t l = 0; l < kCols; ++l) p[l] = multiply(p[l], factor(row[l]));
    }
    for (std::int64_t l = 0; l < kCols; ++l) product[l] = p[l];
  }

  static void flush(const Work& work, std::int64_t, std::int64_t cols, const Planes& out) {
    for (std::int64_t c = 0; c < cols; ++c) at<A>(out[0])[c] = at<A>(work[0])[c];
  }

  static void collapse(const Work& work, std::int64_t, const Planes& out) {
    A p[kLanes];
    for (std::int64_t l = 0; l < kLanes; ++l) p[l] = at<A>(work[0])[l];
    for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::int64_t l = 0; l < half; ++l) p[l] = multiply(p[l], p[l + half]);
    }
    at<A>(out[0])[0] = p[0];
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    A* a = at<A>(into[0]);
    const A* b = at<A>(from[0]);
    for (std::int64_t c = 0; c < cols; ++c) a[c] = multiply(a[c], b[c]);
  }

  static void identity(const Planes& out, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) at<A>(out[0])[c] = A(1);
  }
};

template <typename T>
ReduceKernels sum_kernels_of(ReduceOp op) {
  using Real = typename PartsOf<T>::Real;
  using S = SumType<Real>;
  // Sums of narrow integers stay exact until they are divided.
  using M = std::conditional_t<std::is_integral_v<Real> && sizeof(Real) <= 4, S, double>;
  constexpr bool kNan = std::is_floating_point_v<Real>;
  switch (op) {
    case ReduceOp::kSum:
      return make_kernels<Sum<T, S, S, Map::kValue, false, false>>();
    case ReduceOp::kNanSum:
      return make_kernels<Sum<T, S, S, Map::kValue, kNan, false>>();
    case ReduceOp::kMean:
      return make_kernels<Sum<T, M, double, Map::kValue, false, true>>();
    case ReduceOp::kNanMean:
      return make_kernels<Sum<T, M, double, Map::kValue, kNan, true>>();
    case ReduceOp::kNorm2:
      return make_kernels<Sum<T, double, double, Map::kSquare, false, false>>();
    case ReduceOp::kProd:
      return make_kernels<Product<T, false>>();
    default:
      return make_kernels<Product<T, kNan>>();
  }
}

ReduceKernels sum_kernels(ReduceOp op, DType dtype) {
  return visit_dtype(dtype, "reduce",
                     [op]<typename T>(std::type_identity<T>) { return sum_kernels_of<T>(op); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {
HWY_EXPORT(sum_kernels);
}

ReduceKernels find_sum_kernels(ReduceOp op, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(sum_kernels)(op, dtype);
}

}  // namespace tessera::kernels::host
#endif
