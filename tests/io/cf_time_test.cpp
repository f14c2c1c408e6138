#include "io/netcdf/cf_time.hpp"

#include <iomanip>
#include <sstream>

#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

std::string decoded(const std::string& units, const std::string& calendar, double value) {
  return CfTime::parse(units, calendar).decode(value).to_string();
}

std::string parse_error(const std::string& units, const std::string& calendar) {
  return error_text<InvalidArgument>([&] { CfTime::parse(units, calendar); });
}

TEST(CfTime, KnownDates) {
  EXPECT_EQ(decoded("days since 1970-01-01", "standard", 0), "1970-01-01 00:00:00");
  EXPECT_EQ(decoded("days since 1990-1-1", "proleptic_gregorian", 59), "1990-03-01 00:00:00");
  EXPECT_EQ(decoded("days since 2000-1-1", "gregorian", 60), "2000-03-01 00:00:00");
  EXPECT_EQ(decoded("days since 2000-1-1", "noleap", 59), "2000-03-01 00:00:00");
  EXPECT_EQ(decoded("days since 2001-1-1", "all_leap", 59), "2001-02-29 00:00:00");
  EXPECT_EQ(decoded("days since 2000-1-1", "360_day", 59), "2000-02-30 00:00:00");
  EXPECT_EQ(decoded("seconds since 1900-01-01 00:00:00", "360_day", 3578256000.0),
            "2015-01-16 00:00:00");
  EXPECT_EQ(decoded("hours since 1970-01-01 00:00:00", "gregorian", 318096), "2006-04-16 00:00:00");
  // The Julian day number counts from noon of 4713 BC; 2451545 is J2000.
  EXPECT_EQ(decoded("days since -4713-01-01 12:00:00", "julian", 0), "-4713-01-01 12:00:00");
  EXPECT_EQ(decoded("days since -4713-01-01 12:00:00", "standard", 2451545), "2000-01-01 12:00:00");
  // The last Julian and the first Gregorian day are neighbours.
  EXPECT_EQ(decoded("days since 1582-10-04", "standard", 1), "1582-10-15 00:00:00");
  EXPECT_EQ(decoded("days since 1582-10-15", "standard", -1), "1582-10-04 00:00:00");
  EXPECT_EQ(decoded("days since 1582-10-04", "proleptic_gregorian", 1), "1582-10-05 00:00:00");
  // 1 BC comes before 1 AD where there is no year 0.
  EXPECT_EQ(decoded("days since 1-1-1", "standard", -1), "-001-12-31 00:00:00");
  EXPECT_EQ(decoded("days since 1-1-1", "proleptic_gregorian", -1), "0000-12-31 00:00:00");
  EXPECT_EQ(decoded("days since 0-1-1", "noleap", -1), "-001-12-31 00:00:00");
}

TEST(CfTime, UnitsAndReferenceForms) {
  EXPECT_EQ(decoded("days since 1990", "", 1.5), "1990-01-02 12:00:00");
  EXPECT_EQ(decoded("DAYS Since 1990-2", "Gregorian", 0.5), "1990-02-01 12:00:00");
  EXPECT_EQ(decoded("hours since 1970-01-01T06:00:00Z", "standard", 1), "1970-01-01 07:00:00");
  EXPECT_EQ(decoded("hours since 1970-01-01T06:00:00+01:00", "standard", 0), "1970-01-01 05:00:00");
  EXPECT_EQ(decoded("hours since 1970-01-01 06:00:00 -5:30", "standard", 0), "1970-01-01 11:30:00");
  EXPECT_EQ(decoded("hours since 1970-01-01 20:00 -0530", "standard", 0), "1970-01-02 01:30:00");
  EXPECT_EQ(decoded("h since 2000-1-1 6:0:0 UTC", "standard", 0), "2000-01-01 06:00:00");
  EXPECT_EQ(decoded("days since 2000-1-1 00:00:0.0", "standard", 1), "2000-01-02 00:00:00");
  EXPECT_EQ(decoded("days since 2000-1-1 00:00:01.25", "standard", 0), "2000-01-01 00:00:01.25");
  EXPECT_EQ(decoded("minutes since 2000-1-1 3", "standard", 61), "2000-01-01 04:01:00");
  EXPECT_EQ(decoded("msec since 2000-1-1", "standard", 1500), "2000-01-01 00:00:01.5");
  EXPECT_EQ(decoded("microseconds since 2000-1-1", "standard", 1), "2000-01-01 00:00:00.000001");
  EXPECT_EQ(decoded("nanoseconds since 2000-1-1", "standard", 7), "2000-01-01 00:00:00.000000007");
  EXPECT_EQ(decoded("weeks since 2000-1-1", "standard", 1), "2000-01-08 00:00:00");
  EXPECT_EQ(decoded("months since 2000-01-15", "360_day", 1.5), "2000-02-30 00:00:00");
  EXPECT_EQ(decoded("common_years since 2000-1-1", "noleap", -1), "1999-01-01 00:00:00");
  EXPECT_EQ(CfTime::parse("nanoseconds since 1970-1-1", "")
                .decode(std::int64_t{1'700'000'000'123'456'789})
                .to_string(),
            "2023-11-14 22:13:20.123456789");
  EXPECT_TRUE(CfTime::is_time_units("days since 1990-1-1"));
  EXPECT_FALSE(CfTime::is_time_units("degrees_north"));
}

TEST(CfTime, ErrorsNameWhatIsWrong) {
  EXPECT_EQ(parse_error("days since 1990-1-1", "mayan"),
            "[cf_time] a calendar must be one of CF's; got \"mayan\"; try standard, "
            "proleptic_gregorian, julian, "
            "noleap, all_leap or 360_day");
  EXPECT_EQ(parse_error("kelvin", ""),
            "[cf_time] time units must read \"<unit> since <date>\"; got \"kelvin\"; try \"days "
            "since 1990-01-01\"");
  EXPECT_EQ(parse_error("months since 1990-1-1", "standard"),
            "[cf_time] a time unit must have one length in its calendar; got \"months\" in "
            "standard; try days, hours, "
            "minutes or seconds");
  for (const char* units :
       {"days since", "days since yesterday", "days since 1990-13-1", "days since 1990-1-1 25:00",
        "days since 1990-1-1 00:61", "days since 1990-1-1x", "days since 19900101",
        "days since 1990-1-1 00:00 XYZ", "days since 1990-1-1 00:00:00 +1:99", "days since --1"}) {
    EXPECT_NE(parse_error(units, ""), "no error") << units;
  }
  EXPECT_EQ(parse_error("days since 1582-10-10", "standard"),
            "[cf_time] a date must exist in its calendar; got 1582-10-10 in standard; try "
            "correcting the units or the "
            "calendar");
  EXPECT_NE(parse_error("days since 2001-2-29", "noleap"), "no error");
  EXPECT_NE(parse_error("days since 0-1-1", "gregorian"), "no error");
  EXPECT_NE(parse_error("days since 2000-1-31", "360_day"), "no error");
  const CfTime days = CfTime::parse("days since 2000-1-1", "");
  for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL, 1e20, 9.9e17}) {
    EXPECT_NE(error_text<InvalidArgument>([&] { days.decode(value); }), "no error") << value;
  }
}

TEST(CfTime, DayNumbersAndDatesAreInverse) {
  for (const char* name :
       {"standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"}) {
    const Calendar calendar = calendar_from_name(name);
    CfDate before = date_of_day(calendar, -1'000'001);
    for (std::int64_t day = -1'000'000; day < 1'000'000; day += (day % 1000 == 0 ? 1 : 37)) {
      const CfDate date = date_of_day(calendar, day);
      ASSERT_EQ(day_number(calendar, date.year, date.month, date.day), day) << name;
      ASSERT_GE(date.day_of_year, 1);
      ASSERT_LE(date.day_of_year, 366);
      ASSERT_TRUE(date.year > before.year ||
                  (date.year == before.year && date.day_of_year > before.day_of_year));
      before = date;
    }
  }
}

TEST(CfTime, EncodeInvertsDecode) {
  std::mt19937_64 random(99);
  for (const char* calendar :
       {"standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"}) {
    const CfTime hours = CfTime::parse("hours since 1850-01-01 06:00", calendar);
    const CfTime days = CfTime::parse("days since 1-1-1", calendar);
    for (int i = 0; i < 500; ++i) {
      const double value =
          static_cast<double>(static_cast<std::int64_t>(random() % 20'000'000) - 10'000'000) * 0.25;
      EXPECT_EQ(hours.encode(hours.decode(value)), value);
      EXPECT_EQ(days.decode(days.encode(hours.decode(value))), hours.decode(value));
    }
  }
}

TEST_F(IoFixture, CfTimeAgreesWithCftime) {
  TESSERA_NEEDS_PYTHON("cftime");
  struct Case {
    std::string units;
    std::string calendar;
    double value;
  };
  std::vector<Case> cases;
  std::mt19937_64 random(4242);
  const std::vector<std::string> calendars{"standard", "gregorian", "proleptic_gregorian",
                                           "julian",   "noleap",    "365_day",
                                           "all_leap", "366_day",   "360_day"};
  const std::vector<std::pair<std::string, double>> units{
      {"days", 1'000'000}, {"hours", 20'000'000}, {"minutes", 900'000'000}, {"seconds", 5e10}};
  std::string program = "import cftime, warnings\nwarnings.simplefilter('ignore')\ncases = [\n";
  for (int i = 0; i < 3000; ++i) {
    const auto& [unit, span] = units[random() % units.size()];
    const std::string year = std::to_string(1 + random() % 2200);
    const std::string reference =
        year + "-" + std::to_string(1 + random() % 9) + "-" + std::to_string(1 + random() % 4) +
        (random() % 2 ? " " + std::to_string(random() % 24) + ":30:00" : "");
    // Eighths of a unit: exact, so that both sides round nothing.
    const double value =
        std::floor((static_cast<double>(random() % 2'000'001) / 1e6 - 1.0) * span) +
        static_cast<double>(random() % 8) / 8;
    cases.push_back({unit + " since " + reference, calendars[random() % calendars.size()], value});
    std::ostringstream line;
    line << std::setprecision(17) << "(" << value << ",'" << cases.back().units << "','"
         << cases.back().calendar << "'),\n";
    program += line.str();
  }
  program +=
      "]\nfor v, u, c in cases:\n"
      "  d = cftime.num2date(v, u, c)\n"
      "  print(d.year, d.month, d.day, d.hour, d.minute, d.second, d.microsecond, d.dayofyr)\n";
  bool ok = false;
  std::istringstream output(run_python(program, folder_, ok));
  ASSERT_TRUE(ok) << output.str();
  for (const Case& item : cases) {
    CfDate wanted;
    int microsecond = 0;
    ASSERT_TRUE(output >> wanted.year >> wanted.month >> wanted.day >> wanted.hour >>
                wanted.minute >> wanted.second >> microsecond >> wanted.day_of_year);
    wanted.nanosecond = microsecond * 1000;
    const CfDate date = CfTime::parse(item.units, item.calendar).decode(item.value);
    // cftime does not take the ten missing days of 1582 off the day of the year.
    if (wanted.year == 1582 && calendar_from_name(item.calendar) == Calendar::kStandard)
      wanted.day_of_year = date.day_of_year;
    EXPECT_EQ(date, wanted) << std::setprecision(17) << item.value << " " << item.units << " "
                            << item.calendar << ": " << date.to_string() << " for "
                            << wanted.to_string();
  }
}

}  // namespace
}  // namespace tessera::io
