#include <gtest/gtest.h>

#include <set>

#include "array/block_attributes.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

using array::BlockAxis;
using testing::draw;

const array::BlockOp& op_of(const Array& x) {
  return std::get<array::BlockOp>(x.node()->attributes);
}

template <typename Attributes>
const Attributes& attributes_of(const Array& x) {
  return dynamic_cast<const Attributes&>(*op_of(x).attributes);
}

const BlockFunction kNothing = [](std::span<const InputBlock>, const OutputBlock&) {};
const OverlapFunction kNothingLocal = [](const InputBlock&, const OutputBlock&) {};

TEST(MapBlocks, AlignsItsInputs) {
  const Array x = random::uniform({6, 8}, {.chunks = {4, 8}});
  const Array y = random::uniform({8}, {.chunks = {3}});
  const Array z = random::uniform({6, 1}, {.chunks = {2, 1}});
  const Array out = map_blocks(kNothing, {x, y, z}, {.dtype = int16, .name = "smooth"});
  EXPECT_EQ(out.chunks().to_string(), "(2 x 3, 3 x 2 + 2)");
  EXPECT_EQ(out.dtype(), int16);
  EXPECT_EQ(out.node()->name, "smooth");
  const array::BlockOp& op = op_of(out);
  EXPECT_FALSE(op.pure);
  EXPECT_EQ(op.tasks, (std::vector<std::int64_t>{3, 3}));
  EXPECT_EQ(op.reads[1][0].task_axis, 1);
  EXPECT_EQ(op.reads[2][1].kind, BlockAxis::Kind::kAll);
  for (const Array& input : out.node()->inputs) {
    for (int i = 0; i < input.ndim(); ++i) {
      EXPECT_TRUE(input.shape()[static_cast<std::size_t>(i)] == 1 ||
                  input.chunks().axis(i) == out.chunks().axis(i + 2 - input.ndim()));
    }
  }
}

TEST(MapBlocks, ResultsOfOtherShapes) {
  const Array x = random::uniform({6, 8}, {.chunks = {2, 4}});
  const Array out =
      map_blocks(kNothing, {x}, {.shape = Shape{3, 2}, .chunks = Chunks{1, 1}, .pure = true});
  EXPECT_EQ(out.shape(), (Shape{3, 2}));
  EXPECT_TRUE(op_of(out).pure);
  EXPECT_REFUSED(map_blocks(kNothing, {x}, {.shape = Shape{3, 2}, .chunks = Chunks{3, 2}}),
                 "[map_blocks] the result must have as many blocks along every axis as the inputs; "
                 "got (3, 2) for (2 x 3, 4 x 2); try {.chunks = ...}");
  EXPECT_REFUSED(map_blocks(kNothing, {}),
                 "[map_blocks] without inputs the result's shape and "
                 "dtype must be given; got no shape");
  EXPECT_REFUSED(map_blocks({}, {x}),
                 "[map_blocks] the function must be callable; got an empty one");
  const Array source =
      map_blocks(kNothing, {}, {.dtype = int8, .shape = Shape{10}, .chunks = Chunks{4}});
  EXPECT_EQ(op_of(source).tasks, std::vector<std::int64_t>{3});
}

TEST(MapOverlap, ReadsExactlyTheBlocksAround) {
  std::mt19937 random(53);
  const std::vector<Boundary> boundaries{Boundary::kNone, Boundary::kReflect, Boundary::kPeriodic,
                                         Boundary::kNearest, Boundary::kConstant};
  for (int round = 0; round < 300; ++round) {
    const Boundary boundary = boundaries[static_cast<std::size_t>(round) % boundaries.size()];
    const std::int64_t extent = draw(random, 1, 12);
    const std::int64_t depth = draw(random, 1, 15);
    const auto [x, dense] = testing::counting({extent}, random);
    const Array out = map_overlap(x, kNothingLocal, {.depth = {depth}, .boundary = {boundary}});
    const AxisChunks& axis = x.chunks().axis(0);
    for (std::int64_t c = 0; c < axis.count(); ++c) {
      std::set<std::int32_t> wanted;
      for (std::int64_t p = axis.begin(c) - depth; p < axis.end(c) + depth; ++p) {
        const bool inside = p >= 0 && p < extent;
        if (!inside && boundary == Boundary::kNone) continue;
        const std::int64_t from = array::boundary_position(boundary, p, extent);
        if (from >= 0) wanted.insert(static_cast<std::int32_t>(axis.chunk_of(from)));
      }
      const auto& list = op_of(out).reads[0][0].lists.at(static_cast<std::size_t>(c));
      ASSERT_EQ(list, std::vector<std::int32_t>(wanted.begin(), wanted.end()));
    }
  }
}

TEST(MapOverlap, BoundaryPositions) {
  const auto row = [](Boundary boundary) {
    std::vector<std::int64_t> out;
    for (std::int64_t p = -4; p < 7; ++p) out.push_back(array::boundary_position(boundary, p, 3));
    return out;
  };
  using Row = std::vector<std::int64_t>;
  EXPECT_EQ(row(Boundary::kReflect), (Row{2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0}));
  EXPECT_EQ(row(Boundary::kPeriodic), (Row{2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0}));
  EXPECT_EQ(row(Boundary::kNearest), (Row{0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2}));
  EXPECT_EQ(row(Boundary::kConstant), (Row{-1, -1, -1, -1, 0, 1, 2, -1, -1, -1, -1}));
}

TEST(MapOverlap, Refusals) {
  const Array x = zeros({4, 4});
  EXPECT_REFUSED(map_overlap(x, kNothingLocal, {.depth = {1, 2, 3}}),
                 "[map_overlap] there must be one depth for all axes, or one for each; got 3 for "
                 "shape (4, 4)");
  EXPECT_REFUSED(map_overlap(x, kNothingLocal, {.depth = {-1}}),
                 "[map_overlap] a depth must not be negative; got (-1)");
  EXPECT_EQ(op_of(map_overlap(x, kNothingLocal, {.depth = {0, 1}})).reads[0][0].kind,
            BlockAxis::Kind::kSame);
}

TEST(Blocks, ViewsCheckTypesAndLayout) {
  std::vector<float> values{1, 2, 3, 4};
  const std::vector<std::int64_t> shape{2, 2}, dense{2, 1}, columns{1, 2};
  const InputBlock block{
      reinterpret_cast<const std::byte*>(values.data()), float32, shape, dense, {}, {}};
  EXPECT_EQ(block.span<float>()[3], 4.0f);
  EXPECT_REFUSED(block.span<double>(),
                 "[block] the element type must be the block's dtype; got float64 for float32");
  InputBlock transposed = block;
  transposed.strides = columns;
  EXPECT_FALSE(transposed.is_dense());
  EXPECT_REFUSED(transposed.span<float>(), "[block] the block must be dense; try as() and strides");
}

TEST(Sorting, NeedsOneChunk) {
  const Array x = random::uniform({6, 8}, {.chunks = {2, 4}});
  EXPECT_REFUSED(sort(x),
                 "[sort] the axis must lie in one chunk; got 2 chunks along axis 1 of "
                 "(6, 8); try rechunk_axes(x, {{1, -1}})");
  const Array y = argsort(rechunk_axes(x, {{0, -1}}), {.axis = 0, .descending = true});
  EXPECT_EQ(y.dtype(), int64);
  EXPECT_TRUE(attributes_of<array::SortAttributes>(y).indices);
  EXPECT_TRUE(attributes_of<array::SortAttributes>(y).descending);
}

TEST(Sorting, TopkMergesBlocks) {
  const Array x = random::uniform({6, 9}, {.chunks = {2, 4}, .dtype = float32});
  const auto [values, indices] = topk(x, 3);
  EXPECT_EQ(values.shape(), (Shape{6, 3}));
  EXPECT_EQ(values.dtype(), float32);
  EXPECT_EQ(indices.dtype(), int64);
  EXPECT_EQ(values.node(), indices.node());
  const array::TopkAttributes& merge = attributes_of<array::TopkAttributes>(values);
  EXPECT_TRUE(merge.merge);
  // 3 of the first two blocks along the axis, the one element of the last.
  const Array& candidates = values.node()->inputs[0];
  EXPECT_EQ(candidates.shape(), (Shape{6, 7}));
  EXPECT_EQ(topk(x, -20).values.shape(), (Shape{6, 9}));
  EXPECT_EQ(topk(arange(5), 2).values.node()->inputs.size(), 1u);
  EXPECT_REFUSED(topk(x, 0),
                 "[topk] k must not be 0; got 0; try a positive k for the largest elements");
}

TEST(Sorting, HistogramCountsBlockByBlock) {
  const Array x = random::uniform({6, 9}, {.chunks = {2, 4}});
  const Histogram h = histogram(x, {.bins = 4, .range = {{0.0, 1.0}}});
  EXPECT_EQ(h.edges, (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(h.counts.shape(), Shape{4});
  EXPECT_EQ(h.counts.dtype(), int64);
  const Array w = histogram(x, {.edges = {0, 1, 3}, .weights = x}).counts;
  EXPECT_EQ(w.dtype(), float64);
  EXPECT_EQ(histogram(zeros({}), {.range = {{2.0, 2.0}}}).edges.front(), 1.5);
  EXPECT_REFUSED(histogram(x, {.edges = {1, 0}}),
                 "[histogram] edges must ascend; got 1 before 0 at position 1; try sorting them");
  EXPECT_REFUSED(histogram(x, {.range = {{0.0, 1.0}}, .weights = zeros({3})}),
                 "[histogram] weights must have the array's shape; got (3,) for (6, 9)");
  EXPECT_REFUSED(histogram(x, {.bins = 0, .range = {{0.0, 1.0}}}),
                 "[histogram] there must be at least one bin; got 0");
  EXPECT_EQ(histogram(x, {.range = {{0.0, 1.0}}, .density = true}).counts.dtype(), float64);
}

TEST(Sorting, SearchsortedComparesDoubles) {
  const Array x = random::integers(0, 9, {6}, {.chunks = {4}});
  const Array y = searchsorted({1, 2, 2}, x, {.right = true});
  EXPECT_EQ(y.dtype(), int64);
  EXPECT_EQ(y.chunks(), x.chunks());
  EXPECT_EQ(y.node()->inputs[0].dtype(), float64);
  EXPECT_REFUSED(searchsorted({2, 1}, x),
                 "[searchsorted] values must ascend; got 1 at position 1 "
                 "after a larger one or NaN; try sorting them");
}

TEST(Groupby, AccumulatesPerBlockAndMerges) {
  const Array x = random::uniform({10, 6}, {.chunks = {4, 3}, .dtype = float32});
  const std::vector<std::int64_t> labels{0, 1, 2, 0, 1, 2, -7, 0, 0, 0};
  const Array out = groupby_reduce(x, labels, "nanmean");
  EXPECT_EQ(out.shape(), (Shape{3, 6}));
  EXPECT_EQ(out.chunks().to_string(), "(3, 3 x 2)");
  const auto& merge = attributes_of<array::GroupbyMergeAttributes>(out);
  EXPECT_EQ(merge.axis, 0);
  EXPECT_EQ(merge.element, float32);
  EXPECT_EQ(*merge.from, (std::vector<array::GroupList>{{0, 1, 2}, {0, 1, 2}, {0}}));
  const Array& partial = out.node()->inputs[0];
  // A block has accumulators for the groups of its own elements.
  EXPECT_EQ(partial.chunks().to_string(), "(3 x 2 + 1, 3 x 2)");
  EXPECT_EQ(partial.node()->outputs[0].accumulator, core::ReduceOp::kNanMean);
  EXPECT_EQ(attributes_of<array::GroupbyAttributes>(partial).labels,
            (std::vector<std::int64_t>{0, 1, 2, 0, 1, 2, -1, 0, 0, 0}));
  EXPECT_EQ(groupby_reduce(x, labels, "count", {.group_count = 12}).shape(), (Shape{12, 6}));
  EXPECT_EQ(groupby_reduce(x, labels, "count").dtype(), int64);
}

// Groups that share no block with others have chunks of their own, unless these are small.
TEST(Groupby, GroupsThatBlocksTellApartHaveTheirOwnChunks) {
  const auto chunks = [](std::int64_t columns, const std::vector<std::int64_t>& labels,
                         std::int64_t step, std::optional<std::int64_t> groups = std::nullopt) {
    const Array x =
        zeros({static_cast<std::int64_t>(labels.size()), columns}, {.chunks = {step, columns}});
    return groupby_reduce(x, labels, "sum", {.group_count = groups}).chunks().axis(0);
  };
  constexpr std::int64_t kLarge = 1 << 19;  // 4 MiB
  EXPECT_EQ(chunks(kLarge, {2, 0, 1, 2, 0, 1}, 1), AxisChunks::of({1, 1, 1}));
  EXPECT_EQ(chunks(kLarge / 2, {3, 2, 1, 0, 3, 2, 1, 0}, 1), AxisChunks::of({2, 2}));
  EXPECT_EQ(chunks(kLarge / 8, {2, 0, 1, 2, 0, 1}, 1), AxisChunks::of({3}));
  // A block with several groups keeps these together, those between them, too.
  EXPECT_EQ(chunks(kLarge, {0, 1, 2, 3, 1, 0}, 2), AxisChunks::of({2, 2}));
  EXPECT_EQ(chunks(kLarge, {0, 3, 1, 1, 2, 2}, 2), AxisChunks::of({4}));
  EXPECT_EQ(chunks(kLarge, {0, 0, 3, 3, 1, 1}, 2), AxisChunks::of({1, 2, 1}));
  // Groups that no element belongs to are some other group's neighbours.
  EXPECT_EQ(chunks(kLarge, {0, 1, -1, -1}, 1, 5), AxisChunks::of({1, 4}));
  EXPECT_EQ(chunks(kLarge, {3, 3, 3}, 1, 5), AxisChunks::of({5}));
}

TEST(Groupby, Refusals) {
  const Array x = zeros({3, 2}, {.dtype = int32});
  const std::vector<std::int64_t> labels{0, 2, 2};
  EXPECT_REFUSED(groupby_reduce(x, labels, "median"),
                 "[groupby_reduce] the function must be sum, prod, min, max, mean, var, std, one "
                 "of these behind \"nan\", or count; got \"median\"");
  EXPECT_REFUSED(groupby_reduce(x, labels, "sum", {.axis = 1}),
                 "[groupby_reduce] there must be one label for each element of the axis; got 3 for "
                 "axis 1 of (3, 2)");
  EXPECT_REFUSED(groupby_reduce(x, labels, "sum", {.group_count = 2}),
                 "[groupby_reduce] labels must lie below the number of groups; got label 2 for 2 "
                 "groups");
  EXPECT_REFUSED(groupby_reduce(x, labels, "min"),
                 "[groupby_reduce] the min of int32 needs an element in every group; got none for "
                 "group 1; try astype(float64) or other labels");
  EXPECT_EQ(groupby_reduce(x, labels, "sum").shape(), (Shape{3, 2}));
}

}  // namespace
}  // namespace tessera
