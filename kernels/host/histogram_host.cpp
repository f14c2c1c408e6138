#include "kernels/host/histogram_host.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/host/loop_nest.hpp"
#include "kernels/host/visit_dtype.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/histogram_host.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

#ifndef TESSERA_HISTOGRAM_BINS_
#define TESSERA_HISTOGRAM_BINS_
namespace tessera::kernels::host {
namespace {

struct HistogramBins {
  const double* edges;
  std::int32_t count;
  double bins_per_unit;  ///< 0: not evenly spaced
};

constexpr std::int64_t kPiece = 512;

}  // namespace
}  // namespace tessera::kernels::host
#endif

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
HWY_INLINE HWY_ATTR void load_piece(const T* in, std::int64_t stride, std::int64_t n, double* out) {
  if (stride == 1) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(in[i * stride]);
  }
}

/// Bin of each element, or bins.count for elements to leave out.
HWY_ATTR void find_even_bins(const HistogramBins& bins, const double* __restrict x, std::int64_t n,
                             std::int32_t* __restrict out) {
  const double* __restrict edges = bins.edges;
  const double first = edges[0];
  const double last = edges[bins.count];
  const std::int32_t top = bins.count - 1;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool inside = x[i] >= first && x[i] <= last;
    const double safe = inside ? x[i] : first;
    // The estimate is at most one bin off, as histogram() has made sure.
    std::int32_t bin = static_cast<std::int32_t>((safe - first) * bins.bins_per_unit);
    bin = bin > top ? top : bin;
    bin -= safe < edges[bin] ? 1 : 0;
    bin += safe >= edges[bin + 1] && bin != top ? 1 : 0;
    out[i] = inside ? bin : bins.count;
  }
}

HWY_ATTR void find_any_bins(const HistogramBins& bins, const double* x, std::int64_t n,
                            std::int32_t* out) {
  const double* edges = bins.edges;
  for (std::int64_t i = 0; i < n; ++i) {
    // Counts the edges that are not above x, halving the range without a branch.
    const double* base = edges;
    for (std::int32_t left = bins.count + 1; left > 1;) {
      const std::int32_t half = left / 2;
      base = base[half] <= x[i] ? base + half : base;
      left -= half;
    }
    const bool inside = x[i] >= edges[0] && x[i] <= edges[bins.count];
    const auto bin = static_cast<std::int32_t>(base - edges);
    out[i] = inside ? std::min(bin, bins.count - 1) : bins.count;
  }
}

/// Bins of n <= kPiece elements `stride` apart.
HWY_ATTR void find_bins(const HistogramBins& bins, DType dtype, const std::byte* in,
                        std::int64_t stride, std::int64_t n, std::int32_t* out) {
  alignas(64) double x[kPiece];
  visit_real_dtype(dtype, "histogram", [&]<typename T>(std::type_identity<T>) HWY_ATTR {
    load_piece(reinterpret_cast<const T*>(in), stride, n, x);
  });
  bins.bins_per_unit > 0 ? find_even_bins(bins, x, n, out) : find_any_bins(bins, x, n, out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {
namespace {

HWY_EXPORT(find_bins);

void check_call(const ConstBlockView& in, std::span<const double> edges,
                const ConstBlockView* weights, const BlockView& counts) {
  if (edges.size() < 2 || edges.size() > std::size_t{1} << 31) {
    throw InvalidArgument(core::text("[histogram] bins must have between 2 and 2^31 edges; got ",
                                     edges.size(), "; try linspace(low, high, bins + 1)"));
  }
  for (std::size_t i = 1; i < edges.size(); ++i) {
    if (!(edges[i - 1] <= edges[i])) {
      throw InvalidArgument(core::text("[histogram] edges must increase; got ", edges[i - 1],
                                       " before ", edges[i], " at position ", i,
                                       "; try sorting them"));
    }
  }
  const DType expected = weights == nullptr ? DType::kInt64 : DType::kFloat64;
  if (counts.shape.size() != 1 || counts.shape[0] + 1 != static_cast<std::int64_t>(edges.size()) ||
      counts.dtype != expected) {
    throw InvalidArgument(core::text(
        "[histogram] counts must be 1-d with one ", expected, " for each of the ", edges.size() - 1,
        " bins; got another shape or dtype ", counts.dtype, "; try allocating them so"));
  }
  if (weights == nullptr) return;
  if (weights->dtype != DType::kFloat64 || !std::ranges::equal(weights->shape, in.shape)) {
    throw InvalidArgument(core::text("[histogram] weights must be float64 of the input's shape; ",
                                     "got dtype ", weights->dtype,
                                     " or another shape; try astype and broadcast_to"));
  }
}

/// Evenly spaced edges lie so close to the even places that arithmetic misses a bin by at most one.
double bins_per_unit(std::span<const double> edges) {
  const auto count = static_cast<double>(edges.size() - 1);
  const double range = edges.back() - edges.front();
  const double step = range / count;
  const double result = count / range;
  if (!std::isfinite(range) || !(step > 0) || !std::isfinite(result) || !(result > 0)) return 0;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const double place = (edges[i] - edges.front()) * result;
    if (!(std::abs(place - static_cast<double>(i)) < 0.25)) return 0;
  }
  return result;
}

/// Tables that neighbouring elements take turns with, so that runs of one bin do not wait for each
/// other's store.
class CountTables {
 public:
  explicit CountTables(std::int32_t bins, std::int64_t* counts) : bins_(bins), counts_(counts) {}

  void add(const std::int32_t* bin, std::int64_t n) {
    if (bins_ >= kMost) {
      for (std::int64_t i = 0; i < n; ++i) {
        if (bin[i] < bins_) ++counts_[bin[i]];
      }
      return;
    }
    std::int64_t i = 0;
    for (; i + kTables <= n; i += kTables) {
      for (std::int64_t t = 0; t < kTables; ++t) ++tables_[t][bin[i + t]];
    }
    for (; i < n; ++i) ++tables_[0][bin[i]];
  }

  void finish() {
    if (bins_ >= kMost) return;
    for (std::int32_t b = 0; b < bins_; ++b) {
      for (std::int64_t t = 0; t < kTables; ++t) counts_[b] += tables_[t][b];
    }
  }

 private:
  static constexpr std::int64_t kTables = 4;
  static constexpr std::int32_t kMost = 1024;
  std::int32_t bins_;
  std::int64_t* counts_;
  std::int64_t tables_[kTables][kMost] = {};
};

}  // namespace

void histogram(ConstBlockView in, std::span<const double> edges, const ConstBlockView* weights,
               BlockView counts) {
  check_call(in, edges, weights, counts);
  const HistogramBins bins{edges.data(), static_cast<std::int32_t>(edges.size() - 1),
                           bins_per_unit(edges)};
  LoopNest<2> nest;
  for (std::size_t axis = 0; axis < in.shape.size(); ++axis) {
    nest.add_axis(in.shape[axis],
                  {in.strides[axis], weights == nullptr ? 0 : weights->strides[axis]});
  }
  // Counts may be taken in any order, sums of weights only in one.
  if (weights == nullptr) {
    nest.sort_by(0);
    for (int axis = 0; axis < nest.rank(); ++axis) nest.set_stride(1, axis, nest.stride(0, axis));
  }
  nest.merge();
  const int last = nest.rank() - 1;
  const std::int64_t run = last < 0 ? 1 : nest.extent(last);
  const std::int64_t stride = last < 0 ? 1 : nest.stride(0, last);
  const std::int64_t weight_stride = last < 0 ? 1 : nest.stride(1, last);
  const auto item = static_cast<std::int64_t>(itemsize(in.dtype));
  auto* count = reinterpret_cast<std::int64_t*>(counts.data);
  auto* sum = reinterpret_cast<double*>(counts.data);
  std::fill_n(count, bins.count, 0);
  if (weights != nullptr) std::fill_n(sum, bins.count, 0.0);
  CountTables tables(bins.count, count);
  const auto find_bins = HWY_DYNAMIC_DISPATCH(find_bins);
  alignas(64) std::int32_t bin[kPiece];
  nest.for_each(1, [&](const std::array<std::int64_t, 2>& at) {
    for (std::int64_t begin = 0; begin < run; begin += kPiece) {
      const std::int64_t n = std::min(kPiece, run - begin);
      find_bins(bins, in.dtype, in.data + (at[0] + begin * stride) * item, stride, n, bin);
      if (weights == nullptr) {
        tables.add(bin, n);
        continue;
      }
      const double* weight =
          reinterpret_cast<const double*>(weights->data) + at[1] + begin * weight_stride;
      for (std::int64_t i = 0; i < n; ++i) {
        if (bin[i] < bins.count) sum[bin[i]] += weight[i * weight_stride];
      }
    }
  });
  if (weights == nullptr) tables.finish();
}

}  // namespace tessera::kernels::host
#endif
