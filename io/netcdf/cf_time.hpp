#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Time as the CF conventions write it: numbers of a unit since a date in a calendar. Pure
// arithmetic on day numbers and nanoseconds; knows no file and no time zone but the one in the
// units.

namespace tessera::io {

enum class Calendar : std::uint8_t {
  kStandard,            // "standard", "gregorian": Julian before 1582-10-15, no 1582-10-05 to -14
  kProlepticGregorian,  // "proleptic_gregorian"
  kJulian,              // "julian"
  kNoLeap,              // "noleap", "365_day"
  kAllLeap,             // "all_leap", "366_day"
  k360Day,              // "360_day"
};

/// The calendar of that CF name, in any case; an empty name means standard.
/// \throws InvalidArgument listing the names.
Calendar calendar_from_name(std::string_view name);
std::string_view name(Calendar calendar) noexcept;

/// Years lie within plus and minus this, so that all sums of days fit 64 bits.
inline constexpr std::int64_t kMaxCalendarYear = 1'000'000'000;

/// A date and time of day. Years: standard and julian have no year 0 (1 BC is -1), the others do.
struct CfDate {
  std::int64_t year = 1970;
  int month = 1;        // 1 to 12
  int day = 1;          // 1 to 31
  int day_of_year = 1;  // 1 to 366; not read when encoding
  int hour = 0;
  int minute = 0;
  int second = 0;
  int nanosecond = 0;
  bool operator==(const CfDate&) const = default;
  /// "2015-01-16 00:00:00"
  std::string to_string() const;
};

/// Days of a month. \throws InvalidArgument for a month outside 1 to 12.
int days_in_month(Calendar calendar, std::int64_t year, int month);
/// A day number that counts every day of the calendar once. \throws InvalidArgument for a date it
/// lacks.
std::int64_t day_number(Calendar calendar, std::int64_t year, int month, int day);
/// The date of a day number (no time of day).
CfDate date_of_day(Calendar calendar, std::int64_t day_number);

/// The units of a time coordinate, ready to decode its values.
class CfTime {
 public:
  /// `units` such as "days since 1990-1-1", "hours since 1970-01-01T06:00:00Z"; units from
  /// nanoseconds to weeks, months in the 360_day calendar, common_years in noleap. \throws
  /// InvalidArgument naming the part that cannot be understood.
  static CfTime parse(std::string_view units, std::string_view calendar);
  /// Whether a units attribute reads "<unit> since <date>".
  static bool is_time_units(std::string_view units) noexcept;

  /// Whether a value can be a time: fill values and NaN cannot.
  static bool is_time(double value) noexcept;

  Calendar calendar() const noexcept { return calendar_; }
  /// The date of a value, rounded to the microsecond, and to the second where the double cannot
  /// tell the two apart. \throws InvalidArgument when it is not finite.
  CfDate decode(double value) const;
  /// The date of a value, exactly.
  CfDate decode(std::int64_t value) const;
  /// The value of a date in these units.
  double encode(const CfDate& date) const;

 private:
  CfDate date_at(std::int64_t whole_units, std::int64_t nanoseconds) const;

  Calendar calendar_ = Calendar::kStandard;
  std::int64_t unit_ns_ = 0;
  std::int64_t reference_day_ = 0;
  std::int64_t reference_ns_ = 0;  // of the day, may leave it through the time zone
};

}  // namespace tessera::io
