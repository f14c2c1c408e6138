#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/reduce_moments.cpp"
#include "hwy/foreach_target.h"
#include "kernels/host/reduce_fold-inl.hpp"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {

using core::ReduceOp;
namespace HWY_NAMESPACE {
namespace {

/// Count, mean and sum of squared deviations in one pass. A column's first element of a block is
/// its shift s; sums of d = x - s and of d^2 give the moments. With n rows the true m2 is at least
/// (s - mean)^2, so that cancellation costs at most a factor n + 1 <= 65 in relative error,
/// whatever the data. Blocks combine by Chan, Golub and LeVeque (1979). A complex element is a
/// column of two parts whose m2 add up. Squares of finite deviations that overflow make m2
/// infinite; only an infinite element makes it NaN, as its deviation is.
template <typename T, bool kSkipNan>
struct Moments {
  using Real = typename PartsOf<T>::Real;
  static constexpr std::int64_t kParts = PartsOf<T>::kParts;
  static constexpr std::int64_t kLanes = 16 / kParts;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static constexpr std::size_t kItemBytes = sizeof(T);
  static constexpr bool kBlocked = true;
  static constexpr std::size_t kPart = sizeof(double) * kParts;
  static constexpr std::int64_t kColumnBytes = sizeof(double) * kParts;
  static constexpr auto kWorkBytes = [] {
    std::array<std::size_t, kSkipNan ? 4 : 3> bytes;
    bytes.fill(kPart);  // counts are kept for every part
    return bytes;
  }();
  static constexpr std::array<std::size_t, 3> kPlaneBytes{sizeof(std::int64_t), kPart,
                                                          sizeof(double)};

  static void init(const Work&, std::int64_t) {}  // a block's first row does it

  template <std::int64_t kCols>
  static void columns(const FoldArgs& a, std::int64_t c) {
    using D = Doubles<kCols * kParts>;
    using V = typename D::V;
    const Real* x = values<Real>(a) + c * kParts;
    const Work work = {a.work[0] + c * kColumnBytes, a.work[1] + c * kColumnBytes,
                       a.work[2] + c * kColumnBytes,
                       kSkipNan ? a.work[3] + c * kColumnBytes : nullptr};
    V s[D::kVectors];
    V d1[D::kVectors];
    V d2[D::kVectors];
    V n[D::kVectors];
    for (int k = 0; k < D::kVectors; ++k) {
      const std::int64_t l = k * D::kLanes;
      s[k] = a.first ? D::convert(x + l) : D::load(at<double>(work[0]) + l);
      // Zero, but NaN for an infinity, which has no deviation.
      const V none = kSkipNan ? V{} : s[k] - s[k];
      d1[k] = a.first ? none : D::load(at<double>(work[1]) + l);
      d2[k] = a.first ? none : D::load(at<double>(work[2]) + l);
      n[k] = V{};
      if constexpr (kSkipNan) n[k] = a.first ? V{} : D::load(at<double>(work[3]) + l);
    }
    for (std::int64_t r = a.first && !kSkipNan ? 1 : 0; r < a.rows; ++r) {
      const Real* row = x + r * a.pitch * kParts;
      for (int k = 0; k < D::kVectors; ++k) {
        const V v = D::convert(row + k * D::kLanes);
        V d = v - s[k];
        if constexpr (kSkipNan) {
          s[k] = D::template numbers<kParts>(s[k]) ? s[k] : v;
          const auto number = D::template numbers<kParts>(v);
          d = number ? v - s[k] : V{};
          n[k] += number ? V{} + 1.0 : V{};
        }
        d1[k] += d;
        d2[k] += d * d;
      }
    }
    for (int k = 0; k < D::kVectors; ++k) {
      const std::int64_t l = k * D::kLanes;
      D::store(at<double>(work[0]) + l, s[k]);
      D::store(at<double>(work[1]) + l, d1[k]);
      D::store(at<double>(work[2]) + l, d2[k]);
      if constexpr (kSkipNan) D::store(at<double>(work[3]) + l, n[k]);
    }
  }

  static void flush(const Work& work, std::int64_t rows, std::int64_t cols, const Planes& out) {
    std::int64_t* count = at<std::int64_t>(out[0]);
    double* mean = at<double>(out[1]);
    double* m2 = at<double>(out[2]);
    for (std::int64_t c = 0; c < cols; ++c) {
      const double n = elements(work, c, rows);
      count[c] = static_cast<std::int64_t>(n);
      double total = 0.0;
      for (std::int64_t p = 0; p < kParts; ++p) {
        const Part part = moments(work, c * kParts + p, n);
        mean[c * kParts + p] = part.mean;
        total += part.m2;
      }
      m2[c] = total;
    }
  }

  static void collapse(const Work& work, std::int64_t count, const Planes& out) {
    using D = Doubles<kLanes * kParts>;
    using V = typename D::V;
    double n[kLanes * kParts];
    for (std::int64_t l = 0; l < kLanes * kParts; ++l) {
      n[l] = elements(work, l / kParts, count / kLanes + (l / kParts < count % kLanes ? 1 : 0));
    }
    // Means are taken relative to the first shift, which they are close to.
    double origins[kLanes * kParts];
    for (std::int64_t l = 0; l < kLanes * kParts; ++l) {
      origins[l] = n[0] > 0.0 ? at<double>(work[0])[l % kParts] : 0.0;
    }
    double weighted[kLanes * kParts];
    V offset[D::kVectors];
    V m2[D::kVectors];
    for (int k = 0; k < D::kVectors; ++k) {
      const std::int64_t l = k * D::kLanes;
      const V of_lane = D::load(n + l);
      const V d1 = D::load(at<double>(work[1]) + l);
      const V shift = D::load(at<double>(work[0]) + l) - D::load(origins + l);
      offset[k] = of_lane > 0.0 ? shift + d1 / of_lane : V{};
      const V d2 = D::load(at<double>(work[2]) + l);
      m2[k] = (d2 == V{} + kInfinity) & (d1 - d1 == V{}) ? d2 : d2 - d1 * (d1 / of_lane);
      m2[k] = (of_lane > 0.0) & ((m2[k] > 0.0) | (m2[k] != m2[k])) ? m2[k] : V{};
      D::store(weighted + l, of_lane * offset[k]);
    }
    double lane_n[kLanes * kParts];
    std::memcpy(lane_n, n, sizeof(n));
    add_lanes(n);
    add_lanes(weighted);
    double means[kLanes * kParts];
    for (std::int64_t l = 0; l < kLanes * kParts; ++l) {
      means[l] = n[0] > 0.0 ? weighted[l % kParts] / n[0] : 0.0;
    }
    for (int k = 0; k < D::kVectors; ++k) {
      const V of_lane = D::load(lane_n + k * D::kLanes);
      const V apart = offset[k] - D::load(means + k * D::kLanes);
      const V between = of_lane > 0.0 ? of_lane * (apart * apart) : V{};
      D::store(weighted + k * D::kLanes, m2[k] + between);
    }
    add_lanes(weighted);
    at<double>(out[2])[0] = kParts == 2 ? weighted[0] + weighted[1] : weighted[0];
    at<std::int64_t>(out[0])[0] = static_cast<std::int64_t>(n[0]);
    for (std::int64_t p = 0; p < kParts; ++p) at<double>(out[1])[p] = origins[p] + means[p];
  }

  static void merge(const Planes& into, const Planes& from, std::int64_t cols) {
    std::int64_t* count = at<std::int64_t>(into[0]);
    double* mean = at<double>(into[1]);
    double* m2 = at<double>(into[2]);
    const std::int64_t* count2 = at<std::int64_t>(from[0]);
    const double* mean2 = at<double>(from[1]);
    const double* m22 = at<double>(from[2]);
    for (std::int64_t c = 0; c < cols; ++c) {
      const double na = static_cast<double>(count[c]);
      const double nb = static_cast<double>(count2[c]);
      const double share = nb > 0.0 ? nb / (na + nb) : 0.0;
      double spread = 0.0;
      for (std::int64_t p = c * kParts; p < (c + 1) * kParts; ++p) {
        const double delta = mean2[p] - mean[p];
        mean[p] += nb > 0.0 ? delta * share : 0.0;
        spread += na > 0.0 && nb > 0.0 ? delta * delta : 0.0;
      }
      m2[c] += m22[c] + spread * (na * share);
      count[c] += count2[c];
    }
  }

  static void identity(const Planes& out, std::int64_t cols) {
    for (std::int64_t c = 0; c < cols; ++c) {
      at<std::int64_t>(out[0])[c] = 0;
      at<double>(out[2])[c] = 0.0;
    }
    for (std::int64_t c = 0; c < cols * kParts; ++c) at<double>(out[1])[c] = 0.0;
  }

 private:
  struct Part {
    double mean;
    double m2;
  };

  /// Adds all lanes up into lane 0, part by part.
  static void add_lanes(double* lanes) {
    for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::int64_t l = 0; l < half * kParts; ++l) lanes[l] += lanes[l + half * kParts];
    }
  }

  static double elements(const Work& work, std::int64_t c, std::int64_t rows) {
    if constexpr (kSkipNan) {
      return rows > 0 ? at<double>(work[3])[c * kParts] : 0.0;
    } else {
      return static_cast<double>(rows);
    }
  }

  static Part moments(const Work& work, std::int64_t p, double n) {
    const double d1 = at<double>(work[1])[p];
    const double d2 = at<double>(work[2])[p];
    const double offset = d1 / n;
    const double m2 = d2 == kInfinity && d1 - d1 == 0.0 ? d2 : d2 - d1 * offset;
    return n > 0.0 ? Part{at<double>(work[0])[p] + offset, m2 < 0.0 ? 0.0 : m2} : Part{0.0, 0.0};
  }
};

ReduceKernels moment_kernels(ReduceOp op, DType dtype) {
  return visit_dtype(dtype, "reduce", [op]<typename T>(std::type_identity<T>) {
    constexpr bool kNan = std::is_floating_point_v<typename PartsOf<T>::Real>;
    if (op == ReduceOp::kVar || op == ReduceOp::kStd) return make_kernels<Moments<T, false>>();
    return make_kernels<Moments<T, kNan>>();
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {
HWY_EXPORT(moment_kernels);
}

ReduceKernels find_moment_kernels(ReduceOp op, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(moment_kernels)(op, dtype);
}

}  // namespace tessera::kernels::host
#endif
