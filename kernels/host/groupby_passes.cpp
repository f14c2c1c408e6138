#include "kernels/host/groupby_passes.hpp"

#include <complex>
#include <type_traits>

#include "kernels/host/rounded_product.hpp"
#include "kernels/host/visit_dtype.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/groupby_passes.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
struct GroupSum {
  using Type = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
};
template <typename T>
struct GroupSum<std::complex<T>> {
  using Type = std::complex<double>;
};

template <typename T>
HWY_INLINE HWY_ATTR bool is_nan(T x) {
  if constexpr (kIsComplex<T>) {
    return x.real() != x.real() || x.imag() != x.imag();
  } else {
    return x != x;
  }
}

// Integers are added as unsigned, where overflow wraps; widening keeps the sign.
template <typename T>
HWY_INLINE HWY_ATTR typename GroupSum<T>::Type widen(T x) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(x));
  } else {
    return static_cast<typename GroupSum<T>::Type>(x);
  }
}

template <GroupPass kPass, bool kSkipNan, typename T>
struct Update;

template <bool kSkipNan, typename T>
struct Update<GroupPass::kSum, kSkipNan, T> {
  using A = typename GroupSum<T>::Type;
  using B = double;
  static HWY_INLINE HWY_ATTR void apply(A& sum, const B&, T x) {
    sum += kSkipNan && is_nan(x) ? A(0) : widen(x);
  }
};

template <bool kSkipNan, typename T>
struct Update<GroupPass::kMeanSum, kSkipNan, T> {
  using A = std::conditional_t<kIsComplex<T>, std::complex<double>, double>;
  using B = double;
  static HWY_INLINE HWY_ATTR void apply(A& sum, const B&, T x) {
    sum += kSkipNan && is_nan(x) ? A(0) : static_cast<A>(x);
  }
};

template <bool kSkipNan, typename T>
struct Update<GroupPass::kProd, kSkipNan, T> {
  using A = typename GroupSum<T>::Type;
  using B = double;
  static HWY_INLINE HWY_ATTR void apply(A& product, const B&, T x) {
    const A factor = kSkipNan && is_nan(x) ? A(1) : widen(x);
    if constexpr (kIsComplex<T>) {
      product = complex_product(product, factor);
    } else {
      product *= factor;
    }
  }
};

template <bool kMax, bool kSkipNan, typename T>
struct UpdateExtreme {
  using A = T;
  using B = double;
  static HWY_INLINE HWY_ATTR void apply(A& best, const B&, T x) {
    const bool better = kMax ? x > best : x < best;
    const bool nan_decides = kSkipNan ? is_nan(best) : is_nan(x);
    best = better || nan_decides ? x : best;
  }
};
template <bool kSkipNan, typename T>
struct Update<GroupPass::kMin, kSkipNan, T> : UpdateExtreme<false, kSkipNan, T> {};
template <bool kSkipNan, typename T>
struct Update<GroupPass::kMax, kSkipNan, T> : UpdateExtreme<true, kSkipNan, T> {};

template <bool kSkipNan, typename T>
struct Update<GroupPass::kCount, kSkipNan, T> {
  using A = std::int64_t;
  using B = double;
  static HWY_INLINE HWY_ATTR void apply(A& count, const B&, T x) { count += is_nan(x) ? 0 : 1; }
};

template <bool kSkipNan, typename T>
struct Update<GroupPass::kDeviations, kSkipNan, T> {
  // The plane that is only read comes second.
  using A = double;
  using B = std::conditional_t<kIsComplex<T>, std::complex<double>, double>;
  static HWY_INLINE HWY_ATTR void apply(A& m2, const B& mean, T x) {
    const B d = static_cast<B>(x) - mean;
    double square;
    if constexpr (kIsComplex<T>) {
      square = d.real() * d.real() + d.imag() * d.imag();
    } else {
      square = d * d;
    }
    m2 += kSkipNan && is_nan(x) ? 0.0 : square;
  }
};

template <GroupPass kPass, bool kSkipNan, typename T>
HWY_ATTR void add_rows(const GroupTile& tile) {
  using U = Update<kPass, kSkipNan, T>;
  using A = typename U::A;
  using B = typename U::B;
  constexpr bool kReadsMean = kPass == GroupPass::kDeviations;
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    if (tile.labels[r] < 0) continue;
    const std::int64_t at = tile.labels[r] * tile.out_group;
    const T* __restrict in = reinterpret_cast<const T*>(tile.in) + r * tile.in_row;
    A* __restrict out = reinterpret_cast<A*>(tile.planes[kReadsMean ? 1 : 0]) + at;
    if constexpr (kReadsMean) {
      const B* __restrict mean = reinterpret_cast<const B*>(tile.planes[0]) + at;
      for (std::int64_t l = 0; l < tile.lanes; ++l) U::apply(out[l], mean[l], in[l]);
    } else {
      for (std::int64_t l = 0; l < tile.lanes; ++l) U::apply(out[l], B{}, in[l]);
    }
  }
}

/// Lanes along the axis: several at a time, so that one group's additions do not wait for each
/// other.
template <GroupPass kPass, bool kSkipNan, typename T, std::int64_t kLanes>
HWY_INLINE HWY_ATTR void add_some_lanes(const GroupTile& tile, std::int64_t lane) {
  using U = Update<kPass, kSkipNan, T>;
  using A = typename U::A;
  using B = typename U::B;
  constexpr bool kReadsMean = kPass == GroupPass::kDeviations;
  const T* in = reinterpret_cast<const T*>(tile.in) + lane * tile.in_lane;
  const std::int64_t at = lane * tile.out_lane;
  A* out = reinterpret_cast<A*>(tile.planes[kReadsMean ? 1 : 0]) + at;
  const B* mean = reinterpret_cast<const B*>(tile.planes[0]) + at;
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    const std::int64_t group = tile.labels[r];
    if (group < 0) continue;
    for (std::int64_t u = 0; u < kLanes; ++u) {
      const std::int64_t to = u * tile.out_lane + group;
      const T x = in[u * tile.in_lane + r];
      if constexpr (kReadsMean) {
        U::apply(out[to], mean[to], x);
      } else {
        U::apply(out[to], B{}, x);
      }
    }
  }
}

template <GroupPass kPass, bool kSkipNan, typename T>
HWY_ATTR void add_tile_of(const GroupTile& tile) {
  if (tile.in_lane == 1 && tile.out_lane == 1) return add_rows<kPass, kSkipNan, T>(tile);
  constexpr std::int64_t kGroup = 8;
  std::int64_t lane = 0;
  for (; lane + kGroup <= tile.lanes; lane += kGroup) {
    add_some_lanes<kPass, kSkipNan, T, kGroup>(tile, lane);
  }
  for (; lane < tile.lanes; ++lane) add_some_lanes<kPass, kSkipNan, T, 1>(tile, lane);
}

template <GroupPass kPass, typename T>
HWY_ATTR void add_tile_nan(const GroupTile& tile) {
  constexpr bool kHasNan = !std::is_integral_v<T>;
  if constexpr (kHasNan) {
    if (tile.skip_nan) return add_tile_of<kPass, true, T>(tile);
  }
  add_tile_of<kPass, false, T>(tile);
}

HWY_ATTR void add_tile(GroupPass pass, DType dtype, const GroupTile& tile) {
  if (pass == GroupPass::kMin || pass == GroupPass::kMax) {
    return visit_real_dtype(dtype, "groupby_bins", [&]<typename T>(std::type_identity<T>) HWY_ATTR {
      pass == GroupPass::kMin ? add_tile_nan<GroupPass::kMin, T>(tile)
                              : add_tile_nan<GroupPass::kMax, T>(tile);
    });
  }
  visit_dtype(dtype, "groupby_bins", [&]<typename T>(std::type_identity<T>) HWY_ATTR {
    switch (pass) {
      case GroupPass::kSum:
        return add_tile_nan<GroupPass::kSum, T>(tile);
      case GroupPass::kMeanSum:
        return add_tile_nan<GroupPass::kMeanSum, T>(tile);
      case GroupPass::kProd:
        return add_tile_nan<GroupPass::kProd, T>(tile);
      case GroupPass::kCount:
        return add_tile_of<GroupPass::kCount, true, T>(tile);
      default:
        return add_tile_nan<GroupPass::kDeviations, T>(tile);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(add_tile);

void add_group_tile(GroupPass pass, DType dtype, const GroupTile& tile) {
  HWY_DYNAMIC_DISPATCH(add_tile)(pass, dtype, tile);
}

}  // namespace tessera::kernels::host
#endif
