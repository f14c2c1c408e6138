#include <algorithm>
#include <array>
#include <cctype>

#include "core/text.hpp"
#include "io/netcdf/cf_time.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// The first day of the Gregorian calendar, 1582-10-15.
constexpr std::int64_t kGregorianBegin = -141'427;
struct CalendarName {
  std::string_view name;
  Calendar calendar;
};
constexpr CalendarName kCalendarNames[] = {
    {"standard", Calendar::kStandard},
    {"gregorian", Calendar::kStandard},
    {"proleptic_gregorian", Calendar::kProlepticGregorian},
    {"julian", Calendar::kJulian},
    {"noleap", Calendar::kNoLeap},
    {"365_day", Calendar::kNoLeap},
    {"all_leap", Calendar::kAllLeap},
    {"366_day", Calendar::kAllLeap},
    {"360_day", Calendar::k360Day},
};

bool same_name(std::string_view a, std::string_view b) {
  const auto equal = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

bool skips_year_zero(Calendar calendar) {
  return calendar == Calendar::kStandard || calendar == Calendar::kJulian;
}

/// Year numbered with a year 0, as the arithmetic needs it.
std::int64_t astronomical(Calendar calendar, std::int64_t year) {
  return skips_year_zero(calendar) && year < 0 ? year + 1 : year;
}

bool is_leap(Calendar calendar, std::int64_t year) {
  const std::int64_t y = astronomical(calendar, year);
  const auto divides = [y](std::int64_t n) { return y % n == 0; };
  switch (calendar) {
    case Calendar::kStandard:
      return divides(4) && (y < 1582 || !divides(100) || divides(400));
    case Calendar::kProlepticGregorian:
      return divides(4) && (!divides(100) || divides(400));
    case Calendar::kJulian:
      return divides(4);
    case Calendar::kAllLeap:
      return true;
    default:
      return false;
  }
}

/// Days before a month of a year that begins in March, 0 for March.
std::int64_t days_before_march_month(std::int64_t month) { return (153 * month + 2) / 5; }

/// Day number with 1970-01-01 Gregorian = 0 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"); Julian dates count on the same axis, so that the standard calendar can join both.
std::int64_t gregorian_day(std::int64_t year, int month, int day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t era = floor_div(y, 400);
  const std::int64_t year_of_era = y - era * 400;
  const std::int64_t day_of_year = days_before_march_month((month + 9) % 12) + day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
         719'468;
}

std::int64_t julian_day(std::int64_t year, int month, int day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t era = floor_div(y, 4);
  const std::int64_t day_of_year = days_before_march_month((month + 9) % 12) + day - 1;
  return era * 1'461 + (y - era * 4) * 365 + day_of_year - 719'470;
}

struct YearMonthDay {
  std::int64_t year;
  int month;
  int day;
};

YearMonthDay from_march_year(std::int64_t year, std::int64_t day_of_year) {
  const std::int64_t month = (5 * day_of_year + 2) / 153;
  const int day = static_cast<int>(day_of_year - days_before_march_month(month) + 1);
  return {month >= 10 ? year + 1 : year, static_cast<int>(month >= 10 ? month - 9 : month + 3),
          day};
}

YearMonthDay from_gregorian(std::int64_t days) {
  const std::int64_t z = days + 719'468;
  const std::int64_t era = floor_div(z, 146'097);
  const std::int64_t d = z - era * 146'097;
  const std::int64_t y = (d - d / 1'460 + d / 36'524 - d / 146'096) / 365;
  return from_march_year(y + era * 400, d - (365 * y + y / 4 - y / 100));
}

YearMonthDay from_julian(std::int64_t days) {
  const std::int64_t z = days + 719'470;
  const std::int64_t era = floor_div(z, 1'461);
  const std::int64_t d = z - era * 1'461;
  const std::int64_t y = (d - d / 1'460) / 365;
  return from_march_year(y + era * 4, d - 365 * y);
}

constexpr std::array<int, 12> kMonthDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

[[noreturn]] void bad_date(Calendar calendar, std::int64_t year, int month, int day) {
  throw InvalidArgument(core::text("[cf_time] a date must exist in its calendar; got ", year, "-",
                                   month, "-", day, " in ", name(calendar),
                                   "; try correcting the units or the calendar"));
}

}  // namespace

Calendar calendar_from_name(std::string_view name) {
  if (name.empty()) return Calendar::kStandard;
  for (const CalendarName& entry : kCalendarNames) {
    if (same_name(entry.name, name)) return entry.calendar;
  }
  throw InvalidArgument(
      core::text("[cf_time] a calendar must be one of CF's; got \"", name,
                 "\"; try standard, proleptic_gregorian, julian, noleap, all_leap or "
                 "360_day"));
}

std::string_view name(Calendar calendar) noexcept {
  for (const CalendarName& entry : kCalendarNames) {
    if (entry.calendar == calendar) return entry.name;
  }
  return "";
}

int days_in_month(Calendar calendar, std::int64_t year, int month) {
  if (month < 1 || month > 12) bad_date(calendar, year, month, 1);
  if (calendar == Calendar::k360Day) return 30;
  return kMonthDays[static_cast<std::size_t>(month - 1)] +
         (month == 2 && is_leap(calendar, year) ? 1 : 0);
}

std::int64_t day_number(Calendar calendar, std::int64_t year, int month, int day) {
  if ((skips_year_zero(calendar) && year == 0) || year > kMaxCalendarYear ||
      year < -kMaxCalendarYear || day < 1 || day > days_in_month(calendar, year, month)) {
    bad_date(calendar, year, month, day);
  }
  const std::int64_t y = astronomical(calendar, year);
  std::int64_t before = 0;
  for (int m = 1; m < month; ++m) before += days_in_month(calendar, year, m);
  switch (calendar) {
    case Calendar::kStandard: {
      const std::int64_t days = gregorian_day(y, month, day);
      if (days >= kGregorianBegin) return days;
      if (y == 1582 && month == 10 && day > 4) bad_date(calendar, year, month, day);
      return julian_day(y, month, day);
    }
    case Calendar::kProlepticGregorian:
      return gregorian_day(y, month, day);
    case Calendar::kJulian:
      return julian_day(y, month, day);
    case Calendar::kNoLeap:
      return y * 365 + before + day - 1;
    case Calendar::kAllLeap:
      return y * 366 + before + day - 1;
    case Calendar::k360Day:
      return y * 360 + before + day - 1;
  }
  return 0;
}

CfDate date_of_day(Calendar calendar, std::int64_t day_number) {
  YearMonthDay date{};
  if (calendar == Calendar::kProlepticGregorian ||
      (calendar == Calendar::kStandard && day_number >= kGregorianBegin)) {
    date = from_gregorian(day_number);
  } else if (calendar == Calendar::kJulian || calendar == Calendar::kStandard) {
    date = from_julian(day_number);
  } else {
    const std::int64_t length = calendar == Calendar::kNoLeap    ? 365
                                : calendar == Calendar::kAllLeap ? 366
                                                                 : 360;
    date.year = floor_div(day_number, length);
    std::int64_t left = day_number - date.year * length;
    date.month = 1;
    while (left >= days_in_month(calendar, date.year, date.month)) {
      left -= days_in_month(calendar, date.year, date.month);
      ++date.month;
    }
    date.day = static_cast<int>(left) + 1;
  }
  CfDate result;
  result.year = skips_year_zero(calendar) && date.year <= 0 ? date.year - 1 : date.year;
  result.month = date.month;
  result.day = date.day;
  result.day_of_year =
      static_cast<int>(day_number - tessera::io::day_number(calendar, result.year, 1, 1)) + 1;
  return result;
}

}  // namespace tessera::io
