#include "io/region.hpp"

#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

class RegionInFile : public IoFixture {};

std::string numbered(std::int64_t elements, std::size_t width) {
  std::string bytes;
  for (std::int64_t i = 0; i < elements; ++i) {
    for (std::size_t b = 0; b < width; ++b)
      bytes.push_back(static_cast<char>((i * 7 + static_cast<std::int64_t>(b) * 3) % 251));
  }
  return bytes;
}

TEST(Region, RejectsWhatLeavesTheArray) {
  const auto text = [](const Shape& start, const Shape& count) {
    return error_text<InvalidArgument>([&] { check_region("npy", "a.npy", {3, 4}, start, count); });
  };
  EXPECT_EQ(text({0, 0}, {3, 4}), "no error");
  EXPECT_EQ(text({3, 4}, {0, 0}), "no error");
  EXPECT_EQ(text({1, 0}, {3, 4}),
            "[npy] a region must lie inside the array; got start (1, 0) and count (3, 4) for shape "
            "(3, 4) of "
            "a.npy; try start + count <= shape");
  for (const auto& [start, count] :
       std::vector<std::pair<Shape, Shape>>{{{-1, 0}, {1, 1}},
                                            {{0, 0}, {-1, 1}},
                                            {{0}, {1}},
                                            {{0, 5}, {1, 0}},
                                            {{0, 1}, {1, INT64_MAX}}}) {
    EXPECT_NE(text(start, count), "no error");
  }
}

TEST_F(RegionInFile, RunsCopiesAndReadsAgreeWithIndexing) {
  std::mt19937_64 random(20240517);
  for (int round = 0; round < 300; ++round) {
    const Shape shape = random_shape(random, 4, 7);
    const std::size_t width = std::vector<std::size_t>{1, 2, 4, 8, 16}[random() % 5];
    const std::string array = numbered(region_elements(shape), width);
    Shape start;
    Shape count;
    random_region(random, shape, start, count);
    const std::string wanted = slice_bytes(array, shape, start, count, width);

    std::string gathered(wanted.size(), '\0');
    for_each_run(shape, start, count,
                 [&](std::int64_t offset, std::int64_t dense, std::int64_t length) {
                   std::memcpy(gathered.data() + static_cast<std::size_t>(dense) * width,
                               array.data() + static_cast<std::size_t>(offset) * width,
                               static_cast<std::size_t>(length) * width);
                 });
    EXPECT_EQ(gathered, wanted);

    std::string copied(wanted.size(), '\0');
    const Shape origin(shape.size(), 0);
    copy_region(array.data(), shape, start, copied.data(), count, origin, count, width);
    EXPECT_EQ(copied, wanted);
    std::string back = array;
    copy_region(copied.data(), count, origin, back.data(), shape, start, count, width);
    EXPECT_EQ(back, array);

    write_bytes(path("array"), "head" + array);
    std::string read(wanted.size(), '\0');
    read_dense(fs_.open(path("array")), 4, shape, start, count, width, read.data());
    EXPECT_EQ(read, wanted);
  }
}

TEST_F(RegionInFile, ReadJoinsNearRunsAndSplitsFarOnes) {
  // Rows of 8 KiB are joined, rows of 64 KiB are not; both must give the same bytes.
  for (const std::int64_t columns : {8 * 1024, 64 * 1024}) {
    const Shape shape{40, columns};
    const std::string array = numbered(region_elements(shape), 1);
    write_bytes(path("rows"), array);
    std::string read(40 * 100, '\0');
    read_dense(fs_.open(path("rows")), 0, shape, {0, 500}, {40, 100}, 1, read.data());
    EXPECT_EQ(read, slice_bytes(array, shape, {0, 500}, {40, 100}, 1));
  }
}

TEST(Region, SwapsBytes) {
  std::string bytes = "abcdefgh";
  swap_bytes(bytes.data(), 4, 2);
  EXPECT_EQ(bytes, "badcfehg");
  swap_bytes(bytes.data(), 2, 4);
  EXPECT_EQ(bytes, "cdabghef");
  swap_bytes(bytes.data(), 1, 8);
  EXPECT_EQ(bytes, "fehgbadc");
  swap_bytes(bytes.data(), 8, 1);
  EXPECT_EQ(bytes, "fehgbadc");
  EXPECT_EQ(component_width(DType::kComplex64), 4u);
  EXPECT_EQ(component_width(DType::kInt16), 2u);
}

}  // namespace
}  // namespace tessera::io
