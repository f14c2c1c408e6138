#include "kernels/host/scan_tiles.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/host/rounded_product.hpp"
#include "kernels/host/visit_dtype.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/scan_tiles.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

// GCC splits vectors wider than the target's registers into scalar moves.
#if HWY_CAP_GE512
constexpr std::size_t kVectorBytes = 64;
#elif HWY_CAP_GE256
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif

template <typename T>
struct WideOf {
  using Type = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
};
template <typename T>
struct WideOf<std::complex<T>> {
  using Type = std::complex<double>;
};

// Integers run as unsigned, where overflow wraps; widening keeps the sign.
template <typename T>
HWY_INLINE HWY_ATTR typename WideOf<T>::Type widen(T x) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(x));
  } else {
    return static_cast<typename WideOf<T>::Type>(x);
  }
}

template <typename T>
HWY_INLINE HWY_ATTR bool is_nan(T x) {
  if constexpr (kIsComplex<T>) {
    return x.real() != x.real() || x.imag() != x.imag();
  } else {
    return x != x;
  }
}

template <ScanOp kOp, typename T>
HWY_INLINE HWY_ATTR typename WideOf<T>::Type step(typename WideOf<T>::Type sum, T x) {
  using Wide = typename WideOf<T>::Type;
  constexpr bool kProduct = kOp == ScanOp::kProd || kOp == ScanOp::kNanProd;
  Wide value = widen(x);
  if constexpr (kOp == ScanOp::kNanSum || kOp == ScanOp::kNanProd) {
    value = is_nan(x) ? Wide(kProduct ? 1 : 0) : value;
  }
  if constexpr (!kProduct) {
    return sum + value;
  } else if constexpr (kIsComplex<T>) {
    return complex_product(sum, value);
  } else {
    return sum * value;
  }
}

// Rows taken together: running values are read and written once for all of them, and all elements
// are read before a result is written, for rows often lie a multiple of 4 KiB apart.
constexpr int kRowsAtOnce = 4;

template <ScanOp kOp, typename T, int kRows>
HWY_INLINE HWY_ATTR void scan_some_rows(const T* in, T* out, const ScanTile& tile) {
  using Wide = typename WideOf<T>::Type;
  Wide* state = reinterpret_cast<Wide*>(tile.state);
#pragma GCC ivdep
  for (std::int64_t i = 0; i < tile.lanes; ++i) {
    T values[kRows];
    for (int r = 0; r < kRows; ++r) values[r] = in[r * tile.in_stride + i];
    Wide running = state[i];
    Wide results[kRows];
    for (int r = 0; r < kRows; ++r) {
      const Wide before = running;
      running = step<kOp, T>(running, values[r]);
      results[r] = tile.exclusive ? before : running;
    }
    state[i] = running;
    for (int r = 0; r < kRows; ++r) out[r * tile.out_stride + i] = static_cast<T>(results[r]);
  }
}

template <ScanOp kOp, typename T>
HWY_ATTR void scan_rows(const ScanTile& tile) {
  const T* in = reinterpret_cast<const T*>(tile.in);
  T* out = reinterpret_cast<T*>(tile.out);
  std::int64_t r = 0;
  // Results that nobody wants all fall on one row.
  if (tile.out_stride != 0) {
    for (; r + kRowsAtOnce <= tile.length; r += kRowsAtOnce) {
      scan_some_rows<kOp, T, kRowsAtOnce>(in + r * tile.in_stride, out + r * tile.out_stride, tile);
    }
  }
  for (; r < tile.length; ++r)
    scan_some_rows<kOp, T, 1>(in + r * tile.in_stride, out + r * tile.out_stride, tile);
}

/// Vectors of kWidth running values; elements are widened as they are loaded.
template <typename T>
struct LaneVectors {
  using Wide = typename WideOf<T>::Type;
  static constexpr int kWidth = kVectorBytes / sizeof(Wide);
  typedef Wide WideVector __attribute__((vector_size(kWidth * sizeof(Wide))));
  typedef T Vector __attribute__((vector_size(kWidth * sizeof(T))));

  template <int kHigh, int... kIndex>
  static HWY_INLINE HWY_ATTR WideVector interleave(WideVector a, WideVector b,
                                                   std::integer_sequence<int, kIndex...>) {
    return __builtin_shufflevector(a, b,
                                   (kIndex % 2 * kWidth + kHigh * kWidth / 2 + kIndex / 2)...);
  }

  static HWY_INLINE HWY_ATTR void transpose(WideVector (&rows)[kWidth]) {
    constexpr auto kSequence = std::make_integer_sequence<int, kWidth>{};
    for (int round = 1; round < kWidth; round *= 2) {
      WideVector next[kWidth];
      for (int i = 0; i < kWidth / 2; ++i) {
        next[2 * i] = interleave<0>(rows[i], rows[i + kWidth / 2], kSequence);
        next[2 * i + 1] = interleave<1>(rows[i], rows[i + kWidth / 2], kSequence);
      }
      for (int i = 0; i < kWidth; ++i) rows[i] = next[i];
    }
  }
};

template <ScanOp kOp, typename Wide>
HWY_INLINE HWY_ATTR Wide step_vector(Wide sum, Wide value) {
  constexpr bool kProduct = kOp == ScanOp::kProd || kOp == ScanOp::kNanProd;
  if constexpr (kOp == ScanOp::kNanSum || kOp == ScanOp::kNanProd) {
    const Wide neutral = Wide{} + (kProduct ? 1 : 0);
    value = value == value ? value : neutral;
  }
  if constexpr (kProduct) {
    return sum * value;
  } else {
    return sum + value;
  }
}

/// kWidth lanes, kWidth steps at a time: transposed in registers, added up, transposed back.
/// Returns how many steps are done.
template <ScanOp kOp, typename T, typename Out>
HWY_INLINE HWY_ATTR std::int64_t scan_squares(const T* in, Out* out,
                                              typename WideOf<T>::Type* state,
                                              const ScanTile& tile) {
  using V = LaneVectors<T>;
  using OutVector = typename LaneVectors<Out>::Vector;
  typename V::WideVector running;
  std::memcpy(&running, state, sizeof(running));
  std::int64_t i = 0;
  for (; i + V::kWidth <= tile.length; i += V::kWidth) {
    typename V::WideVector rows[V::kWidth];
    for (int u = 0; u < V::kWidth; ++u) {
      typename V::Vector lane;
      std::memcpy(&lane, in + u * tile.in_stride + i, sizeof(lane));
      rows[u] = __builtin_convertvector(lane, typename V::WideVector);
    }
    V::transpose(rows);
    for (int u = 0; u < V::kWidth; ++u) {
      const typename V::WideVector before = running;
      running = step_vector<kOp>(running, rows[u]);
      rows[u] = tile.exclusive ? before : running;
    }
    V::transpose(rows);
    for (int u = 0; u < V::kWidth; ++u) {
      const auto lane = __builtin_convertvector(rows[u], OutVector);
      std::memcpy(out + u * tile.out_stride + i, &lane, sizeof(lane));
    }
  }
  std::memcpy(state, &running, sizeof(running));
  return i;
}

template <ScanOp kOp, typename T, typename Out>
HWY_INLINE HWY_ATTR void scan_one_lane(const T* in, Out* out, typename WideOf<T>::Type& state,
                                       std::int64_t begin, std::int64_t end, bool exclusive) {
  typename WideOf<T>::Type running = state;
  for (std::int64_t i = begin; i < end; ++i) {
    const auto before = running;
    running = step<kOp, T>(running, in[i]);
    out[i] = static_cast<Out>(exclusive ? before : running);
  }
  state = running;
}

template <ScanOp kOp, typename T, typename Out = T>
HWY_NOINLINE HWY_ATTR void scan_lanes(const ScanTile& tile) {
  using Wide = typename WideOf<T>::Type;
  const T* in = reinterpret_cast<const T*>(tile.in);
  Out* out = reinterpret_cast<Out*>(tile.out);
  Wide* state = reinterpret_cast<Wide*>(tile.state);
  std::int64_t lane = 0;
  if constexpr (!kIsComplex<T>) {
    constexpr std::int64_t kWidth = LaneVectors<T>::kWidth;
    for (; lane + kWidth <= tile.lanes; lane += kWidth) {
      const T* from = in + lane * tile.in_stride;
      Out* to = out + lane * tile.out_stride;
      const std::int64_t done = scan_squares<kOp, T, Out>(from, to, state + lane, tile);
      for (std::int64_t u = 0; u < kWidth; ++u) {
        scan_one_lane<kOp, T, Out>(from + u * tile.in_stride, to + u * tile.out_stride,
                                   state[lane + u], done, tile.length, tile.exclusive);
      }
    }
  }
  for (; lane < tile.lanes; ++lane) {
    scan_one_lane<kOp, T, Out>(in + lane * tile.in_stride, out + lane * tile.out_stride,
                               state[lane], 0, tile.length, tile.exclusive);
  }
}

/// Scans the segments of a piece side by side, then adds to each what those before it came to.
template <ScanOp kOp, typename T>
HWY_INLINE HWY_ATTR void scan_piece(const T* in, T* out, typename WideOf<T>::Type& carry,
                                    bool exclusive) {
  using Wide = typename WideOf<T>::Type;
  constexpr bool kProduct = kOp == ScanOp::kProd || kOp == ScanOp::kNanProd;
  constexpr ScanOp kJoin = kProduct ? ScanOp::kProd : ScanOp::kSum;
  alignas(64) Wide local[kSegments * kSegmentLength];
  alignas(64) Wide totals[kSegments];
  std::fill_n(totals, kSegments, Wide(kProduct ? 1 : 0));
  scan_lanes<kOp, T, Wide>({reinterpret_cast<const std::byte*>(in),
                            reinterpret_cast<std::byte*>(local),
                            reinterpret_cast<std::byte*>(totals), kSegments, kSegmentLength,
                            kSegmentLength, kSegmentLength, exclusive});
  for (std::int64_t s = 0; s < kSegments; ++s) {
    const Wide before = carry;
    for (std::int64_t i = s * kSegmentLength; i < (s + 1) * kSegmentLength; ++i) {
      out[i] = static_cast<T>(step<kJoin, Wide>(before, local[i]));
    }
    carry = step<kJoin, Wide>(before, totals[s]);
  }
}

template <ScanOp kOp, typename T>
HWY_ATTR void scan_segments(const ScanTile& tile) {
  constexpr std::int64_t kPiece = kSegments * kSegmentLength;
  for (std::int64_t lane = 0; lane < tile.lanes; ++lane) {
    const T* in = reinterpret_cast<const T*>(tile.in) + lane * tile.in_stride;
    T* out = reinterpret_cast<T*>(tile.out) + lane * tile.out_stride;
    auto& state = reinterpret_cast<typename WideOf<T>::Type*>(tile.state)[lane];
    std::int64_t i = 0;
    for (; i + kPiece <= tile.length; i += kPiece) {
      scan_piece<kOp, T>(in + i, out + i, state, tile.exclusive);
    }
    scan_one_lane<kOp, T, T>(in, out, state, i, tile.length, tile.exclusive);
  }
}

/// Calls f with the element type and the operation as constants.
template <typename F>
HWY_ATTR void visit_scan(ScanOp op, DType dtype, F&& f) {
  visit_dtype(dtype, "scan", [&]<typename T>(std::type_identity<T>) HWY_ATTR {
    if constexpr (std::is_same_v<T, bool>) {
      return;
    } else if constexpr (std::is_integral_v<T>) {
      const bool product = op == ScanOp::kProd || op == ScanOp::kNanProd;
      product ? f.template operator()<ScanOp::kProd, T>()
              : f.template operator()<ScanOp::kSum, T>();
    } else {
      switch (op) {
        case ScanOp::kSum:
          return f.template operator()<ScanOp::kSum, T>();
        case ScanOp::kProd:
          return f.template operator()<ScanOp::kProd, T>();
        case ScanOp::kNanSum:
          return f.template operator()<ScanOp::kNanSum, T>();
        case ScanOp::kNanProd:
          return f.template operator()<ScanOp::kNanProd, T>();
      }
    }
  });
}

HWY_INLINE HWY_ATTR ScanTile as_parts(ScanTile tile) {
  tile.lanes *= 2;
  tile.in_stride *= 2;
  tile.out_stride *= 2;
  return tile;
}

HWY_ATTR void scan_tile(ScanOp op, DType dtype, ScanLayout layout, const ScanTile& tile) {
  visit_scan(op, dtype, [&]<ScanOp kOp, typename T>() HWY_ATTR {
    switch (layout) {
      case ScanLayout::kRows:
        if constexpr (kIsComplex<T> && kOp == ScanOp::kSum) {
          // Parts add up on their own, and twice as fast.
          return scan_rows<kOp, typename T::value_type>(as_parts(tile));
        } else {
          return scan_rows<kOp, T>(tile);
        }
      case ScanLayout::kLanes:
        return scan_lanes<kOp, T>(tile);
      case ScanLayout::kSegments:
        return scan_segments<kOp, T>(tile);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(scan_tile);

void scan_one_tile(ScanOp op, DType dtype, ScanLayout layout, const ScanTile& tile) {
  HWY_DYNAMIC_DISPATCH(scan_tile)(op, dtype, layout, tile);
}

}  // namespace tessera::kernels::host
#endif
