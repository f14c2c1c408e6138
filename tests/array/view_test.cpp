#include <gtest/gtest.h>

#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

using testing::Dense;
using testing::draw;
using testing::evaluate;
using testing::make_dense;
using Position = std::vector<std::int64_t>;

// One random view operation, applied to the array and to the dense copy by plain index arithmetic.
void apply_random_view(Array& x, Dense& dense, std::mt19937& random) {
  const Dense before = dense;
  const auto rank = static_cast<std::int64_t>(dense.shape.size());
  switch (draw(random, 0, 4)) {
    case 0: {  // a slice along one axis, possibly empty, in either direction
      if (rank == 0) return;
      const auto axis = static_cast<std::size_t>(draw(random, 0, rank - 1));
      const std::int64_t extent = dense.shape[axis];
      Position kept;
      Slice slice;
      slice.step = draw(random, 1, 3) * (draw(random, 0, 1) == 0 ? 1 : -1);
      if (draw(random, 0, 2) != 0) slice.start = draw(random, -extent - 2, extent + 2);
      if (draw(random, 0, 2) != 0) slice.stop = draw(random, -extent - 2, extent + 2);
      const auto bound = [&](std::int64_t p) { return p < 0 ? p + extent : p; };
      if (slice.step > 0) {
        const std::int64_t stop = bound(slice.stop.value_or(extent));
        for (std::int64_t i = std::max<std::int64_t>(0, bound(slice.start.value_or(0)));
             i < std::min(stop, extent); i += slice.step) {
          kept.push_back(i);
        }
      } else {
        const std::int64_t stop = slice.stop ? bound(*slice.stop) : -1;
        const std::int64_t start = slice.start ? bound(*slice.start) : extent - 1;
        for (std::int64_t i = std::min(start, extent - 1); i > stop && i >= 0; i += slice.step) {
          kept.push_back(i);
        }
      }
      std::vector<Index> index(axis + 1, Index(Slice{}));
      index[axis] = slice;
      x = x.at(index);
      Shape shape = before.shape;
      shape[axis] = static_cast<std::int64_t>(kept.size());
      dense = make_dense(shape, [&](Position i) {
        i[axis] = kept[static_cast<std::size_t>(i[axis])];
        return before.at(i);
      });
      return;
    }
    case 1: {  // axes permuted
      std::vector<int> order;
      for (int i = 0; i < rank; ++i) order.push_back(i);
      std::shuffle(order.begin(), order.end(), random);
      x = permute_dims(x, order);
      Shape shape;
      for (const int axis : order) shape.push_back(before.shape[static_cast<std::size_t>(axis)]);
      dense = make_dense(shape, [&](const Position& i) {
        Position from(i.size());
        for (std::size_t k = 0; k < i.size(); ++k) from[static_cast<std::size_t>(order[k])] = i[k];
        return before.at(from);
      });
      return;
    }
    case 2: {  // a new axis, broadcast to 1..3
      if (rank >= 5) return;
      const auto axis = static_cast<std::size_t>(draw(random, 0, rank));
      Shape shape = before.shape;
      shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), draw(random, 1, 3));
      x = broadcast_to(expand_dims(x, static_cast<int>(axis)), shape);
      dense = make_dense(shape, [&](Position i) {
        i.erase(i.begin() + static_cast<std::ptrdiff_t>(axis));
        return before.at(i);
      });
      return;
    }
    case 3: {  // a number
      if (rank == 0) return;
      const auto axis = static_cast<std::size_t>(draw(random, 0, rank - 1));
      if (before.shape[axis] == 0) return;
      const std::int64_t at = draw(random, 0, before.shape[axis] - 1);
      std::vector<Index> index(axis + 1, Index(Slice{}));
      index[axis] = draw(random, 0, 1) == 0 ? at : at - before.shape[axis];
      x = x.at(index);
      Shape shape = before.shape;
      shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
      dense = make_dense(shape, [&](Position i) {
        i.insert(i.begin() + static_cast<std::ptrdiff_t>(axis), at);
        return before.at(i);
      });
      return;
    }
    default: {  // a diagonal
      if (rank < 2) return;
      const int a = static_cast<int>(draw(random, 0, rank - 1));
      int b = static_cast<int>(draw(random, 0, rank - 2));
      if (b >= a) ++b;
      const std::int64_t offset = draw(random, -2, 2);
      x = diagonal(x, {.offset = offset, .axis1 = a, .axis2 = b});
      Shape shape;
      for (int i = 0; i < rank; ++i) {
        if (i != a && i != b) shape.push_back(before.shape[static_cast<std::size_t>(i)]);
      }
      std::int64_t count = 0;
      const std::int64_t rows = before.shape[static_cast<std::size_t>(a)];
      const std::int64_t columns = before.shape[static_cast<std::size_t>(b)];
      for (std::int64_t i = 0; i < rows; ++i) count += i + offset >= 0 && i + offset < columns;
      shape.push_back(count);
      dense = make_dense(shape, [&](const Position& i) {
        const std::int64_t row = i.back() + (offset < 0 ? -offset : 0);
        Position from;
        std::size_t next = 0;
        for (int k = 0; k < rank; ++k) {
          from.push_back(k == a ? row : k == b ? row + offset : i[next++]);
        }
        return before.at(from);
      });
    }
  }
}

// Whether block boundaries of the view are exactly where a block of what it reads ends.
void expect_image(const Array& view) {
  const auto* attributes = std::get_if<array::View>(&view.node()->attributes);
  if (attributes == nullptr || view.size() == 0) return;
  const ChunkGrid& base = view.node()->inputs[0].chunks();
  for (int axis = 0; axis < view.ndim(); ++axis) {
    const AxisChunks& cut = view.chunks().axis(axis);
    bool followed = false;
    for (std::int64_t i = 1; i < cut.extent(); ++i) {
      bool boundary = false;
      for (std::size_t b = 0; b < attributes->read.size(); ++b) {
        const array::AxisRead& read = attributes->read[b];
        if (read.axis != axis) continue;
        followed = true;
        const AxisChunks& from = base.axis(static_cast<int>(b));
        boundary = boundary || from.chunk_of(read.offset + read.step * i) !=
                                   from.chunk_of(read.offset + read.step * (i - 1));
      }
      EXPECT_EQ(cut.chunk_of(i) != cut.chunk_of(i - 1), boundary);
    }
    if (!followed && cut.extent() > 1) {
      EXPECT_EQ(cut.count(), 1);
    }
  }
}

TEST(View, RandomChainsReadWhatIndexArithmeticSays) {
  const unsigned seed = 20260101;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 600; ++round) {
    Shape shape;
    for (std::int64_t i = draw(random, 0, 3); i > 0; --i) shape.push_back(draw(random, 0, 9));
    auto [x, dense] = testing::counting(shape, random);
    for (std::int64_t i = draw(random, 1, 5); i > 0; --i) {
      apply_random_view(x, dense, random);
      ASSERT_EQ(x.shape(), dense.shape);
      ASSERT_EQ(x.chunks().shape(), x.shape());
      if (const auto* view = std::get_if<array::View>(&x.node()->attributes)) {
        ASSERT_EQ(view->read.size(), x.node()->inputs[0].shape().size());
        ASSERT_FALSE(std::holds_alternative<array::View>(x.node()->inputs[0].node()->attributes));
      }
      expect_image(x);
    }
    ASSERT_EQ(evaluate(x), dense) << "round " << round;
  }
}

TEST(View, ComposesReads) {
  const array::AffineRead inner{{1, 4, -2}, {-1, 7, 1}, {0, 0, 3}};
  const array::AffineRead outer{{-1, 5, 1}, {2, 1, 3}};
  EXPECT_EQ(array::compose(inner, outer), (array::AffineRead{{2, 2, -6}, {-1, 7, 1}, {-1, 15, 1}}));
  EXPECT_EQ(array::compose(inner, array::identity_read(2)), inner);
}

TEST(View, TheIdentityIsTheArrayItself) {
  const Array x = random::uniform({4, 6}, {.chunks = {3, 3}});
  EXPECT_EQ(transpose(transpose(x)).node(), x.node());
  EXPECT_EQ(flip(flip(x)).node(), x.node());
  EXPECT_EQ(x.T().T().node(), x.node());
  EXPECT_EQ((x[{ellipsis}]).node(), x.node());
  EXPECT_EQ(squeeze(expand_dims(x, {0, 3})).node(), x.node());
  EXPECT_EQ(flip(zeros({1, 1})).node()->name, "zeros");
  EXPECT_EQ(x.at({Slice{.start = 1}, Slice{}}).at({Slice{.step = -1}}).node()->inputs[0].node(),
            x.node());
}

TEST(View, ConstantsStayConstants) {
  const Array x = transpose(full({3, 4}, 2.5, {.chunks = Chunks{2, 4}}));
  EXPECT_TRUE(std::holds_alternative<array::Constant>(x.node()->attributes));
  EXPECT_EQ(x.chunks().to_string(), "(4, 2 x 1 + 1)");
}

TEST(View, CutsBroadcastAxesOnlyToKeepBlocksSmall) {
  const Array x = random::uniform({1024, 1}, {.chunks = {256, 1}});
  EXPECT_EQ(broadcast_to(x, {1024, 100}).chunks().to_string(), "(256 x 4, 100)");
  // 256 rows of doubles leave room for 65536 columns in 128 MiB.
  EXPECT_EQ(broadcast_to(x, {1024, 100'000}).chunks().to_string(), "(256 x 4, 65536 x 1 + 34464)");
}

TEST(View, RefinesToTheUnionOfBoundaries) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Shape shape{draw(random, 0, 12)};
    const AxisChunks a = testing::random_grid(shape, random).axis(0);
    const AxisChunks b = testing::random_grid(shape, random).axis(0);
    const AxisChunks both = array::refine(a, b);
    ASSERT_EQ(both.extent(), shape[0]);
    for (std::int64_t i = 1; i < shape[0]; ++i) {
      ASSERT_EQ(both.chunk_of(i) != both.chunk_of(i - 1),
                a.chunk_of(i) != a.chunk_of(i - 1) || b.chunk_of(i) != b.chunk_of(i - 1));
    }
  }
}

TEST(Indexing, RefusesWhatDoesNotFit) {
  const Array x = zeros({3, 4});
  EXPECT_REFUSED((x[{0, 0, 0}]),
                 "[index] an index has at most one entry for each axis; got 3 for shape (3, 4)");
  EXPECT_REFUSED((x[{0, 4}]),
                 "[index] a position must lie on its axis; got 4 for axis 1 of (3, 4)");
  EXPECT_REFUSED((x[{-4}]), "[index] a position must lie on its axis; got -4 for axis 0 of (3, 4)");
  EXPECT_REFUSED((x[{Slice{.step = 0}}]), "[index] the step of a slice must not be 0; got 0");
  EXPECT_REFUSED((x[{ellipsis, ellipsis}]), "[index] an index has at most one ellipsis; got 2");
  EXPECT_EQ((x[{newaxis, 1, ellipsis, newaxis}]).shape(), (Shape{1, 4, 1}));
  EXPECT_EQ((x[{Slice{5, 2}}]).shape(), (Shape{0, 4}));
  EXPECT_EQ((x[{Slice{5, 2}}]).chunks().axis(0).count(), 1);
}

}  // namespace
}  // namespace tessera
