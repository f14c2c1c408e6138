#include "core/reduce_op.hpp"

#include "core/storage_dtype.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

constexpr std::size_t kPlaneAlignment = 256;

std::size_t plane_bytes(DType dtype, std::int64_t count) {
  const std::size_t bytes = itemsize(dtype) * static_cast<std::size_t>(count);
  return (bytes + kPlaneAlignment - 1) / kPlaneAlignment * kPlaneAlignment;
}

/// The dtype that sums and products are accumulated in.
DType sum_dtype(DType dtype) {
  switch (kind(dtype)) {
    case DTypeKind::kBool:
    case DTypeKind::kSignedInteger: return DType::kInt64;
    case DTypeKind::kUnsignedInteger: return DType::kUInt64;
    case DTypeKind::kFloating: return DType::kFloat64;
    case DTypeKind::kComplex: return DType::kComplex128;
  }
  return DType::kFloat64;
}

DType mean_dtype(DType dtype) {
  return is_complex(dtype) ? DType::kComplex128 : DType::kFloat64;
}

void check(ReduceOp op, DType dtype) {
  if (!has_arithmetic(dtype)) {
    throw InvalidArgument(core::text("[", name(op), "] the dtype must have arithmetic; got ", dtype,
                                     "; try astype(float32)"));
  }
  if (!is_complex(dtype)) return;
  switch (op) {
    case ReduceOp::kMin:
    case ReduceOp::kMax:
    case ReduceOp::kNanMin:
    case ReduceOp::kNanMax:
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax:
      throw InvalidArgument(core::text("[", name(op), "] the elements must have an order; got ",
                                       dtype, "; try abs(), real() or imag() first"));
    default: return;
  }
}

}  // namespace

std::string_view name(ReduceOp op) noexcept {
  switch (op) {
    case ReduceOp::kSum: return "sum";
    case ReduceOp::kProd: return "prod";
    case ReduceOp::kMin: return "min";
    case ReduceOp::kMax: return "max";
    case ReduceOp::kAny: return "any";
    case ReduceOp::kAll: return "all";
    case ReduceOp::kCountNonzero: return "count_nonzero";
    case ReduceOp::kArgMin: return "argmin";
    case ReduceOp::kArgMax: return "argmax";
    case ReduceOp::kMean: return "mean";
    case ReduceOp::kVar: return "var";
    case ReduceOp::kStd: return "std";
    case ReduceOp::kNanSum: return "nansum";
    case ReduceOp::kNanProd: return "nanprod";
    case ReduceOp::kNanMin: return "nanmin";
    case ReduceOp::kNanMax: return "nanmax";
    case ReduceOp::kNanArgMin: return "nanargmin";
    case ReduceOp::kNanArgMax: return "nanargmax";
    case ReduceOp::kNanMean: return "nanmean";
    case ReduceOp::kNanVar: return "nanvar";
    case ReduceOp::kNanStd: return "nanstd";
    case ReduceOp::kNorm2: return "norm2";
  }
  return "unknown";
}

std::vector<DType> accumulator_dtypes(ReduceOp op, DType dtype) {
  check(op, dtype);
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
    case ReduceOp::kProd:
    case ReduceOp::kNanProd: return {sum_dtype(dtype)};
    case ReduceOp::kMin:
    case ReduceOp::kMax:
    case ReduceOp::kNanMin:
    case ReduceOp::kNanMax: return {dtype, DType::kBool};
    case ReduceOp::kAny:
    case ReduceOp::kAll: return {DType::kBool};
    case ReduceOp::kCountNonzero: return {DType::kInt64};
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax: return {dtype, DType::kInt64};
    case ReduceOp::kMean:
    case ReduceOp::kNanMean: return {DType::kInt64, mean_dtype(dtype)};
    case ReduceOp::kVar:
    case ReduceOp::kStd:
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd: return {DType::kInt64, mean_dtype(dtype), DType::kFloat64};
    case ReduceOp::kNorm2: return {DType::kFloat64};
  }
  return {};
}

DType reduced_dtype(ReduceOp op, DType dtype) {
  check(op, dtype);
  const bool inexact = is_floating(dtype) || is_complex(dtype);
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kNanSum:
    case ReduceOp::kProd:
    case ReduceOp::kNanProd: return inexact ? dtype : sum_dtype(dtype);
    case ReduceOp::kMin:
    case ReduceOp::kMax:
    case ReduceOp::kNanMin:
    case ReduceOp::kNanMax: return dtype;
    case ReduceOp::kAny:
    case ReduceOp::kAll: return DType::kBool;
    case ReduceOp::kCountNonzero:
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax: return DType::kInt64;
    case ReduceOp::kMean:
    case ReduceOp::kNanMean: return inexact ? dtype : DType::kFloat64;
    case ReduceOp::kVar:
    case ReduceOp::kStd:
    case ReduceOp::kNanVar:
    case ReduceOp::kNanStd:
    case ReduceOp::kNorm2: return inexact ? real_dtype(dtype) : DType::kFloat64;
  }
  return dtype;
}

std::size_t accumulator_bytes(ReduceOp op, DType dtype, std::int64_t count) {
  std::size_t total = 0;
  for (const DType plane : accumulator_dtypes(op, dtype)) total += plane_bytes(plane, count);
  return total;
}

std::size_t accumulator_offset(ReduceOp op, DType dtype, std::int64_t count, int component) {
  const std::vector<DType> planes = accumulator_dtypes(op, dtype);
  std::size_t offset = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(component); ++i) {
    offset += plane_bytes(planes[i], count);
  }
  return offset;
}

bool has_identity(ReduceOp op) noexcept {
  switch (op) {
    case ReduceOp::kMin:
    case ReduceOp::kMax:
    case ReduceOp::kNanMin:
    case ReduceOp::kNanMax:
    case ReduceOp::kArgMin:
    case ReduceOp::kArgMax:
    case ReduceOp::kNanArgMin:
    case ReduceOp::kNanArgMax: return false;
    default: return true;
  }
}

}  // namespace tessera::core
