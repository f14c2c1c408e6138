#include <gtest/gtest.h>

#include <map>

#include "array/node.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

using testing::Dense;
using testing::draw;
using testing::evaluate;
using Position = std::vector<std::int64_t>;

TEST(Matmul, ShapesAndGrids) {
  const Array a = random::uniform({4, 1, 6, 8}, {.chunks = {2, 1, 4, 3}, .dtype = float32});
  const Array b = random::uniform({5, 8, 7}, {.chunks = {5, 4, 2}});
  const Array c = matmul(a, b);
  EXPECT_EQ(c.shape(), (Shape{4, 5, 6, 7}));
  EXPECT_EQ(c.chunks().to_string(), "(2 x 2, 5, 4 x 1 + 2, 2 x 3 + 1)");
  EXPECT_EQ(c.dtype(), float64);
  for (const Array& input : c.node()->inputs) {
    EXPECT_EQ(input.ndim(), 4);
    EXPECT_EQ(input.dtype(), float64);
  }
  EXPECT_EQ(matmul(zeros({3, 0}), zeros({0, 4})).shape(), (Shape{3, 4}));
  EXPECT_EQ(matmul(arange(8), b).shape(), (Shape{5, 7}));
  EXPECT_EQ(matmul(b, arange(7)).shape(), (Shape{5, 8}));
  EXPECT_EQ(matmul(arange(8), arange(8)).dtype(), int64);
  EXPECT_EQ(matmul(asarray({1, 2}), asarray({1, 2})).dtype(), int32);
}

TEST(Matmul, Refusals) {
  EXPECT_REFUSED(matmul(zeros({64, 128}), zeros({256, 32})),
                 "[matmul] inner extents must match; got a (64, 128) and b (256, 32); try "
                 "transpose");
  EXPECT_REFUSED(matmul(zeros({2, 3, 4}), zeros({3, 4, 5})),
                 "[matmul] shapes must broadcast; got (2,) and (3,); try reshape or expand_dims");
  EXPECT_REFUSED(matmul(zeros({}), zeros({3})),
                 "[matmul] operands must have at least 1 axis; got "
                 "a () and b (3,); try multiply()");
  EXPECT_REFUSED(matmul(zeros({2, 2}, {.dtype = bool_}), zeros({2, 2}, {.dtype = bool_})),
                 "[matmul] the dtype must be numeric; got bool; try astype(int64)");
}

// Sums over all values of all labels, as the definition says.
Dense einsum_by_definition(const std::vector<std::string>& inputs, const std::string& output,
                           const std::vector<Dense>& operands) {
  std::map<char, std::int64_t> extents;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    for (std::size_t i = 0; i < inputs[k].size(); ++i) extents[inputs[k][i]] = operands[k].shape[i];
  }
  std::string labels;
  Shape all;
  for (const auto& [label, extent] : extents) {
    labels += label;
    all.push_back(extent);
  }
  const auto pick = [&](const std::string& wanted, const Position& values) {
    Position out;
    for (const char label : wanted) out.push_back(values[labels.find(label)]);
    return out;
  };
  Shape shape;
  for (const char label : output) shape.push_back(extents[label]);
  Dense out = testing::make_dense(shape, [](const Position&) { return 0.0; });
  testing::for_each_index(all, [&](const Position& values) {
    double product = 1;
    for (std::size_t k = 0; k < inputs.size(); ++k)
      product *= operands[k].at(pick(inputs[k], values));
    out.at(pick(output, values)) += product;
  });
  return out;
}

TEST(Einsum, RandomSubscriptsMeanTheirDefinition) {
  const unsigned seed = 41;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> inputs;
    std::string seen;
    std::string text;
    std::map<char, std::int64_t> extents;
    for (const char label : {'i', 'j', 'k', 'l', 'm'}) extents[label] = draw(random, 1, 4);
    std::vector<Array> arrays;
    std::vector<Dense> operands;
    for (std::int64_t n = draw(random, 1, 3); n > 0; --n) {
      std::string labels;
      Shape shape;
      for (std::int64_t i = draw(random, 0, 3); i > 0; --i) {
        const char label = "ijklm"[draw(random, 0, 4)];
        labels += label;
        shape.push_back(extents[label]);
        if (seen.find(label) == std::string::npos) seen += label;
      }
      auto [x, dense] = testing::counting(shape, random);
      arrays.push_back(x);
      operands.push_back(dense);
      inputs.push_back(labels);
      text += (text.empty() && inputs.size() == 1 ? "" : ",") + labels;
    }
    std::shuffle(seen.begin(), seen.end(), random);
    const std::string output = seen.substr(
        0, static_cast<std::size_t>(draw(random, 0, static_cast<std::int64_t>(seen.size()))));
    const Array result = einsum(text + "->" + output, arrays);
    ASSERT_EQ(evaluate(result), einsum_by_definition(inputs, output, operands))
        << text << "->" << output;
  }
}

TEST(Einsum, ImpliedResultsAndRefusals) {
  const Array x = zeros({3, 4});
  EXPECT_EQ(einsum("ij,jk", {x, zeros({4, 5})}).shape(), (Shape{3, 5}));
  EXPECT_EQ(einsum("ji", {x}).shape(), (Shape{4, 3}));
  EXPECT_EQ(einsum("ij, jk -> ki", {x, zeros({4, 5})}).shape(), (Shape{5, 3}));
  EXPECT_REFUSED(einsum("ij,jk", {x}),
                 "[einsum] there must be one list of labels for each "
                 "operand; got \"ij,jk\" for 1 operands");
  EXPECT_REFUSED(einsum("ijk", {x}),
                 "[einsum] there must be one label for each axis; got \"ijk\" for shape (3, 4)");
  EXPECT_REFUSED(einsum("ii", {x}),
                 "[einsum] axes with one label must have one extent; got 3 and "
                 "4 for label 'i' of \"ii\"");
  EXPECT_REFUSED(einsum("ij->k", {x}),
                 "[einsum] labels of the result must differ and occur on the "
                 "left; got \"ij->k\"");
  EXPECT_REFUSED(einsum("...", {x}),
                 "[einsum] subscripts must be letters, commas and one \"->\"; "
                 "got \"...\"");
}

TEST(Products, TensordotIsItsEinsum) {
  std::mt19937 random(43);
  const auto [a, dense_a] = testing::counting({2, 3, 4}, random);
  const auto [b, dense_b] = testing::counting({4, 3, 5}, random);
  EXPECT_EQ(evaluate(tensordot(a, b, {1, 2}, {1, 0})),
            einsum_by_definition({"ijk", "kjl"}, "il", {dense_a, dense_b}));
  EXPECT_EQ(evaluate(tensordot(a, b, 1)),
            einsum_by_definition({"ijk", "klm"}, "ijlm", {dense_a, dense_b}));
  EXPECT_EQ(tensordot(a, b, 0).shape(), (Shape{2, 3, 4, 4, 3, 5}));
  EXPECT_EQ(evaluate(tensordot(a, a, 3)),
            einsum_by_definition({"ijk", "ijk"}, "", {dense_a, dense_a}));
  EXPECT_REFUSED(tensordot(a, b, {0}, {0}),
                 "[tensordot] extents of the summed axes must match; got axes (0) of a (2, 3, 4) "
                 "and (0) of b (4, 3, 5)");
  EXPECT_REFUSED(tensordot(a, b, 4),
                 "[tensordot] the number of axes must lie between 0 and both "
                 "operands' own; got 4 for a (2, 3, 4) and b (4, 3, 5)");
}

TEST(Products, Others) {
  std::mt19937 random(47);
  const auto [a, dense_a] = testing::counting({3, 4}, random);
  const auto [b, dense_b] = testing::counting({4}, random);
  EXPECT_EQ(evaluate(vecdot(a, b)), einsum_by_definition({"ij", "j"}, "i", {dense_a, dense_b}));
  EXPECT_EQ(evaluate(dot(a, b)), einsum_by_definition({"ij", "j"}, "i", {dense_a, dense_b}));
  EXPECT_EQ(evaluate(dot(a, transpose(a))),
            einsum_by_definition({"ij", "kj"}, "ik", {dense_a, dense_a}));
  EXPECT_EQ(evaluate(vdot(a, a)), einsum_by_definition({"ij", "ij"}, "", {dense_a, dense_a}));
  EXPECT_EQ(outer(a, b).shape(), (Shape{12, 4}));
  EXPECT_EQ(evaluate(trace(a)).data, std::vector<double>{0 + 5 + 10});
  EXPECT_EQ(evaluate(trace(a, {.offset = 1})).data, std::vector<double>{1 + 6 + 11});
  EXPECT_EQ(dot(zeros({2, 3, 4}), zeros({5, 4, 6})).shape(), (Shape{2, 3, 5, 6}));
  EXPECT_REFUSED(vdot(a, b),
                 "[vdot] inner extents must match; got a (3, 4) and b (4,); try "
                 "transpose");
  EXPECT_EQ(vector_norm(a, {.axis = 0, .ord = 1}).dtype(), float64);
  EXPECT_EQ(vector_norm(astype(a, float32), {.axis = 0, .ord = 3}).dtype(), float32);
}

}  // namespace
}  // namespace tessera
