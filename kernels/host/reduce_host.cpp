#include "kernels/host/reduce_host.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "core/text.hpp"
#include "kernels/host/level_stack.hpp"
#include "kernels/host/program_host.hpp"
#include "kernels/host/visit_dtype.hpp"

namespace tessera::kernels::host {
namespace {

using core::ReduceOp;

constexpr std::int64_t kChunk = 128;

DType natural_dtype(ReduceOp op, DType dtype) {
  switch (op) {
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      return accumulator_dtypes(op, dtype)[1];
    case ReduceOp::kVar:
    case ReduceOp::kStd:
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd:
      return DType::kFloat64;
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax:
      return DType::kInt64;
    default:
      return accumulator_dtypes(op, dtype)[0];
  }
}

template <typename T>
const T* plane(const Planes& planes, std::size_t i) {
  return reinterpret_cast<const T*>(planes[i]);
}

bool all_equal(const std::int64_t* n, std::int64_t count) {
  std::int64_t differs = 0;
  for (std::int64_t i = 1; i < count; ++i) differs |= n[i] ^ n[0];
  return differs == 0;
}

// Most means are of as many elements each, and a loop over one divisor is much faster.
void finish_means(const Planes& planes, std::int64_t count, int parts, double* out) {
  const auto* n = plane<std::int64_t>(planes, 0);
  const auto* sum = plane<double>(planes, 1);
  if (count > 0 && all_equal(n, count)) {
    const auto divisor = static_cast<double>(n[0]);
    for (std::int64_t i = 0; i < count * parts; ++i) out[i] = sum[i] / divisor;
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    for (int p = 0; p < parts; ++p, ++sum) *out++ = *sum / static_cast<double>(n[i]);
  }
}

void finish_variances(const Planes& planes, std::int64_t count, double ddof, bool root,
                      double* out) {
  const auto* n = plane<std::int64_t>(planes, 0);
  const auto* m2 = plane<double>(planes, 2);
  for (std::int64_t i = 0; i < count; ++i) {
    const double freedom = static_cast<double>(n[i]) - ddof;
    const double var = freedom > 0.0 ? m2[i] / freedom : std::numeric_limits<double>::quiet_NaN();
    out[i] = root ? std::sqrt(var) : var;
  }
}

void finish_places(const Planes& planes, std::int64_t count, ReduceOp op, std::byte* out) {
  const auto* place = plane<std::int64_t>(planes, 1);
  const bool skips_nan = op == ReduceOp::kNanArgMin || op == ReduceOp::kNanArgMax;
  if (skips_nan && std::any_of(place, place + count, [](std::int64_t i) { return i < 0; })) {
    throw InvalidArgument(core::text("[", name(op),
                                     "] every slice must hold a number; got a slice of NaN alone; "
                                     "try where(isnan(x), fill, x) first"));
  }
  std::memcpy(out, place, static_cast<std::size_t>(count) * sizeof(std::int64_t));
}

void finish_extremes(const Planes& planes, std::int64_t count, DType dtype, std::byte* out) {
  const auto* has = plane<std::uint8_t>(planes, 1);
  visit_real_dtype(dtype, "reduce", [&]<typename T>(std::type_identity<T>) {
    std::memcpy(out, planes[0], static_cast<std::size_t>(count) * sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      T* values = reinterpret_cast<T*>(out);
      for (std::int64_t i = 0; i < count; ++i) {
        if (has[i] == 0) values[i] = std::numeric_limits<T>::quiet_NaN();
      }
    }
  });
}

}  // namespace

ReduceKernels find_reduce_kernels(ReduceOp op, DType dtype) {
  accumulator_dtypes(op, dtype);  // refuses what has no accumulator
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
    case ReduceOp::kProd:
    case ReduceOp::kNanProd:
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
    case ReduceOp::kNorm2:
      return find_sum_kernels(op, dtype);
    case ReduceOp::kVar:
    case ReduceOp::kStd:
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd:
      return find_moment_kernels(op, dtype);
    case ReduceOp::kAny:
    case ReduceOp::kAll:
    case ReduceOp::kCountNonzero:
      return find_logic_kernels(op, dtype);
    default:
      return find_order_kernels(op, dtype);
  }
}

Planes accumulator_planes(const ReduceKernels& kernels, std::int64_t count, std::byte* buffer) {
  constexpr std::size_t kAlignment = 256;
  Planes planes{};
  for (std::size_t i = 0; i < kernels.plane_count; ++i) {
    planes[i] = buffer;
    const std::size_t bytes = kernels.plane_bytes[i] * static_cast<std::size_t>(count);
    buffer += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  return planes;
}

Finisher::Finisher(ReduceOp op, DType dtype, DType result, double ddof)
    : op_(op),
      dtype_(dtype),
      kernels_(find_reduce_kernels(op, dtype)),
      natural_(natural_dtype(op, dtype)),
      ddof_(ddof),
      itemsize_(tessera::itemsize(result)) {
  if (result == natural_) return;
  cast_ = find_cast(natural_, result);
  if (cast_ == nullptr) {
    throw InvalidArgument(core::text("[", name(op), "] the result dtype must have arithmetic; got ",
                                     result, "; try float32 and a cast on saving"));
  }
}

void Finisher::finish(Planes planes, std::int64_t count, std::byte* out) const {
  // Room for a chunk of the widest dtype, and for the lanes that a cast pads it with.
  alignas(64) std::array<std::byte, kChunk * 16 + kLanePadBytes> values;
  alignas(64) std::array<std::byte, kChunk * 16 + kLanePadBytes> converted;
  for (std::int64_t done = 0; done < count; done += kChunk) {
    const std::int64_t n = std::min(kChunk, count - done);
    finish_chunk(planes, n, values.data());
    const std::byte* from = values.data();
    if (cast_ != nullptr) {
      const std::size_t used = tessera::itemsize(natural_) * static_cast<std::size_t>(n);
      std::memset(values.data() + used, 0, kLanePadBytes);
      const void* args[1] = {values.data()};
      cast_(args, converted.data(), n);
      from = converted.data();
    }
    std::memcpy(out, from, static_cast<std::size_t>(n) * itemsize_);
    out += static_cast<std::size_t>(n) * itemsize_;
    planes = advance(planes, kernels_, n);
  }
}

void Finisher::finish_chunk(const Planes& planes, std::int64_t count, std::byte* values) const {
  auto* reals = reinterpret_cast<double*>(values);
  switch (op_) {
    case ReduceOp::kMin:
    case ReduceOp::kMax:
    case ReduceOp::kNanMin:
    case ReduceOp::kNanMax:
      return finish_extremes(planes, count, dtype_, values);
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax:
      return finish_places(planes, count, op_, values);
    case ReduceOp::kMean:
    case ReduceOp::kNanMean:
      return finish_means(planes, count, is_complex(dtype_) ? 2 : 1, reals);
    case ReduceOp::kVar:
    case ReduceOp::kNanVar:
      return finish_variances(planes, count, ddof_, false, reals);
    case ReduceOp::kStd:
    case ReduceOp::kNanStd:
      return finish_variances(planes, count, ddof_, true, reals);
    case ReduceOp::kNorm2:
      for (std::int64_t i = 0; i < count; ++i) reals[i] = std::sqrt(plane<double>(planes, 0)[i]);
      return;
    default:
      std::memcpy(values, planes[0], kernels_.plane_bytes[0] * static_cast<std::size_t>(count));
  }
}

void merge_accumulators(ReduceOp op, DType dtype, std::int64_t count,
                        std::span<const std::byte* const> partials, std::byte* out) {
  const ReduceKernels kernels = find_reduce_kernels(op, dtype);
  std::vector<std::byte> memory(LevelStack::bytes(kernels, kChunk));
  LevelStack stack(kernels, memory.data(), kChunk);
  const Planes to = accumulator_planes(kernels, count, out);
  for (std::int64_t done = 0; done < count; done += kChunk) {
    const std::int64_t n = std::min(kChunk, count - done);
    for (const std::byte* partial : partials) {
      // Only read: the loops take planes of one type.
      const Planes planes = accumulator_planes(kernels, count, const_cast<std::byte*>(partial));
      stack.push(advance(planes, kernels, done), n);
    }
    const Planes total = stack.take_total(n);
    const Planes into = advance(to, kernels, done);
    for (std::size_t i = 0; i < kernels.plane_count; ++i) {
      std::memcpy(into[i], total[i], kernels.plane_bytes[i] * static_cast<std::size_t>(n));
    }
  }
}

void finish_accumulator(ReduceOp op, DType dtype, DType result, double ddof, std::int64_t count,
                        const std::byte* accumulator, std::byte* out) {
  const Finisher finisher(op, dtype, result, ddof);
  const ReduceKernels kernels = find_reduce_kernels(op, dtype);
  finisher.finish(accumulator_planes(kernels, count, const_cast<std::byte*>(accumulator)), count,
                  out);
}

}  // namespace tessera::kernels::host
