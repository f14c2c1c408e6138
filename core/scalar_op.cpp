#include "core/scalar_op.hpp"

#include <array>
#include <string>

#include "core/storage_dtype.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

constexpr std::array<ScalarOpInfo, kScalarOpCount> kInfo{{
#define TESSERA_SCALAR_OP(Enum, name, arity, rule, ulp) \
  {ScalarOp::Enum, #name, arity, DTypeRule::rule, ulp},
#include "core/scalar_ops.def"
#undef TESSERA_SCALAR_OP
    {ScalarOp::kCast, "cast", 1, DTypeRule::kNumericOrBool, 0},
}};

[[noreturn]] void refuse(ScalarOp op, const char* rule, DType got, const char* hint) {
  throw InvalidArgument("[" + std::string(info(op).name) + "] " + rule + "; got " +
                        std::string(name(got)) + "; try " + hint);
}

void require(bool holds, ScalarOp op, const char* rule, DType got, const char* hint) {
  if (!holds) refuse(op, rule, got, hint);
}

constexpr const char* kToInteger = "astype(int64)";
constexpr const char* kToFloat = "astype(float64)";
constexpr const char* kPartOfComplex = "real() or abs() of it";

}  // namespace

const ScalarOpInfo& info(ScalarOp op) noexcept { return kInfo[static_cast<std::size_t>(op)]; }

OpDTypes infer_dtypes(ScalarOp op, DType t) {
  const DTypeRule rule = info(op).rule;
  if (op == ScalarOp::kCast || rule == DTypeRule::kSelect) return {t, t};
  require(has_arithmetic(t), op,
          "float16 and bfloat16 are storage dtypes without arithmetic", t, "astype(float32)");
  const bool exact = t == DType::kBool || is_integer(t);
  const DType floating = exact ? DType::kFloat64 : t;
  switch (rule) {
    case DTypeRule::kNumeric:
      require(t != DType::kBool, op, "operands must be numeric", t, kToInteger);
      return {t, t};
    case DTypeRule::kNumericOrBool:
      return {t, t};
    case DTypeRule::kReal:
      require(t != DType::kBool, op, "operands must be real numbers", t, kToInteger);
      require(!is_complex(t), op, "operands must be real numbers", t, kPartOfComplex);
      return {t, t};
    case DTypeRule::kRealOrBool:
      require(!is_complex(t), op, "operands must not be complex", t, kPartOfComplex);
      return {t, t};
    case DTypeRule::kFloating:
      return {floating, floating};
    case DTypeRule::kRealFloating:
      require(!is_complex(t), op, "operands must not be complex", t, kPartOfComplex);
      return {floating, floating};
    case DTypeRule::kRealOf:
      return {t, real_dtype(t)};
    case DTypeRule::kAngle:
      return {floating, real_dtype(floating)};
    case DTypeRule::kCompareAny:
      return {t, DType::kBool};
    case DTypeRule::kCompareReal:
      require(!is_complex(t), op, "complex numbers have no order", t, kPartOfComplex);
      return {t, DType::kBool};
    case DTypeRule::kPredicate:
      require(t != DType::kBool, op, "operands must be numeric", t, kToInteger);
      return {t, DType::kBool};
    case DTypeRule::kPredicateReal:
      require(!is_complex(t), op, "operands must be real floating-point numbers", t,
              kPartOfComplex);
      require(is_floating(t), op, "operands must be real floating-point numbers", t, kToFloat);
      return {t, DType::kBool};
    case DTypeRule::kLogical:
      return {t, DType::kBool};
    case DTypeRule::kBitwise:
      require(exact, op, "operands must be integers or bool", t, kToInteger);
      return {t, t};
    case DTypeRule::kShift:
      require(is_integer(t), op, "operands must be integers", t, kToInteger);
      return {t, t};
    case DTypeRule::kSelect:
      break;
  }
  return {t, t};
}

}  // namespace tessera::core
