#include "kernels/host/take_host.hpp"

#include <gtest/gtest.h>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::uniform;

TEST(TakeAlong, GathersFromPiecesOfAnyLayout) {
  test::Random random(test::kBlockSeed);
  const std::array dtypes{DType::kBool, DType::kInt16, DType::kFloat32, DType::kFloat64,
                          DType::kComplex128};
  for (int round = 0; round < 200; ++round) {
    Index shape(static_cast<std::size_t>(uniform(random, 1, 4)));
    for (auto& extent : shape) extent = uniform(random, round % 10 == 0 ? 0 : 1, 7);
    const auto axis = static_cast<std::size_t>(uniform(random, 0, std::ssize(shape) - 1));
    const DType dtype = dtypes[static_cast<std::size_t>(round) % dtypes.size()];
    std::vector<TestBlock> blocks;
    std::vector<std::int64_t> starts;
    std::int64_t extent = 0;
    for (std::int64_t i = uniform(random, 1, 5); i > 0; --i) {
      Index part = shape;
      part[axis] = uniform(random, 0, 6);
      blocks.push_back(round % 2 == 0 ? TestBlock(dtype, part)
                                      : TestBlock(dtype, part, random, true));
      blocks.back().fill_small(random);
      starts.push_back(extent);
      extent += part[axis];
    }
    std::vector<std::int64_t> indices(
        static_cast<std::size_t>(extent == 0 ? 0 : uniform(random, 0, round % 7 == 0 ? 600 : 20)));
    for (auto& index : indices) index = uniform(random, 0, extent - 1);
    Index dst_shape = shape;
    dst_shape[axis] = std::ssize(indices);
    TestBlock dst(dtype, dst_shape, random, false);
    TestBlock expected = dst;
    test::for_each_index(dst_shape, [&](const Index& index) {
      const std::int64_t at = indices[static_cast<std::size_t>(index[axis])];
      std::size_t block = blocks.size() - 1;
      while (starts[block] > at || blocks[block].shape()[axis] == 0) --block;
      Index from = index;
      from[axis] = at - starts[block];
      std::memcpy(expected.at(index), blocks[block].at(from), itemsize(dtype));
    });
    std::vector<TakePiece> pieces;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      pieces.push_back({blocks[i].view(), starts[i]});
    }
    take_along(dst.view(), static_cast<int>(axis), pieces, indices);
    SCOPED_TRACE(round);
    ASSERT_TRUE(dst.memory() == expected.memory());
  }
}

TEST(TakeAlong, RefusesIndicesOutsideAndShapesThatDiffer) {
  TestBlock src(DType::kInt32, {4, 3});
  TestBlock dst(DType::kInt32, {2, 3});
  const std::vector<TakePiece> pieces{{src.view(), 10}};
  const auto text = [&](TestBlock& out, int axis, std::vector<std::int64_t> indices) {
    return test::thrown_text<InvalidArgument>(
        [&] { take_along(out.view(), axis, pieces, indices); });
  };
  EXPECT_EQ(text(dst, 0, {10, 14}),
            "[take] every index must be inside one of the pieces; got 14; try indices in [0, "
            "extent)");
  EXPECT_EQ(text(dst, 0, {10}),
            "[take] the output must have one place for each index; got 2 places and 1 indices; try "
            "equal extents");
  EXPECT_EQ(text(dst, 2, {10}),
            "[take] the axis must exist; got axis 2 of 2 axes; try one in [0, rank)");
  TestBlock narrow(DType::kInt32, {2, 2});
  EXPECT_EQ(
      text(narrow, 0, {10, 11}),
      "[take] pieces must have the output's dtype and its extents beside the axis; got a piece "
      "of shape (4, 3) and dtype int32; try cutting sources as the output is cut");
}

}  // namespace
}  // namespace tessera::kernels::host
