#include <gtest/gtest.h>

#include "array/node.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

// The Reduce node below the view that drops axes.
const array::Node& reduce_of(const Array& x) {
  const array::Node* node = x.node().get();
  while (!std::holds_alternative<array::Reduce>(node->attributes)) {
    node = node->inputs[0].node().get();
  }
  return *node;
}

TEST(Reduction, DropsOrKeepsAxes) {
  const Array x = random::uniform({6, 8, 10}, {.chunks = {4, 3, 10}});
  EXPECT_EQ(sum(x).shape(), Shape{});
  EXPECT_EQ(sum(x, {.axis = 1}).chunks().to_string(), "(4 x 1 + 2, 10)");
  EXPECT_EQ(sum(x, {.axis = {0, -1}}).chunks().to_string(), "(3 x 2 + 2,)");
  EXPECT_EQ(sum(x, {.axis = {0, -1}, .keepdims = true}).chunks().to_string(), "(1, 3 x 2 + 2, 1)");
  EXPECT_EQ(sum(x, {.axis = std::vector<int>{}}).shape(), x.shape());
  const Array variance = var(x, {.axis = 1, .correction = 1});
  const auto& reduce = std::get<array::Reduce>(reduce_of(variance).attributes);
  EXPECT_EQ(reduce.axes, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(reduce.ddof, 1.0);
  EXPECT_EQ(reduce.op, core::ReduceOp::kVar);
  EXPECT_EQ(sum(zeros({})).shape(), Shape{});
}

TEST(Reduction, Dtypes) {
  const auto of = [](DType dtype) { return zeros({3, 4}, {.dtype = dtype}); };
  EXPECT_EQ(sum(of(float32)).dtype(), float32);
  EXPECT_EQ(sum(of(int8)).dtype(), int64);
  EXPECT_EQ(sum(of(uint8)).dtype(), uint64);
  EXPECT_EQ(sum(of(bool_)).dtype(), int64);
  EXPECT_EQ(sum(of(int8), {.dtype = float32}).dtype(), float32);
  EXPECT_EQ(sum(of(int64), {.dtype = int32}).dtype(), int32);
  EXPECT_EQ(mean(of(int32)).dtype(), float64);
  EXPECT_EQ(mean(of(float32)).dtype(), float32);
  EXPECT_EQ(std(of(complex64)).dtype(), float32);
  EXPECT_EQ(any(of(float32)).dtype(), bool_);
  EXPECT_EQ(argmax(of(float32)).dtype(), int64);
  EXPECT_EQ(count_nonzero(of(complex64)).dtype(), int64);
  EXPECT_EQ(norm(of(complex128)).dtype(), float64);
  EXPECT_EQ(ptp(of(int16), {.axis = 0}).dtype(), int16);
  EXPECT_EQ(reduce_of(sum(of(int8), {.dtype = float32})).inputs[0].dtype(), float32);
}

TEST(Reduction, Refusals) {
  const Array empty_axis = zeros({0, 3});
  EXPECT_REFUSED(min(empty_axis, {.axis = 0}),
                 "[min] an axis to reduce must not be empty; got axis 0 of (0, 3)");
  EXPECT_REFUSED(nanargmax(empty_axis),
                 "[nanargmax] an axis to reduce must not be empty; got axis 0 of (0, 3)");
  EXPECT_EQ(min(empty_axis, {.axis = 1}).shape(), Shape{0});
  EXPECT_EQ(sum(empty_axis, {.axis = 0}).shape(), Shape{3});
  EXPECT_REFUSED(max(zeros({2}, {.dtype = complex64})),
                 "[max] the elements must have an order; got complex64; try abs(), real() or "
                 "imag() first");
  EXPECT_REFUSED(sum(zeros({2, 2}), {.axis = {0, 0}}),
                 "[sum] axes must differ; got (0, 0) for an array of 2 axes");
  EXPECT_REFUSED(argmin(zeros({2, 2}), {.axis = 2}),
                 "[argmin] an axis must lie in [-ndim, ndim); got axis 2 for an array of 2 axes");
  EXPECT_REFUSED(sum(zeros({2}, {.dtype = complex64}), {.dtype = float32}),
                 "[astype] complex numbers do not convert to real ones; got complex64 to float32; "
                 "try real() or abs() of it");
}

TEST(Reduction, ArgReductionsOfAllAxesCountFlat) {
  const Array x = random::uniform({6, 8}, {.chunks = {4, 3}});
  const Array position = argmax(x);
  const auto& flat = std::get<array::Reduce>(reduce_of(position).attributes);
  EXPECT_EQ(flat.axes, (std::vector<bool>{true, true}));
  EXPECT_EQ(argmax(x, {.axis = -1, .keepdims = true}).shape(), (Shape{6, 1}));
}

TEST(Cumulative, KeepsShapeAndChunks) {
  const Array x = random::integers(0, 5, {6, 8}, {.chunks = {4, 3}, .dtype = int8});
  const Array y = cumulative_sum(x, {.axis = 1});
  EXPECT_EQ(y.dtype(), int64);
  EXPECT_EQ(y.chunks(), x.chunks());
  EXPECT_EQ(std::get<array::Scan>(y.node()->attributes).axis, 1);
  EXPECT_EQ(cumulative_prod(x, {.axis = 0, .dtype = float32}).dtype(), float32);
  EXPECT_EQ(cumulative_sum(x, {.axis = 0, .include_initial = true}).shape(), (Shape{7, 8}));
  EXPECT_EQ(nancumsum(arange(4)).shape(), Shape{4});
  EXPECT_REFUSED(cumulative_sum(x),
                 "[cumulative_sum] an axis must be given unless the array has "
                 "one; got shape (6, 8); try {.axis = ...} or ravel()");
}

TEST(Cumulative, DiffTakesNeighbours) {
  const Array x = asarray({1.0, 4.0, 9.0, 16.0});
  EXPECT_EQ(testing::evaluate(diff(x)).data, (std::vector<double>{3, 5, 7}));
  EXPECT_EQ(testing::evaluate(diff(x, {.n = 2})).data, (std::vector<double>{2, 2}));
  EXPECT_EQ(testing::evaluate(diff(x, {.prepend = asarray({0.0})})).data,
            (std::vector<double>{1, 3, 5, 7}));
  EXPECT_EQ(diff(x, {.n = 4}).shape(), Shape{0});
  EXPECT_EQ(diff(x, {.n = 5}).shape(), Shape{0});
  EXPECT_EQ(diff(zeros({3}, {.dtype = bool_})).dtype(), bool_);
  EXPECT_EQ(diff(zeros({3, 4}), {.axis = 0}).shape(), (Shape{2, 4}));
}

}  // namespace
}  // namespace tessera
