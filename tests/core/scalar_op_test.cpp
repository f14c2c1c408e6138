#include "core/scalar_op.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tessera/error.hpp"

namespace tessera::core {
namespace {

std::string message_of(ScalarOp op, DType dtype) {
  try {
    infer_dtypes(op, dtype);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

void expect_dtypes(ScalarOp op, DType promoted, DType compute, DType result) {
  const OpDTypes got = infer_dtypes(op, promoted);
  EXPECT_EQ(got.compute, compute) << info(op).name << " of " << promoted;
  EXPECT_EQ(got.result, result) << info(op).name << " of " << promoted;
}

TEST(ScalarOp, EveryRowDescribesItself) {
  std::set<std::string> names;
  for (int i = 0; i < kScalarOpCount; ++i) {
    const auto op = static_cast<ScalarOp>(i);
    EXPECT_EQ(info(op).op, op);
    EXPECT_TRUE(names.insert(std::string(info(op).name)).second) << info(op).name;
    EXPECT_GE(info(op).arity, 1);
    EXPECT_LE(info(op).arity, 3);
    EXPECT_GE(info(op).ulp, 0.0);
  }
  EXPECT_EQ(info(ScalarOp::kCast).name, "cast");
  EXPECT_EQ(info(ScalarOp::kAtan2).arity, 2);
  EXPECT_EQ(info(ScalarOp::kWhere).arity, 3);
}

TEST(ScalarOp, RulesGiveComputeAndResultDTypes) {
  expect_dtypes(ScalarOp::kAdd, bool_, bool_, bool_);
  expect_dtypes(ScalarOp::kAdd, int8, int8, int8);
  expect_dtypes(ScalarOp::kNegative, complex64, complex64, complex64);
  expect_dtypes(ScalarOp::kFloorDivide, uint16, uint16, uint16);
  expect_dtypes(ScalarOp::kDivide, int8, float64, float64);
  expect_dtypes(ScalarOp::kSqrt, bool_, float64, float64);
  expect_dtypes(ScalarOp::kSqrt, float32, float32, float32);
  expect_dtypes(ScalarOp::kSqrt, complex64, complex64, complex64);
  expect_dtypes(ScalarOp::kHypot, int32, float64, float64);
  expect_dtypes(ScalarOp::kAbs, complex64, complex64, float32);
  expect_dtypes(ScalarOp::kAbs, int8, int8, int8);
  expect_dtypes(ScalarOp::kAngle, complex128, complex128, float64);
  expect_dtypes(ScalarOp::kAngle, int8, float64, float64);
  expect_dtypes(ScalarOp::kAngle, float32, float32, float32);
  expect_dtypes(ScalarOp::kEqual, complex64, complex64, bool_);
  expect_dtypes(ScalarOp::kLess, float32, float32, bool_);
  expect_dtypes(ScalarOp::kIsnan, int32, int32, bool_);
  expect_dtypes(ScalarOp::kSignbit, float64, float64, bool_);
  expect_dtypes(ScalarOp::kLogicalNot, complex128, complex128, bool_);
  expect_dtypes(ScalarOp::kBitwiseXor, bool_, bool_, bool_);
  expect_dtypes(ScalarOp::kBitwiseLeftShift, int64, int64, int64);
  expect_dtypes(ScalarOp::kWhere, DType::kFloat16, DType::kFloat16, DType::kFloat16);
  expect_dtypes(ScalarOp::kCast, DType::kBFloat16, DType::kBFloat16, DType::kBFloat16);
}

TEST(ScalarOp, RefusalsNameOperationRuleDTypeAndWayOut) {
  EXPECT_EQ(message_of(ScalarOp::kNegative, bool_),
            "[negative] operands must be numeric; got bool; try astype(int64)");
  EXPECT_EQ(message_of(ScalarOp::kFloor, complex64),
            "[floor] operands must be real numbers; got complex64; try real() or abs() of it");
  EXPECT_EQ(message_of(ScalarOp::kFloor, bool_),
            "[floor] operands must be real numbers; got bool; try astype(int64)");
  EXPECT_EQ(message_of(ScalarOp::kMaximum, complex128),
            "[maximum] operands must not be complex; got complex128; try real() or abs() of it");
  EXPECT_EQ(message_of(ScalarOp::kCbrt, complex64),
            "[cbrt] operands must not be complex; got complex64; try real() or abs() of it");
  EXPECT_EQ(message_of(ScalarOp::kLess, complex64),
            "[less] complex numbers have no order; got complex64; try real() or abs() of it");
  EXPECT_EQ(message_of(ScalarOp::kIsnan, bool_),
            "[isnan] operands must be numeric; got bool; try astype(int64)");
  EXPECT_EQ(message_of(ScalarOp::kSignbit, int8),
            "[signbit] operands must be real floating-point numbers; got int8; try "
            "astype(float64)");
  EXPECT_EQ(message_of(ScalarOp::kBitwiseAnd, float32),
            "[bitwise_and] operands must be integers or bool; got float32; try astype(int64)");
  EXPECT_EQ(message_of(ScalarOp::kBitwiseLeftShift, bool_),
            "[bitwise_left_shift] operands must be integers; got bool; try astype(int64)");
  EXPECT_EQ(message_of(ScalarOp::kSqrt, DType::kFloat16),
            "[sqrt] float16 and bfloat16 are storage dtypes without arithmetic; got float16; try "
            "astype(float32)");
}

}  // namespace
}  // namespace tessera::core
