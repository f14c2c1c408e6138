#include "io/netcdf/cf_time.hpp"

#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kDayNs = 86'400 * kSecondNs;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  return text;
}

/// Nanoseconds of a unit, 0 for an unknown one.
std::int64_t unit_nanoseconds(std::string_view unit, Calendar calendar) {
  struct Unit {
    std::string_view names;
    std::int64_t ns;
  };
  static constexpr Unit kUnits[] = {
      {" nanosecond nanoseconds nanosec nanosecs ns ", 1},
      {" microsecond microseconds microsec microsecs us ", 1'000},
      {" millisecond milliseconds millisec millisecs msec msecs ms ", 1'000'000},
      {" second seconds sec secs s ", kSecondNs},
      {" minute minutes min mins ", 60 * kSecondNs},
      {" hour hours hr hrs h ", 3'600 * kSecondNs},
      {" day days d ", kDayNs},
      {" week weeks ", 7 * kDayNs},
  };
  const std::string wanted = " " + lower(unit) + " ";
  for (const Unit& entry : kUnits) {
    if (entry.names.find(wanted) != std::string_view::npos) return entry.ns;
  }
  if (calendar == Calendar::k360Day && (wanted == " month " || wanted == " months "))
    return 30 * kDayNs;
  if (calendar == Calendar::kNoLeap && (wanted == " common_year " || wanted == " common_years ")) {
    return 365 * kDayNs;
  }
  return 0;
}

/// Reads the reference date of units.
class DateReader {
 public:
  DateReader(std::string_view units, std::string_view date) : units_(units), rest_(trim(date)) {}

  void read(Calendar calendar, std::int64_t& day, std::int64_t& ns) {
    const bool negative = take('-');
    if (!negative) take('+');
    const std::size_t before = rest_.size();
    std::int64_t year = number(0, kMaxCalendarYear);
    // "20000101" would otherwise be a year.
    if (before - rest_.size() > 6) fail();
    if (negative) year = -year;
    const int month = take('-') ? static_cast<int>(number(1, 12)) : 1;
    const int day_of_month = take('-') ? static_cast<int>(number(1, 31)) : 1;
    day = day_number(calendar, year, month, day_of_month);
    ns = 0;
    if (!rest_.empty() && rest_[0] != 'Z' && rest_[0] != 'z') {
      if (!take('T') && !take('t') && !take(' ')) fail();
    }
    rest_ = trim(rest_);
    if (!rest_.empty() && std::isdigit(static_cast<unsigned char>(rest_[0]))) ns = time_of_day();
    ns -= zone();
    if (!rest_.empty()) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw InvalidArgument(
        core::text("[cf_time] units must read \"<unit> since <year>-<month>-<day> "
                   "<hour>:<minute>:<second>\"; got \"",
                   units_, "\"; try \"days since 1990-01-01\""));
  }
  bool take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::int64_t number(std::int64_t low, std::int64_t high) {
    std::int64_t value = 0;
    if (rest_.empty() || !std::isdigit(static_cast<unsigned char>(rest_[0]))) fail();
    const auto [end, status] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (status != std::errc() || value < low || value > high) fail();
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  std::int64_t time_of_day() {
    std::int64_t ns = number(0, 24) * 3'600 * kSecondNs;
    if (take(':')) ns += number(0, 59) * 60 * kSecondNs;
    if (take(':')) {
      ns += number(0, 60) * kSecondNs;
      if (take('.')) {
        std::int64_t place = kSecondNs;
        while (!rest_.empty() && std::isdigit(static_cast<unsigned char>(rest_[0]))) {
          place /= 10;
          ns += (rest_[0] - '0') * place;
          rest_.remove_prefix(1);
        }
      }
    }
    return ns;
  }
  std::int64_t zone() {
    rest_ = trim(rest_);
    const std::string word = lower(rest_);
    if (word == "z" || word == "utc" || word == "gmt" || word == "ut") rest_ = {};
    const bool west = take('-');
    if (!west && !take('+')) return 0;
    const std::size_t before = rest_.size();
    std::int64_t hours = number(0, 9'999);
    std::int64_t minutes = 0;
    if (before - rest_.size() > 2) {
      minutes = hours % 100;
      hours /= 100;
    } else if (take(':')) {
      minutes = number(0, 59);
    }
    if (hours > 24 || minutes > 59) fail();
    const std::int64_t ns = (hours * 60 + minutes) * 60 * kSecondNs;
    return west ? -ns : ns;
  }

  std::string_view units_;
  std::string_view rest_;
};

/// Position of "since" between unit and date, npos when there is none.
std::size_t find_since(std::string_view units) {
  const std::string text = lower(units);
  const std::size_t place = text.find(" since ");
  return place;
}

}  // namespace

std::string CfDate::to_string() const {
  char buffer[64];
  int length = std::snprintf(buffer, sizeof buffer, "%04lld-%02d-%02d %02d:%02d:%02d",
                             static_cast<long long>(year), month, day, hour, minute, second);
  std::string result(buffer, static_cast<std::size_t>(length));
  if (nanosecond != 0) {
    length = std::snprintf(buffer, sizeof buffer, ".%09d", nanosecond);
    result.append(buffer, static_cast<std::size_t>(length));
    while (result.back() == '0') result.pop_back();
  }
  return result;
}

bool CfTime::is_time_units(std::string_view units) noexcept {
  return find_since(units) != std::string_view::npos;
}

bool CfTime::is_time(double value) noexcept { return std::fabs(value) < 9e18; }

CfTime CfTime::parse(std::string_view units, std::string_view calendar) {
  CfTime time;
  time.calendar_ = calendar_from_name(calendar);
  const std::size_t since = find_since(units);
  if (since == std::string_view::npos) {
    throw InvalidArgument(
        core::text("[cf_time] time units must read \"<unit> since <date>\"; got \"", units,
                   "\"; try \"days since 1990-01-01\""));
  }
  const std::string_view unit = trim(units.substr(0, since));
  time.unit_ns_ = unit_nanoseconds(unit, time.calendar_);
  if (time.unit_ns_ == 0) {
    throw InvalidArgument(
        core::text("[cf_time] a time unit must have one length in its calendar; got \"", unit,
                   "\" in ", name(time.calendar_), "; try days, hours, minutes or seconds"));
  }
  DateReader(units, units.substr(since + 7))
      .read(time.calendar_, time.reference_day_, time.reference_ns_);
  return time;
}

CfDate CfTime::date_at(std::int64_t whole_units, std::int64_t nanoseconds) const {
  const __int128 total =
      static_cast<__int128>(whole_units) * unit_ns_ + reference_ns_ + nanoseconds;
  __int128 days = total / kDayNs;
  auto rest = static_cast<std::int64_t>(total % kDayNs);
  if (rest < 0) {
    rest += kDayNs;
    --days;
  }
  if (days > kMaxCalendarYear * 360 || days < -kMaxCalendarYear * 360) {
    throw InvalidArgument(
        core::text("[cf_time] a time must lie within 1e9 years of its reference; got ", whole_units,
                   " units; try checking the units and fill values"));
  }
  CfDate date = date_of_day(calendar_, reference_day_ + static_cast<std::int64_t>(days));
  date.hour = static_cast<int>(rest / (3'600 * kSecondNs));
  date.minute = static_cast<int>(rest / (60 * kSecondNs) % 60);
  date.second = static_cast<int>(rest / kSecondNs % 60);
  date.nanosecond = static_cast<int>(rest % kSecondNs);
  return date;
}

CfDate CfTime::decode(std::int64_t value) const { return date_at(value, 0); }

CfDate CfTime::decode(double value) const {
  if (!is_time(value)) {
    throw InvalidArgument(core::text("[cf_time] a time must be a finite number; got ", value,
                                     "; try removing missing values from the coordinate"));
  }
  const double whole = std::floor(value);
  const double part_ns = (value - whole) * static_cast<double>(unit_ns_);
  std::int64_t nanoseconds = std::llround(part_ns);
  // What the double cannot tell from a whole second is one: 0.1 days are 2:24:00, not
  // 2:23:59.999997.
  const std::int64_t second = std::llround(part_ns / 1e9) * kSecondNs;
  const double resolution_ns = (std::nextafter(std::fabs(value), HUGE_VAL) - std::fabs(value)) *
                               static_cast<double>(unit_ns_);
  if (std::fabs(part_ns - static_cast<double>(second)) <= resolution_ns) {
    nanoseconds = second;
  } else if (unit_ns_ >= 1'000) {
    nanoseconds = std::llround(part_ns / 1'000.0) * 1'000;
  }
  return date_at(static_cast<std::int64_t>(whole), nanoseconds);
}

double CfTime::encode(const CfDate& date) const {
  const std::int64_t days = day_number(calendar_, date.year, date.month, date.day) - reference_day_;
  const std::int64_t ns =
      ((date.hour * 60 + date.minute) * 60 + date.second) * kSecondNs + date.nanosecond;
  const __int128 total = static_cast<__int128>(days) * kDayNs + ns - reference_ns_;
  const __int128 whole = total / unit_ns_;
  return static_cast<double>(whole) +
         static_cast<double>(total % unit_ns_) / static_cast<double>(unit_ns_);
}

}  // namespace tessera::io
