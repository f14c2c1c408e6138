#include <cmath>

#include "io/netcdf/cf_decode.hpp"
#include "io/netcdf/cf_time.hpp"
#include "io/netcdf/netcdf_pile.hpp"
#include "tests/io/netcdf_fixture.hpp"

// Files in the repository, shaped as models and archives write them, so that what was readable
// stays so. They hold what write_data() writes.

namespace tessera::io {
namespace {

constexpr std::int16_t kFill = -32768;
constexpr std::int64_t kRows = 4;
constexpr std::int64_t kColumns = 5;
constexpr int kMonths[] = {2, 3, 1};  // steps of each file of the pile
const char* const kPileFiles[] = {"grid_1.nc", "grid_2.nc", "grid_10.nc"};

std::int16_t packed(int month, std::int64_t y, std::int64_t x) {
  const auto number = static_cast<int>(month * kRows * kColumns + y * kColumns + x);
  return number % 6 == 1 ? kFill : static_cast<std::int16_t>(number * 37 - 900);
}

// One file of the pile: packed values with missing ones, along an unlimited dimension without a
// coordinate of its name; times in months of 30 days stand in an auxiliary coordinate. Compressed
// in netCDF-4, which takes 15 KB for it.
void write_grid(const core::FileSystem& fs, const std::string& path, NetcdfFormat format, int first,
                int months) {
  const bool compressed = format == NetcdfFormat::kNetcdf4;
  NetcdfWriter writer = NetcdfWriter::create(fs, path, format);
  writer.add_dimension("time_counter", 0, true);
  writer.add_dimension("y", kRows);
  writer.add_dimension("x", kColumns);
  writer.add_variable({.name = "time_centered",
                       .dimensions = {"time_counter"},
                       .chunk_shape = compressed ? Shape{8} : Shape{},
                       .attributes = {NetcdfAttribute::text("units", "days since 2001-01-16"),
                                      NetcdfAttribute::text("calendar", "360_day")}});
  writer.add_variable({.name = "nav_lat", .dtype = DType::kFloat32, .dimensions = {"y", "x"}});
  writer.add_variable(
      {.name = "tos",
       .dtype = DType::kInt16,
       .dimensions = {"time_counter", "y", "x"},
       .chunk_shape = compressed ? Shape{1, kRows, kColumns} : Shape{},
       .deflate_level = compressed ? 1 : 0,
       .shuffle = compressed,
       .fill_value = Scalar(kFill),
       .attributes = {NetcdfAttribute::text("units", "degC"),
                      NetcdfAttribute::text("coordinates", "time_centered nav_lat"),
                      NetcdfAttribute::number("scale_factor", DType::kFloat64, 0.01),
                      NetcdfAttribute::number("add_offset", DType::kFloat64, 15.0)}});
  std::vector<double> times;
  std::vector<std::int16_t> values;
  for (int month = first; month < first + months; ++month) {
    times.push_back(30.0 * month);
    for (std::int64_t y = 0; y < kRows; ++y) {
      for (std::int64_t x = 0; x < kColumns; ++x) values.push_back(packed(month, y, x));
    }
  }
  const std::vector<float> latitudes(kRows * kColumns, 45.0f);
  writer.write("time_centered", {0}, {months}, times.data());
  writer.write("nav_lat", {0, 0}, {kRows, kColumns}, latitudes.data());
  writer.write("tos", {0, 0, 0}, {months, kRows, kColumns}, values.data());
  writer.finish();
}

// A classic file: bytes that mean unsigned numbers, days of a calendar without leap years.
void write_classic(const core::FileSystem& fs, const std::string& path) {
  NetcdfWriter writer = NetcdfWriter::create(fs, path, NetcdfFormat::kClassic);
  writer.add_dimension("time", 0, true);
  writer.add_variable({.name = "time",
                       .dtype = DType::kInt32,
                       .dimensions = {"time"},
                       .attributes = {NetcdfAttribute::text("units", "days since 2000-02-28"),
                                      NetcdfAttribute::text("calendar", "noleap")}});
  writer.add_variable(
      {.name = "cover",
       .dtype = DType::kInt8,
       .dimensions = {"time"},
       .attributes = {NetcdfAttribute::text("_Unsigned", "true"),
                      NetcdfAttribute::number("_FillValue", DType::kInt8, -1),
                      NetcdfAttribute::number("scale_factor", DType::kFloat32, 0.5f)}});
  const std::int32_t days[] = {0, 1, 365};
  const std::int8_t cover[] = {100, -56, -1};
  writer.write("time", {0}, {3}, days);
  writer.write("cover", {0}, {3}, cover);
  writer.finish();
}

void write_data(const core::FileSystem& fs, const std::string& folder) {
  fs.make_directories(folder + "/pile");
  int first = 0;
  for (int f = 0; f < 3; ++f) {
    const NetcdfFormat format = f == 0 ? NetcdfFormat::kNetcdf4 : NetcdfFormat::kClassic;
    write_grid(fs, folder + "/pile/" + kPileFiles[f], format, first, kMonths[f]);
    first += kMonths[f];
  }
  write_classic(fs, folder + "/noleap.nc");
}

std::vector<std::string> dates_of(const PileCoordinate& coordinate) {
  std::vector<std::string> dates;
  const CfTime time = CfTime::parse(coordinate.text("units"), coordinate.text("calendar"));
  for (const double value : coordinate.values) dates.push_back(time.decode(value).to_string());
  return dates;
}

class NetcdfData : public NetcdfFixture {
 protected:
  void expect_pile(const std::string& folder) const {
    const NetcdfPile pile = NetcdfPile::open(fs_, folder + "/pile", "tos");
    ASSERT_EQ(pile.shape(), (Shape{6, kRows, kColumns}));
    EXPECT_EQ(pile.extents(), (std::vector<std::int64_t>{2, 3, 1}));
    ASSERT_EQ(pile.coordinate_of("time_counter")->name, "time_centered");
    EXPECT_EQ(dates_of(*pile.coordinate("time_centered")),
              (std::vector<std::string>{"2001-01-16 00:00:00", "2001-02-16 00:00:00",
                                        "2001-03-16 00:00:00", "2001-04-16 00:00:00",
                                        "2001-05-16 00:00:00", "2001-06-16 00:00:00"}));
    const CfDecode plan = cf_decode_plan(pile.variable());
    ASSERT_EQ(plan.decoded, DType::kFloat64);
    std::vector<std::int16_t> raw(6 * kRows * kColumns);
    std::vector<double> values(raw.size());
    pile.read_region({0, 0, 0}, pile.shape(), raw.data());
    cf_decode(plan, raw.data(), values.data(), raw.size());
    std::size_t at = 0;
    for (int month = 0; month < 6; ++month) {
      for (std::int64_t y = 0; y < kRows; ++y) {
        for (std::int64_t x = 0; x < kColumns; ++x, ++at) {
          const std::int16_t stored = packed(month, y, x);
          if (stored == kFill) {
            EXPECT_TRUE(std::isnan(values[at])) << at;
          } else {
            EXPECT_EQ(values[at], stored * 0.01 + 15.0) << at;
          }
        }
      }
    }
  }

  void expect_classic(const std::string& folder) const {
    const NetcdfPile pile = NetcdfPile::open(fs_, folder + "/noleap.nc", "cover");
    EXPECT_EQ(dates_of(*pile.coordinate("time")),
              (std::vector<std::string>{"2000-02-28 00:00:00", "2000-03-01 00:00:00",
                                        "2001-02-28 00:00:00"}));
    const CfDecode plan = cf_decode_plan(pile.variable());
    ASSERT_EQ(plan.decoded, DType::kFloat32);
    std::int8_t raw[3];
    float values[3];
    pile.read_region({0}, {3}, raw);
    cf_decode(plan, raw, values, 3);
    EXPECT_EQ(values[0], 50.0f);
    EXPECT_EQ(values[1], 100.0f);
    EXPECT_TRUE(std::isnan(values[2]));
  }
};

TEST_F(NetcdfData, FilesOfTheRepositoryReadAsTheyWereWritten) {
  expect_pile(TESSERA_IO_DATA);
  expect_classic(TESSERA_IO_DATA);
}

TEST_F(NetcdfData, TheWriterStillWritesThem) {
  write_data(fs_, folder_);
  expect_pile(folder_);
  expect_classic(folder_);
}

// Run by hand, with --gtest_also_run_disabled_tests, after a change of write_data().
TEST_F(NetcdfData, DISABLED_WriteTheFilesOfTheRepository) { write_data(fs_, TESSERA_IO_DATA); }

}  // namespace
}  // namespace tessera::io
