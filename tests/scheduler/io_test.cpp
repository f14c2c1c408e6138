#include "tessera/io.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "core/trace.hpp"
#include "io/netcdf/netcdf_library.hpp"
#include "io/netcdf/netcdf_writer.hpp"
#include "scheduler/seams.hpp"
#include "tessera/tessera.hpp"
#include "tests/core/faulty_file_system.hpp"

namespace tessera {
namespace {

class IoTest : public ::testing::Test {
 protected:
  IoTest() {
    std::string name = std::filesystem::temp_directory_path() / "tessera_io_XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~IoTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

constexpr std::int16_t kFill = -999;

// Stored numbers of file `f`: time t, row i, column j; every seventh value is missing.
std::int16_t stored(int f, int t, int i, int j) {
  const int number = ((f * 4 + t) * 5 + i) * 6 + j;
  return number % 7 == 0 ? kFill : static_cast<std::int16_t>(number);
}

// Four steps a file of (time, y, x) = (., 5, 6), packed by 0.5; times are months from 2001-01.
void write_file(const std::string& path, int f, const std::string& time_units = {},
                const std::string& scale = {}) {
  using io::NetcdfAttribute;
  io::NetcdfWriter writer = io::NetcdfWriter::create(core::posix_file_system(), path);
  writer.add_dimension("time", 0, true);
  writer.add_dimension("y", 5);
  writer.add_dimension("x", 6);
  writer.add_variable(
      {.name = "time",
       .dimensions = {"time"},
       .attributes = {
           NetcdfAttribute::text("units",
                                 time_units.empty() ? "days since 2001-01-16" : time_units),
           NetcdfAttribute::text("calendar", time_units.empty() ? "360_day" : "standard")}});
  writer.add_variable({.name = "y",
                       .dimensions = {"y"},
                       .attributes = {NetcdfAttribute::text("units", "degrees_north")}});
  writer.add_variable(
      {.name = "t",
       .dtype = DType::kInt16,
       .dimensions = {"time", "y", "x"},
       .chunk_shape = {2, 5, 6},
       .deflate_level = 1,
       .fill_value = Scalar(kFill),
       .attributes = {NetcdfAttribute::text("units", "K"),
                      NetcdfAttribute::text("long_name", "a field"),
                      scale.empty() ? NetcdfAttribute::number("scale_factor", DType::kFloat64, 0.5)
                                    : NetcdfAttribute::text("scale_factor", scale)}});
  std::vector<double> times, rows{-2, -1, 0, 1, 2};
  std::vector<std::int16_t> values;
  for (int t = 0; t < 4; ++t) {
    times.push_back(30.0 * (f * 4 + t));
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 6; ++j) values.push_back(stored(f, t, i, j));
    }
  }
  writer.write("time", {0}, {4}, times.data());
  writer.write("y", {0}, {5}, rows.data());
  writer.write("t", {0, 0, 0}, {4, 5, 6}, values.data());
  writer.finish();
}

class PileTest : public IoTest {
 protected:
  void SetUp() override {
    if (!io::netcdf_module_status().available) GTEST_SKIP() << io::netcdf_module_status().text;
    for (int f = 0; f < 3; ++f) write_file(path("t" + std::to_string(f + 9) + ".nc"), f);
  }
};

void expect_decoded(const HostArray& host) {
  ASSERT_EQ(host.shape(), (Shape{12, 5, 6}));
  ASSERT_EQ(host.dtype(), float32);
  const auto values = host.span<float>();
  std::size_t at = 0;
  for (int t = 0; t < 12; ++t) {
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 6; ++j, ++at) {
        const std::int16_t raw = stored(t / 4, t % 4, i, j);
        if (raw == kFill) {
          ASSERT_TRUE(std::isnan(values[at])) << t << ' ' << i << ' ' << j;
        } else {
          ASSERT_EQ(values[at], 0.5f * static_cast<float>(raw)) << t << ' ' << i << ' ' << j;
        }
      }
    }
  }
}

TEST_F(PileTest, OpensFoldersPatternsAndFilesDecoded) {
  expect_decoded(open(folder_, "t").compute());
  expect_decoded(open(path("*.nc"), "t").compute());
  expect_decoded(open(folder_, "t", {.chunks = Chunks{5, 2, -1}}).compute());
  EXPECT_EQ(open(path("t9.nc"), "t").shape(), (Shape{4, 5, 6}));
}

TEST_F(PileTest, ReadsWhatAViewNeeds) {
  const HostArray part =
      open(folder_, "t", {.chunks = Chunks{3, -1, -1}})[{Slice{2, 11, 4}, 3, Slice{1, 4}}]
          .compute();
  ASSERT_EQ(part.shape(), (Shape{3, 3}));
  for (int k = 0; k < 3; ++k) {
    for (int j = 0; j < 3; ++j) {
      const int t = 2 + 4 * k;
      const std::int16_t raw = stored(t / 4, t % 4, 3, j + 1);
      const float got = part.span<float>()[static_cast<std::size_t>(k * 3 + j)];
      EXPECT_TRUE(raw == kFill ? std::isnan(got) : got == 0.5f * static_cast<float>(raw));
    }
  }
}

TEST_F(PileTest, DescribesDimensionsCoordinatesAndDates) {
  const VariableInfo info = describe(folder_, "t");
  EXPECT_EQ(info.dimensions, (std::vector<std::string>{"time", "y", "x"}));
  EXPECT_EQ(info.shape, (Shape{12, 5, 6}));
  EXPECT_EQ(info.dtype, float32);
  EXPECT_EQ(info.units, "K");
  EXPECT_EQ(info.long_name, "a field");
  EXPECT_EQ(info.time_axis, 0);
  ASSERT_EQ(info.coordinates.size(), 2u);
  ASSERT_EQ(info.coordinates[0].dates.size(), 12u);
  EXPECT_EQ(info.coordinates[0].dates[11].month, 12);
  EXPECT_EQ(info.coordinates[0].dates[11].day, 16);
  EXPECT_EQ(info.coordinates[0].dates[11].text, "2001-12-16 00:00:00");
  EXPECT_EQ(info.coordinates[1].values, (std::vector<double>{-2, -1, 0, 1, 2}));
  EXPECT_EQ(info.coordinates[1].units, "degrees_north");
}

TEST_F(PileTest, TimesThatAreNoDatesAreKeptAsNumbers) {
  std::filesystem::remove(path("t10.nc"));
  write_file(path("t10.nc"), 1, "months since 2001-01-01");
  const VariableInfo info = describe(path("t10.nc"), "t");
  EXPECT_EQ(info.time_axis, 0);
  EXPECT_TRUE(info.coordinates[0].dates.empty());
  EXPECT_EQ(info.coordinates[0].values, (std::vector<double>{120, 150, 180, 210}));
  EXPECT_EQ(info.coordinates[0].dates_problem,
            "[netcdf] times must be dates of their calendar; got coordinate \"time\" of " +
                path("t10.nc") +
                ": [cf_time] a time unit must have one length in its calendar; got \"months\" in "
                "standard; try days, hours, minutes or seconds");
  EXPECT_EQ(describe(path("t9.nc"), "t").coordinates[0].dates_problem, "");
  EXPECT_EQ(nansum(open(path("t10.nc"), "t")).compute().shape(), Shape{});
}

TEST_F(PileTest, ABadAttributeIsAnErrorOfItsVariableOnly) {
  write_file(path("t9.nc"), 0, "days since 2001-01-16", "half");
  EXPECT_EQ(message_of([&] { open(path("t9.nc"), "t"); }),
            "[netcdf] scale_factor of a variable must be one number; got \"half\" for \"t\" of " +
                path("t9.nc") + "; try correcting the attribute");
  EXPECT_EQ(open(path("t9.nc"), "y").shape(), Shape{5});
  EXPECT_EQ(list_variables(path("t9.nc"))[2].dtype, int16);
}

TEST_F(PileTest, ListsVariablesOfTheFirstFile) {
  const std::vector<VariableInfo> all = list_variables(folder_);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[2].name, "t");
  EXPECT_EQ(all[2].shape, (Shape{4, 5, 6}));
  EXPECT_EQ(all[2].time_axis, 0);
  EXPECT_EQ(all[1].time_axis, -1);
}

TEST_F(PileTest, RefusesWhatIsNotThere) {
  EXPECT_NE(message_of([&] { open(path("none*.nc"), "t"); }).find("must name at least one file"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              list_variables(path("none*.nc"));
            }).find("[list_variables] a path must name"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_, "salinity"); }).find("salinity"), std::string::npos);
}

TEST_F(PileTest, AFileThatChangedIsAnErrorThatNamesIt) {
  const Array x = open(folder_, "t");
  std::ofstream(path("t10.nc"), std::ios::app) << "more";
  EXPECT_NE(message_of([&] { sum(x).compute(); }).find("t10.nc"), std::string::npos);
}

/// A shape of up to three axes, some of them empty, and two ways to cut it.
struct Grids {
  Shape shape;
  std::vector<std::int64_t> chunks, other;
};

Grids random_grids(std::mt19937& engine) {
  Grids out;
  out.shape.resize(engine() % 4);
  for (std::int64_t& extent : out.shape) {
    extent = engine() % 8 == 0 ? 0 : static_cast<std::int64_t>(engine() % 40) + 1;
    out.chunks.push_back(static_cast<std::int64_t>(engine() % 17) + 1);
    out.other.push_back(static_cast<std::int64_t>(engine() % 17) + 1);
  }
  return out;
}

/// Numbers that every dtype has.
Array small_numbers(const Shape& shape, const std::vector<std::int64_t>& chunks, DType dtype,
                    int seed) {
  const Array numbers =
      random::normal(shape, {.chunks = Chunks(chunks), .seed = seed}) * 50.0 + 60.0;
  return astype(clip(numbers, Scalar(0.0), Scalar(120.0)), dtype);
}

TEST_F(IoTest, NpyKeepsEveryBitForRandomShapesAndChunks) {
  const unsigned seed = 20'240'611;
  std::mt19937 engine(seed);
  for (int round = 0; round < 30; ++round) {
    const auto [shape, chunks, other] = random_grids(engine);
    const DType dtype = round % 2 == 0 ? float64 : float32;
    const Array x =
        random::normal(shape, {.chunks = Chunks(chunks), .seed = round, .dtype = dtype}) + 1.0;
    save_npy(x, path("x.npy"));
    const HostArray expected = x.compute();
    const Array again = load_npy(path("x.npy"), {.chunks = Chunks(other)});
    ASSERT_EQ(again.dtype(), dtype);
    const HostArray got = again.compute();
    ASSERT_EQ(got.shape(), shape) << "seed " << seed << " round " << round;
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0)
        << "seed " << seed << " round " << round;
  }
}

TEST_F(IoTest, NpyIsWrittenInLittleMemory) {
  SessionOptions little;
  little.devices = "host:2";
  little.device_memory_bytes = 1u << 20;
  little.host_memory_bytes = 1u << 20;
  Session session(little);
  const Array x = random::normal({1'000, 1'000}, {.chunks = {100, 100}, .seed = 5});
  {
    const SessionScope scope(session);
    save_npy(x + x.T(), path("x.npy"));
  }
  const HostArray expected = (x + x.T()).compute();
  const HostArray got = load_npy(path("x.npy")).compute();
  EXPECT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0);
  EXPECT_EQ(session.resident_bytes(), 0u);
}

TEST_F(IoTest, ZarrKeepsEveryBitForRandomShapesAndChunks) {
  std::mt19937 engine(20'240'613);
  constexpr DType kDtypes[] = {bool_,   int8,    int16,     int32,     int64,
                               uint8,   uint16,  uint32,    uint64,    DType::kFloat16,
                               float32, float64, complex64, complex128};
  for (int round = 0; round < 50; ++round) {
    SCOPED_TRACE(round);
    const auto [shape, chunks, other] = random_grids(engine);
    const DType dtype = kDtypes[engine() % std::size(kDtypes)];
    const Array x = small_numbers(shape, chunks, dtype, round);
    SaveZarrOptions options;
    options.compressor = static_cast<ZarrCompressor>(engine() % 3);
    const std::string store = path("x" + std::to_string(round));
    save_zarr(x, store, options);
    const HostArray expected = x.compute();
    for (const OpenZarrOptions& how : {OpenZarrOptions{}, OpenZarrOptions{Chunks(other)}}) {
      const Array again = open_zarr(store, how);
      ASSERT_EQ(again.dtype(), dtype);
      const HostArray got = again.compute();
      ASSERT_EQ(got.shape(), shape);
      ASSERT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0);
    }
  }
}

TEST_F(IoTest, AZarrArrayIsWrittenWhereNothingIsOrNotAtAll) {
  const Array bad = map_blocks(
      [](std::span<const InputBlock>, const OutputBlock& out) {
        if (out.index[0] == 3) throw std::runtime_error("no value here");
        std::memset(out.data, 0, static_cast<std::size_t>(out.size()) * 8);
      },
      {zeros({20}, {.chunks = {5}})});
  EXPECT_NE(message_of([&] { save_zarr(bad, path("x")); }).find("no value here"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  save_zarr(ones({4, 6}, {.chunks = {3, 4}}), path("a/b/x"), {.dimensions = {"y", "x"}});
  EXPECT_EQ(sum(open_zarr(path("a/b/x"))).item<double>(), 24.0);
  EXPECT_NE(message_of([&] { save_zarr(ones({4}), path("a/b/x")); }).find("which exists"),
            std::string::npos);
  EXPECT_EQ(message_of([&] {
              const std::vector<std::vector<std::int64_t>> ragged{{2, 3}, {2}};
              save_zarr(ones({5, 2}, {.chunks = Chunks(ragged)}), path("y"));
            }),
            "[save_zarr] chunks of a Zarr array have one size along an axis, but the last; got "
            "([2, 3], 2); try rechunk_axes(x, {{0, 3}})");
  EXPECT_EQ(message_of([&] {
              save_zarr(ones({5}), path("y"), {.dimensions = {"a", "b"}});
            }),
            "[save_zarr] each axis has one dimension's name; got 2 names for shape (5,)");
  EXPECT_FALSE(std::filesystem::exists(path("y")));
  // A folder without metadata is no array; chunks that are not there are the fill value.
  std::filesystem::remove(path("a/b/x/1.1"));
  EXPECT_EQ(sum(open_zarr(path("a/b/x"))).item<double>(), 22.0);
  std::ofstream(path("a/b/x/0.0"), std::ios::trunc) << "short";
  EXPECT_NE(message_of([&] { sum(open_zarr(path("a/b/x"))).item<double>(); }).find("x/0.0"),
            std::string::npos);
  std::filesystem::remove(path("a/b/x/.zarray"));
  EXPECT_NE(message_of([&] { open_zarr(path("a/b/x")); }).find("which has neither"),
            std::string::npos);
}

// Each system call fails in turn, once or, of a full disk, from then on.
TEST_F(IoTest, AnySystemCallOfAZarrArrayMayFail) {
  core::FaultyFileSystem files;
  scheduler::Seams seams;
  seams.files = &files;
  SessionOptions options;
  options.devices = "host:1";
  Session session = seams.open(options);
  const SessionScope scope(session);
  const Array x = random::normal({20, 6}, {.chunks = {8, 6}, .seed = 1}).persist();
  const HostArray wanted = x.compute();
  const auto same = [&] {
    const HostArray got = open_zarr(path("x")).compute();
    return got.shape() == wanted.shape() &&
           std::memcmp(got.data(), wanted.data(), wanted.nbytes()) == 0;
  };
  for (const int error : {EIO, ENOSPC}) {
    bool reached = true;
    int failures = 0;
    for (std::uint64_t nth = 1; reached; ++nth) {
      files.arm({nth, error, error == ENOSPC});
      const std::string text = message_of([&] {
        save_zarr(x, path("x"), {.dimensions = {"y", "x"}});
      });
      reached = files.fired();
      files.arm({});
      if (text == "no error") {
        EXPECT_TRUE(same()) << nth;
      } else {
        EXPECT_NE(text.find("[save_zarr]"), std::string::npos) << text;
        EXPECT_FALSE(std::filesystem::exists(path("x"))) << nth << ' ' << text;
        ++failures;
      }
      std::filesystem::remove_all(path("x"));
    }
    EXPECT_GT(failures, 15) << error;
  }
  save_zarr(x, path("x"));
  bool reached = true;
  for (std::uint64_t nth = 1; reached; ++nth) {
    files.arm({nth, EIO, false});
    const std::string text = message_of([&] { EXPECT_TRUE(same()) << nth; });
    reached = files.fired();
    files.arm({});
    if (text == "no error") continue;
    EXPECT_NE(text.find(path("x")), std::string::npos) << text;
  }
}

class SaveNetcdfTest : public IoTest {
 protected:
  void SetUp() override {
    if (!io::netcdf_module_status().available) GTEST_SKIP() << io::netcdf_module_status().text;
  }
};

TEST_F(SaveNetcdfTest, KeepsEveryBitForRandomShapesChunksAndFiles) {
  std::mt19937 engine(20'240'612);
  constexpr DType kDtypes[] = {int8,   int16,  int32,  int64,   uint8,
                               uint16, uint32, uint64, float32, float64};
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    const auto [shape, chunks, other] = random_grids(engine);
    const DType dtype = kDtypes[engine() % std::size(kDtypes)];
    const Array x = small_numbers(shape, chunks, dtype, round);
    SaveNetcdfOptions options;
    options.deflate_level = static_cast<int>(engine() % 3);
    const bool pile = !shape.empty() && engine() % 2 == 0;
    if (pile) options.steps_per_file = static_cast<std::int64_t>(engine() % 9) + 1;
    const std::string file = path("x" + std::to_string(round) + (pile ? "_*.nc" : ".nc"));
    save_netcdf(x, file, options);
    const HostArray expected = x.compute();
    const Array again =
        open(file, "data", {.chunks = Chunks(other), .dimension = pile ? "dim_0" : ""});
    ASSERT_EQ(again.dtype(), dtype);
    const HostArray got = again.compute();
    ASSERT_EQ(got.shape(), shape);
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0);
  }
}

TEST_F(SaveNetcdfTest, APileBecomesAnotherWithItsNamesDatesAndMissingValues) {
  for (int f = 0; f < 3; ++f) write_file(path("t" + std::to_string(f + 9) + ".nc"), f);
  const VariableInfo info = describe(folder_, "t");
  const Array x = open(folder_, "t", {.chunks = Chunks{5, 3, -1}});
  SaveNetcdfOptions options = save_as(info);
  options.steps_per_file = 5;
  options.deflate_level = 4;
  options.packing = NetcdfPacking{int16, 0.25, 10.0};
  save_netcdf(x * 2.0f, path("double_*.nc"), options);
  EXPECT_EQ(list_variables(path("double_2.nc"))[2].shape, (Shape{2, 5, 6}));
  const VariableInfo again = describe(path("double_*.nc"), "t");
  EXPECT_EQ(again.shape, info.shape);
  EXPECT_EQ(again.dimensions, info.dimensions);
  EXPECT_EQ(again.units, "K");
  EXPECT_EQ(again.long_name, "a field");
  ASSERT_EQ(again.coordinates.size(), 2u);
  EXPECT_EQ(again.coordinates[0].calendar, "360_day");
  EXPECT_EQ(again.coordinates[0].values, info.coordinates[0].values);
  EXPECT_EQ(again.coordinates[0].dates[11].text, "2001-12-16 00:00:00");
  EXPECT_EQ(again.coordinates[1].values, info.coordinates[1].values);
  const HostArray host = astype(open(path("double_*.nc"), "t") * 0.5, float32).compute();
  expect_decoded(host);
  // A mean over time has two of the three dimensions left.
  save_netcdf(nanmean(x, {.axis = 0}), path("mean.nc"), save_as(info, {"y", "x"}));
  const VariableInfo mean = describe(path("mean.nc"), "t");
  EXPECT_EQ(mean.dimensions, (std::vector<std::string>{"y", "x"}));
  EXPECT_EQ(mean.coordinates.size(), 1u);
}

TEST_F(SaveNetcdfTest, WhatCannotBeSavedIsRefusedAtOnce) {
  const Array x = zeros({4, 3});
  const auto refused = [&](const Array& array, const SaveNetcdfOptions& options,
                           const char* name = "x.nc") {
    return message_of([&] { save_netcdf(array, path(name), options); });
  };
  EXPECT_EQ(refused(x > 0.0, {}),
            "[save_netcdf] NetCDF has integers and floats of 32 and 64 bits; got bool; try astype, "
            "or real() and imag()");
  EXPECT_EQ(refused(x, {.dimensions = {"y"}}),
            "[save_netcdf] each axis has one dimension's name; got 1 names for shape (4, 3)");
  EXPECT_EQ(refused(x, {.dimensions = {"y", "y"}}),
            "[save_netcdf] the dimensions' names must differ; got one of them twice");
  EXPECT_EQ(refused(x, {.coordinates = {{.name = "y", .dimension = "dim_0", .values = {1, 2}}}}),
            "[save_netcdf] a coordinate has a value for each index; got 2 of \"y\" for 4");
  EXPECT_EQ(refused(x, {.steps_per_file = 2}),
            "[save_netcdf] the path of several files has one *, for their numbers; got " +
                path("x.nc") + "; try a name such as mean_*.nc");
  EXPECT_EQ(refused(astype(x, int32), {.packing = NetcdfPacking{}}),
            "[save_netcdf] floats are packed; got int32; try saving without packing");
  EXPECT_EQ(refused(x, {.packing = NetcdfPacking{float32, 1.0, 0.0}}),
            "[save_netcdf] values are packed into int8, int16 or int32; got float32");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_NE(refused(x + 4e4, {.packing = NetcdfPacking{}})
                .find("packed values must fit their dtype; got 40000 with scale_factor 1"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_NE(refused(x, {}, "no/folder/x.nc").find("no/folder"), std::string::npos);
}

TEST_F(SaveNetcdfTest, AFailedSaveLeavesCompleteFilesOnly) {
  const Array bad = map_blocks(
      [](std::span<const InputBlock>, const OutputBlock& out) {
        if (out.index[0] == 39) throw std::runtime_error("no value here");
        std::memset(out.data, 0, static_cast<std::size_t>(out.size()) * 8);
      },
      {zeros({200, 20'000}, {.chunks = {5, -1}})});
  EXPECT_NE(message_of([&] { save_netcdf(bad, path("x.nc")); }).find("no value here"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  SessionOptions one;
  one.workers = 1;
  Session session(one);
  const SessionScope scope(session);
  EXPECT_NE(message_of([&] {
              save_netcdf(bad, path("x_*.nc"), {.steps_per_file = 10});
            }).find("no value here"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path("x_00.nc")));
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    EXPECT_EQ(open(entry.path(), "data").shape(), (Shape{10, 20'000}));
  std::ofstream(path("x_old.nc")) << "old";
  EXPECT_NE(message_of([&] {
              save_netcdf(zeros({8}), path("x_*.nc"), {.steps_per_file = 4});
            }).find("got " + path("x_")),
            std::string::npos);
}

TEST_F(IoTest, AFailedSaveLeavesNoFile) {
  const Array bad = map_blocks(
      [](std::span<const InputBlock>, const OutputBlock& out) {
        if (out.index[0] == 1) throw std::runtime_error("no value here");
        std::memset(out.data, 0, static_cast<std::size_t>(out.size()) * 8);
      },
      {zeros({20}, {.chunks = {5}})});
  EXPECT_NE(message_of([&] { save_npy(bad, path("x.npy")); }).find("no value here"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_NE(message_of([&] { save_npy(bad, path("no/folder/x.npy")); }).find("no/folder"),
            std::string::npos);
}

TEST_F(IoTest, WritersKeepLinksAndRefuseSpecialFiles) {
  const Array x = eye(4);
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  const std::vector<std::function<void(const std::string&)>> writers{
      [&](const std::string& file) { save_npy(x, file); },
      [&](const std::string& file) { save_png(x, file); },
      [](const std::string& file) { core::Trace(file).close(); }};
  for (std::size_t i = 0; i < writers.size(); ++i) {
    const std::string target = path("target" + std::to_string(i));
    std::ofstream(target) << "old";
    std::filesystem::create_symlink(target, path("link" + std::to_string(i)));
    writers[i](path("link" + std::to_string(i)));
    EXPECT_TRUE(std::filesystem::is_symlink(path("link" + std::to_string(i))));
    EXPECT_GT(std::filesystem::file_size(target), 20u);
    EXPECT_NE(message_of([&] {
                writers[i](path("pipe"));
              }).find("only an ordinary file may be replaced; got " + path("pipe")),
              std::string::npos);
    EXPECT_TRUE(std::filesystem::is_fifo(path("pipe")));
  }
}

TEST_F(IoTest, PngNeedsARealMatrix) {
  save_png(eye(20, {.chunks = {7, 7}}), path("x.png"), {.title = "identity"});
  EXPECT_GT(std::filesystem::file_size(path("x.png")), 100u);
  EXPECT_EQ(message_of([&] { save_png(zeros({3}), path("y.png")); }),
            "[save_png] the array must be real and have 2 axes; got shape (3,), dtype float64; try "
            "indexing, squeeze or abs");
  EXPECT_FALSE(std::filesystem::exists(path("y.png")));
}

}  // namespace
}  // namespace tessera
