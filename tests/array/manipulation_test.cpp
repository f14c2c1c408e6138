#include <gtest/gtest.h>

#include "array/block_attributes.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

using testing::Dense;
using testing::draw;
using testing::evaluate;
using testing::make_dense;
using Position = std::vector<std::int64_t>;

Shape random_shape(std::mt19937& random, std::int64_t ranks, std::int64_t extent) {
  Shape shape;
  for (std::int64_t i = draw(random, 1, ranks); i > 0; --i)
    shape.push_back(draw(random, 1, extent));
  return shape;
}

// A random factorisation of a number into extents, with some 1s.
Shape random_factors(std::mt19937& random, std::int64_t count) {
  Shape shape;
  while (count > 1) {
    std::int64_t factor = draw(random, 2, count);
    while (count % factor != 0) --factor;
    shape.push_back(factor);
    count /= factor;
  }
  for (std::int64_t i = draw(random, 0, 2); i > 0; --i) {
    shape.insert(shape.begin() + draw(random, 0, static_cast<std::int64_t>(shape.size())), 1);
  }
  return shape;
}

TEST(Reshape, RandomShapesKeepTheOrderOfElements) {
  const unsigned seed = 5;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::vector<std::int64_t> counts{1, 7, 12, 24, 36, 60, 120};
  for (int round = 0; round < 500; ++round) {
    const std::int64_t count = counts[static_cast<std::size_t>(draw(random, 0, 6))];
    const auto [x, dense] = testing::counting(random_factors(random, count), random);
    const Shape shape = random_factors(random, count);
    const Array y = reshape(x, shape);
    ASSERT_EQ(y.shape(), shape);
    ASSERT_EQ(evaluate(y), (Dense{shape, dense.data})) << "round " << round;
  }
}

TEST(Reshape, KeepsChunksWhereItCan) {
  const Array x = random::uniform({12, 10, 20}, {.chunks = {5, 10, 7}});
  // The first two axes merge; their rows end with x's blocks, and the third axis is left alone.
  EXPECT_EQ(reshape(x, {120, 20}).chunks().to_string(), "(50 x 2 + 20, 7 x 2 + 6)");
  EXPECT_EQ(reshape(x, {120, 20}).node()->inputs[0].node(), x.node());
  EXPECT_EQ(reshape(x, {120, -1, 2}).shape(), (Shape{120, 10, 2}));
  EXPECT_EQ(reshape(x, {12, 1, 10, 20}).node()->inputs[0].node(), x.node());
  EXPECT_TRUE(std::holds_alternative<array::View>(reshape(x, {12, 1, 10, 20}).node()->attributes));
  EXPECT_EQ(reshape(x, {12, 10, 20}).node(), x.node());
  // Chunks along an axis that is not a group's first are joined first.
  const Array y = random::uniform({12, 10}, {.chunks = {6, 5}});
  EXPECT_EQ(ravel(y).chunks().to_string(), "(30 x 4,)");
  EXPECT_EQ(ravel(y).node()->inputs[0].chunks().to_string(), "(3 x 4, 10)");
}

TEST(Reshape, LongRowsDoNotMakeLongBlocks) {
  std::mt19937 random(61);
  const std::int64_t total = 3'000'000'000;
  const std::vector<Shape> shapes{
      {3, 1'000'000'000},  {60, 50'000'000},    {2, 5, 300'000'000},  {1'000'000'000, 3},
      {4, 3, 250'000'000}, {6, 500, 1'000'000}, {2, 1'000'000, 1500}, {total},
      {50'000'000, 60}};
  for (int round = 0; round < 40; ++round) {
    const auto pick = [&] { return shapes[static_cast<std::size_t>(draw(random, 0, 8))]; };
    Array x = arange(total, {.chunks = {1'000'000}});
    for (int step = 0; step < 3; ++step) x = reshape(x, pick());
    // 128 MiB are 16.8 million elements; rows of up to that length are kept whole, two at most.
    EXPECT_LE(x.chunks().max_block_elements(), std::int64_t{34'000'000});
    for (int sample = 0; sample < 20; ++sample) {
      Position index;
      double flat = 0;
      for (const std::int64_t extent : x.shape()) {
        index.push_back(draw(random, 0, extent - 1));
        flat = flat * static_cast<double>(extent) + static_cast<double>(index.back());
      }
      ASSERT_EQ(testing::element(x, index), flat);
    }
  }
}

TEST(Reshape, RefusesOtherSizes) {
  EXPECT_REFUSED(reshape(zeros({3, 4}), {5}),
                 "[reshape] the number of elements must stay the same; got (3, 4) with 12 elements "
                 "and (5,)");
  EXPECT_REFUSED(reshape(zeros({3, 4}), {-1, -1}),
                 "[reshape] the number of elements must stay the same; got (3, 4) with 12 elements "
                 "and (-1, -1)");
  EXPECT_REFUSED(reshape(zeros({0, 4}), {0, -1}),
                 "[reshape] the number of elements must stay the same; got (0, 4) with 0 elements "
                 "and (0, -1)");
  EXPECT_EQ(reshape(zeros({0, 4}), {2, -1}).shape(), (Shape{2, 0}));
  EXPECT_EQ(reshape(zeros({1}), {}).shape(), Shape{});
}

TEST(Joining, ConcatPutsArraysOneAfterTheOther) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    Shape shape = random_shape(random, 3, 4);
    const auto axis =
        static_cast<std::size_t>(draw(random, 0, static_cast<std::int64_t>(shape.size()) - 1));
    std::vector<Array> arrays;
    std::vector<Dense> parts;
    std::int64_t total = 0;
    for (std::int64_t i = draw(random, 1, 4); i > 0; --i) {
      shape[axis] = draw(random, 0, 4);
      total += shape[axis];
      auto [x, dense] = testing::counting(shape, random);
      if (draw(random, 0, 1) == 1) {
        x = flip(x);
        std::reverse(dense.data.begin(), dense.data.end());
      }
      arrays.push_back(x);
      parts.push_back(dense);
    }
    const Array joined = concat(arrays, static_cast<int>(axis));
    shape[axis] = total;
    ASSERT_EQ(joined.shape(), shape);
    ASSERT_EQ(evaluate(joined), make_dense(shape, [&](Position i) {
                std::size_t k = 0;
                while (i[axis] >= parts[k].shape[axis]) i[axis] -= parts[k++].shape[axis];
                return parts[k].at(i);
              }));
  }
}

TEST(Joining, GridsAndDtypes) {
  const Array x = random::uniform({4, 6}, {.chunks = {4, 4}, .dtype = float32});
  const Array y = random::integers(0, 9, {3, 6}, {.chunks = {2, 3}});
  EXPECT_EQ(concat({x, y}).chunks().to_string(), "([4, 2, 1], [3, 1, 2])");
  EXPECT_EQ(concat({x, y}).dtype(), float64);
  EXPECT_EQ(concat({x, y}, std::nullopt).shape(), Shape{42});
  EXPECT_EQ(stack({x, x, x}, -1).chunks().to_string(), "(4, 4 x 1 + 2, 1 x 3)");
  EXPECT_EQ(concat({x}).node(), x.node());
  EXPECT_REFUSED(concat({x, y}, 1),
                 "[concat] shapes must agree except along axis 1; got (4, 6) "
                 "and (3, 6); try broadcast_to or pad");
  EXPECT_REFUSED(stack({x, y}),
                 "[stack] shapes must be equal; got (4, 6) and (3, 6); try "
                 "broadcast_to or concat");
  EXPECT_REFUSED(concat({}), "[concat] there must be at least one array; got none");
  const std::vector<Array> parts = unstack(stack({x, x}, 1), 1);
  EXPECT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].shape(), x.shape());
}

TEST(Joining, SplitsAreViews) {
  const Array x = arange(10, {.chunks = {4}});
  const std::vector<Array> halves = split(x, 2);
  EXPECT_EQ(evaluate(halves[1]).data, (std::vector<double>{5, 6, 7, 8, 9}));
  EXPECT_EQ(halves[1].chunks().to_string(), "(3 x 1 + 2,)");
  const std::vector<Array> parts = split(x, std::vector<std::int64_t>{3, 3, 8});
  EXPECT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[1].shape(), Shape{0});
  EXPECT_EQ(evaluate(parts[3]).data, (std::vector<double>{8, 9}));
  EXPECT_REFUSED(split(x, 3),
                 "[split] sections must divide the axis; got 3 for axis 0 of (10,); "
                 "try split positions");
  EXPECT_REFUSED(split(x, std::vector<std::int64_t>{5, 2}),
                 "[split] positions must ascend within the axis; got (5, 2) for axis 0 of (10,)");
}

TEST(Joining, RollMovesElementsAround) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const auto [x, dense] = testing::counting(random_shape(random, 3, 5), random);
    std::vector<std::int64_t> shifts;
    std::vector<int> axes;
    for (int i = 0; i < x.ndim(); ++i) {
      if (draw(random, 0, 2) == 0) continue;
      shifts.push_back(draw(random, -7, 7));
      axes.push_back(draw(random, 0, 1) == 0 ? i : i - x.ndim());
    }
    const Dense& before = dense;
    const Array rolled = roll(x, shifts, axes);
    ASSERT_EQ(evaluate(rolled), make_dense(x.shape(), [&](Position i) {
                for (std::size_t k = 0; k < axes.size(); ++k) {
                  const int own = axes[k] < 0 ? axes[k] + static_cast<int>(i.size()) : axes[k];
                  const auto a = static_cast<std::size_t>(own);
                  i[a] = ((i[a] - shifts[k]) % before.shape[a] + before.shape[a]) % before.shape[a];
                }
                return before.at(i);
              }));
  }
  EXPECT_EQ(evaluate(roll(reshape(arange(6), {2, 3}), 1)).data,
            (std::vector<double>{5, 0, 1, 2, 3, 4}));
  EXPECT_EQ(roll(arange(6, {.chunks = {3}}), 2, 0).chunks().to_string(), "([2, 3, 1],)");
  EXPECT_EQ(roll(zeros({0}), 2, 0).shape(), Shape{0});
}

// What NumPy's modes put at a position outside the axis, by walking there one step at a time.
std::int64_t walked(PadMode mode, std::int64_t position, std::int64_t extent) {
  std::int64_t at = 0;
  std::int64_t direction = position < 0 ? -1 : 1;
  for (std::int64_t left = std::abs(position); left > 0; --left) {
    const std::int64_t next = at + direction;
    if (next >= 0 && next < extent) {
      at = next;
    } else if (mode == PadMode::kWrap) {
      at = next < 0 ? extent - 1 : 0;
    } else if (mode == PadMode::kSymmetric) {
      direction = -direction;  // the edge comes twice
    } else if (mode == PadMode::kReflect && extent > 1) {
      direction = -direction;
      at += direction;
    }
  }
  return at;
}

TEST(Joining, PadContinuesAxes) {
  std::mt19937 random(17);
  const std::vector<PadMode> modes{PadMode::kConstant, PadMode::kEdge, PadMode::kReflect,
                                   PadMode::kSymmetric, PadMode::kWrap};
  for (int round = 0; round < 400; ++round) {
    const PadMode mode = modes[static_cast<std::size_t>(round) % modes.size()];
    const auto [x, dense] = testing::counting(random_shape(random, 2, 6), random);
    PadWidths widths;
    Shape shape = x.shape();
    for (std::int64_t& extent : shape) {
      widths.emplace_back(draw(random, 0, 15), draw(random, 0, 15));
      extent += widths.back().first + widths.back().second;
    }
    const Dense& before = dense;
    const Array padded = pad(x, widths, {.mode = mode, .value = -1});
    ASSERT_EQ(padded.chunks().shape(), shape);
    ASSERT_EQ(evaluate(padded),
              make_dense(shape,
                         [&](Position i) {
                           for (std::size_t k = 0; k < i.size(); ++k) {
                             const std::int64_t p = i[k] - widths[k].first;
                             if (mode == PadMode::kConstant && (p < 0 || p >= before.shape[k]))
                               return -1.0;
                             i[k] = walked(mode, p, before.shape[k]);
                           }
                           return before.at(i);
                         }))
        << "round " << round;
  }
}

TEST(Joining, NarrowMarginsJoinTheOutermostBlocks) {
  const Array x = random::uniform({100}, {.chunks = {40}});
  EXPECT_EQ(pad(x, {{10, 5}}).chunks().to_string(), "([50, 40, 25],)");
  EXPECT_EQ(pad(x, {{11, 90}}).chunks().to_string(), "([11, 40, 40, 20, .. 7 chunks],)");
  EXPECT_EQ(pad(x, {{0, 0}}).node(), x.node());
  EXPECT_REFUSED(pad(x, {{-1, 0}}), "[pad] widths must not be negative; got (-1, 0) for axis 0");
  EXPECT_REFUSED(pad(zeros({2, 0}), {{1, 1}}, {.mode = PadMode::kEdge}),
                 "[pad] an empty axis has nothing to continue; got axis 1 of (2, 0); try "
                 "PadMode::kConstant");
  EXPECT_EQ(evaluate(pad(zeros({0}), {{1, 2}}, {.value = 4})).data, std::vector<double>(3, 4.0));
}

TEST(Joining, RepeatAndTile) {
  std::mt19937 random(23);
  for (int round = 0; round < 60; ++round) {
    const auto [x, dense] = testing::counting(random_shape(random, 3, 4), random);
    const Dense& before = dense;
    const auto axis = static_cast<std::size_t>(draw(random, 0, x.ndim() - 1));
    const std::int64_t count = draw(random, 0, 3);
    Shape shape = x.shape();
    shape[axis] *= count;
    ASSERT_EQ(evaluate(repeat(x, count, static_cast<int>(axis))),
              make_dense(shape, [&](Position i) {
                i[axis] /= count;
                return before.at(i);
              }));
    std::vector<std::int64_t> counts;
    for (std::int64_t i = draw(random, 1, 4); i > 0; --i) counts.push_back(draw(random, 0, 2));
    const std::size_t rank = std::max(counts.size(), before.shape.size());
    Shape tiled(rank, 1);
    for (std::size_t i = 0; i < before.shape.size(); ++i) {
      tiled[rank - 1 - i] *= before.shape[before.shape.size() - 1 - i];
    }
    for (std::size_t i = 0; i < counts.size(); ++i) {
      tiled[rank - 1 - i] *= counts[counts.size() - 1 - i];
    }
    ASSERT_EQ(evaluate(tile(x, counts)), make_dense(tiled, [&](const Position& i) {
                Position from(i.end() - static_cast<std::ptrdiff_t>(before.shape.size()), i.end());
                for (std::size_t k = 0; k < from.size(); ++k) from[k] %= before.shape[k];
                return before.at(from);
              }));
  }
  EXPECT_EQ(evaluate(repeat(asarray({5, 6, 7}), std::vector<std::int64_t>{2, 0, 1})).data,
            (std::vector<double>{5, 5, 7}));
  EXPECT_REFUSED(repeat(arange(3), std::vector<std::int64_t>{1}),
                 "[repeat] there must be one count for each element of the axis; got 1 for axis 0 "
                 "of (3,)");
  EXPECT_REFUSED(tile(arange(3), {-1}), "[tile] a count must not be negative; got (-1)");
}

TEST(Take, ReadsTheBlocksThatHoldThePositions) {
  std::mt19937 random(29);
  for (int round = 0; round < 200; ++round) {
    const auto [x, dense] = testing::counting(random_shape(random, 3, 7), random);
    const Dense& before = dense;
    const auto axis = static_cast<std::size_t>(draw(random, 0, x.ndim() - 1));
    const std::int64_t extent = before.shape[axis];
    std::vector<std::int64_t> indices;
    for (std::int64_t i = draw(random, 0, 9); i > 0; --i) {
      indices.push_back(draw(random, -extent, extent - 1));
    }
    Shape shape = x.shape();
    shape[axis] = static_cast<std::int64_t>(indices.size());
    ASSERT_EQ(evaluate(take(x, indices, static_cast<int>(axis))),
              make_dense(shape, [&](Position i) {
                const std::int64_t p = indices[static_cast<std::size_t>(i[axis])];
                i[axis] = p < 0 ? p + extent : p;
                return before.at(i);
              }));
  }
  EXPECT_TRUE(std::holds_alternative<array::View>(
      take(random::uniform({9}), {7, 5, 3}).node()->attributes));
  EXPECT_REFUSED(take(zeros({3}), {3}),
                 "[take] a position must lie on its axis; got 3 for axis 0 of (3,)");
}

TEST(Views, RefuseAxesThatDoNotFit) {
  const Array x = zeros({3, 1, 4});
  EXPECT_EQ(squeeze(x).shape(), (Shape{3, 4}));
  EXPECT_REFUSED(squeeze(x, 0),
                 "[squeeze] a dropped axis must have extent 1; got axis 0 of "
                 "(3, 1, 4); try an index or a reduction");
  EXPECT_REFUSED(transpose(x, {{0, 1}}),
                 "[transpose] axes must name every axis once; got (0, 1) for shape (3, 1, 4)");
  EXPECT_REFUSED(broadcast_to(x, {3, 2, 5}),
                 "[broadcast_to] the shape must broadcast to the wanted one; got (3, 1, 4) and "
                 "(3, 2, 5); try reshape or expand_dims");
  EXPECT_REFUSED(diagonal(x, {.axis1 = 1, .axis2 = -2}),
                 "[diagonal] the two axes must differ; got 1 and -2");
  EXPECT_REFUSED(matrix_transpose(zeros({3})),
                 "[matrix_transpose] the array must have at least 2 "
                 "axes; got shape (3,); try expand_dims");
  EXPECT_EQ(moveaxis(x, 0, -1).shape(), (Shape{1, 4, 3}));
  EXPECT_EQ(moveaxis(x, {0, 1}, {2, 0}).shape(), (Shape{1, 4, 3}));
  EXPECT_EQ(swapaxes(x, 0, 2).shape(), (Shape{4, 1, 3}));
  EXPECT_EQ(expand_dims(x, {0, -1}).shape(), (Shape{1, 3, 1, 4, 1}));
}

TEST(Rechunk, CopiesOnlyWhatMustBe) {
  const Array x = random::uniform({10, 10}, {.chunks = {4, 10}});
  EXPECT_EQ(rechunk(x, {4, -1}).node(), x.node());
  const Array y = rechunk(x, {5, 5});
  EXPECT_EQ(y.chunks().to_string(), "(5 x 2, 5 x 2)");
  // A second one reads what the first read.
  EXPECT_EQ(rechunk(y, {10, 10}).node()->inputs[0].node(), x.node());
  EXPECT_EQ(rechunk_axes(x, {{-1, 2}}).chunks().to_string(), "(4 x 2 + 2, 2 x 5)");
  EXPECT_TRUE(std::holds_alternative<array::Arange>(rechunk(arange(10), {3}).node()->attributes));
  EXPECT_EQ(rechunk(x, "80 B").chunks().max_block_elements() <= 10, true);
  EXPECT_REFUSED(rechunk_axes(x, {{0, 0}}),
                 "[rechunk_axes] a chunk extent must be positive, or -1 "
                 "for the whole axis; got 0 for axis 0");
  std::mt19937 random(31);
  for (int round = 0; round < 60; ++round) {
    const auto [z, dense] = testing::counting(random_shape(random, 3, 6), random);
    const Array flipped = flip(z);
    const ChunkGrid grid = testing::random_grid(z.shape(), random);
    ASSERT_EQ(evaluate(rechunk(flipped, grid)), evaluate(flipped));
    ASSERT_EQ(rechunk(flipped, grid).chunks(), grid);
  }
}

}  // namespace
}  // namespace tessera
