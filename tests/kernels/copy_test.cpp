#include "kernels/host/copy_host.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "tessera/error.hpp"
#include "tests/kernels/block_fixture.hpp"

namespace tessera::kernels::host {
namespace {

using test::Index;
using test::TestBlock;
using test::uniform;

const std::vector<DType> kItemSizes = {DType::kInt8, DType::kFloat16, DType::kFloat32,
                                       DType::kFloat64, DType::kComplex128};

void fill_bytes(TestBlock& block, test::Random& random) {
  test::for_each_index(block.shape(), [&](const Index& index) {
    for (std::size_t i = 0; i < itemsize(block.dtype()); ++i) {
      block.at(index)[i] = static_cast<std::byte>(random());
    }
  });
}

/// Copies and compares element by element, and all bytes of the destination outside of it.
void check_copy(TestBlock& dst, TestBlock& src) {
  TestBlock expected = dst;
  test::for_each_index(src.shape(), [&](const Index& index) {
    std::memcpy(expected.at(index), src.at(index), itemsize(src.dtype()));
  });
  copy_region(dst.view(), src.view());
  ASSERT_TRUE(dst.memory() == expected.memory());
}

TEST(CopyRegion, MatchesElementwiseCopyForRandomLayouts) {
  test::Random random(test::kBlockSeed);
  test::on_each_target([&] {
    for (int round = 0; round < 400; ++round) {
      Index shape(static_cast<std::size_t>(uniform(random, 0, 5)));
      for (auto& extent : shape) extent = uniform(random, round % 20 == 0 ? 0 : 1, 9);
      const DType dtype = kItemSizes[static_cast<std::size_t>(uniform(random, 0, 4))];
      SCOPED_TRACE(round);
      TestBlock src(dtype, shape, random, true);
      TestBlock dst(dtype, shape, random, false);
      fill_bytes(src, random);
      check_copy(dst, src);
    }
  });
}

TEST(CopyRegion, TransposesMatricesOfEveryItemSize) {
  test::Random random(test::kBlockSeed + 1);
  test::on_each_target([&] {
    for (const DType dtype : kItemSizes) {
      for (const auto& [rows, cols] : {std::pair{70, 133}, {128, 128}, {1, 300}, {257, 3}}) {
        TestBlock stored(dtype, {cols, rows});
        fill_bytes(stored, random);
        const Index shape{rows, cols};
        const Index strides{1, rows};
        TestBlock dst(dtype, shape);
        copy_region(dst.view(), {stored.data(), dtype, shape, strides});
        test::for_each_index(shape, [&](const Index& index) {
          ASSERT_EQ(0,
                    std::memcmp(dst.at(index), stored.at({index[1], index[0]}), itemsize(dtype)));
        });
      }
    }
  });
}

TEST(CopyRegion, BigBlocksTakeTheStreamingPath) {
  test::on_each_target([] {
    for (const std::int64_t extent : {std::int64_t{800}, std::int64_t{771}}) {
      const Index shape{extent, extent};
      const Index transposed{1, extent};
      TestBlock src(DType::kFloat64, shape);
      auto* values = reinterpret_cast<double*>(src.data());
      for (std::int64_t i = 0; i < extent * extent; ++i) values[i] = static_cast<double>(i);
      TestBlock dst(DType::kFloat64, shape);
      auto* result = reinterpret_cast<const double*>(dst.data());
      copy_region(dst.view(), {src.data(), DType::kFloat64, shape, transposed});
      std::int64_t wrong = 0;
      for (std::int64_t i = 0; i < extent * extent; ++i) {
        wrong += result[i] != values[i % extent * extent + i / extent];
      }
      EXPECT_EQ(wrong, 0);
      copy_region(dst.view(), src.view());
      EXPECT_TRUE(dst.memory().size() == src.memory().size() &&
                  std::equal(values, values + extent * extent, result));
    }
  });
}

TEST(CopyRegion, CopiesHighRankPermutations) {
  test::Random random(test::kBlockSeed + 2);
  TestBlock src(DType::kInt16, {7, 5, 33, 40});
  fill_bytes(src, random);
  Index order{0, 1, 2, 3};
  do {
    Index shape;
    Index strides;
    const ConstBlockView view = src.view();
    for (const std::int64_t axis : order) {
      shape.push_back(view.shape[static_cast<std::size_t>(axis)]);
      strides.push_back(view.strides[static_cast<std::size_t>(axis)]);
    }
    TestBlock dst(DType::kInt16, shape);
    copy_region(dst.view(), {view.data, view.dtype, shape, strides});
    std::int64_t wrong = 0;
    test::for_each_index(shape, [&](const Index& index) {
      Index from(4);
      for (std::size_t i = 0; i < 4; ++i) from[static_cast<std::size_t>(order[i])] = index[i];
      wrong += dst.get<std::int16_t>(index) != src.get<std::int16_t>(from);
    });
    EXPECT_EQ(wrong, 0);
  } while (std::ranges::next_permutation(order).found);
}

TEST(CopyRegion, RefusesOtherShapesAndDtypes) {
  TestBlock a(DType::kInt32, {2, 3});
  TestBlock b(DType::kInt32, {3, 2});
  TestBlock c(DType::kFloat32, {2, 3});
  EXPECT_EQ(test::thrown_text<InvalidArgument>([&] { copy_region(a.view(), b.view()); }),
            "[copy_region] both shapes must be equal; got (2, 3) and (3, 2); try cutting both "
            "regions alike");
  EXPECT_EQ(test::thrown_text<InvalidArgument>([&] { copy_region(a.view(), c.view()); }),
            "[copy_region] both dtypes must be equal; got int32 and float32; try a cast before the "
            "copy");
}

TEST(FillRegion, WritesConvertedScalarsAndNothingElse) {
  test::Random random(test::kBlockSeed + 3);
  for (int round = 0; round < 100; ++round) {
    Index shape(static_cast<std::size_t>(uniform(random, 0, 4)));
    for (auto& extent : shape) extent = uniform(random, 0, 6);
    TestBlock dst(DType::kComplex64, shape, random, false);
    TestBlock expected = dst;
    expected.fill<std::complex<float>>([](const Index&) { return std::complex<float>(-2.5F, 0); });
    fill_region(dst.view(), -2.5);
    ASSERT_TRUE(dst.memory() == expected.memory());
  }
  TestBlock flags(DType::kBool, {3});
  fill_region(flags.view(), 7);
  EXPECT_EQ(flags.values<bool>(), (std::vector<bool>{true, true, true}));
}

TEST(FillRegion, RoundsToStorageOnlyDtypes) {
  const std::pair<DType, std::uint16_t> ones[] = {{DType::kFloat16, 0x3c00},
                                                  {DType::kBFloat16, 0x3f80}};
  for (const auto& [dtype, bits] : ones) {
    TestBlock half(dtype, {2});
    fill_region(half.view(), 1);
    EXPECT_EQ(half.values<std::uint16_t>(), (std::vector<std::uint16_t>{bits, bits})) << dtype;
  }
}

}  // namespace
}  // namespace tessera::kernels::host
