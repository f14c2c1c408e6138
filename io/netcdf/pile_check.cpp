#include "io/netcdf/pile_check.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "core/text.hpp"
#include "io/netcdf/cf_time.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

bool same_values(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return "(" + text + ")";
}

/// The folder part of "group/name", with its slash.
std::string group_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash + 1);
}

/// Whether two names mean one calendar. Unknown ones do when they are spelt alike.
bool same_calendar(const std::string& a, const std::string& b) {
  return a == b || calendar_from_name(a) == calendar_from_name(b);
}

/// Values in `units` of `calendar` as values in `wanted_units`; what is no time becomes NaN.
void convert_times(std::vector<double>& values, const std::string& units,
                   const std::string& wanted_units, const std::string& calendar) {
  const CfTime from = CfTime::parse(units, calendar);
  const CfTime to = CfTime::parse(wanted_units, calendar);
  for (double& value : values) {
    value = CfTime::is_time(value) ? to.encode(from.decode(value))
                                   : std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace

PileCheck::PileCheck(const core::FileSystem& file_system, const std::vector<std::string>& files,
                     const std::string& variable, const PileOptions& options)
    : compare_coordinates_(options.compare_coordinates) {
  std::vector<std::string> mismatches;
  for (const std::string& path : files) {
    try {
      const NetcdfFile file = NetcdfFile::open(file_system, path);
      if (members_.empty() && mismatches.empty()) {
        variable_ = file.variable(variable);
        decode_ = cf_decode_plan(variable_);
        choose_axis(file, files.size() == 1, options.concat_dimension);
        find_coordinates(file);
      }
      PileMember member;
      member.path = path;
      member.status = file.status();
      const std::string problem = compare(file, member);
      if (problem.empty()) {
        members_.push_back(std::move(member));
      } else {
        mismatches.push_back(path + ": " + problem);
      }
    } catch (const IoError& error) {
      if (path == files.front()) throw;
      mismatches.push_back(path + ": " + error.what());
    }
  }
  if (!mismatches.empty()) {
    std::string list;
    for (const std::string& mismatch : mismatches) list += "\n  " + mismatch;
    throw IoError(core::text("[netcdf] the files of a pile must agree; got ", mismatches.size(),
                             " of ", files.size(), " that do not agree with ", files.front(), ":",
                             list, "\n; try a pattern that leaves them out"));
  }
  order_by_time();
  join_coordinates();
}

void PileCheck::choose_axis(const NetcdfFile& first, bool single, const std::string& wanted) {
  const auto& names = variable_.dimensions;
  const auto axis_of = [&](std::string_view name) {
    const auto place = std::find(names.begin(), names.end(), name);
    return place == names.end() ? -1 : static_cast<int>(place - names.begin());
  };
  if (!wanted.empty()) {
    concat_axis_ = axis_of(wanted);
    if (concat_axis_ >= 0) return;
    throw InvalidArgument(core::text("[netcdf] a variable must have the dimension to join; got \"",
                                     wanted, "\" for ", variable_.name, joined(names), " of ",
                                     first.path(), "; try one of its dimensions"));
  }
  for (const NetcdfDimension& dimension : first.dimensions()) {
    if (dimension.unlimited && concat_axis_ < 0) concat_axis_ = axis_of(dimension.name);
  }
  for (std::size_t axis = 0; concat_axis_ < 0 && axis < names.size(); ++axis) {
    if (!first.has_variable(names[axis])) continue;
    const bool time = CfTime::is_time_units(first.variable(names[axis]).text("units"));
    if (time) concat_axis_ = static_cast<int>(axis);
  }
  if (concat_axis_ >= 0) return;
  if (single) {
    concat_axis_ = names.empty() ? -1 : 0;
    return;
  }
  throw InvalidArgument(
      core::text("[netcdf] files of a pile follow one another along a dimension; got ",
                 variable_.name, joined(names), " of ", first.path(),
                 ", none of them unlimited or with time units; try naming the dimension"));
}

bool PileCheck::is_concatenated(const PileCoordinate& coordinate) const {
  return concat_axis_ >= 0 &&
         coordinate.dimension == variable_.dimensions[static_cast<std::size_t>(concat_axis_)];
}

void PileCheck::add_coordinate(const NetcdfFile& first, const std::string& name) {
  if (!first.has_variable(name)) return;
  for (const PileCoordinate& known : coordinates_) {
    if (known.name == name) return;
  }
  const NetcdfVariable& info = first.variable(name);
  const auto& names = variable_.dimensions;
  if (!info.dtype || info.dimensions.size() != 1) return;
  if (std::find(names.begin(), names.end(), info.dimensions[0]) == names.end()) return;
  PileCoordinate coordinate;
  coordinate.name = name;
  coordinate.dimension = info.dimensions[0];
  coordinate.attributes = info.attributes;
  if (!is_concatenated(coordinate)) coordinate.values = first.read_doubles(name);
  coordinates_.push_back(std::move(coordinate));
}

void PileCheck::find_coordinates(const NetcdfFile& first) {
  for (const std::string& dimension : variable_.dimensions) add_coordinate(first, dimension);
  std::istringstream listed(variable_.text("coordinates"));
  std::string name;
  while (listed >> name) {
    add_coordinate(first, group_of(variable_.name) + name);
    add_coordinate(first, name);
  }
}

std::string PileCheck::compare_variable(const NetcdfVariable& other) const {
  if (other.dtype != variable_.dtype) {
    return core::text("dtype ", other.type_name, ", not ", variable_.type_name);
  }
  if (other.dimensions != variable_.dimensions) {
    return core::text("dimensions ", joined(other.dimensions), ", not ",
                      joined(variable_.dimensions));
  }
  Shape shape = other.shape;
  if (concat_axis_ >= 0) {
    shape[static_cast<std::size_t>(concat_axis_)] =
        variable_.shape[static_cast<std::size_t>(concat_axis_)];
  }
  if (shape != variable_.shape) {
    return core::text("shape ", to_string(other.shape), ", not ", to_string(variable_.shape));
  }
  if (!(cf_decode_plan(other) == decode_)) {
    return "other values of _FillValue, missing_value, scale_factor, add_offset or _Unsigned";
  }
  if (other.text("units") != variable_.text("units")) {
    return core::text("units \"", other.text("units"), "\", not \"", variable_.text("units"), "\"");
  }
  return {};
}

std::string PileCheck::compare_coordinate(const NetcdfFile& file, const PileCoordinate& mine,
                                          PileMember& member) const {
  if (!is_concatenated(mine) && !compare_coordinates_) return {};
  if (!file.has_variable(mine.name)) return core::text("no coordinate ", mine.name);
  const NetcdfVariable& info = file.variable(mine.name);
  if (!info.dtype || info.dimensions != std::vector<std::string>{mine.dimension}) {
    return core::text("coordinate ", mine.name, " is not along ", mine.dimension);
  }
  std::vector<double> values = file.read_doubles(mine.name);
  const std::string units = info.text("units");
  const std::string wanted = mine.text("units");
  if (!is_concatenated(mine)) {
    if (units != wanted)
      return core::text("units \"", units, "\" of ", mine.name, ", not \"", wanted, "\"");
    return same_values(values, mine.values) ? ""
                                            : core::text("other values of coordinate ", mine.name);
  }
  const std::string calendar = info.text("calendar");
  const std::string wanted_calendar = mine.text("calendar");
  if (CfTime::is_time_units(wanted) && CfTime::is_time_units(units)) {
    if (!same_calendar(calendar, wanted_calendar)) {
      return core::text("calendar \"", calendar, "\" of ", mine.name, ", not \"", wanted_calendar,
                        "\"");
    }
    if (units != wanted) convert_times(values, units, wanted, calendar);
  } else if (units != wanted) {
    return core::text("units \"", units, "\" of ", mine.name, ", not \"", wanted, "\"");
  }
  member.values.push_back(std::move(values));
  return {};
}

std::string PileCheck::compare(const NetcdfFile& file, PileMember& member) const {
  if (!file.has_variable(variable_.name)) return core::text("no variable ", variable_.name);
  const NetcdfVariable& other = file.variable(variable_.name);
  std::string problem = compare_variable(other);
  if (!problem.empty()) return problem;
  if (concat_axis_ >= 0) member.extent = other.shape[static_cast<std::size_t>(concat_axis_)];
  try {
    for (const PileCoordinate& mine : coordinates_) {
      problem = compare_coordinate(file, mine, member);
      if (!problem.empty()) return problem;
    }
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return {};
}

void PileCheck::order_by_time() {
  std::size_t column = 0;
  std::size_t chosen = SIZE_MAX;
  for (const PileCoordinate& coordinate : coordinates_) {
    if (!is_concatenated(coordinate)) continue;
    const bool time = CfTime::is_time_units(coordinate.text("units"));
    if (time && (chosen == SIZE_MAX || coordinate.name == coordinate.dimension)) chosen = column;
    ++column;
  }
  if (chosen == SIZE_MAX || members_.size() < 2) return;
  struct Span {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();
  };
  const auto span = [chosen](const PileMember& member) {
    Span result;
    for (const double value : member.values[chosen]) {
      if (!CfTime::is_time(value)) continue;
      result.low = std::min(result.low, value);
      result.high = std::max(result.high, value);
    }
    return result;
  };
  std::stable_sort(members_.begin(), members_.end(), [&](const PileMember& a, const PileMember& b) {
    return span(a).low < span(b).low;
  });
  const PileMember* before = nullptr;
  for (const PileMember& member : members_) {
    if (member.extent == 0) continue;
    if (before != nullptr && !(span(*before).high < span(member).low)) {
      throw IoError(core::text("[netcdf] files of a pile must not overlap in time; got ",
                               before->path, " and ", member.path,
                               "; try a pattern that leaves one of them out"));
    }
    before = &member;
  }
}

void PileCheck::join_coordinates() {
  std::size_t column = 0;
  for (PileCoordinate& coordinate : coordinates_) {
    if (!is_concatenated(coordinate)) continue;
    for (const PileMember& member : members_) {
      const auto& values = member.values[column];
      coordinate.values.insert(coordinate.values.end(), values.begin(), values.end());
    }
    ++column;
  }
}

}  // namespace tessera::io
