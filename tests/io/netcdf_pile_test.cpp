#include "io/netcdf/netcdf_pile.hpp"

#include <cmath>
#include <cstdlib>
#include <thread>

#include "io/netcdf/cf_decode.hpp"
#include "io/netcdf/cf_time.hpp"
#include "tests/core/faulty_file_system.hpp"
#include "tests/io/netcdf_fixture.hpp"

namespace tessera::io {
namespace {

/// What one file of a pile holds: "t" (time, y, x) int16, packed, with coordinates time and y.
struct Member {
  std::vector<double> times;
  std::string units = "days since 2000-01-01";
  std::string calendar = "standard";
  DType dtype = DType::kInt16;
  std::int64_t columns = 4;
  double first_y = -10.0;
  double scale = 0.01;
  int fill = -32768;
  std::string variable = "t";
  bool deflate = true;
  bool unlimited = true;
  std::string units_of_t = "K";
};

class Pile : public NetcdfFixture {
 protected:
  std::int16_t value(double time, std::int64_t y, std::int64_t x) const {
    // Of times that are no dates, too.
    const double step = std::isfinite(time) ? std::fmod(time, 65536.0) : 0.0;
    return static_cast<std::int16_t>(static_cast<std::int64_t>(step) * 100 + y * 10 + x);
  }

  void write(const std::string& file, const Member& member, double time_offset = 0.0) {
    NetcdfWriter writer = NetcdfWriter::create(fs_, path(file));
    const auto steps = static_cast<std::int64_t>(member.times.size());
    writer.add_dimension("time", steps, member.unlimited);
    writer.add_dimension("y", 3);
    writer.add_dimension("x", member.columns);
    writer.add_variable({.name = "time",
                         .dimensions = {"time"},
                         .attributes = {NetcdfAttribute::text("units", member.units),
                                        NetcdfAttribute::text("calendar", member.calendar)}});
    writer.add_variable({.name = "y",
                         .dtype = DType::kFloat32,
                         .dimensions = {"y"},
                         .attributes = {NetcdfAttribute::text("units", "degrees_north")}});
    writer.add_variable(
        {.name = member.variable,
         .dtype = member.dtype,
         .dimensions = {"time", "y", "x"},
         .chunk_shape = {1, 3, member.columns},
         .deflate_level = member.deflate ? 1 : 0,
         .shuffle = member.deflate,
         .fill_value = Scalar(member.fill),
         .attributes = {NetcdfAttribute::number("scale_factor", DType::kFloat64, member.scale),
                        NetcdfAttribute::text("units", member.units_of_t)}});
    writer.write("time", {0}, {steps}, member.times.data());
    const float y[3] = {static_cast<float>(member.first_y), 0.0f, 10.0f};
    writer.write("y", {0}, {3}, y);
    std::vector<std::int16_t> values;
    for (const double time : member.times) {
      for (std::int64_t j = 0; j < 3; ++j) {
        for (std::int64_t i = 0; i < member.columns; ++i)
          values.push_back(value(time + time_offset, j, i));
      }
    }
    if (member.dtype == DType::kInt16)
      writer.write(member.variable, {0, 0, 0}, {steps, 3, member.columns}, values.data());
    writer.finish();
  }

  /// Three files of 2, 3 and 1 steps.
  void write_three() {
    write("t_1.nc", {.times = {0, 1}});
    write("t_2.nc", {.times = {2, 3, 4}});
    write("t_10.nc", {.times = {5}});
  }

  void expect_values(const NetcdfPile& pile, const Shape& start, const Shape& count) const {
    std::vector<std::int16_t> values(static_cast<std::size_t>(region_elements(count)));
    pile.read_region(start, count, values.data());
    std::size_t k = 0;
    for (std::int64_t t = 0; t < count[0]; ++t) {
      for (std::int64_t y = 0; y < count[1]; ++y) {
        for (std::int64_t x = 0; x < count[2]; ++x) {
          ASSERT_EQ(values[k++],
                    value(static_cast<double>(start[0] + t), start[1] + y, start[2] + x));
        }
      }
    }
  }

  std::string open_error(const std::string& pattern, const PileOptions& options = {}) const {
    return error_text<IoError>([&] { NetcdfPile::open(fs_, path(pattern), "t", options); });
  }
};

TEST_F(Pile, JoinsFilesFoldersAndPatternsInNaturalOrder) {
  write_three();
  write_bytes(path("notes.txt"), "not a NetCDF file");
  for (const std::string& where : {path("t_*.nc"), folder_, folder_ + "/"}) {
    const NetcdfPile pile = NetcdfPile::open(fs_, where, "t");
    EXPECT_EQ(pile.shape(), (Shape{6, 3, 4}));
    EXPECT_EQ(pile.dtype(), DType::kInt16);
    EXPECT_EQ(pile.concat_axis(), 0);
    EXPECT_EQ(pile.extents(), (std::vector<std::int64_t>{2, 3, 1}));
    ASSERT_EQ(pile.paths().size(), 3u);
    EXPECT_TRUE(pile.paths()[2].ends_with("t_10.nc"));
    EXPECT_EQ(pile.coordinate("time")->values, (std::vector<double>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(pile.coordinate("y")->values, (std::vector<double>{-10, 0, 10}));
    EXPECT_EQ(pile.coordinate("x"), nullptr);
    EXPECT_EQ(pile.coordinate_of("y")->text("units"), "degrees_north");
    expect_values(pile, {0, 0, 0}, {6, 3, 4});
    std::mt19937_64 random(21);
    for (int round = 0; round < 50; ++round) {
      Shape start;
      Shape count;
      random_region(random, pile.shape(), start, count);
      expect_values(pile, start, count);
    }
  }
}

TEST_F(Pile, ASingleFileIsAPileOfOne) {
  write("only.nc", {.times = {0, 1, 2}});
  const NetcdfPile pile = NetcdfPile::open(fs_, path("only.nc"), "t");
  EXPECT_EQ(pile.extents(), std::vector<std::int64_t>{3});
  expect_values(pile, {1, 0, 0}, {2, 3, 4});
  const NetcdfPile coordinate = NetcdfPile::open(fs_, path("only.nc"), "y");
  EXPECT_EQ(coordinate.shape(), Shape{3});
  float y[3];
  coordinate.read_region({0}, {3}, y);
  EXPECT_EQ(y[2], 10.0f);
}

TEST_F(Pile, JoinsAlongAnInnerDimension) {
  for (int part = 0; part < 3; ++part) {
    NetcdfVariableSpec spec;
    spec.dtype = DType::kInt32;
    std::string values;
    for (std::int32_t i = 0; i < 4; ++i) {
      for (std::int32_t j = 0; j < 2 + part; ++j) {
        const std::int32_t v = i * 100 + part * 10 + j;
        values.append(reinterpret_cast<const char*>(&v), 4);
      }
    }
    write_variable(fs_, path("p" + std::to_string(part) + ".nc"), {4, 2 + part}, spec, values);
  }
  EXPECT_NE(
      error_text<InvalidArgument>([&] {
        NetcdfPile::open(fs_, folder_, "v");
      }).find("[netcdf] files of a pile follow one another along a dimension; got v(d0, d1) of "),
      std::string::npos);
  EXPECT_NE(error_text<InvalidArgument>([&] {
              NetcdfPile::open(fs_, folder_, "v", {.concat_dimension = "z"});
            }).find("must have the dimension to join; got \"z\" for v(d0, d1)"),
            std::string::npos);
  const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "v", {.concat_dimension = "d1"});
  EXPECT_EQ(pile.shape(), (Shape{4, 9}));
  std::int32_t values[4 * 7];
  pile.read_region({0, 1}, {4, 7}, values);
  const std::int32_t columns[] = {1, 10, 11, 12, 20, 21, 22};
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 7; ++j) EXPECT_EQ(values[i * 7 + j], i * 100 + columns[j]);
  }
}

TEST_F(Pile, OrdersByTimeAndConvertsEpochs) {
  // Names say april before march; the second file counts hours from another year, in the same
  // calendar.
  write("april.nc", {.times = {31, 32}});
  write("march.nc",
        {.times = {(0 + 366 - 1) * 24.0, (1 + 366 - 1) * 24.0}, .units = "hours since 1999-01-02"},
        0);
  const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
  EXPECT_TRUE(pile.paths()[0].ends_with("march.nc"));
  // The first file that was found gives the units.
  EXPECT_EQ(pile.coordinate("time")->text("units"), "days since 2000-01-01");
  EXPECT_EQ(pile.coordinate("time")->values, (std::vector<double>{1, 2, 31, 32}));
}

TEST_F(Pile, NamesEveryFileThatDoesNotAgree) {
  write("a.nc", {.times = {0}});
  write("b.nc", {.times = {1}, .columns = 5});
  write("c.nc", {.times = {2}, .scale = 0.02});
  write("d.nc", {.times = {3}, .variable = "other"});
  write("e.nc", {.times = {4}, .first_y = -9.0});
  write("f.nc", {.times = {5}, .calendar = "noleap"});
  write("g.nc", {.times = {6}, .fill = -1});
  write("h.nc", {.times = {7}, .dtype = DType::kFloat32});
  write("i.nc", {.times = {8}, .units_of_t = "degC"});
  write("j.nc", {.times = {9}, .units = "steps"});
  write("k.nc", {.times = {10}});
  write_bytes(path("l.nc"), "garbage");
  const std::string text = open_error("*.nc");
  EXPECT_EQ(
      text.rfind("[netcdf] the files of a pile must agree; got 10 of 12 that do not agree with " +
                     path("a.nc") + ":",
                 0),
      0u)
      << text;
  const std::vector<std::pair<std::string, std::string>> reasons{
      {"b.nc", "shape (1, 3, 5), not (1, 3, 4)"},
      {"c.nc", "other values of _FillValue"},
      {"d.nc", "no variable t"},
      {"e.nc", "other values of coordinate y"},
      {"f.nc", "calendar \"noleap\" of time, not \"standard\""},
      {"g.nc", "other values of _FillValue"},
      {"h.nc", "dtype float32, not int16"},
      {"i.nc", "units \"degC\", not \"K\""},
      {"j.nc", "units \"steps\" of time, not \"days since 2000-01-01\""},
      {"l.nc", "[netcdf] a NetCDF file must be readable"}};
  for (const auto& [file, reason] : reasons) {
    EXPECT_NE(text.find(path(file) + ": " + reason), std::string::npos) << file << "\n" << text;
  }
  EXPECT_EQ(text.find(path("k.nc")), std::string::npos);
  EXPECT_EQ(NetcdfPile::open(fs_, path("[aek].nc"), "t", {.compare_coordinates = false}).shape(),
            (Shape{3, 3, 4}));
}

TEST_F(Pile, TimesThatAreNoDatesDoNotKeepDataFromBeingRead) {
  const double nan = std::nan("");
  const std::vector<Member> odd{{.times = {0, 1}, .units = "months since 2000-01-01"},
                                {.times = {0, 1}, .units = "years since 1999-01-01"},
                                {.times = {0, 1}, .units = "days since 0000-00-00"},
                                {.times = {0, 1}, .calendar = "martian"}};
  for (const Member& member : odd) {
    write("a.nc", member);
    Member later = member;
    later.times = {2, 3};
    write("b.nc", later);
    const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
    EXPECT_EQ(pile.coordinate("time")->values, (std::vector<double>{0, 1, 2, 3}));
    expect_values(pile, {0, 0, 0}, {4, 3, 4});
  }
  // A fill value among the times neither orders files nor makes them overlap.
  for (const double missing : {nan, 1e30}) {
    write("a.nc", {.times = {missing, 4}});
    write("b.nc", {.times = {0, missing, 1}});
    write("c.nc", {.times = {7 * 24.0, missing}, .units = "hours since 2000-01-01"});
    const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
    EXPECT_TRUE(pile.paths()[0].ends_with("b.nc"));
    const std::vector<double>& times = pile.coordinate("time")->values;
    EXPECT_EQ(times[2], 1.0);
    EXPECT_EQ(times[4], 4.0);
    EXPECT_EQ(times[5], 7.0);
    EXPECT_TRUE(std::isnan(times[6]));
  }
}

TEST_F(Pile, AScaleThatIsNotANumberDisagreesOnlyWithOthers) {
  const double nan = std::nan("");
  write("a.nc", {.times = {0}});
  write("b.nc", {.times = {1}, .scale = nan});
  EXPECT_NE(open_error("*.nc").find("1 of 2 that do not agree with " + path("a.nc")),
            std::string::npos);
  EXPECT_EQ(NetcdfPile::open(fs_, path("b.nc"), "t").shape(), (Shape{1, 3, 4}));
  write("a.nc", {.times = {0}, .scale = nan});
  EXPECT_EQ(NetcdfPile::open(fs_, path("*.nc"), "t").shape(), (Shape{2, 3, 4}));
}

TEST_F(Pile, RefusesOverlapsAndEmptyMatches) {
  write("a.nc", {.times = {0, 1}});
  write("b.nc", {.times = {1, 2}});
  EXPECT_EQ(open_error("*.nc"), "[netcdf] files of a pile must not overlap in time; got " +
                                    path("a.nc") + " and " + path("b.nc") +
                                    "; try a pattern that leaves one of them out");
  EXPECT_EQ(open_error("*.hdf"),
            "[netcdf] a path must name at least one file; got " + path("*.hdf") +
                ": no such file and no match; try checking the spelling of the path or pattern");
  fs_.make_directories(path("empty"));
  EXPECT_NE(open_error("empty").find("a folder without *.nc files"), std::string::npos);
  EXPECT_NE(error_text<InvalidArgument>([&] {
              NetcdfPile::open(fs_, path("a.nc"), "salinity");
            }).find("try one of: time, y, t"),
            std::string::npos);
}

TEST_F(Pile, UsesTimeUnitsWithoutAnUnlimitedDimension) {
  write("a.nc", {.times = {0, 1}, .unlimited = false});
  write("b.nc", {.times = {2}, .unlimited = false});
  const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
  EXPECT_EQ(pile.concat_axis(), 0);
  expect_values(pile, {0, 0, 0}, {3, 3, 4});
}

TEST_F(Pile, AFileThatChangesMeanwhileIsAnError) {
  write_three();
  const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
  expect_values(pile, {0, 0, 0}, {6, 3, 4});
  const NetcdfPile unread = NetcdfPile::open(fs_, folder_, "t");
  ::usleep(20'000);
  write("t_2.nc", {.times = {2, 3, 4}});
  std::int16_t values[6 * 12];
  for (const NetcdfPile* changed : {&pile, &unread}) {
    EXPECT_EQ(
        error_text<IoError>([&] {
          changed->read_region({0, 0, 0}, {6, 3, 4}, values);
        }),
        "[netcdf] a file must not change while it is in use; got " + path("t_2.nc") +
            ": another size or modification time than when it was opened; try opening it again");
    changed->read_region({0, 0, 0}, {2, 3, 4}, values);
  }
  std::filesystem::remove(path("t_10.nc"));
  EXPECT_NE(error_text<IoError>([&] {
              pile.read_region({5, 0, 0}, {1, 3, 4}, values);
            }).find(path("t_10.nc")),
            std::string::npos);
}

TEST_F(Pile, FourThreadsReadAtOnce) {
  for (int i = 0; i < 40; ++i) {
    const auto first = static_cast<double>(3 * i);
    write("t_" + std::to_string(i) + ".nc",
          {.times = {first, first + 1, first + 2}, .deflate = i % 3 != 0});
  }
  const NetcdfPile pile = NetcdfPile::open(fs_, folder_, "t");
  ASSERT_EQ(pile.shape(), (Shape{120, 3, 4}));
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int round = 0; round < 60; ++round) {
        Shape start;
        Shape count;
        random_region(random, pile.shape(), start, count);
        expect_values(pile, start, count);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Pile, EveryFailingCallIsReported) {
  write_three();
  for (const int error : {EIO, EACCES, 0}) {
    for (std::uint64_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 200u);
      core::FaultyFileSystem faulty({nth, error, false});
      bool done = false;
      const std::string text = error_text<IoError>([&] {
        const NetcdfPile pile = NetcdfPile::open(faulty, path("t_*.nc"), "t");
        expect_values(pile, {0, 0, 0}, {6, 3, 4});
        done = true;
      });
      if (!done) {
        // A pattern is also looked for in the folders above.
        EXPECT_NE(text.find("; got /"), std::string::npos) << text;
        EXPECT_NE(error, 0) << text;
      }
      if (!faulty.fired()) break;
    }
  }
}

TEST_F(Pile, RealPileOfOceanFiles) {
  const char* data = std::getenv("TESSERA_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "TESSERA_TEST_DATA names no folder of real files";
  const NetcdfPile pile = NetcdfPile::open(fs_, std::string(data) + "/nemo", "tos");
  EXPECT_EQ(pile.shape(), (Shape{3, 330, 360}));
  EXPECT_EQ(pile.coordinate_of("time_counter")->name, "time_centered");
  const PileCoordinate& time = *pile.coordinate("time_centered");
  const CfTime units = CfTime::parse(time.text("units"), time.text("calendar"));
  for (int month = 1; month <= 3; ++month) {
    EXPECT_EQ(units.decode(time.values[static_cast<std::size_t>(month - 1)]).to_string(),
              "2015-0" + std::to_string(month) + "-16 00:00:00");
  }
  const CfDecode plan = cf_decode_plan(pile.variable());
  EXPECT_EQ(plan.decoded, DType::kFloat32);
  std::vector<float> raw(3 * 330 * 360);
  pile.read_region({0, 0, 0}, pile.shape(), raw.data());
  std::vector<float> values(raw.size());
  cf_decode(plan, raw.data(), values.data(), raw.size());
  std::int64_t ocean = 0;
  for (const float v : values) {
    if (std::isnan(v)) continue;
    ++ocean;
    ASSERT_TRUE(v > -3.0f && v < 40.0f);
  }
  EXPECT_GT(ocean, 100'000);
  EXPECT_EQ(
      NetcdfPile::open(fs_, std::string(data) + "/ostia_monthly.nc", "surface_temperature").shape(),
      (Shape{54, 18, 432}));
}

}  // namespace
}  // namespace tessera::io
