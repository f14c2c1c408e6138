#include "tessera/elementwise.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "array/node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"

namespace tessera {
namespace {

using array::fits;
using core::DTypeRule;
using core::ScalarOp;
using Operands = std::vector<const Operand*>;

// The dtype that the operands promote to: arrays first, then the numbers beside them.
DType promote(const Operands& operands, bool compares) {
  std::optional<DType> arrays;
  for (const Operand* operand : operands) {
    if (operand->is_scalar()) continue;
    const DType dtype = operand->array().dtype();
    arrays = arrays ? result_type(*arrays, dtype) : dtype;
  }
  std::optional<DType> all = arrays;
  for (const Operand* operand : operands) {
    if (!operand->is_scalar()) continue;
    const Scalar& scalar = operand->scalar();
    DType dtype = arrays ? scalar.dtype_beside(*arrays) : scalar.default_dtype();
    // A comparison with a number that no element can equal has an answer all the same.
    if (compares && !fits(scalar, dtype)) dtype = scalar.default_dtype();
    all = all ? result_type(*all, dtype) : dtype;
  }
  return *all;
}

Array constant(const Operand& operand, DType dtype, std::string_view name) {
  if (!fits(operand.scalar(), dtype)) {
    array::refuse(name, "a number must fit the dtype of the array beside it; got ",
                  operand.scalar().to_string(), " for ", dtype, "; try astype of the array");
  }
  return array::make_array("constant", array::Constant{operand.scalar()}, {}, dtype, ChunkGrid(),
                           operand.where());
}

// The operand with exactly this dtype; a number becomes a 0-d constant.
Array converted(const Operand& operand, DType dtype, std::string_view name) {
  if (operand.is_scalar()) return constant(operand, dtype, name);
  return array::cast(operand.array(), dtype, operand.where());
}

Array make_elementwise(ScalarOp op, std::vector<Array> inputs, DType dtype,
                       const std::source_location& where) {
  const std::string_view name = core::info(op).name;
  Shape shape;
  for (const Array& input : inputs) shape = broadcast_shapes(shape, input.shape(), name);
  core::array_bytes(name, shape, dtype);
  ChunkGrid grid = array::common_grid(inputs, shape);
  return array::make_array(std::string(name), array::Elementwise{op}, std::move(inputs), dtype,
                           std::move(grid), where);
}

Array apply(ScalarOp op, const Operands& operands) {
  const core::ScalarOpInfo& row = core::info(op);
  const bool compares = row.rule == DTypeRule::kCompareAny || row.rule == DTypeRule::kCompareReal;
  const core::OpDTypes dtypes = core::infer_dtypes(op, promote(operands, compares));
  std::vector<Array> inputs;
  for (const Operand* operand : operands) {
    inputs.push_back(converted(*operand, dtypes.compute, row.name));
  }
  return make_elementwise(op, std::move(inputs), dtypes.result, operands.front()->where());
}

Array round_by(ScalarOp op, const Operand& x) {
  if (!x.is_scalar() && is_integer(x.array().dtype())) return x.array();
  return apply(op, {&x});
}

// positive, conj and real leave real numbers as they are.
Array part_by(ScalarOp op, const Operand& x) {
  if (x.is_scalar() || is_complex(x.array().dtype())) return apply(op, {&x});
  core::infer_dtypes(op, x.array().dtype());
  return x.array();
}

}  // namespace

Array abs(const Operand& x) { return apply(ScalarOp::kAbs, {&x}); }
Array negative(const Operand& x) { return apply(ScalarOp::kNegative, {&x}); }
Array positive(const Operand& x) { return part_by(ScalarOp::kPositive, x); }
Array sign(const Operand& x) { return apply(ScalarOp::kSign, {&x}); }
Array square(const Operand& x) { return apply(ScalarOp::kSquare, {&x}); }
Array reciprocal(const Operand& x) { return apply(ScalarOp::kReciprocal, {&x}); }
Array add(const Operand& a, const Operand& b) { return apply(ScalarOp::kAdd, {&a, &b}); }
Array subtract(const Operand& a, const Operand& b) { return apply(ScalarOp::kSubtract, {&a, &b}); }
Array multiply(const Operand& a, const Operand& b) { return apply(ScalarOp::kMultiply, {&a, &b}); }
Array divide(const Operand& a, const Operand& b) { return apply(ScalarOp::kDivide, {&a, &b}); }
Array floor_divide(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kFloorDivide, {&a, &b});
}
Array remainder(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kRemainder, {&a, &b});
}
Array pow(const Operand& a, const Operand& b) { return apply(ScalarOp::kPow, {&a, &b}); }
Array maximum(const Operand& a, const Operand& b) { return apply(ScalarOp::kMaximum, {&a, &b}); }
Array minimum(const Operand& a, const Operand& b) { return apply(ScalarOp::kMinimum, {&a, &b}); }
Array fmax(const Operand& a, const Operand& b) { return apply(ScalarOp::kFmax, {&a, &b}); }
Array fmin(const Operand& a, const Operand& b) { return apply(ScalarOp::kFmin, {&a, &b}); }
Array hypot(const Operand& a, const Operand& b) { return apply(ScalarOp::kHypot, {&a, &b}); }
Array copysign(const Operand& a, const Operand& b) { return apply(ScalarOp::kCopysign, {&a, &b}); }
Array nextafter(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kNextafter, {&a, &b});
}
Array sqrt(const Operand& x) { return apply(ScalarOp::kSqrt, {&x}); }
Array cbrt(const Operand& x) { return apply(ScalarOp::kCbrt, {&x}); }
Array exp(const Operand& x) { return apply(ScalarOp::kExp, {&x}); }
Array exp2(const Operand& x) { return apply(ScalarOp::kExp2, {&x}); }
Array expm1(const Operand& x) { return apply(ScalarOp::kExpm1, {&x}); }
Array log(const Operand& x) { return apply(ScalarOp::kLog, {&x}); }
Array log2(const Operand& x) { return apply(ScalarOp::kLog2, {&x}); }
Array log10(const Operand& x) { return apply(ScalarOp::kLog10, {&x}); }
Array log1p(const Operand& x) { return apply(ScalarOp::kLog1p, {&x}); }
Array logaddexp(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kLogaddexp, {&a, &b});
}
Array sin(const Operand& x) { return apply(ScalarOp::kSin, {&x}); }
Array cos(const Operand& x) { return apply(ScalarOp::kCos, {&x}); }
Array tan(const Operand& x) { return apply(ScalarOp::kTan, {&x}); }
Array asin(const Operand& x) { return apply(ScalarOp::kAsin, {&x}); }
Array acos(const Operand& x) { return apply(ScalarOp::kAcos, {&x}); }
Array atan(const Operand& x) { return apply(ScalarOp::kAtan, {&x}); }
Array atan2(const Operand& a, const Operand& b) { return apply(ScalarOp::kAtan2, {&a, &b}); }
Array sinh(const Operand& x) { return apply(ScalarOp::kSinh, {&x}); }
Array cosh(const Operand& x) { return apply(ScalarOp::kCosh, {&x}); }
Array tanh(const Operand& x) { return apply(ScalarOp::kTanh, {&x}); }
Array asinh(const Operand& x) { return apply(ScalarOp::kAsinh, {&x}); }
Array acosh(const Operand& x) { return apply(ScalarOp::kAcosh, {&x}); }
Array atanh(const Operand& x) { return apply(ScalarOp::kAtanh, {&x}); }
Array ceil(const Operand& x) { return round_by(ScalarOp::kCeil, x); }
Array floor(const Operand& x) { return round_by(ScalarOp::kFloor, x); }
Array round(const Operand& x) { return round_by(ScalarOp::kRound, x); }
Array trunc(const Operand& x) { return round_by(ScalarOp::kTrunc, x); }
Array conj(const Operand& x) { return part_by(ScalarOp::kConj, x); }
Array real(const Operand& x) { return part_by(ScalarOp::kReal, x); }
Array imag(const Operand& x) { return apply(ScalarOp::kImag, {&x}); }
Array angle(const Operand& x) { return apply(ScalarOp::kAngle, {&x}); }
Array equal(const Operand& a, const Operand& b) { return apply(ScalarOp::kEqual, {&a, &b}); }
Array not_equal(const Operand& a, const Operand& b) { return apply(ScalarOp::kNotEqual, {&a, &b}); }
Array less(const Operand& a, const Operand& b) { return apply(ScalarOp::kLess, {&a, &b}); }
Array less_equal(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kLessEqual, {&a, &b});
}
Array greater(const Operand& a, const Operand& b) { return apply(ScalarOp::kGreater, {&a, &b}); }
Array greater_equal(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kGreaterEqual, {&a, &b});
}
Array isfinite(const Operand& x) { return apply(ScalarOp::kIsfinite, {&x}); }
Array isinf(const Operand& x) { return apply(ScalarOp::kIsinf, {&x}); }
Array isnan(const Operand& x) { return apply(ScalarOp::kIsnan, {&x}); }
Array signbit(const Operand& x) { return apply(ScalarOp::kSignbit, {&x}); }
Array logical_and(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kLogicalAnd, {&a, &b});
}
Array logical_or(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kLogicalOr, {&a, &b});
}
Array logical_xor(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kLogicalXor, {&a, &b});
}
Array logical_not(const Operand& x) { return apply(ScalarOp::kLogicalNot, {&x}); }
Array bitwise_and(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kBitwiseAnd, {&a, &b});
}
Array bitwise_or(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kBitwiseOr, {&a, &b});
}
Array bitwise_xor(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kBitwiseXor, {&a, &b});
}
Array bitwise_invert(const Operand& x) { return apply(ScalarOp::kBitwiseInvert, {&x}); }
Array bitwise_left_shift(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kBitwiseLeftShift, {&a, &b});
}
Array bitwise_right_shift(const Operand& a, const Operand& b) {
  return apply(ScalarOp::kBitwiseRightShift, {&a, &b});
}

Array where(const Operand& condition, const Operand& a, const Operand& b) {
  const DType dtype = promote({&a, &b}, false);
  std::vector<Array> inputs{converted(condition, DType::kBool, "where"),
                            converted(a, dtype, "where"), converted(b, dtype, "where")};
  return make_elementwise(ScalarOp::kWhere, std::move(inputs), dtype, condition.where());
}

Array clip(const Operand& x, const std::optional<Operand>& low,
           const std::optional<Operand>& high) {
  return array::in_name_of("clip", [&] {
    Operand out = x;
    if (low) out = Operand(apply(ScalarOp::kMaximum, {&out, &*low}), x.where());
    if (high) out = Operand(apply(ScalarOp::kMinimum, {&out, &*high}), x.where());
    return out.array();
  });
}

Array isclose(const Operand& a, const Operand& b, const IscloseOptions& options) {
  const auto at = [&](const Array& x) { return Operand(x, a.where()); };
  const auto number = [&](double x) { return Operand(x, a.where()); };
  if (std::isnan(options.rtol) || std::isnan(options.atol)) {
    array::refuse("isclose", "tolerances must be numbers; got rtol ", options.rtol, " and atol ",
                  options.atol);
  }
  return array::in_name_of("isclose", [&] {
    // Integers are compared in float64, where their difference cannot wrap around.
    const DType promoted = core::infer_dtypes(ScalarOp::kDivide, promote({&a, &b}, true)).compute;
    const Operand x = at(converted(a, promoted, "isclose"));
    const Operand y = at(converted(b, promoted, "isclose"));
    const Operand scaled = at(multiply(at(abs(y)), number(options.rtol)));
    const Operand bound = at(add(scaled, number(options.atol)));
    const Operand near = at(less_equal(at(abs(at(subtract(x, y)))), bound));
    const Operand close = at(logical_and(near, at(isfinite(y))));
    const Array same = logical_or(close, at(equal(x, y)));
    if (!options.equal_nan) return same;
    return logical_or(at(same), at(logical_and(at(isnan(x)), at(isnan(y)))));
  });
}

Array nan_to_num(const Array& x, const NanToNumOptions& options, std::source_location where) {
  if (is_complex(x.dtype())) {
    array::refuse("nan_to_num", "the dtype must be real; got ", x.dtype(),
                  "; try it on real() and imag()");
  }
  if (!is_floating(x.dtype())) return x;
  const double largest = x.dtype() == DType::kFloat32
                             ? static_cast<double>(std::numeric_limits<float>::max())
                             : std::numeric_limits<double>::max();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto at = [&](const Array& y) { return Operand(y, where); };
  const auto replace = [&](const Array& bad, double by, const Array& y) {
    return tessera::where(at(bad), Operand(by, where), at(y));
  };
  Array out = replace(isnan(at(x)), options.nan, x);
  out = replace(equal(at(x), Operand(infinity, where)), options.posinf.value_or(largest), out);
  return replace(equal(at(x), Operand(-infinity, where)), options.neginf.value_or(-largest), out);
}

DType result_type(std::initializer_list<Operand> operands) {
  if (operands.size() == 0) {
    array::refuse("result_type", "there must be at least one operand; got none");
  }
  Operands list;
  for (const Operand& operand : operands) list.push_back(&operand);
  return promote(list, false);
}

Array astype(const Array& x, DType dtype, std::source_location where) {
  if (is_complex(x.dtype()) && !is_complex(dtype) && dtype != DType::kBool) {
    array::refuse("astype", "complex numbers do not convert to real ones; got ", x.dtype(), " to ",
                  dtype, "; try real() or abs() of it");
  }
  return array::cast(x, dtype, where);
}

Array operator+(const Operand& x) { return positive(x); }
Array operator-(const Operand& x) { return negative(x); }
Array operator~(const Operand& x) { return bitwise_invert(x); }
Array operator+(const Operand& a, const Operand& b) { return add(a, b); }
Array operator-(const Operand& a, const Operand& b) { return subtract(a, b); }
Array operator*(const Operand& a, const Operand& b) { return multiply(a, b); }
Array operator/(const Operand& a, const Operand& b) { return divide(a, b); }
Array operator%(const Operand& a, const Operand& b) { return remainder(a, b); }
Array operator&(const Operand& a, const Operand& b) { return bitwise_and(a, b); }
Array operator|(const Operand& a, const Operand& b) { return bitwise_or(a, b); }
Array operator^(const Operand& a, const Operand& b) { return bitwise_xor(a, b); }
Array operator<<(const Operand& a, const Operand& b) { return bitwise_left_shift(a, b); }
Array operator>>(const Operand& a, const Operand& b) { return bitwise_right_shift(a, b); }
Array operator==(const Operand& a, const Operand& b) { return equal(a, b); }
Array operator!=(const Operand& a, const Operand& b) { return not_equal(a, b); }
Array operator<(const Operand& a, const Operand& b) { return less(a, b); }
Array operator<=(const Operand& a, const Operand& b) { return less_equal(a, b); }
Array operator>(const Operand& a, const Operand& b) { return greater(a, b); }
Array operator>=(const Operand& a, const Operand& b) { return greater_equal(a, b); }

}  // namespace tessera
