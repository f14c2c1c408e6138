#include <functional>
#include <numeric>
#include <thread>

#include "io/store.hpp"
#include "tests/io/netcdf_fixture.hpp"

// What every RegionReader and every RegionWriter promises. A new format is one more line in the
// table of its suite, with a function that makes one.

namespace tessera::io {
namespace {

using Values = std::vector<float>;

/// Values that int16 packed by 0.5 holds, too.
Values numbered(const Shape& shape) {
  Values values(static_cast<std::size_t>(region_elements(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.5f * static_cast<float>(static_cast<int>(i * 7919 % 20'011) - 9'000);
  }
  return values;
}

std::string bytes_of(const Values& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

Values region_of(const Values& values, const Shape& shape, const Shape& start, const Shape& count) {
  const std::string bytes = slice_bytes(bytes_of(values), shape, start, count, sizeof(float));
  Values region(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(region.data(), bytes.data(), bytes.size());
  return region;
}

Values read(const core::RegionReader& reader, const Shape& start, const Shape& count) {
  Values values(static_cast<std::size_t>(region_elements(count)));
  reader.read(start, count, reinterpret_cast<std::byte*>(values.data()));
  return values;
}

struct ReaderCase {
  std::string name;
  /// Writes an array into a folder and opens it.
  std::function<Source(const std::string& folder, const Shape&, const Values&)> make;
  bool needs_netcdf = false;
};

void PrintTo(const ReaderCase& value, std::ostream* out) { *out << value.name; }

/// A file whose header says how its bytes lie.
Source make_npy(const std::string& folder, const Shape& shape, const std::string& bytes,
                const char* descr, const char* fortran_order) {
  std::string extents;
  for (const std::int64_t extent : shape) extents += std::to_string(extent) + ",";
  const std::string header = std::string("{'descr': '") + descr +
                             "', 'fortran_order': " + fortran_order + ", 'shape': (" + extents +
                             "), }\n";
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  write_bytes(folder + "/a.npy", file + header + bytes);
  return open_npy(core::posix_file_system(), folder + "/a.npy");
}

Source npy(const std::string& folder, const Shape& shape, const Values& values) {
  return make_npy(folder, shape, bytes_of(values), "<f4", "False");
}

Source swapped_npy(const std::string& folder, const Shape& shape, const Values& values) {
  std::string bytes = bytes_of(values);
  swap_bytes(bytes.data(), values.size(), sizeof(float));
  return make_npy(folder, shape, bytes, ">f4", "False");
}

Source fortran_npy(const std::string& folder, const Shape& shape, const Values& values) {
  Values turned(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::size_t rest = i;
    std::size_t place = 0;
    std::size_t stride = values.size();
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      const auto extent = static_cast<std::size_t>(shape[axis]);
      stride /= extent;
      place += rest % extent * stride;
      rest /= extent;
    }
    turned[place] = values[i];
  }
  return make_npy(folder, shape, bytes_of(turned), "<f4", "True");
}

struct Stored {
  NetcdfVariableSpec spec;
  NetcdfFormat format = NetcdfFormat::kNetcdf4;
  bool unlimited = false;
  bool packed = false;
};

void write_part(const std::string& path, const Shape& shape, const Values& values, Stored stored) {
  std::string bytes = bytes_of(values);
  stored.spec.dtype = DType::kFloat32;
  if (stored.packed) {
    std::vector<std::int16_t> halves;
    for (const float value : values) halves.push_back(static_cast<std::int16_t>(value * 2.0f));
    bytes.assign(reinterpret_cast<const char*>(halves.data()), halves.size() * 2);
    stored.spec.dtype = DType::kInt16;
    stored.spec.attributes = {NetcdfAttribute::number("scale_factor", DType::kFloat32, 0.5f)};
  }
  write_variable(core::posix_file_system(), path, shape, stored.spec, bytes, stored.format,
                 stored.unlimited);
}

Source classic(const std::string& folder, const Shape& shape, const Values& values) {
  write_part(folder + "/a.nc", shape, values,
             {.spec = {}, .format = NetcdfFormat::kClassic, .unlimited = !shape.empty()});
  return open_netcdf(core::posix_file_system(), folder + "/a.nc", "v", "");
}

Source contiguous(const std::string& folder, const Shape& shape, const Values& values) {
  write_part(folder + "/a.nc", shape, values, {});
  return open_netcdf(core::posix_file_system(), folder + "/a.nc", "v", "");
}

Stored chunked(const Shape& shape) {
  Stored stored;
  for (const std::int64_t extent : shape) {
    stored.spec.chunk_shape.push_back(std::max<std::int64_t>(1, std::min<std::int64_t>(extent, 3)));
  }
  if (!shape.empty()) stored.spec.deflate_level = 1;
  stored.spec.shuffle = !shape.empty();
  stored.unlimited = !shape.empty();
  return stored;
}

Source compressed(const std::string& folder, const Shape& shape, const Values& values) {
  write_part(folder + "/a.nc", shape, values, chunked(shape));
  return open_netcdf(core::posix_file_system(), folder + "/a.nc", "v", "");
}

/// Several files along the first axis, packed.
Source packed_pile(const std::string& folder, const Shape& shape, const Values& values) {
  Stored stored = chunked(shape);
  stored.packed = true;
  const std::int64_t steps = shape.empty() ? 0 : shape[0];
  const std::vector<std::int64_t> cuts = steps < 3
                                             ? std::vector<std::int64_t>{0, steps}
                                             : std::vector<std::int64_t>{0, 1, steps - 1, steps};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    Shape start(shape.size(), 0);
    Shape count = shape;
    if (!shape.empty()) {
      start[0] = cuts[i];
      count[0] = cuts[i + 1] - cuts[i];
    }
    write_part(folder + "/p" + std::to_string(i + 9) + ".nc", count,
               region_of(values, shape, start, count), stored);
  }
  return open_netcdf(core::posix_file_system(), folder, "v", "");
}

class RegionReaderConformance : public IoFixture, public testing::WithParamInterface<ReaderCase> {
 protected:
  void SetUp() override {
    if (GetParam().needs_netcdf && !netcdf_module_status().available)
      GTEST_SKIP() << netcdf_module_status().text;
  }
  Source make(const Shape& shape) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    Source source = GetParam().make(folder_, shape, numbered(shape));
    EXPECT_EQ(source.info.shape, shape);
    EXPECT_EQ(source.info.dtype, DType::kFloat32);
    return source;
  }
};

TEST_P(RegionReaderConformance, ReadsAnyRegion) {
  std::mt19937_64 random(31);
  for (const Shape& shape :
       {Shape{}, Shape{1}, Shape{7}, Shape{6, 5}, Shape{0, 4}, Shape{5, 4, 3}, Shape{9, 1, 2, 5}}) {
    const Source source = make(shape);
    const Values values = numbered(shape);
    EXPECT_EQ(read(*source.reader, Shape(shape.size(), 0), shape), values);
    for (int round = 0; round < 40; ++round) {
      Shape start;
      Shape count;
      random_region(random, shape, start, count);
      ASSERT_EQ(read(*source.reader, start, count), region_of(values, shape, start, count))
          << to_string(shape) << to_string(start) << to_string(count) << " seed 31";
    }
  }
}

TEST_P(RegionReaderConformance, ServesSeveralThreads) {
  const Shape shape{12, 11, 10};
  const Source source = make(shape);
  const Values values = numbered(shape);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int round = 0; round < 50; ++round) {
        Shape start;
        Shape count;
        random_region(random, shape, start, count);
        wrong[t] += read(*source.reader, start, count) != region_of(values, shape, start, count);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_P(RegionReaderConformance, NamesFilesThatChangedMeanwhile) {
  const Source source = make({6, 5});
  EXPECT_NE(source.reader->describe().find(folder_), std::string::npos);
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    std::ofstream(entry.path(), std::ios::app) << "more";
  }
  EXPECT_NE(error_text<IoError>([&] {
              read(*source.reader, {0, 0}, {6, 5});
            }).find("must not change while"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Formats, RegionReaderConformance,
                         testing::Values(ReaderCase{"npy", npy},
                                         ReaderCase{"npy_big_endian", swapped_npy},
                                         ReaderCase{"npy_fortran_order", fortran_npy},
                                         ReaderCase{"netcdf_classic", classic, true},
                                         ReaderCase{"netcdf_contiguous", contiguous, true},
                                         ReaderCase{"netcdf_compressed", compressed, true},
                                         ReaderCase{"netcdf_packed_pile", packed_pile, true}),
                         [](const auto& info) { return info.param.name; });

struct WriterCase {
  std::string name;
  std::function<std::unique_ptr<RegionWriter>(const core::FileSystem& files,
                                              const std::string& path, const Shape&, DType)>
      create;
  std::function<Source(const core::FileSystem& files, const std::string& path)> open;
};

void PrintTo(const WriterCase& value, std::ostream* out) { *out << value.name; }

class RegionWriterConformance : public IoFixture, public testing::WithParamInterface<WriterCase> {
 protected:
  static void write(const RegionWriter& writer, const Shape& start, const Shape& count,
                    const Values& values) {
    writer.write(start, count, reinterpret_cast<const std::byte*>(values.data()));
  }
  std::unique_ptr<RegionWriter> create(const Shape& shape) const {
    return GetParam().create(core::posix_file_system(), path("a"), shape, DType::kFloat32);
  }
  void expect_file(const Shape& shape, const Values& values) const {
    const Source source = GetParam().open(core::posix_file_system(), path("a"));
    EXPECT_EQ(source.info.shape, shape);
    EXPECT_EQ(read(*source.reader, Shape(shape.size(), 0), shape), values);
    EXPECT_EQ(file_count(), 1u);
  }
};

TEST_P(RegionWriterConformance, TakesRegionsInAnyOrderFromSeveralThreads) {
  for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{40}, Shape{40, 7}, Shape{40, 3, 5}}) {
    const Values values = numbered(shape);
    const auto writer = create(shape);
    if (shape.size() == 0) write(*writer, {}, {}, values);
    const std::int64_t steps = shape.empty() ? 0 : shape[0];
    std::vector<std::int64_t> order(static_cast<std::size_t>(steps));
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(17);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < order.size(); i += 4) {
          Shape start(shape.size(), 0);
          Shape count = shape;
          start[0] = order[i];
          count[0] = 1;
          write(*writer, start, count, region_of(values, shape, start, count));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    writer->finish();
    expect_file(shape, values);
  }
}

TEST_P(RegionWriterConformance, NothingAppearsBeforeItIsFinished) {
  const Shape shape{4, 3};
  write_bytes(path("a"), "what was there");
  {
    const auto writer = create(shape);
    write(*writer, {0, 0}, shape, numbered(shape));
    EXPECT_EQ(fs_.read_file(path("a")), "what was there");
  }
  EXPECT_EQ(fs_.read_file(path("a")), "what was there");
  EXPECT_EQ(file_count(), 1u);
  const auto writer = create(shape);
  write(*writer, {0, 0}, shape, numbered(shape));
  writer->finish();
  expect_file(shape, numbered(shape));
}

TEST_P(RegionWriterConformance, RefusesWhatLeavesTheArrayAndGoesOn) {
  const Shape shape{4, 3};
  const auto writer = create(shape);
  const Values values = numbered(shape);
  EXPECT_NE(error_text<InvalidArgument>([&] {
              write(*writer, {1, 0}, shape, values);
            }),
            "no error");
  EXPECT_NE(error_text<InvalidArgument>([&] { write(*writer, {0}, {4}, values); }), "no error");
  write(*writer, {0, 0}, shape, values);
  writer->finish();
  expect_file(shape, values);
}

TEST_P(RegionWriterConformance, NamesTheFolderItCannotWriteTo) {
  EXPECT_NE(error_text<IoError>([&] {
              GetParam().create(core::posix_file_system(), path("no/folder"), {3}, DType::kFloat32);
            }).find(path("no/folder")),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Formats, RegionWriterConformance,
                         testing::Values(WriterCase{"npy", create_npy, open_npy}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tessera::io
