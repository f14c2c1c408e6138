#include <gtest/gtest.h>

#include "array/node.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

const std::vector<DType> kDtypes{bool_,  int8,   int16,   int32,   int64,     uint8,     uint16,
                                 uint32, uint64, float32, float64, complex64, complex128};

Array of(DType dtype, const Shape& shape = {4}) { return ones(shape, {.dtype = dtype}); }

TEST(Elementwise, PromotesAndComputesInOneDtype) {
  for (const DType a : kDtypes) {
    for (const DType b : kDtypes) {
      const Array sum = add(of(a), of(b));
      EXPECT_EQ(sum.dtype(), result_type(a, b));
      const Array quotient = divide(of(a), of(b));
      EXPECT_EQ(quotient.dtype(), core::infer_dtypes(core::ScalarOp::kDivide, sum.dtype()).result);
      const Array same = equal(of(a), of(b));
      EXPECT_EQ(same.dtype(), bool_);
      for (const Array& input : same.node()->inputs) {
        EXPECT_EQ(input.dtype(), sum.dtype());
      }
      for (const Array& input : quotient.node()->inputs) EXPECT_EQ(input.dtype(), quotient.dtype());
    }
  }
}

TEST(Elementwise, NumbersAreWeaklyTyped) {
  EXPECT_EQ((of(float32) + 1.0).dtype(), float32);
  EXPECT_EQ((2 * of(int8)).dtype(), int8);
  EXPECT_EQ((of(int8) + 0.5).dtype(), float64);
  EXPECT_EQ((of(bool_) + 1).dtype(), int64);
  EXPECT_EQ((of(float32) * std::complex<double>(0, 1)).dtype(), complex64);
  EXPECT_EQ((of(uint8) > 3).dtype(), bool_);
  EXPECT_EQ((of(int32) / 2).dtype(), float64);
  EXPECT_EQ(where(of(bool_), 1.0, 0).dtype(), float64);
  EXPECT_EQ(where(of(int8), of(float32), 0).dtype(), float32);
  EXPECT_EQ(sqrt(2.0).dtype(), float64);
  const Array constant = (of(float32) + 1.0).node()->inputs[1];
  EXPECT_TRUE(std::holds_alternative<array::Constant>(constant.node()->attributes));
  EXPECT_EQ(constant.shape(), Shape{});
  EXPECT_EQ(constant.dtype(), float32);
}

TEST(Elementwise, NumbersMustFitIntegers) {
  EXPECT_REFUSED(of(int8) + 128,
                 "[add] a number must fit the dtype of the array beside it; got 128 for int8; try "
                 "astype of the array");
  EXPECT_REFUSED(of(uint64) + -1,
                 "[add] a number must fit the dtype of the array beside it; got -1 for uint64; try "
                 "astype of the array");
  EXPECT_EQ((of(int8) + -128).dtype(), int8);
  EXPECT_EQ((of(uint64) + ~std::uint64_t{0}).dtype(), uint64);
  EXPECT_EQ((of(uint8) < -1).node()->inputs[0].dtype(), int64);
  EXPECT_EQ((of(int8) / 1000).dtype(), float64);
}

TEST(Elementwise, RefusesDtypesAndShapes) {
  EXPECT_REFUSED(zeros({3, 4}) + zeros({5}),
                 "[add] shapes must broadcast; got (3, 4) and (5,); try reshape or expand_dims");
  EXPECT_REFUSED(of(complex64) < 1,
                 "[less] complex numbers have no order; got complex64; try "
                 "real() or abs() of it");
  EXPECT_REFUSED(of(float32) & 1,
                 "[bitwise_and] operands must be integers or bool; got float32; try astype(int64)");
  EXPECT_REFUSED(of(bool_) - of(bool_),
                 "[subtract] operands must be numeric; got bool; try astype(int64)");
  EXPECT_REFUSED(nan_to_num(of(complex64)),
                 "[nan_to_num] the dtype must be real; got complex64; try it on real() and imag()");
}

TEST(Elementwise, WhatChangesNothingMakesNoNode) {
  const Array x = random::integers(0, 9, {4});
  for (const Array& same : {floor(x), ceil(x), trunc(x), round(x), real(x), conj(x), +x,
                            nan_to_num(x), clip(x), astype(x, int64)}) {
    EXPECT_EQ(same.node(), x.node());
  }
}

TEST(Elementwise, GridsMeetInTheirCommonRefinement) {
  const Array x = random::uniform({6, 8}, {.chunks = {4, 8}});
  const Array y = random::uniform({8}, {.chunks = {3}});
  const Array z = random::uniform({6, 1}, {.chunks = {2, 1}});
  EXPECT_EQ((x + y).chunks().to_string(), "(4 x 1 + 2, 3 x 2 + 2)");
  EXPECT_EQ((x + y + z).chunks().to_string(), "(2 x 3, 3 x 2 + 2)");
  EXPECT_EQ((y + z).chunks().to_string(), "(2 x 3, 3 x 2 + 2)");
  EXPECT_EQ((x + 1).chunks(), x.chunks());
  EXPECT_EQ((x + zeros({0, 1, 1})).shape(), (Shape{0, 6, 8}));
  EXPECT_EQ(where(x > 0, y, z).shape(), (Shape{6, 8}));
}

TEST(Elementwise, InputsKeepTheirShapes) {
  const Array sum = random::uniform({6, 8}) + random::uniform({8});
  EXPECT_EQ(sum.node()->inputs[1].shape(), Shape{8});
}

TEST(Elementwise, IsCloseMeansNumPys) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  const Array a = asarray({1.0, 1.0, inf, inf, nan, 0.0});
  const Array b = asarray({1.00001, 1.0001, inf, 1.0, nan, 1e-9});
  EXPECT_EQ(testing::evaluate(isclose(a, b)).data, (std::vector<double>{1, 0, 1, 0, 0, 1}));
  EXPECT_EQ(testing::evaluate(isclose(a, b, {.equal_nan = true})).data,
            (std::vector<double>{1, 0, 1, 0, 1, 1}));
  EXPECT_EQ(testing::evaluate(nan_to_num(a, {.nan = -1, .posinf = 9})).data,
            (std::vector<double>{1, 1, 9, 9, -1, 0}));
  EXPECT_EQ(testing::evaluate(clip(arange(6), 1, 4)).data, (std::vector<double>{1, 1, 2, 3, 4, 4}));
}

TEST(Elementwise, OperatorsAreTheNamedFunctions) {
  const Array x = of(int32);
  const std::vector<std::pair<Array, const char*>> results{{-x, "negative"},
                                                           {~x, "bitwise_invert"},
                                                           {x + x, "add"},
                                                           {x - 1, "subtract"},
                                                           {2 * x, "multiply"},
                                                           {x / x, "divide"},
                                                           {x % 3, "remainder"},
                                                           {x & x, "bitwise_and"},
                                                           {x | 1, "bitwise_or"},
                                                           {x ^ x, "bitwise_xor"},
                                                           {x << 1, "bitwise_left_shift"},
                                                           {x >> x, "bitwise_right_shift"},
                                                           {x == x, "equal"},
                                                           {x != 1, "not_equal"},
                                                           {1 < x, "less"},
                                                           {x <= x, "less_equal"},
                                                           {x > x, "greater"},
                                                           {x >= 0, "greater_equal"}};
  for (const auto& [array, name] : results) EXPECT_EQ(array.node()->name, name);
}

}  // namespace
}  // namespace tessera
